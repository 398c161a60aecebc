//! OpenSSL's and OpenSSH's commands, which make the forms, and changes of a text.

use std::process::{Command, Stdio};

/// Runs OpenSSL's command and returns what it wrote.
pub(super) fn openssl(args: &[&str], input: impl AsRef<[u8]>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    std::fs::write(&path, input).unwrap();
    let output = Command::new("openssl").args(args).arg("-in").arg(&path).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub(super) fn pem(args: &[&str], input: &str) -> String {
    String::from_utf8(openssl(args, input)).unwrap()
}

/// The lines of a text, changed by their number.
pub(super) fn lines(text: &str, change: impl Fn(usize, &str) -> String) -> String {
    text.lines().enumerate().map(|(at, line)| change(at, line) + "\n").collect()
}

/// Its base64 in lines of another length.
pub(super) fn rewrapped(text: &str, width: usize) -> String {
    let (mut out, mut body) = (String::new(), String::new());
    for line in text.lines() {
        if line.starts_with("-----") || line.contains(':') || line.is_empty() {
            let body = std::mem::take(&mut body);
            for at in (0..body.len()).step_by(width) {
                out += &format!("{}\n", &body[at..body.len().min(at + width)]);
            }
            out += &format!("{line}\n");
        } else {
            body += line;
        }
    }
    out
}

pub(super) fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

pub(super) fn openssl_base64(der: &[u8]) -> String {
    String::from_utf8(openssl(&["base64"], der)).unwrap()
}

pub(super) fn pkcs7(certificates: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certificates");
    std::fs::write(&path, certificates).unwrap();
    let output =
        Command::new("openssl").args(["crl2pkcs7", "-nocrl", "-certfile"]).arg(&path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// In OpenSSH's own form.
pub(super) fn openssh(key: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, key).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new("ssh-keygen");
    command.args(["-p", "-P", "", "-N", "", "-f"]).arg(&path).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    std::fs::read_to_string(&path).unwrap()
}
