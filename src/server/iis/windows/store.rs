//! The local machine's certificate stores, by `crypt32.dll`.

#![allow(unsafe_code)]

use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{CRYPT_E_NOT_FOUND, ERROR_FILE_NOT_FOUND, GetLastError};
use windows_sys::Win32::Security::Cryptography::{
    CERT_CONTEXT, CERT_FIND_HASH, CERT_FIRST_USER_PROP_ID,
    CERT_STORE_ADD_REPLACE_EXISTING_INHERIT_PROPERTIES, CERT_STORE_ADD_USE_EXISTING, CERT_STORE_CTRL_COMMIT,
    CERT_STORE_OPEN_EXISTING_FLAG, CERT_STORE_PROV_SYSTEM_W, CERT_STORE_READONLY_FLAG,
    CERT_SYSTEM_STORE_LOCAL_MACHINE, CRYPT_INTEGER_BLOB, CRYPT_KEY_FLAGS, CRYPT_MACHINE_KEYSET,
    CertAddCertificateContextToStore, CertAddEncodedCertificateToStore, CertCloseStore, CertControlStore,
    CertDeleteCertificateFromStore, CertDuplicateCertificateContext, CertEnumCertificatesInStore,
    CertFindCertificateInStore, CertFreeCertificateContext, CertGetCertificateContextProperty, CertOpenStore,
    CertSetCertificateContextProperty, HCERTSTORE, PFXImportCertStore, PKCS_7_ASN_ENCODING,
    PKCS12_PREFER_CNG_KSP, X509_ASN_ENCODING,
};

use super::super::failure::Failure;
use super::super::store::{Kept, Mark, STORES, Sealed, Store};
use super::key;
use super::wide;
use crate::certificate::Thumbprint;
use crate::config;

/// A store of the local machine.
pub struct MachineStore {
    pub(super) name: config::Store,
    /// Only a test build's may be told not to: under wine no key can be used.
    pub(super) proves: bool,
}

const ENCODING: u32 = X509_ASN_ENCODING | PKCS_7_ASN_ENCODING;
/// Behind those that others are likely to take.
const MARK: u32 = CERT_FIRST_USER_PROP_ID + 0x4348;

impl MachineStore {
    /// Of that name.
    pub fn new(name: config::Store) -> Self {
        let proves = !cfg!(debug_assertions) || std::env::var_os("CERTHOOK_KEYS_UNPROVED").is_none();
        Self { name, proves }
    }

    fn open(&self) -> Result<Opened, Failure> {
        Opened::system(self.name.name(), 0)
    }

    fn find(&self, hash: Thumbprint) -> Result<(Opened, Certificate), Failure> {
        find(self.name.name(), hash)
    }
}

impl Store for MachineStore {
    fn import(&mut self, sealed: &Sealed) -> Result<bool, Failure> {
        let there = self.find(sealed.hash);
        // A second import would leave the first one's key behind.
        if there.as_ref().is_ok_and(|(_, there)| key::prove(there.0).is_ok()) {
            return Ok(false);
        }
        let store = self.open()?;
        // Server 2016 and older refuse what they do not know.
        let imported = Opened::pfx(sealed, CRYPT_MACHINE_KEYSET | PKCS12_PREFER_CNG_KSP)
            .or_else(|_| Opened::pfx(sealed, CRYPT_MACHINE_KEYSET))?;
        let Some(leaf) = imported.find(sealed.hash) else {
            return Err(Failure(CRYPT_E_NOT_FOUND.cast_unsigned()));
        };
        if let Err(failure) = store.add(&leaf, CERT_STORE_ADD_REPLACE_EXISTING_INHERIT_PROPERTIES) {
            // Nobody would know of this key.
            key::remove(leaf.0);
            return Err(failure);
        }
        Ok(there.is_err())
    }

    fn add_authority(&mut self, der: &[u8]) -> Result<(), Failure> {
        let authorities = Opened::system("CA", 0)?;
        let (how, length) = (CERT_STORE_ADD_USE_EXISTING, der.len() as u32);
        // SAFETY: the store is open, the bytes are as long as is said, and nothing is asked back.
        done(unsafe {
            CertAddEncodedCertificateToStore(authorities.0, ENCODING, der.as_ptr(), length, how, null_mut())
        })
    }

    fn prove(&mut self, hash: Thumbprint) -> Result<(), Failure> {
        let (_store, certificate) = self.find(hash)?;
        match key::prove(certificate.0) {
            Err(failure) if !self.proves => {
                tracing::warn!(certificate = %hash, error = failure.0, "key_not_proved");
                Ok(())
            }
            proved => proved,
        }
    }

    fn list(&mut self) -> Result<Vec<Kept>, Failure> {
        let mut found = Vec::new();
        for name in STORES {
            if let Some(store) = Opened::to_look(name)? {
                found.extend(store.all().filter_map(|certificate| certificate.kept(name)));
            }
        }
        Ok(found)
    }

    fn mark(&mut self, store: &str, hash: Thumbprint, mark: Mark) -> Result<(), Failure> {
        let (_store, certificate) = find(store, hash)?;
        let mut text = mark.to_string().into_bytes();
        let blob = CRYPT_INTEGER_BLOB { cbData: text.len() as u32, pbData: text.as_mut_ptr() };
        // SAFETY: the certificate is held, and the text lives beyond the call.
        done(unsafe { CertSetCertificateContextProperty(certificate.0, MARK, 0, (&raw const blob).cast()) })
    }

    fn remove(&mut self, store: &str, hash: Thumbprint) -> Result<(), Failure> {
        let (opened, certificate) = find(store, hash)?;
        let shared = is_shared(store, &certificate)?;
        // SAFETY: the call frees what it is given, so it is given one of its own.
        done(unsafe { CertDeleteCertificateFromStore(CertDuplicateCertificateContext(certificate.0)) })?;
        // At once, not when the last one lets go of it.
        // SAFETY: the store is open, and this takes nothing more.
        done(unsafe { CertControlStore(opened.0, 0, CERT_STORE_CTRL_COMMIT, null()) })?;
        if !shared {
            key::remove(certificate.0);
        }
        Ok(())
    }
}

fn find(store: &str, hash: Thumbprint) -> Result<(Opened, Certificate), Failure> {
    let store = Opened::system(store, CERT_STORE_OPEN_EXISTING_FLAG)?;
    let certificate = store.find(hash).ok_or(Failure(CRYPT_E_NOT_FOUND.cast_unsigned()))?;
    Ok((store, certificate))
}

/// Whether its key is another's too, be that a copy of it in another store, or one that cannot be read.
fn is_shared(store: &str, certificate: &Certificate) -> Result<bool, Failure> {
    let (hash, container) = (certificate.hash(), key::container(certificate.0));
    for name in STORES {
        let Some(opened) = Opened::to_look(name)? else { continue };
        let mut others = opened.all().filter(|other| name != store || other.hash() != hash);
        if container.is_some() && others.any(|other| key::container(other.0) == container) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An open store.
pub(super) struct Opened(HCERTSTORE);

impl Opened {
    pub(super) fn system(name: &str, flags: u32) -> Result<Self, Failure> {
        let (name, flags) = (wide(name), CERT_SYSTEM_STORE_LOCAL_MACHINE | flags);
        // SAFETY: this provider takes a name that ends with a zero.
        Self::of(unsafe { CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, flags, name.as_ptr().cast()) })
    }

    /// Whoever looks makes no store: `None` where there is none.
    fn to_look(name: &str) -> Result<Option<Self>, Failure> {
        match Self::system(name, CERT_STORE_READONLY_FLAG | CERT_STORE_OPEN_EXISTING_FLAG) {
            Err(Failure(ERROR_FILE_NOT_FOUND)) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// In memory, but for the keys, which are kept.
    fn pfx(sealed: &Sealed, flags: CRYPT_KEY_FLAGS) -> Result<Self, Failure> {
        let mut bytes = sealed.pfx.clone();
        let password = zeroize::Zeroizing::new(wide(sealed.password.as_str()));
        let blob = CRYPT_INTEGER_BLOB { cbData: bytes.len() as u32, pbData: bytes.as_mut_ptr() };
        // SAFETY: bytes and password live beyond the call.
        Self::of(unsafe { PFXImportCertStore(&raw const blob, password.as_ptr(), flags) })
    }

    fn of(store: HCERTSTORE) -> Result<Self, Failure> {
        if store.is_null() { Err(last()) } else { Ok(Self(store)) }
    }

    pub(super) fn find(&self, hash: Thumbprint) -> Option<Certificate> {
        let mut bytes = hash.0;
        let blob = CRYPT_INTEGER_BLOB { cbData: bytes.len() as u32, pbData: bytes.as_mut_ptr() };
        // SAFETY: the store is open, and the bytes live beyond the call.
        let found = unsafe {
            CertFindCertificateInStore(self.0, ENCODING, 0, CERT_FIND_HASH, (&raw const blob).cast(), null())
        };
        (!found.is_null()).then_some(Certificate(found))
    }

    fn all(&self) -> impl Iterator<Item = Certificate> {
        let mut previous = null_mut::<CERT_CONTEXT>();
        std::iter::from_fn(move || {
            // SAFETY: the store is open; the call frees the previous one, which is a copy of its own.
            previous = unsafe { CertEnumCertificatesInStore(self.0, previous) };
            // SAFETY: it is held by the enumeration until the next call.
            (!previous.is_null()).then(|| Certificate(unsafe { CertDuplicateCertificateContext(previous) }))
        })
        .collect::<Vec<_>>()
        .into_iter()
    }

    fn add(&self, certificate: &Certificate, how: u32) -> Result<(), Failure> {
        // SAFETY: both are open, and nothing is asked back.
        done(unsafe { CertAddCertificateContextToStore(self.0, certificate.0, how, null_mut()) })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: it was opened, and its certificates that are still held keep what they need.
        unsafe { CertCloseStore(self.0, 0) };
    }
}

/// A certificate that is held.
pub(super) struct Certificate(*const CERT_CONTEXT);

impl Certificate {
    fn der(&self) -> &[u8] {
        // SAFETY: the bytes live as long as the certificate is held.
        unsafe { std::slice::from_raw_parts((*self.0).pbCertEncoded, (*self.0).cbCertEncoded as usize) }
    }

    fn hash(&self) -> Thumbprint {
        Thumbprint::of(self.der())
    }

    fn kept(&self, store: &'static str) -> Option<Kept> {
        let container = key::container(self.0)?;
        Kept::of_der(self.der(), store, container.to_string(), self.mark()).ok()
    }

    fn mark(&self) -> Option<Mark> {
        let (mut bytes, mut length) = ([0u8; 128], 128);
        // SAFETY: the length is the buffer's own.
        let there = unsafe {
            CertGetCertificateContextProperty(self.0, MARK, bytes.as_mut_ptr().cast(), &raw mut length)
        };
        (there != 0).then(|| std::str::from_utf8(bytes.get(..length as usize)?).ok()?.parse().ok())?
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // SAFETY: it is held once by this.
        unsafe { CertFreeCertificateContext(self.0) };
    }
}

fn done(result: i32) -> Result<(), Failure> {
    if result == 0 { Err(last()) } else { Ok(()) }
}

fn last() -> Failure {
    // SAFETY: it always may be asked.
    Failure(unsafe { GetLastError() })
}
