//! The local machine's certificate stores, by `crypt32.dll`.

#![allow(unsafe_code)]

use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{CRYPT_E_NOT_FOUND, ERROR_FILE_NOT_FOUND, GetLastError};
use windows_sys::Win32::Security::Cryptography::{
    CERT_CONTEXT, CERT_FIND_HASH, CERT_FIRST_USER_PROP_ID,
    CERT_STORE_ADD_REPLACE_EXISTING_INHERIT_PROPERTIES, CERT_STORE_ADD_USE_EXISTING, CERT_STORE_CTRL_COMMIT,
    CERT_STORE_OPEN_EXISTING_FLAG, CERT_STORE_PROV_SYSTEM_W, CERT_STORE_READONLY_FLAG,
    CERT_SYSTEM_STORE_LOCAL_MACHINE, CRYPT_INTEGER_BLOB, CRYPT_KEY_FLAGS, CRYPT_MACHINE_KEYSET,
    CertAddCertificateContextToStore, CertCloseStore, CertCompareCertificateName, CertControlStore,
    CertDeleteCertificateFromStore, CertDuplicateCertificateContext, CertEnumCertificatesInStore,
    CertFindCertificateInStore, CertFreeCertificateContext, CertGetCertificateContextProperty, CertOpenStore,
    CertSetCertificateContextProperty, HCERTSTORE, PFXImportCertStore, PKCS_7_ASN_ENCODING,
    PKCS12_PREFER_CNG_KSP, X509_ASN_ENCODING,
};

use super::super::failure::Failure;
use super::super::store::{Kept, Mark, Sealed, Store};
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
        let store = self.open()?;
        let certificate = store.find(hash).ok_or(Failure(CRYPT_E_NOT_FOUND.cast_unsigned()))?;
        Ok((store, certificate))
    }
}

impl Store for MachineStore {
    fn import(&mut self, sealed: &Sealed) -> Result<(), Failure> {
        // A second import would leave the first one's key behind.
        if self.find(sealed.hash).is_ok_and(|(_, there)| key::prove(there.0).is_ok()) {
            return Ok(());
        }
        let store = self.open()?;
        let authorities = Opened::system("CA", 0)?;
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
        for other in imported.all() {
            if other.hash() != sealed.hash && !other.is_root() {
                authorities.add(&other, CERT_STORE_ADD_USE_EXISTING)?;
            }
        }
        Ok(())
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
        // Whoever looks makes no store.
        match Opened::system(self.name.name(), CERT_STORE_READONLY_FLAG | CERT_STORE_OPEN_EXISTING_FLAG) {
            Ok(store) => Ok(store.all().filter_map(|certificate| certificate.kept()).collect()),
            Err(Failure(ERROR_FILE_NOT_FOUND)) => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    fn mark(&mut self, hash: Thumbprint, mark: Option<Mark>) -> Result<(), Failure> {
        let (_store, certificate) = self.find(hash)?;
        let mut text = mark.map(|mark| mark.to_string().into_bytes());
        let blob = text
            .as_mut()
            .map(|text| CRYPT_INTEGER_BLOB { cbData: text.len() as u32, pbData: text.as_mut_ptr() });
        let value = blob.as_ref().map_or(null(), |blob| (&raw const *blob).cast());
        // SAFETY: the certificate is held, and the text lives beyond the call; none takes the property away.
        done(unsafe { CertSetCertificateContextProperty(certificate.0, MARK, 0, value) })
    }

    fn remove(&mut self, hash: Thumbprint) -> Result<(), Failure> {
        let (store, certificate) = self.find(hash)?;
        let container = key::container(certificate.0);
        let shared = store
            .all()
            .any(|other| other.hash() != hash && container.is_some() && key::container(other.0) == container);
        // SAFETY: the call frees what it is given, so it is given one of its own.
        done(unsafe { CertDeleteCertificateFromStore(CertDuplicateCertificateContext(certificate.0)) })?;
        // At once, not when the last one lets go of it.
        // SAFETY: the store is open, and this takes nothing more.
        done(unsafe { CertControlStore(store.0, 0, CERT_STORE_CTRL_COMMIT, null()) })?;
        if !shared {
            key::remove(certificate.0);
        }
        Ok(())
    }
}

/// An open store.
pub(super) struct Opened(HCERTSTORE);

impl Opened {
    pub(super) fn system(name: &str, flags: u32) -> Result<Self, Failure> {
        let (name, flags) = (wide(name), CERT_SYSTEM_STORE_LOCAL_MACHINE | flags);
        // SAFETY: this provider takes a name that ends with a zero.
        Self::of(unsafe { CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, flags, name.as_ptr().cast()) })
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

    /// It is its own issuer.
    fn is_root(&self) -> bool {
        // SAFETY: the certificate is held, and parsed.
        unsafe {
            let info = (*self.0).pCertInfo;
            CertCompareCertificateName(ENCODING, &raw const (*info).Subject, &raw const (*info).Issuer) != 0
        }
    }

    fn kept(&self) -> Option<Kept> {
        key::container(self.0)?;
        Kept::of_der(self.der(), self.mark()).ok()
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
