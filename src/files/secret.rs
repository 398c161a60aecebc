//! Passwords and secrets in files of their own: text, or what Windows' data protection (DPAPI) has sealed.

use std::io::{Error, ErrorKind};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{ReadError, read, replace_private};
use crate::platform;
use crate::problem::{Problem, printable};

/// Longer passwords are none.
const MOST_PASSWORD: usize = 1024;
/// What a sealed one begins with; base64 follows.
const SEALED: &str = "dpapi:";

/// Why a file's bytes are no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// As Windows' programs write it.
    #[error("{0} is in UTF-16")]
    Utf16(String),
    /// Nor is it anything else that is known.
    #[error("{0} is no text")]
    NotText(String),
    /// What follows `dpapi:` is cut or changed.
    #[error("{0} begins with dpapi: and goes on with no base64")]
    NotBase64(String),
    /// Sealed elsewhere, or Windows is not what this is.
    #[error("{0} cannot be unsealed: {1}")]
    Sealed(String, Error),
}

impl SecretError {
    /// With the code that the kind of secret has; what cannot even be read has its own.
    pub fn problem(&self, code: &str) -> Problem {
        let remedy = match self {
            Self::Read(error) => return error.problem(),
            Self::Utf16(_) => "save it in UTF-8: that is an encoding that Notepad and PowerShell can be told",
            Self::NotText(_) => "write the secret there, in UTF-8, and nothing else",
            Self::Sealed(_, error) if error.kind() == ErrorKind::Unsupported => {
                "write it there as it is, readable by certhook's user alone"
            }
            Self::NotBase64(_) | Self::Sealed(..) => {
                "seal it anew, on this machine: certhook service protect FILE"
            }
        };
        Problem::new(code, self.to_string(), remedy)
    }
}

/// The text of a file that holds a secret, unsealed where it is sealed.
///
/// # Errors
/// [`SecretError`], without anything of what is there.
pub fn secret(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let content = read(path)?;
    let shown = || printable(&path.display().to_string(), 200);
    let bytes = without_mark(&content.bytes).ok_or_else(|| SecretError::Utf16(shown()))?;
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|_| SecretError::NotText(shown()))?;
        Ok(Zeroizing::new(text.to_owned()))
    };
    let Some(sealed) = bytes.strip_prefix(SEALED.as_bytes()) else { return text(bytes) };
    let sealed: Vec<u8> = sealed.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let sealed = STANDARD.decode(sealed).map_err(|_| SecretError::NotBase64(shown()))?;
    let plain = platform::unseal(&sealed).map_err(|error| SecretError::Sealed(shown(), error))?;
    text(without_mark(&plain).ok_or_else(|| SecretError::Utf16(shown()))?)
}

/// The password that stands in a file, without the end of its line.
///
/// # Errors
/// That there is none, without anything of what is there.
pub fn password(path: &Path) -> Result<Zeroizing<String>, Problem> {
    const CODE: &str = "bad_password_file";
    let text = secret(path).map_err(|error| error.problem(CODE))?;
    let line = without_end(&text);
    // Longer ones are no passwords; another file was named.
    if line.len() > MOST_PASSWORD {
        let message = format!("{} does not hold a password", printable(&path.display().to_string(), 200));
        return Err(Problem::new(CODE, message, "write the password there, in UTF-8, and nothing else"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Seals what was typed or piped, for this machine, into a private file.
///
/// # Errors
/// That it is no text, or the system's words.
pub fn seal(path: &Path, input: &[u8]) -> Result<(), Problem> {
    let unfit = |message: &str| {
        let remedy = "type the secret, or pipe it in UTF-8, as in: certhook service protect FILE < SECRET";
        Problem::new("bad_secret", message, remedy)
    };
    let bytes = without_mark(input).ok_or_else(|| unfit("what came in is in UTF-16"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| unfit("what came in is no UTF-8"))?;
    let line = without_end(text);
    if line.is_empty() {
        return Err(unfit("nothing came in"));
    }
    let shown = || printable(&path.display().to_string(), 200);
    let sealed = platform::seal(line.as_bytes()).map_err(|error| {
        Problem::new("not_sealed", format!("the secret cannot be sealed: {error}"), "write it as it is")
    })?;
    let text = format!("{SEALED}{}\n", STANDARD.encode(sealed));
    replace_private(path, text.as_bytes()).map_err(|error| {
        let message = format!("{} cannot be written: {error}", shown());
        Problem::new("not_written", message, platform::AS_WHOM)
    })
}

/// Without the mark that Windows' programs put before UTF-8; `None` where it says UTF-16.
fn without_mark(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => None,
        [0xef, 0xbb, 0xbf, rest @ ..] => Some(rest),
        _ => Some(bytes),
    }
}

/// Without the one end of a line that editors and `echo` leave.
fn without_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<String, Problem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, bytes).unwrap();
        password(&path).map(|password| password.to_string())
    }

    #[test]
    fn a_password_is_what_was_meant_whatever_wrote_it() {
        for bytes in [
            &b"pass word"[..],
            b"pass word\n",
            b"pass word\r\n",
            b"\xef\xbb\xbfpass word",
            b"\xef\xbb\xbfpass word\r\n",
        ] {
            assert_eq!(of(bytes).unwrap(), "pass word", "{bytes:?}");
        }
        assert_eq!(of(b"").unwrap(), "");
        // A mark elsewhere is the user's own.
        assert_eq!(of("a\u{feff}b".as_bytes()).unwrap(), "a\u{feff}b");
    }

    #[test]
    fn what_is_no_password_is_told_without_it() {
        // With what cannot be in the file's name, which is made by chance and told.
        let long = [b'+'; MOST_PASSWORD + 1];
        for (bytes, said) in [
            (&b"\xff\xfep\0+\0w\0"[..], "UTF-16"),
            (b"\xfe\xff\0p\0+\0w", "UTF-16"),
            (b"p+w\xff", "no text"),
            (&long, "does not hold a password"),
            (b"dpapi:p+w", "no base64"),
            (b"\xef\xbb\xbfdpapi:p+w!", "no base64"),
            // Sealed by nobody; or, elsewhere than on Windows, by Windows.
            (b"dpapi:cHc=\r\n", "cannot be unsealed"),
            (b"dpapi:cH\r\nc=\r\n", "cannot be unsealed"),
        ] {
            let problem = of(bytes).unwrap_err();
            assert_eq!(problem.code, "bad_password_file");
            assert!(problem.message.contains(said), "{bytes:?}: {problem}");
            let told = problem.to_string();
            assert!(!told.contains('+') && !told.contains("cHc="), "{told}");
        }
    }

    #[test]
    fn what_is_sealed_is_private_and_read_as_it_was_typed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for input in [&b""[..], b"\r\n", b"\xff\xfep\0", b"p\xff"] {
            assert_eq!(seal(&path, input).unwrap_err().code, "bad_secret", "{input:?}");
        }
        // Twice: the second replaces the first.
        for input in [&b"first"[..], b"\xef\xbb\xbfpass word \r\n"] {
            match seal(&path, input) {
                Ok(()) => {}
                Err(problem) if platform::can_seal().is_err() => {
                    assert_eq!(problem.code, "not_sealed");
                    assert!(problem.message.contains("Windows"), "{problem}");
                    assert!(!path.exists());
                    return;
                }
                Err(problem) => panic!("{problem}"),
            }
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(SEALED) && !text.contains("pass word"), "{text}");
        assert_eq!(*password(&path).unwrap(), "pass word ");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
