//! A record as Windows's calls have it: structures that point at each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr::null_mut;

use windows_sys::Win32::Networking::HttpServer::{
    HTTP_SERVICE_CONFIG_ID, HTTP_SERVICE_CONFIG_SSL_CCS_KEY, HTTP_SERVICE_CONFIG_SSL_CCS_SET,
    HTTP_SERVICE_CONFIG_SSL_KEY, HTTP_SERVICE_CONFIG_SSL_PARAM, HTTP_SERVICE_CONFIG_SSL_SET,
    HTTP_SERVICE_CONFIG_SSL_SNI_KEY, HTTP_SERVICE_CONFIG_SSL_SNI_SET, HttpServiceConfigSSLCertInfo,
    HttpServiceConfigSslCcsCertInfo, HttpServiceConfigSslSniCertInfo,
};
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, SOCKADDR, SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_STORAGE,
};
use windows_sys::core::{GUID, PWSTR};

use super::super::super::record::{AppId, Key, Parameters, Record};
use super::super::wide;
use crate::certificate::Thumbprint;

/// All that the structures point at, in one place that does not move while they are in use.
pub struct Form {
    key: Key,
    address: SOCKADDR_STORAGE,
    host: Option<Vec<u16>>,
    hash: Vec<u8>,
    app: GUID,
    store: Option<Vec<u16>>,
    ctl_identifier: Option<Vec<u16>>,
    ctl_store: Option<Vec<u16>>,
    numbers: [u32; 4],
}

impl Form {
    /// Of a record; without one its key alone counts.
    pub fn of(key: &Key, record: Option<&Record>) -> Self {
        let address = match key {
            Key::IpPort(address) => *address,
            Key::SniHost(_, port) | Key::Ccs(port) => {
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port)
            }
        };
        let host = match key {
            Key::SniHost(host, _) => Some(wide(host)),
            Key::IpPort(_) | Key::Ccs(_) => None,
        };
        let mut form = Self {
            key: key.clone(),
            address: sockaddr(address),
            host,
            hash: Vec::new(),
            app: GUID::from_u128(0),
            store: None,
            ctl_identifier: None,
            ctl_store: None,
            numbers: [0; 4],
        };
        if let Some(record) = record {
            let Parameters { ctl_identifier, ctl_store, more, .. } = &record.parameters;
            let of = &record.parameters;
            // An odd hash is put back as it was.
            form.hash = record.hash.map_or_else(|| more.clone(), |hash| hash.0.to_vec());
            form.app = GUID::from_u128(u128::from_be_bytes(record.app.0));
            form.store = (!record.store.is_empty()).then(|| wide(&record.store));
            (form.ctl_identifier, form.ctl_store) =
                (ctl_identifier.as_ref().map(wide), ctl_store.as_ref().map(wide));
            form.numbers = [of.check_mode, of.revocation_freshness, of.url_timeout, of.flags];
        }
        form
    }

    /// Hands it to a call.
    pub fn give(
        mut self,
        call: impl FnOnce(HTTP_SERVICE_CONFIG_ID, *const core::ffi::c_void, u32) -> u32,
    ) -> u32 {
        let text = |text: &mut Option<Vec<u16>>| text.as_mut().map_or(null_mut(), |text| text.as_mut_ptr());
        let [check_mode, freshness, timeout, flags] = self.numbers;
        let parameters = HTTP_SERVICE_CONFIG_SSL_PARAM {
            SslHashLength: self.hash.len() as u32,
            pSslHash: if self.hash.is_empty() { null_mut() } else { self.hash.as_mut_ptr().cast() },
            AppId: self.app,
            pSslCertStoreName: text(&mut self.store),
            DefaultCertCheckMode: check_mode,
            DefaultRevocationFreshnessTime: freshness,
            DefaultRevocationUrlRetrievalTimeout: timeout,
            pDefaultSslCtlIdentifier: text(&mut self.ctl_identifier),
            pDefaultSslCtlStoreName: text(&mut self.ctl_store),
            DefaultFlags: flags,
        };
        match self.key {
            Key::IpPort(_) => {
                let address = (&raw mut self.address).cast::<SOCKADDR>();
                let set = HTTP_SERVICE_CONFIG_SSL_SET {
                    KeyDesc: HTTP_SERVICE_CONFIG_SSL_KEY { pIpPort: address },
                    ParamDesc: parameters,
                };
                call(HttpServiceConfigSSLCertInfo, (&raw const set).cast(), size_of_val(&set) as u32)
            }
            Key::SniHost(..) => {
                let set = HTTP_SERVICE_CONFIG_SSL_SNI_SET {
                    KeyDesc: HTTP_SERVICE_CONFIG_SSL_SNI_KEY {
                        IpPort: self.address,
                        Host: text(&mut self.host),
                    },
                    ParamDesc: parameters,
                };
                call(HttpServiceConfigSslSniCertInfo, (&raw const set).cast(), size_of_val(&set) as u32)
            }
            Key::Ccs(_) => {
                let set = HTTP_SERVICE_CONFIG_SSL_CCS_SET {
                    KeyDesc: HTTP_SERVICE_CONFIG_SSL_CCS_KEY { LocalAddress: self.address },
                    ParamDesc: parameters,
                };
                call(HttpServiceConfigSslCcsCertInfo, (&raw const set).cast(), size_of_val(&set) as u32)
            }
        }
    }
}

/// What a query answered; `None` where its address is of no known kind.
///
/// # Safety
/// The answer must be of this kind, and what it points at must be there.
pub unsafe fn read(id: HTTP_SERVICE_CONFIG_ID, answer: &[u64]) -> Option<Record> {
    // SAFETY: the caller's word; the answer is aligned for all three.
    unsafe {
        match id {
            HttpServiceConfigSSLCertInfo => {
                let set = &*answer.as_ptr().cast::<HTTP_SERVICE_CONFIG_SSL_SET>();
                let key = Key::IpPort(address(set.KeyDesc.pIpPort)?);
                Some(record(key, &set.ParamDesc))
            }
            HttpServiceConfigSslSniCertInfo => {
                let set = &*answer.as_ptr().cast::<HTTP_SERVICE_CONFIG_SSL_SNI_SET>();
                let port = address((&raw const set.KeyDesc.IpPort).cast())?.port();
                let host = text(set.KeyDesc.Host).unwrap_or_default().to_ascii_lowercase();
                Some(record(Key::SniHost(host, port), &set.ParamDesc))
            }
            _ => {
                let set = &*answer.as_ptr().cast::<HTTP_SERVICE_CONFIG_SSL_CCS_SET>();
                let port = address((&raw const set.KeyDesc.LocalAddress).cast())?.port();
                Some(record(Key::Ccs(port), &set.ParamDesc))
            }
        }
    }
}

/// # Safety
/// As of [`read`].
unsafe fn record(key: Key, of: &HTTP_SERVICE_CONFIG_SSL_PARAM) -> Record {
    let hash: &[u8] = if of.pSslHash.is_null() {
        &[]
    } else {
        // SAFETY: Windows says how long it is.
        unsafe { std::slice::from_raw_parts(of.pSslHash.cast(), of.SslHashLength as usize) }
    };
    let thumbprint = <[u8; 20]>::try_from(hash).ok().map(Thumbprint);
    let more = if thumbprint.is_none() { hash.to_vec() } else { Vec::new() };
    // SAFETY: the texts end with a zero, or there are none.
    let [store, ctl_identifier, ctl_store] = unsafe {
        [text(of.pSslCertStoreName), text(of.pDefaultSslCtlIdentifier), text(of.pDefaultSslCtlStoreName)]
    };
    let parameters = Parameters {
        check_mode: of.DefaultCertCheckMode,
        revocation_freshness: of.DefaultRevocationFreshnessTime,
        url_timeout: of.DefaultRevocationUrlRetrievalTimeout,
        ctl_identifier,
        ctl_store,
        flags: of.DefaultFlags,
        more,
    };
    let id = of.AppId;
    let mut app = [0; 16];
    app[..4].copy_from_slice(&id.data1.to_be_bytes());
    app[4..6].copy_from_slice(&id.data2.to_be_bytes());
    app[6..8].copy_from_slice(&id.data3.to_be_bytes());
    app[8..].copy_from_slice(&id.data4);
    let store = store.filter(|store| !store.is_empty()).unwrap_or_else(|| "MY".to_owned());
    Record { key, hash: thumbprint, app: AppId(app), store, parameters }
}

/// # Safety
/// It ends with a zero, or there is none.
unsafe fn text(text: PWSTR) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's word.
    unsafe {
        let length = (0..).take_while(|index| *text.add(*index) != 0).count();
        Some(String::from_utf16_lossy(std::slice::from_raw_parts(text, length)))
    }
}

/// # Safety
/// It is an address of the family that it says, or there is none.
unsafe fn address(of: *const SOCKADDR) -> Option<SocketAddr> {
    if of.is_null() {
        return None;
    }
    // SAFETY: the caller's word; every address begins with its family.
    unsafe {
        match (*of).sa_family {
            AF_INET => {
                let of = of.cast::<SOCKADDR_IN>().read_unaligned();
                let ip = Ipv4Addr::from(of.sin_addr.S_un.S_addr.to_ne_bytes());
                Some(SocketAddr::new(ip.into(), u16::from_be(of.sin_port)))
            }
            AF_INET6 => {
                let of = of.cast::<SOCKADDR_IN6>().read_unaligned();
                let ip = Ipv6Addr::from(of.sin6_addr.u.Byte);
                Some(SocketAddr::new(ip.into(), u16::from_be(of.sin6_port)))
            }
            _ => None,
        }
    }
}

fn sockaddr(address: SocketAddr) -> SOCKADDR_STORAGE {
    let mut out = SOCKADDR_STORAGE::default();
    let place = &raw mut out;
    match address {
        SocketAddr::V4(address) => {
            let mut of = SOCKADDR_IN { sin_family: AF_INET, ..Default::default() };
            of.sin_port = address.port().to_be();
            of.sin_addr.S_un.S_addr = u32::from_ne_bytes(address.ip().octets());
            // SAFETY: there is room for every kind of address, and it is aligned for them.
            unsafe { place.cast::<SOCKADDR_IN>().write(of) };
        }
        SocketAddr::V6(address) => {
            let mut of = SOCKADDR_IN6 { sin6_family: AF_INET6, ..Default::default() };
            of.sin6_port = address.port().to_be();
            of.sin6_addr.u.Byte = address.ip().octets();
            // SAFETY: as above.
            unsafe { place.cast::<SOCKADDR_IN6>().write(of) };
        }
    }
    out
}
