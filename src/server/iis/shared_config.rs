//! Shared configuration: `redirection.config` says that applicationHost.config is elsewhere, mostly on a share.

use std::path::{Path, PathBuf};

use roxmltree::Document;

use super::host_config::{self, refused};
use crate::problem::{Problem, printable};

/// Beside the usual applicationHost.config.
pub const NAME: &str = "redirection.config";

/// Where applicationHost.config is, if `redirection.config` sends IIS elsewhere. `variable` gives the system's
/// variables: `%SystemDrive%` and the like may stand in the path.
///
/// # Errors
/// Why it cannot be read, with the line; that it is on and says no path.
pub fn target(
    path: &Path,
    bytes: &[u8],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<PathBuf>, Problem> {
    let text = host_config::text(bytes).map_err(|why| refused(path, None, why))?;
    let document = Document::parse(text).map_err(|error| host_config::malformed(path, &error))?;
    let root = document.root_element();
    let found = root.children().find(|node| node.has_tag_name("configurationRedirection"));
    let Some(node) = found.filter(|_| root.has_tag_name("configuration")) else { return Ok(None) };
    // IIS knows no case here, and takes 1 for true.
    let is_on = |said: &str| said.trim().eq_ignore_ascii_case("true") || said.trim() == "1";
    if !node.attribute("enabled").is_some_and(is_on) {
        return Ok(None);
    }
    let folder = expanded(node.attribute("path").unwrap_or_default().trim(), variable);
    if folder.is_empty() {
        let line = usize::try_from(document.text_pos_at(node.range().start).row).ok();
        return Err(refused(path, line, "its configurationRedirection is enabled and has no path"));
    }
    // As Windows joins it, on any system.
    let separator = if folder.ends_with(['\\', '/']) { "" } else { "\\" };
    Ok(Some(PathBuf::from(format!("{folder}{separator}applicationHost.config"))))
}

/// What is said of a shared configuration that cannot be read: IIS may do so as a user whose password only it knows.
pub fn unreadable(redirection: &Path, target: &Path, problem: &Problem) -> Problem {
    let shown = |path: &Path| printable(&path.display().to_string(), 300);
    let message = format!(
        "IIS has a shared configuration ({}), and that cannot be read: {}",
        shown(redirection),
        problem.message
    );
    let remedy = format!(
        "let this computer's account (DOMAIN\\COMPUTER$) read {}, or name a copy: config = \"C:/…/applicationHost.config\"",
        shown(target)
    );
    Problem::new("iis_config", message, remedy)
}

/// With the values of its variables; what is none stays.
fn expanded(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        match after.split_once('%').and_then(|(name, after)| Some((variable(name)?, after))) {
            Some((value, after)) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inside: &str) -> Result<Option<PathBuf>, Problem> {
        // As IIS ships it, with what it says of itself above.
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<configuration>\n<configSections>\n\
             <section name=\"configurationRedirection\" />\n</configSections>\n{inside}\n</configuration>\n"
        );
        let of_system = |name: &str| (name.eq_ignore_ascii_case("SystemDrive")).then(|| "C:".to_owned());
        target(Path::new("redirection.config"), text.as_bytes(), of_system)
    }

    #[test]
    fn it_is_followed_where_it_is_on() {
        let table: [(&str, Option<&str>); 9] = [
            ("<configurationRedirection />", None),
            ("", None),
            (r#"<configurationRedirection enabled="false" path="\\f\iis" />"#, None),
            (
                r#"<configurationRedirection enabled="true" path="\\f\iis" userName="A" password="[enc:x]" />"#,
                Some(r"\\f\iis\applicationHost.config"),
            ),
            (
                r#"<configurationRedirection enabled="True" path="D:\iis\" />"#,
                Some(r"D:\iis\applicationHost.config"),
            ),
            (
                r#"<configurationRedirection enabled="1" path="D:/iis/" />"#,
                Some("D:/iis/applicationHost.config"),
            ),
            (
                r#"<configurationRedirection enabled="true" path="%systemdrive%\iis" />"#,
                Some(r"C:\iis\applicationHost.config"),
            ),
            (
                r#"<configurationRedirection enabled="true" path="C:\100%\%none%" />"#,
                Some(r"C:\100%\%none%\applicationHost.config"),
            ),
            (r#"<location><configurationRedirection enabled="true" path="D:\x" /></location>"#, None),
        ];
        for (inside, wanted) in table {
            assert_eq!(read(inside).unwrap(), wanted.map(PathBuf::from), "{inside}");
        }
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        let no_path = read("<configurationRedirection enabled=\"true\" />").unwrap_err();
        assert!(
            no_path.code == "iis_config" && no_path.message.contains("redirection.config:6: "),
            "{no_path}"
        );
        let cut = read("<configurationRedirection").unwrap_err();
        assert!(cut.message.contains("redirection.config:"), "{cut}");
        let problem = Problem::new("forbidden", "X may not be read", "?");
        let said = unreadable(Path::new("redirection.config"), Path::new(r"\\f\iis\a"), &problem);
        assert!(
            said.message.ends_with(": X may not be read") && said.remedy.contains(r"\\f\iis\a"),
            "{said}"
        );
    }
}
