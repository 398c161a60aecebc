//! The other forms in which keys and sets lie on disks. The `openssl` command makes them, as it did there.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::Pair;

/// How a private key is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm<'a> {
    /// `BEGIN PRIVATE KEY`.
    Pkcs8,
    /// `BEGIN RSA PRIVATE KEY` (PKCS#1) or `BEGIN EC PRIVATE KEY` (SEC1); there is none for Ed25519.
    Traditional,
    /// `BEGIN ENCRYPTED PRIVATE KEY`, with this password.
    Encrypted(&'a str),
    /// SEC1 preceded by an `EC PARAMETERS` block, as `openssl ecparam -genkey` writes; EC keys only.
    EcWithParameters,
}

impl Pair {
    /// The private key as PEM in another form.
    ///
    /// # Panics
    /// When there is no `openssl`, or no such form for this kind of key.
    pub fn key_as(&self, form: KeyForm<'_>) -> String {
        let key = self.key_pem.as_bytes();
        let text = match form {
            KeyForm::Pkcs8 => return self.key_pem.clone(),
            KeyForm::Traditional => openssl(&["pkey", "-traditional"], key),
            KeyForm::Encrypted(password) => {
                openssl(&["pkcs8", "-topk8", "-passout", &format!("pass:{password}")], key)
            }
            KeyForm::EcWithParameters => {
                let mut text = openssl(&["ec", "-param_out"], key);
                text.extend(openssl(&["pkey", "-traditional"], key));
                text
            }
        };
        String::from_utf8(text).expect("PEM is ASCII")
    }

    /// Leaf, intermediate and key as PKCS#12 (`.pfx`).
    ///
    /// # Panics
    /// When there is no `openssl`.
    pub fn pfx(&self, password: &str) -> Vec<u8> {
        let all = format!("{}{}", self.key_pem, self.fullchain_pem);
        openssl(&["pkcs12", "-export", "-passout", &format!("pass:{password}")], all.as_bytes())
    }
}

/// Runs `openssl ARGS` with `input`, which is smaller than a pipe holds.
fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the openssl command (Debian: apt-get install openssl)");
    child.stdin.take().expect("a piped input").write_all(input).expect("openssl reads its input");
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
