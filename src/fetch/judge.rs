//! Whether what was downloaded is whole, and the portal's certificate.

use std::sync::Arc;

use jiff::Timestamp;

use super::download::Got;
use super::{Bytes, File, is_same_end, password};
use crate::certificate::{self, Doubt, Fault, Hosts, Key, Leaf, Part, pfx};
use crate::portal::Certificate;
use crate::problem::{Problem, printable};

/// Everything that was downloaded of a certificate.
pub(super) struct Set {
    pub(super) certificate: Certificate,
    pub(super) got: Vec<(File, Got)>,
}

/// What is to be put in place, in its order.
pub(super) type Files = Vec<(File, Bytes)>;

impl Set {
    /// The leaf, and the files if they are whole and of the portal's certificate.
    pub(super) fn judge(mut self, now: Timestamp) -> Result<(Leaf, Files), Problem> {
        if let Some((file, got)) = self.got.iter().find(|(_, got)| is_page(&got.bytes)) {
            let why = "it is a web page, and no certificate or key";
            return Err(self.wrong("html", *file, &got.host, why, "see where the portal's links lead"));
        }
        let mut leaf = None;
        let mut files = Files::new();
        if let Some(got) = self.take(File::Pfx) {
            leaf = Some(self.pfx(&got, now)?);
            files.push((File::Pfx, got.bytes));
        }
        if let Some(key) = self.take(File::Key) {
            let host = key.host.clone();
            let (found, pem) = self.pem(key, now)?;
            if leaf.is_some_and(|leaf| leaf != found) {
                let why = "it is of another issue than the PFX";
                return Err(self.wrong("other_certificate", File::FullChain, &host, why, AGAIN));
            }
            leaf = Some(found);
            files.extend(pem);
        }
        // The formats ask for one of the two at least.
        let leaf = leaf.ok_or_else(|| {
            Problem::new("nothing_to_download", "nothing was downloaded", "choose another --format")
        })?;
        Ok((leaf, files))
    }

    fn pfx(&self, got: &Got, now: Timestamp) -> Result<Leaf, Problem> {
        let opened = pfx::open(&got.bytes, password(&self.certificate)).map_err(|fault| {
            let why = match fault {
                Fault::WrongPassword => "the portal's password does not open it".to_owned(),
                other => other.to_string(),
            };
            let remedy = "see the certificate's PFX and its password at the portal; then fetch again";
            self.wrong("bad_pfx", File::Pfx, &got.host, &why, remedy)
        })?;
        self.whole(&opened.full_chain, &opened.key, [File::Pfx, File::Pfx], &got.host, now)
    }

    fn pem(&mut self, key: Got, now: Timestamp) -> Result<(Leaf, Files), Problem> {
        let (leaf, chain) = (self.take(File::Leaf), self.take(File::Intermediates));
        let (full, blamed) = match (self.take(File::FullChain), &leaf, &chain) {
            (Some(full), ..) => (full, File::FullChain),
            (None, Some(leaf), Some(chain)) => {
                (Got { bytes: join(&leaf.bytes, &chain.bytes), host: leaf.host.clone() }, File::Leaf)
            }
            // Nothing is downloaded without one of the two.
            _ => (Got { bytes: Bytes::default(), host: key.host.clone() }, File::FullChain),
        };
        let found = self.whole(&full.bytes, &key.bytes, [blamed, File::Key], &full.host, now)?;
        let (first, rest) = split(&full.bytes);
        let part = |bytes: &[u8]| Got { bytes: bytes.to_vec().into(), host: full.host.clone() };
        let (leaf, chain) = (leaf.unwrap_or_else(|| part(first)), chain.unwrap_or_else(|| part(rest)));
        // Servers that take leaf and chain apart are to get the same.
        if self.first(File::Leaf, &leaf, now)? != found {
            let why = "it is of another issue than the full chain";
            return Err(self.wrong("other_certificate", File::Leaf, &leaf.host, why, AGAIN));
        }
        self.first(File::Intermediates, &chain, now)?;
        let joined = join(&leaf.bytes, &chain.bytes);
        self.whole(&joined, &key.bytes, [File::Intermediates, File::Key], &chain.host, now)?;
        let files = [
            (File::Key, key.bytes),
            (File::Leaf, leaf.bytes),
            (File::Intermediates, chain.bytes),
            (File::FullChain, full.bytes),
        ];
        Ok((found, files.into()))
    }

    /// The first certificate of a file that is read to its end.
    fn first(&self, file: File, got: &Got, now: Timestamp) -> Result<Leaf, Problem> {
        certificate::inspect(&got.bytes, Key::Elsewhere, now)
            .map(|bundle| Arc::unwrap_or_clone(bundle.leaf))
            .map_err(|fault| self.wrong(fault.code(), file, &got.host, &fault.to_string(), AGAIN))
    }

    /// `files` are those to be blamed for the certificate and for the key.
    fn whole(
        &self,
        full_chain: &[u8],
        key: &[u8],
        files: [File; 2],
        host: &str,
        now: Timestamp,
    ) -> Result<Leaf, Problem> {
        let bundle = certificate::inspect(full_chain, Key::Pem(key), now).map_err(|fault| {
            let is_key = fault == Fault::KeyMismatch || fault.part() == Some(Part::Key);
            let file = files[usize::from(is_key)];
            self.wrong(fault.code(), file, host, &fault.to_string(), AGAIN)
        })?;
        if let Some(doubt) = bundle.doubts.first() {
            let file = if matches!(doubt, Doubt::KeyUnchecked(_)) { files[1] } else { files[0] };
            return Err(self.wrong("not_proved", file, host, &doubt.to_string(), AGAIN));
        }
        let leaf = Arc::unwrap_or_clone(bundle.leaf);
        if leaf.hosts != Hosts::from_portal_name(&self.certificate.name) {
            let why = format!("it is a certificate of {}", printable(&leaf.hosts.to_string(), 200));
            return Err(self.wrong("other_certificate", files[0], host, &why, AGAIN));
        }
        if let Some(end) = self.certificate.expires().filter(|end| !is_same_end(*end, leaf.not_after)) {
            let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
            let why = format!("it ends {}, and the portal's {}", day(leaf.not_after), day(end));
            return Err(self.wrong("other_certificate", files[0], host, &why, AGAIN));
        }
        Ok(leaf)
    }

    fn take(&mut self, wanted: File) -> Option<Got> {
        let index = self.got.iter().position(|(file, _)| *file == wanted)?;
        Some(self.got.swap_remove(index).1)
    }

    fn wrong(&self, code: &str, file: File, host: &str, why: &str, remedy: &str) -> Problem {
        let name = printable(&self.certificate.name, 120);
        Problem::new(code, format!("{} of {name} from {host}: {why}", file.what()), remedy)
    }
}

const AGAIN: &str = "fetch again; if it stays so, see the certificate at the portal";

/// What a storage account or a gateway says in place of a file.
fn is_page(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start().starts_with(b"<")
}

fn join(first: &[u8], second: &[u8]) -> Bytes {
    let mut joined = Bytes::new(Vec::with_capacity(first.len() + second.len() + 1));
    joined.extend_from_slice(first);
    if !first.ends_with(b"\n") {
        joined.push(b'\n');
    }
    joined.extend_from_slice(second);
    joined
}

/// After the first certificate.
fn split(full_chain: &[u8]) -> (&[u8], &[u8]) {
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let end = full_chain.windows(END.len()).position(|window| window == END);
    let (first, rest) = full_chain.split_at(end.map_or(full_chain.len(), |at| at + END.len()));
    let line = rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len());
    (&full_chain[..first.len() + line], &rest[line..])
}
