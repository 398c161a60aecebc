//! HTTP.sys's records, by `httpapi.dll`.

// Windows's own names.
#![allow(unsafe_code, non_upper_case_globals)]

mod calls;
mod form;

use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{
    ERROR_CALL_NOT_IMPLEMENTED, ERROR_FILE_NOT_FOUND, ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_FUNCTION,
    ERROR_INVALID_PARAMETER, ERROR_MORE_DATA, ERROR_NO_MORE_ITEMS, ERROR_NOT_SUPPORTED,
};
use windows_sys::Win32::Networking::HttpServer::{
    HTTP_INITIALIZE_CONFIG, HTTP_SERVICE_CONFIG_ID, HTTP_SERVICE_CONFIG_SSL_CCS_QUERY,
    HTTP_SERVICE_CONFIG_SSL_QUERY, HTTP_SERVICE_CONFIG_SSL_SNI_QUERY, HTTPAPI_VERSION,
    HttpServiceConfigQueryNext, HttpServiceConfigSSLCertInfo, HttpServiceConfigSslCcsCertInfo,
    HttpServiceConfigSslSniCertInfo,
};

use super::super::apply::{Records, UpdateError};
use super::super::failure::{Failure, NOT_THERE};
use super::super::record::{Key, Record};
use calls::Calls;
use form::Form;

/// The service that has the records.
pub struct HttpSys {
    calls: Calls,
}

/// As in `netsh` and IIS itself.
const VERSION: HTTPAPI_VERSION = HTTPAPI_VERSION { HttpApiMajorVersion: 1, HttpApiMinorVersion: 0 };

impl HttpSys {
    /// Of the system's folder.
    ///
    /// # Errors
    /// [`NOT_THERE`] where this Windows has no such calls; else Windows's.
    pub fn new(system: &Path) -> Result<Self, Failure> {
        Self::of(&system.join("httpapi.dll"))
    }

    /// Of this very file.
    pub(super) fn of(dll: &Path) -> Result<Self, Failure> {
        let calls = Calls::load(dll)?;
        // SAFETY: the flag is one that takes no second argument.
        done(unsafe { (calls.initialize)(VERSION, HTTP_INITIALIZE_CONFIG, null_mut()) })?;
        Ok(Self { calls })
    }

    /// Every record of one kind.
    fn of_kind(&self, id: HTTP_SERVICE_CONFIG_ID) -> Result<Vec<Record>, Failure> {
        let mut found = Vec::new();
        for token in 0.. {
            match self.query(id, token)? {
                Some(record) => found.extend(record),
                None => break,
            }
        }
        Ok(found)
    }

    /// The record of that number, if its address is of a known kind; `None` behind the last one.
    fn query(&self, id: HTTP_SERVICE_CONFIG_ID, token: u32) -> Result<Option<Option<Record>>, Failure> {
        let next = HttpServiceConfigQueryNext;
        let mut address = HTTP_SERVICE_CONFIG_SSL_QUERY { QueryDesc: next, ..Default::default() };
        let mut host = HTTP_SERVICE_CONFIG_SSL_SNI_QUERY { QueryDesc: next, ..Default::default() };
        let mut central = HTTP_SERVICE_CONFIG_SSL_CCS_QUERY { QueryDesc: next, ..Default::default() };
        (address.dwToken, host.dwToken, central.dwToken) = (token, token, token);
        let (input, length) = match id {
            HttpServiceConfigSSLCertInfo => ((&raw const address).cast(), size_of_val(&address)),
            HttpServiceConfigSslSniCertInfo => ((&raw const host).cast(), size_of_val(&host)),
            _ => ((&raw const central).cast(), size_of_val(&central)),
        };
        // In words of eight bytes, for the structure that stands at its beginning.
        let mut answer = vec![0u64; 128];
        loop {
            let (room, mut needed) = (size_of_val(&answer[..]), 0);
            // SAFETY: input and answer are as long as is said, and live beyond the call, which is not overlapped.
            let code = unsafe {
                (self.calls.query)(
                    null_mut(),
                    id,
                    input,
                    length as u32,
                    answer.as_mut_ptr().cast(),
                    room as u32,
                    &raw mut needed,
                    null_mut(),
                )
            };
            match code {
                // SAFETY: that is what was asked for; its pointers point into the answer, which lives on.
                0 => return Ok(Some(unsafe { form::read(id, &answer) })),
                ERROR_INSUFFICIENT_BUFFER | ERROR_MORE_DATA if needed as usize > room => {
                    answer = vec![0; (needed as usize).div_ceil(8)];
                }
                ERROR_NO_MORE_ITEMS | ERROR_FILE_NOT_FOUND => return Ok(None),
                // Before Server 2012 there were addresses only.
                ERROR_INVALID_PARAMETER if token == 0 && id != HttpServiceConfigSSLCertInfo => {
                    return Ok(None);
                }
                code => return Err(Failure(code)),
            }
        }
    }
}

impl Drop for HttpSys {
    fn drop(&mut self) {
        // SAFETY: it was initialized with this flag.
        unsafe { (self.calls.terminate)(HTTP_INITIALIZE_CONFIG, null_mut()) };
    }
}

impl Records for HttpSys {
    fn list(&mut self) -> Result<Vec<Record>, Failure> {
        let kinds =
            [HttpServiceConfigSSLCertInfo, HttpServiceConfigSslSniCertInfo, HttpServiceConfigSslCcsCertInfo];
        let each: Result<Vec<_>, _> = kinds.into_iter().map(|id| self.of_kind(id)).collect();
        Ok(each?.concat())
    }

    fn update(&mut self, record: &Record) -> Result<(), UpdateError> {
        let update = self.calls.update.ok_or(UpdateError::Unsupported)?;
        // SAFETY: the form is whole, and lives beyond the call, which is not overlapped.
        let code = Form::of(&record.key, Some(record))
            .give(|id, form, length| unsafe { update(null_mut(), id, form, length, null_mut()) });
        match code {
            0 => Ok(()),
            ERROR_CALL_NOT_IMPLEMENTED | ERROR_NOT_SUPPORTED | ERROR_INVALID_FUNCTION => {
                Err(UpdateError::Unsupported)
            }
            code => Err(UpdateError::Failed(Failure(code))),
        }
    }

    fn set(&mut self, record: &Record) -> Result<(), Failure> {
        // SAFETY: the form is whole, and lives beyond the call, which is not overlapped.
        done(
            Form::of(&record.key, Some(record)).give(|id, form, length| unsafe {
                (self.calls.set)(null_mut(), id, form, length, null_mut())
            }),
        )
    }

    fn delete(&mut self, key: &Key) -> Result<(), Failure> {
        // SAFETY: the form is whole, and lives beyond the call, which is not overlapped.
        done(Form::of(key, None).give(|id, form, length| unsafe {
            (self.calls.delete)(null_mut(), id, form, length, null_mut())
        }))
    }
}

/// Where this Windows has no such service.
pub struct NotThere;

impl Records for NotThere {
    fn list(&mut self) -> Result<Vec<Record>, Failure> {
        Err(NOT_THERE)
    }

    fn update(&mut self, _: &Record) -> Result<(), UpdateError> {
        Err(UpdateError::Failed(NOT_THERE))
    }

    fn set(&mut self, _: &Record) -> Result<(), Failure> {
        Err(NOT_THERE)
    }

    fn delete(&mut self, _: &Key) -> Result<(), Failure> {
        Err(NOT_THERE)
    }
}

fn done(code: u32) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure(code)) }
}
