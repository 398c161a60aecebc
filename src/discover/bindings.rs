//! IIS's bindings as configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Found;
use crate::config::Binding;

/// A [[site]] for each site of IIS, with its bindings. Which file holds their certificate only an administrator
/// knows: `pfx` is empty, which the configuration's reader does not take.
pub fn sites_of_iis(found: &Found, server: Option<&str>) -> String {
    let mut sites: BTreeMap<&str, Vec<&Binding>> = BTreeMap::new();
    for binding in found.bindings.iter().map(|bound| &bound.binding) {
        sites.entry(binding.site().unwrap_or_default()).or_default().push(binding);
    }
    let mut out = String::new();
    for bindings in sites.values() {
        out.push_str("\n[[site]]\n");
        if let Some(server) = server {
            let _ = writeln!(out, "server = {}", quoted(server));
        }
        let all: Vec<String> = bindings.iter().map(|binding| quoted(&binding.to_string())).collect();
        out.push_str("pfx = \"\"  # or certificate and key, as PEM\n");
        let _ = match &all[..] {
            [one] => writeln!(out, "bindings = [{one}]"),
            many => writeln!(out, "bindings = [\n    {},\n]", many.join(",\n    ")),
        };
    }
    out
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Bound, Config, Shows};

    #[test]
    fn what_is_printed_is_configuration_once_the_file_is_named() {
        let bindings = ["My \u{e9}'s Site/*:443:", "Home/*:443:contoso.com", "Home/[::1]:443:"];
        let bound = |text: &&str| Bound { binding: Binding::parse(text).unwrap(), shows: Shows::Unknown };
        let bindings = bindings.iter().map(bound).collect();
        let found = Found { bindings, ..Found::default() };
        let printed = sites_of_iis(&found, Some("iis"));
        let text = format!("[server.iis]\nkind = \"iis\"\n{printed}");
        let parse = |text: &str| Config::parse(Path::new("certhook.toml"), text);
        let mistakes = parse(&text).unwrap_err().0;
        assert!(mistakes.iter().all(|mistake| mistake.problem.code == "empty_value"), "{mistakes:?}");
        let mut number = 0;
        let named = text.split("\"\"").fold(String::new(), |text, part| {
            number += 1;
            format!("{text}{}{part}", if number == 1 { String::new() } else { format!("'C:\\{number}.pfx'") })
        });
        let config = parse(&named).unwrap();
        let told: Vec<usize> = config.sites.iter().map(|site| site.bindings.len()).collect();
        assert_eq!(told, [2, 1]);
        assert_eq!(sites_of_iis(&Found::default(), None), "");
    }
}
