//! Who may read: access control lists, made and judged.

#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, ConvertStringSidToSidW,
    GetNamedSecurityInfoW, GetSecurityInfo, SDDL_REVISION_1, SE_FILE_OBJECT, SetNamedSecurityInfoW,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, CheckTokenMembership, DACL_SECURITY_INFORMATION, GetAce,
    GetSecurityDescriptorDacl, GetTokenInformation, INHERIT_ONLY_ACE, LookupAccountSidW,
    OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::SystemServices::{ACCESS_ALLOWED_ACE_TYPE, ACCESS_ALLOWED_CALLBACK_ACE_TYPE};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::super::exposed::{self, ADMINISTRATORS, Entry, Exposed, List, THE_SYSTEM, Thing};
use super::wide;

/// A security descriptor in the system's memory.
pub(super) struct Descriptor(PSECURITY_DESCRIPTOR);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it came from a call that says to free it so, and is freed once.
        unsafe { LocalFree(self.0) };
    }
}

impl Descriptor {
    /// For the system and the administrators alone, and for this user where he is none of them, whatever the folder
    /// above says; what is made below inherits it.
    pub(super) fn private() -> io::Result<Self> {
        let full = |sid: &str| format!("(A;OICI;FA;;;{sid})");
        let mut sids = BTreeSet::from([THE_SYSTEM.to_owned(), ADMINISTRATORS.to_owned()]);
        if !is_administrator() {
            sids.insert(this_user()?);
        }
        let text = wide(format!("D:P{}", sids.iter().map(|sid| full(sid)).collect::<String>()));
        let mut made = null_mut();
        // SAFETY: the text ends with a zero, and `made` takes what is freed by `Drop`.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut made,
                null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(made)) }
    }

    /// To hand to a call that makes something. It must not outlive this.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }

    fn list(&self) -> io::Result<*mut ACL> {
        let (mut present, mut list, mut defaulted) = (0, null_mut(), 0);
        // SAFETY: the descriptor is a whole one; the list that is given out lives as long as it.
        let done =
            unsafe { GetSecurityDescriptorDacl(self.0, &raw mut present, &raw mut list, &raw mut defaulted) };
        match (done, present) {
            (0, _) => Err(io::Error::last_os_error()),
            (_, 0) => Ok(null_mut()),
            _ => Ok(list),
        }
    }
}

/// Makes private what somebody may have made before: the folder below `%ProgramData%`, where every user may make
/// some.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    let private = Descriptor::private()?;
    let (path, list) = (wide(path), private.list()?);
    // SAFETY: path and list are whole, and live beyond the call.
    let code = unsafe {
        SetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            list,
            null(),
        )
    };
    if code == 0 { Ok(()) } else { Err(of_code(code)) }
}

/// Whether others than the owner, the system and the administrators may read the file.
///
/// # Errors
/// The system's.
pub fn readable_by_others(path: &Path) -> io::Result<Option<Exposed>> {
    judge(path, Thing::Secret)
}

/// Whether others than the system and the administrators may do anything in the folder.
///
/// # Errors
/// The system's.
pub fn open_to_others(folder: &Path) -> io::Result<Option<Exposed>> {
    judge(folder, Thing::Folder)
}

/// The SID of whom it belongs to; opened with `READ_CONTROL`.
pub(super) fn owner_of(file: &File) -> io::Result<String> {
    let (mut owner, mut descriptor) = (null_mut(), null_mut());
    // SAFETY: the handle is open for as long as `file` is borrowed; the owner points into the descriptor, which is
    // freed below.
    let code = unsafe {
        GetSecurityInfo(
            file.as_raw_handle(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &raw mut owner,
            null_mut(),
            null_mut(),
            null_mut(),
            &raw mut descriptor,
        )
    };
    if code != 0 {
        return Err(of_code(code));
    }
    let _descriptor = Descriptor(descriptor);
    sid_text(owner)
}

fn judge(path: &Path, thing: Thing) -> io::Result<Option<Exposed>> {
    let (name, mut owner, mut list, mut descriptor) = (wide(path), null_mut(), null_mut(), null_mut());
    // SAFETY: the path ends with a zero; owner and list point into the descriptor, which is freed below.
    let code = unsafe {
        GetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
            &raw mut owner,
            null_mut(),
            &raw mut list,
            null_mut(),
            &raw mut descriptor,
        )
    };
    if code != 0 {
        return Err(of_code(code));
    }
    let _descriptor = Descriptor(descriptor);
    let (owner, user) = (sid_text(owner)?, this_user()?);
    let entries = if list.is_null() { None } else { Some(entries(list)?) };
    let others = exposed::others(thing, List { owner: &owner, user: &user, entries: entries.as_deref() });
    if others.is_empty() {
        return Ok(None);
    }
    let names = others.iter().map(|sid| name_of(sid).unwrap_or_else(|| sid.clone()));
    let to = names.collect::<Vec<_>>().join(", ");
    Ok(Some(Exposed { to, remedy: exposed::remedy(path, thing, &owner, &others) }))
}

/// Those that allow something.
fn entries(list: *const ACL) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    // SAFETY: the list is whole.
    for index in 0..u32::from(unsafe { (*list).AceCount }) {
        let mut entry = null_mut();
        // SAFETY: the list is whole; the index is below its count.
        if unsafe { GetAce(list, index, &raw mut entry) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: every entry begins with a header.
        let header = unsafe { *entry.cast::<ACE_HEADER>() };
        let kind = u32::from(header.AceType);
        if ![ACCESS_ALLOWED_ACE_TYPE, ACCESS_ALLOWED_CALLBACK_ACE_TYPE].contains(&kind) {
            continue;
        }
        let allowed = entry.cast::<ACCESS_ALLOWED_ACE>();
        // SAFETY: entries of these two kinds have this form; the SID stands at their end.
        let (mask, sid) = unsafe { ((*allowed).Mask, (&raw mut (*allowed).SidStart).cast()) };
        let inherit_only = u32::from(header.AceFlags) & INHERIT_ONLY_ACE != 0;
        found.push(Entry { sid: sid_text(sid)?, mask, inherit_only });
    }
    Ok(found)
}

/// Whether this process may do what administrators may.
pub(super) fn is_administrator() -> bool {
    let Ok(sid) = sid_of(ADMINISTRATORS) else { return false };
    let mut is = 0;
    // SAFETY: the SID is a whole one; without a token the process's own is meant.
    let asked = unsafe { CheckTokenMembership(null_mut(), sid.0, &raw mut is) };
    asked != 0 && is != 0
}

/// A SID in the system's memory.
struct Sid(PSID);

impl Drop for Sid {
    fn drop(&mut self) {
        // SAFETY: it came from a call that says to free it so, and is freed once.
        unsafe { LocalFree(self.0) };
    }
}

fn sid_of(text: &str) -> io::Result<Sid> {
    let (text, mut sid) = (wide(text), null_mut());
    // SAFETY: the text ends with a zero, and `sid` takes what is freed by `Drop`.
    if unsafe { ConvertStringSidToSidW(text.as_ptr(), &raw mut sid) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Sid(sid))
}

/// The SID of the user that this process runs as.
pub(super) fn this_user() -> io::Result<String> {
    let mut token: HANDLE = null_mut();
    // SAFETY: the pseudo handle needs no closing; `token` is closed below.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // In words of eight bytes, for the structure that stands at its beginning.
    let (mut answer, mut length) = ([0u64; 32], 0);
    // SAFETY: the length is the buffer's own.
    let done = unsafe {
        let room = size_of_val(&answer) as u32;
        let done = GetTokenInformation(token, TokenUser, answer.as_mut_ptr().cast(), room, &raw mut length);
        CloseHandle(token);
        done
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: that is what was asked for; its SID points into the buffer.
    sid_text(unsafe { (*answer.as_ptr().cast::<TOKEN_USER>()).User.Sid })
}

fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: the SID is a whole one; the text is freed below.
    if unsafe { ConvertSidToStringSidW(sid, &raw mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the text ends with a zero, and is freed once, after it was copied.
    unsafe {
        let length = (0..).take_while(|index| *text.add(*index) != 0).count();
        let copy = String::from_utf16_lossy(std::slice::from_raw_parts(text, length));
        LocalFree(text.cast());
        Ok(copy)
    }
}

/// `DOMAIN\name`, where the system knows one.
pub(super) fn name_of(sid: &str) -> Option<String> {
    let sid = sid_of(sid).ok()?;
    let (mut name, mut domain) = ([0u16; 256], [0u16; 256]);
    let (mut name_length, mut domain_length, mut kind) = (256, 256, 0);
    // SAFETY: the lengths are the buffers' own.
    let done = unsafe {
        LookupAccountSidW(
            null(),
            sid.0,
            name.as_mut_ptr(),
            &raw mut name_length,
            domain.as_mut_ptr(),
            &raw mut domain_length,
            &raw mut kind,
        )
    };
    let text = |of: &[u16], length: u32| String::from_utf16_lossy(&of[..length as usize]);
    match (done != 0).then(|| (text(&domain, domain_length), text(&name, name_length)))? {
        (domain, name) if domain.is_empty() => Some(name),
        (domain, name) => Some(format!(r"{domain}\{name}")),
    }
}

/// These calls give their error instead of leaving it behind.
pub(super) fn of_code(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::super::{create_new, create_private_folder, open_private};
    use super::*;

    #[test]
    fn what_is_private_is_so_by_its_own_list() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("above").join("state");
        create_private_folder(&inner).unwrap();
        assert_eq!(open_to_others(&inner).unwrap(), None);
        drop(open_private(&inner.join("lock")).unwrap());
        drop(create_new(&inner.join("key"), true).unwrap());
        for path in [&inner, &inner.join("lock"), &inner.join("key")] {
            assert_eq!(readable_by_others(path).unwrap(), None, "{}", path.display());
        }
    }

    #[test]
    fn who_else_may_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "x").unwrap();
        let everyone = wide("D:P(A;;FA;;;BA)(A;;FR;;;WD)");
        let mut made = null_mut();
        let listed = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                everyone.as_ptr(),
                SDDL_REVISION_1,
                &raw mut made,
                null_mut(),
            )
        };
        assert_ne!(listed, 0);
        let descriptor = Descriptor(made);
        let text = wide(&path);
        let code = unsafe {
            SetNamedSecurityInfoW(
                text.as_ptr(),
                SE_FILE_OBJECT,
                DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                null_mut(),
                null_mut(),
                descriptor.list().unwrap(),
                null(),
            )
        };
        assert_eq!(code, 0);
        let found = readable_by_others(&path).unwrap().unwrap();
        assert_eq!(found.to, "Everyone");
        assert!(found.remedy.contains("/remove \"*S-1-1-0\""), "{found:?}");
        if certhook_test_support::wine::cannot_prove("it keeps the access list that a file was made with") {
            return;
        }
        make_private(&path).unwrap();
        assert_eq!(readable_by_others(&path).unwrap(), None);
    }
}
