//! What a site's copy is called where its server reads copies.

use std::path::Path;

use super::Site;

/// What tools call the file in each site's folder.
const GENERIC: [&str; 9] =
    ["fullchain", "fullchaincertificate", "cert", "certificate", "chain", "tls", "server", "ssl", "bundle"];
/// Longer names are cut.
const MOST_NAME: usize = 100;

impl Site {
    /// By what it says itself, else by its name, else by the certificate's file, or the folder that it is in where
    /// all such files are called the same.
    pub fn copy_name(&self) -> String {
        let parent = self.certificate.parent().and_then(Path::file_name);
        let file = self.certificate.file_stem();
        let says_nothing = |name: &str| GENERIC.contains(&name.to_ascii_lowercase().as_str());
        let of_path = match file.map(|name| name.to_string_lossy()) {
            Some(name) if !says_nothing(&name) => Some(name.into_owned()),
            _ => parent.map(|name| name.to_string_lossy().into_owned()),
        };
        let name = self.stage_as.clone().or_else(|| self.name.clone()).or(of_path);
        file_name(&name.unwrap_or_default())
    }
}

/// A name for one file: whatever could leave the folder, hide in it or upset a shell is replaced.
fn file_name(name: &str) -> String {
    let tame = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let clean: String = name.chars().map(tame).collect();
    let clean = if clean.starts_with('.') || clean.is_empty() { format!("_{clean}") } else { clean };
    clean.chars().take(MOST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::{MOST_NAME, file_name};

    #[test]
    fn names_stay_in_their_folder() {
        let cases = [
            ("contoso.com", "contoso.com"),
            ("*.contoso.com,contoso.com", "_.contoso.com_contoso.com"),
            ("../../etc/cron.d/x", "_.._.._etc_cron.d_x"),
            ("", "_"),
            ("..", "_.."),
            ("a\0b\\c\nd", "a_b_c_d"),
            ("bücher.example", "b_cher.example"),
        ];
        for (name, expected) in cases {
            assert_eq!(file_name(name), expected, "{name:?}");
        }
        assert_eq!(file_name(&"x".repeat(300)).len(), MOST_NAME);
    }
}
