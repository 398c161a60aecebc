//! Where HTTP.sys's calls do not serve: the command lines of Windows's own programs, word by word.

use super::plan::Change;
use super::record::{Key, Parameters, Record};
use crate::certificate::Thumbprint;
use crate::config::Binding;
use crate::problem::Problem;

/// Runs a program of Windows's, without a shell.
pub trait Commands {
    /// Runs it to its end; the words are its program (`appcmd`, `netsh`) and its arguments.
    ///
    /// # Errors
    /// That it could not be run, or did not end well, with its words.
    fn run(&mut self, words: &[String]) -> Result<(), Problem>;
}

/// Every binding of one certificate gets another: IIS's own way, which keeps all flags.
pub fn renew(old: Thumbprint, new: Thumbprint) -> Vec<String> {
    words(&["appcmd", "renew", "binding", &format!("/oldcert:{old}"), &format!("/newcert:{new}")])
}

/// A binding that a site does not have yet.
pub fn bind(site: &str, binding: &Binding, sni: bool) -> Vec<String> {
    let (information, flags) = (binding.information(), u8::from(sni));
    let new = format!("/+bindings.[protocol='https',bindingInformation='{information}',sslFlags='{flags}']");
    words(&["appcmd", "set", "site", &format!("/site.name:{site}"), &new])
}

/// Takes such a binding away again.
pub fn unbind(site: &str, binding: &Binding) -> Vec<String> {
    let information = binding.information();
    let gone = format!("/-bindings.[protocol='https',bindingInformation='{information}']");
    words(&["appcmd", "set", "site", &format!("/site.name:{site}"), &gone])
}

/// A record gets another certificate; `None` where `netsh` has no words for all that it says, and would lose it.
pub fn update(change: &Change) -> Option<Vec<String>> {
    of_record("update", &change.to)
}

/// A record that is not there yet.
pub fn add(record: &Record) -> Option<Vec<String>> {
    of_record("add", record)
}

/// Removes a record.
pub fn delete(key: &Key) -> Vec<String> {
    words(&["netsh", "http", "delete", "sslcert", &place(key)])
}

fn of_record(verb: &str, record: &Record) -> Option<Vec<String>> {
    let mut line = words(&["netsh", "http", verb, "sslcert", &place(&record.key)]);
    if let Some(hash) = record.hash {
        line.push(format!("certhash={hash}"));
    }
    line.push(format!("appid={}", record.app));
    if !matches!(record.key, Key::Ccs(_)) {
        line.push(format!("certstorename={}", record.store));
    }
    line.extend(parameters(&record.parameters)?);
    Some(line)
}

fn place(key: &Key) -> String {
    match key {
        Key::IpPort(address) => format!("ipport={address}"),
        Key::SniHost(host, port) => format!("hostnameport={host}:{port}"),
        Key::Ccs(port) => format!("ccs={port}"),
    }
}

/// Of `check_mode`, and what `netsh` calls it; whether it says the contrary.
const MODES: [(u32, &str, bool); 3] = [
    (1, "verifyclientcertrevocation", true),
    (2, "verifyrevocationwithcachedclientcertonly", false),
    (0x1_0000, "usagecheck", true),
];
/// The freshness time counts: `netsh` says so by giving it.
const FRESHNESS: u32 = 4;
/// Of `flags`: those that every `netsh` since Server 2016 knows.
const FLAGS: [(u32, &str); 4] =
    [(1, "dsmapperusage"), (2, "clientcertnegotiation"), (8, "reject"), (0x10, "disablehttp2")];

/// What differs from what `netsh` takes by itself.
fn parameters(of: &Parameters) -> Option<Vec<String>> {
    let modes = MODES.iter().fold(FRESHNESS, |all, (bit, ..)| all | bit);
    let flags = FLAGS.iter().fold(0, |all, (bit, _)| all | bit);
    if of.check_mode & !modes != 0 || of.flags & !flags != 0 || !of.more.is_empty() {
        return None;
    }
    let mut line = Vec::new();
    for (bit, word, contrary) in MODES {
        if of.check_mode & bit != 0 {
            line.push(format!("{word}={}", if contrary { "disable" } else { "enable" }));
        }
    }
    if of.check_mode & FRESHNESS != 0 || of.revocation_freshness != 0 {
        line.push(format!("revocationfreshnesstime={}", of.revocation_freshness));
    }
    if of.url_timeout != 0 {
        line.push(format!("urlretrievaltimeout={}", of.url_timeout));
    }
    line.extend(of.ctl_identifier.iter().map(|name| format!("sslctlidentifier={name}")));
    line.extend(of.ctl_store.iter().map(|name| format!("sslctlstorename={name}")));
    let set = FLAGS.iter().filter(|(bit, _)| of.flags & bit != 0);
    line.extend(set.map(|(_, word)| format!("{word}=enable")));
    Some(line)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The words as one command line, as the programs of Windows take it apart: a word with white space stands between
/// quotes, a quote in it behind a backslash, and backslashes before a quote twice.
pub fn command_line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.to_owned();
    }
    let mut out = "\"".to_owned();
    let mut backslashes = 0;
    for c in word.chars() {
        match c {
            '\\' => backslashes += 1,
            '"' => {
                // Those before it count double; one more is the quote's own.
                out.extend(std::iter::repeat_n('\\', backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        out.push(c);
    }
    out.extend(std::iter::repeat_n('\\', backslashes));
    out.push('"');
    out
}
