//! `applicationHost.config`: which sites and bindings IIS has. It is read and never written.

use std::collections::BTreeSet;
use std::path::Path;

use roxmltree::{Document, Node};

use super::record::Key;
use crate::certificate::Thumbprint;
use crate::config::Binding;
use crate::discover::{LeftOut, Place};
use crate::problem::{Problem, printable};

/// A binding that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// With its site.
    pub binding: Binding,
    /// Its certificate is chosen by the host that a client asks for.
    pub sni: bool,
    /// Its certificate is a file of the Central Certificate Store.
    pub central: bool,
    /// All of its `sslFlags`.
    pub flags: u32,
    /// Where it stands.
    pub place: Place,
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostConfig {
    /// In the file's order.
    pub bound: Vec<Bound>,
    /// What uses a certificate and cannot be looked after.
    pub left_out: Vec<LeftOut>,
    /// The certificates of FTP, wherever they are named.
    pub ftp: BTreeSet<Thumbprint>,
}

/// Of `sslFlags`; the others say nothing of the certificate.
const SNI: u32 = 1;
const CENTRAL: u32 = 2;

/// Of `sslFlags`, and of a record's `DefaultFlags`, into which IIS puts them. Those are `Microsoft.Web.Administration`'s
/// `SslFlags` (`DisableHTTP2`, `DisableOCSPStp`, `DisableQUIC`, `DisableTLS13`, `DisableLegacyTLS`, of later systems
/// `NegotiateClientCert`), these `http.h`'s `HTTP_SERVICE_CONFIG_SSL_FLAG_…`; the numbers differ.
const FLAGS: [(u32, u32); 6] = [(4, 0x10), (8, 0x80), (16, 0x20), (32, 0x40), (64, 0x400), (128, 0x2)];

/// The `DefaultFlags` of a binding's record, as IIS would make it.
pub fn flags_of(ssl_flags: u32) -> u32 {
    FLAGS.iter().filter(|(of_iis, _)| ssl_flags & of_iis != 0).fold(0, |all, (_, flag)| all | flag)
}

/// The record that a binding has or would have. One by a host that is not bound yet is made with SNI: an address has
/// one certificate for all of its hosts.
pub fn key_of(binding: &Binding, bound: &[Bound]) -> Key {
    let there = bound.iter().find(|bound| bound.binding.is_same(binding));
    Key::of(binding, there.map_or(!binding.host().is_empty(), |bound| bound.sni))
}

/// Parses it; `path` is for its places and messages.
///
/// # Errors
/// Why it cannot be read, with the line.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<HostConfig, Problem> {
    let text = text(bytes).map_err(|why| refused(path, None, why))?;
    let document = Document::parse(text).map_err(|error| malformed(path, &error))?;
    let root = document.root_element();
    if !root.has_tag_name("configuration") {
        return Err(refused(path, Some(1), "it is no configuration of IIS"));
    }
    let mut reader = Reader { path, document: &document, found: HostConfig::default() };
    let sites = children(root, "system.applicationHost").flat_map(|host| children(host, "sites"));
    for site in sites.flat_map(|sites| children(sites, "site")) {
        reader.site(site);
    }
    // Also where it is for all sites (siteDefaults), or below a location.
    reader.found.ftp = root.descendants().filter_map(ftp_hash).filter_map(|hash| hash.parse().ok()).collect();
    Ok(reader.found)
}

/// IIS writes UTF-8; its mark at the beginning is the parser's to pass over.
pub(super) fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || bytes.iter().take(64).any(|b| *b == 0)
    {
        return Err("it is UTF-16, and IIS writes UTF-8: save it as that");
    }
    std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8")
}

pub(super) fn malformed(path: &Path, error: &roxmltree::Error) -> Problem {
    let line = usize::try_from(error.pos().row).ok();
    refused(path, line, &printable(&error.to_string(), 200))
}

pub(super) fn refused(path: &Path, line: Option<usize>, why: &str) -> Problem {
    let mut place = printable(&path.display().to_string(), 300);
    if let Some(line) = line {
        place = format!("{place}:{line}");
    }
    let remedy = "see that it is IIS's own file and that IIS itself can read it";
    Problem::new("iis_config", format!("{place}: {why}"), remedy)
}

fn children<'a, 'i>(node: Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

/// What FTP shows, if that is said here.
fn ftp_hash<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    let hash = node.has_tag_name("ssl").then(|| node.attribute("serverCertHash")).flatten();
    hash.map(str::trim).filter(|hash| !hash.is_empty())
}

struct Reader<'d, 'i> {
    path: &'d Path,
    document: &'d Document<'i>,
    found: HostConfig,
}

impl Reader<'_, '_> {
    fn site(&mut self, site: Node<'_, '_>) {
        let name = site.attribute("name").unwrap_or_default();
        let begun = self.found.bound.len();
        for element in children(site, "bindings").flat_map(|bindings| bindings.children()) {
            match element.tag_name().name() {
                "binding" => self.binding(name, element),
                // What stands above it does not count.
                "clear" => self.found.bound.truncate(begun),
                _ => {}
            }
        }
        let of_ftp = site.descendants().find(|node| ftp_hash(*node).is_some());
        if let Some(ssl) = of_ftp {
            let why = "FTP has its certificate in IIS's own configuration, which certhook does not write";
            self.leave_out(ssl, name, why);
        }
    }

    fn binding(&mut self, site: &str, element: Node<'_, '_>) {
        // IIS knows no case here.
        if !element.attribute("protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("https")) {
            return;
        }
        let information = element.attribute("bindingInformation").unwrap_or_default();
        let what = format!("{site}/{information}");
        let Some(binding) = Binding::of_site(Some(site), information) else {
            return self.leave_out(element, &what, "its bindingInformation is not ADDRESS:PORT:HOST");
        };
        let flags = element.attribute("sslFlags").map_or(Ok(0), |flags| flags.trim().parse::<u32>());
        let Ok(flags) = flags else {
            return self.leave_out(element, &what, "its sslFlags is no number");
        };
        let (sni, central) = (flags & SNI != 0, flags & CENTRAL != 0);
        self.found.bound.push(Bound { binding, sni, central, flags, place: self.place(element) });
    }

    fn leave_out(&mut self, node: Node<'_, '_>, what: &str, why: &str) {
        let (what, why) = (printable(what, 200), why.to_owned());
        let place = self.place(node);
        self.found.left_out.push(LeftOut { place, what, why });
    }

    fn place(&self, node: Node<'_, '_>) -> Place {
        let row = self.document.text_pos_at(node.range().start).row;
        Place { file: self.path.to_owned(), line: usize::try_from(row).unwrap_or(usize::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the IIS manager writes it.
    const USUAL: &str = include_str!("tests/applicationHost.config");

    fn read(text: &[u8]) -> Result<HostConfig, Problem> {
        parse(Path::new("C:/applicationHost.config"), text)
    }

    fn shown(found: &HostConfig) -> Vec<String> {
        let one = |bound: &Bound| {
            let flags = [(bound.sni, " sni"), (bound.central, " central")];
            let flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
            format!("{} {}{flags}", bound.place.line, bound.binding)
        };
        found.bound.iter().map(one).collect()
    }

    #[test]
    fn the_bindings_of_a_usual_host_are_found_with_their_lines() {
        let with_mark = [b"\xef\xbb\xbf", USUAL.as_bytes()].concat();
        let windows = USUAL.replace('\n', "\r\n");
        for text in [USUAL.as_bytes(), &with_mark, windows.as_bytes()] {
            let found = read(text).unwrap();
            assert_eq!(
                shown(&found),
                [
                    "27 Default Web Site/*:443:",
                    "28 Default Web Site/*:443:contoso.com sni",
                    "29 Default Web Site/[::1]:8443:",
                    "38 Shop & Café/192.0.2.7:443:*.fabrikam.com sni central",
                    "48 Cleared/*:444:",
                ]
            );
            let left: Vec<_> = found.left_out.iter().map(|left| (left.place.line, &*left.what)).collect();
            assert_eq!(left, [(39, "Shop & Café/443"), (40, "Shop & Café/*:445:"), (55, "Files")]);
            let ftp: Vec<_> = found.ftp.iter().map(ToString::to_string).collect();
            assert_eq!(ftp, ["4DC3E181E14B4A21B02259FC669B09144DC3E181"]);
            // Of 33, one says how it is chosen.
            assert_eq!((found.bound[1].flags, flags_of(found.bound[1].flags)), (33, 0x40));
        }
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        let utf_16: Vec<u8> = USUAL.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [b"\xff\xfe", &utf_16[..]].concat();
        let cut = USUAL.len() / 2;
        let cases: [(&str, &[u8], &str); 7] = [
            ("UTF-16", &marked, "UTF-16"),
            ("UTF-16 without its mark", &utf_16, "UTF-16"),
            ("not UTF-8", b"<configuration>\xff</configuration>", "no UTF-8"),
            ("cut", &USUAL.as_bytes()[..cut], "applicationHost.config:"),
            ("empty", b"", "applicationHost.config:"),
            ("another file", b"<html></html>", "no configuration of IIS"),
            ("a tag not closed", b"<configuration>\n<a>\n</b></configuration>", "config:3: "),
        ];
        for (what, bytes, wanted) in cases {
            let problem = read(bytes).expect_err(what);
            assert_eq!(problem.code, "iis_config", "{what}");
            assert!(problem.message.contains(wanted), "{what}: {problem}");
        }
        // It is written by others: whatever it holds, there is an end and no panic.
        for end in 0..USUAL.len() {
            let _ = read(&USUAL.as_bytes()[..end]);
        }
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><configuration>&a;</configuration>";
        assert_eq!(read(bomb.as_bytes()).unwrap_err().code, "iis_config");
    }
}
