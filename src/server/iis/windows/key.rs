//! A certificate's private key: whether it can be used, and its removal.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fmt;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::GetLastError;
use windows_sys::Win32::Security::Cryptography::{
    BCRYPT_PAD_PKCS1, BCRYPT_PKCS1_PADDING_INFO, BCRYPT_SHA256_ALGORITHM, CALG_SHA1, CERT_CONTEXT,
    CERT_KEY_PROV_INFO_PROP_ID, CERT_NCRYPT_KEY_SPEC, CRYPT_ACQUIRE_ALLOW_NCRYPT_KEY_FLAG,
    CRYPT_ACQUIRE_COMPARE_KEY_FLAG, CRYPT_ACQUIRE_SILENT_FLAG, CRYPT_DELETEKEYSET, CRYPT_KEY_PROV_INFO,
    CRYPT_MACHINE_KEYSET, CertGetCertificateContextProperty, CryptAcquireCertificatePrivateKey,
    CryptAcquireContextW, CryptCreateHash, CryptDestroyHash, CryptHashData, CryptReleaseContext,
    CryptSignHashW, NCRYPT_MACHINE_KEY_FLAG, NCRYPT_SILENT_FLAG, NCryptDeleteKey, NCryptFreeObject,
    NCryptOpenKey, NCryptOpenStorageProvider, NCryptSignHash,
};

use super::super::failure::Failure;

/// What is signed says nothing.
const WORDS: [u8; 32] = *b"certhook proves that a key signs";
/// As long as the longest: RSA of 16384 bits.
const MOST: usize = 2048;

/// Signs with it, without asking anybody.
///
/// # Errors
/// Windows's.
pub fn prove(certificate: *const CERT_CONTEXT) -> Result<(), Failure> {
    let (mut key, mut kind, mut is_ours) = (0, 0, 0);
    let how =
        CRYPT_ACQUIRE_SILENT_FLAG | CRYPT_ACQUIRE_ALLOW_NCRYPT_KEY_FLAG | CRYPT_ACQUIRE_COMPARE_KEY_FLAG;
    // SAFETY: the certificate is held by the caller; the key is released below where it is to be.
    let acquired = unsafe {
        CryptAcquireCertificatePrivateKey(
            certificate,
            how,
            null(),
            &raw mut key,
            &raw mut kind,
            &raw mut is_ours,
        )
    };
    if acquired == 0 {
        return Err(last());
    }
    let newer = kind == CERT_NCRYPT_KEY_SPEC;
    // SAFETY: the key is of that kind, and released once.
    unsafe {
        let signed = if newer { sign(key, is_rsa(certificate)) } else { sign_as_of_old(key, kind) };
        match (is_ours != 0, newer) {
            (true, true) => drop(NCryptFreeObject(key)),
            (true, false) => drop(CryptReleaseContext(key, 0)),
            (false, _) => {}
        }
        signed
    }
}

/// # Safety
/// The certificate is held.
unsafe fn is_rsa(certificate: *const CERT_CONTEXT) -> bool {
    // SAFETY: the caller's word; the name of the algorithm ends with a zero.
    let algorithm = unsafe {
        let name = (*(*certificate).pCertInfo).SubjectPublicKeyInfo.Algorithm.pszObjId;
        CStr::from_ptr(name.cast())
    };
    algorithm == c"1.2.840.113549.1.1.1"
}

/// # Safety
/// The key is a CNG key.
unsafe fn sign(key: usize, is_rsa: bool) -> Result<(), Failure> {
    let padding = BCRYPT_PKCS1_PADDING_INFO { pszAlgId: BCRYPT_SHA256_ALGORITHM };
    let (padding, flags) = if is_rsa {
        ((&raw const padding).cast(), BCRYPT_PAD_PKCS1 | NCRYPT_SILENT_FLAG)
    } else {
        (null(), NCRYPT_SILENT_FLAG)
    };
    let (mut signature, mut length) = ([0u8; MOST], 0);
    // SAFETY: the lengths are the buffers' own.
    let status = unsafe {
        NCryptSignHash(
            key,
            padding,
            WORDS.as_ptr(),
            WORDS.len() as u32,
            signature.as_mut_ptr(),
            MOST as u32,
            &raw mut length,
            flags,
        )
    };
    if status == 0 { Ok(()) } else { Err(Failure(status.cast_unsigned())) }
}

/// By a provider of the older kind, of which some know SHA-1 only.
///
/// # Safety
/// The key is such a provider's.
unsafe fn sign_as_of_old(provider: usize, kind: u32) -> Result<(), Failure> {
    let (mut hash, mut signature, mut length) = (0, [0u8; MOST], MOST as u32);
    // SAFETY: the caller's word; the lengths are the buffers' own; the hash is destroyed once.
    unsafe {
        if CryptCreateHash(provider, CALG_SHA1, 0, 0, &raw mut hash) == 0 {
            return Err(last());
        }
        let signed = CryptHashData(hash, WORDS.as_ptr(), WORDS.len() as u32, 0) != 0
            && CryptSignHashW(hash, kind, null(), 0, signature.as_mut_ptr(), &raw mut length) != 0;
        let failure = last();
        CryptDestroyHash(hash);
        if signed { Ok(()) } else { Err(failure) }
    }
}

/// Where a key is.
#[derive(PartialEq, Eq)]
pub struct Container {
    name: Vec<u16>,
    provider: Vec<u16>,
    kind: u32,
    is_of_machine: bool,
    spec: u32,
}

/// Equal where it is the same one.
impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |wide: &[u16]| String::from_utf16_lossy(wide.strip_suffix(&[0]).unwrap_or(wide));
        let whose = if self.is_of_machine { "machine" } else { "user" };
        let (provider, name) = (text(&self.provider), text(&self.name));
        write!(f, "{whose}/{provider}/{}/{}/{name}", self.kind, self.spec)
    }
}

/// Where a certificate's key is; `None` where it has none.
pub fn container(certificate: *const CERT_CONTEXT) -> Option<Container> {
    let mut length = 0;
    // SAFETY: only the length is asked for.
    let there = unsafe {
        CertGetCertificateContextProperty(
            certificate,
            CERT_KEY_PROV_INFO_PROP_ID,
            null_mut(),
            &raw mut length,
        )
    };
    if there == 0 || (length as usize) < size_of::<CRYPT_KEY_PROV_INFO>() {
        return None;
    }
    // In words of eight bytes, for the structure that stands at its beginning.
    let mut answer = vec![0u64; (length as usize).div_ceil(8)];
    // SAFETY: there is room for what was said to be the length; what it points at is in the answer.
    unsafe {
        let answer = answer.as_mut_ptr();
        let id = CERT_KEY_PROV_INFO_PROP_ID;
        if CertGetCertificateContextProperty(certificate, id, answer.cast(), &raw mut length) == 0 {
            return None;
        }
        let info = &*answer.cast::<CRYPT_KEY_PROV_INFO>();
        Some(Container {
            name: text(info.pwszContainerName),
            provider: text(info.pwszProvName),
            kind: info.dwProvType,
            is_of_machine: info.dwFlags & CRYPT_MACHINE_KEYSET != 0,
            spec: info.dwKeySpec,
        })
    }
}

/// Removes a certificate's key. What is left of it where that fails is in nobody's way.
pub fn remove(certificate: *const CERT_CONTEXT) {
    // Without a name it would be one that others share.
    let Some(of) = container(certificate).filter(|of| of.name.len() > 1) else { return };
    let provider = if of.provider.len() > 1 { of.provider.as_ptr() } else { null() };
    // SAFETY: the names end with a zero; every handle is freed once, and a deleted key's by its deletion.
    unsafe {
        if of.kind != 0 {
            let machine = if of.is_of_machine { CRYPT_MACHINE_KEYSET } else { 0 };
            let mut none = 0;
            CryptAcquireContextW(
                &raw mut none,
                of.name.as_ptr(),
                provider,
                of.kind,
                CRYPT_DELETEKEYSET | machine,
            );
            return;
        }
        let (mut storage, mut key) = (0, 0);
        if NCryptOpenStorageProvider(&raw mut storage, provider, 0) != 0 {
            return;
        }
        let machine = if of.is_of_machine { NCRYPT_MACHINE_KEY_FLAG } else { 0 };
        if NCryptOpenKey(storage, &raw mut key, of.name.as_ptr(), of.spec, NCRYPT_SILENT_FLAG | machine) == 0
            && NCryptDeleteKey(key, NCRYPT_SILENT_FLAG) != 0
        {
            NCryptFreeObject(key);
        }
        NCryptFreeObject(storage);
    }
}

/// With the zero at its end.
///
/// # Safety
/// It ends with one, or there is none.
unsafe fn text(text: *const u16) -> Vec<u16> {
    if text.is_null() {
        return vec![0];
    }
    // SAFETY: the caller's word.
    unsafe {
        let length = (0..).take_while(|index| *text.add(*index) != 0).count();
        std::slice::from_raw_parts(text, length + 1).to_vec()
    }
}

fn last() -> Failure {
    // SAFETY: it always may be asked.
    Failure(unsafe { GetLastError() })
}
