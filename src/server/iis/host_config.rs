//! `applicationHost.config`: which sites and bindings IIS has. It is read and never written.

use std::path::Path;

use roxmltree::{Document, Node};

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
}

/// Of `sslFlags`; the others say nothing of the certificate.
const SNI: u32 = 1;
const CENTRAL: u32 = 2;

/// Parses it; `path` is for its places and messages.
///
/// # Errors
/// Why it cannot be read, with the line.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<HostConfig, Problem> {
    let text = text(bytes).map_err(|why| refused(path, None, why))?;
    let document = Document::parse(text).map_err(|error| {
        let line = usize::try_from(error.pos().row).ok();
        refused(path, line, &printable(&error.to_string(), 200))
    })?;
    let root = document.root_element();
    if !root.has_tag_name("configuration") {
        return Err(refused(path, Some(1), "it is no configuration of IIS"));
    }
    let mut reader = Reader { path, document: &document, found: HostConfig::default() };
    let sites = children(root, "system.applicationHost").flat_map(|host| children(host, "sites"));
    for site in sites.flat_map(|sites| children(sites, "site")) {
        reader.site(site);
    }
    Ok(reader.found)
}

/// IIS writes UTF-8; its mark at the beginning is the parser's to pass over.
fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || bytes.iter().take(64).any(|b| *b == 0)
    {
        return Err("it is UTF-16, and IIS writes UTF-8: save it as that");
    }
    std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8")
}

fn refused(path: &Path, line: Option<usize>, why: &str) -> Problem {
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
        let of_ftp = site.descendants().find(|node| {
            node.has_tag_name("ssl") && node.attribute("serverCertHash").is_some_and(|hash| !hash.is_empty())
        });
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
        self.found.bound.push(Bound { binding, sni, central, place: self.place(element) });
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
