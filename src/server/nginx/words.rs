//! nginx's words about what it refuses: which lines they are, which files they name, what to do.

use std::path::PathBuf;

use crate::problem::{Problem, printable};

/// How nginx writes the time.
const TIME: &str = "0000/00/00 00:00:00";

/// The words of `[emerg]` lines, of a log or of nginx's test. The level stands in one place only: what a client
/// sends can appear in the words of other lines. Lines of a log count if one of `writers` wrote them.
pub(super) fn emergencies(text: &str, writers: Option<&[i32]>) -> Vec<String> {
    text.lines().filter_map(|line| emergency(line, writers)).map(str::to_owned).collect()
}

fn emergency<'l>(line: &'l str, writers: Option<&[i32]>) -> Option<&'l str> {
    // nginx: [emerg] words
    if let Some((_, of_test)) =
        line.split_once(": [emerg] ").filter(|(kind, _)| kind.len() <= "freenginx".len())
    {
        return Some(of_test.trim());
    }
    // 2026/11/21 19:41:57 [emerg] 12#12: words
    let (time, rest) = line.split_at_checked(TIME.len())?;
    let fits = |(c, form): (char, char)| if form == '0' { c.is_ascii_digit() } else { c == form };
    let rest = rest.strip_prefix(" [emerg] ").filter(|_| time.chars().zip(TIME.chars()).all(fits))?;
    let (writer, words) = rest.split_once(": ")?;
    let writer = writer.split('#').next().and_then(|pid| pid.parse().ok());
    let counts = writers.is_none_or(|writers| writer.is_some_and(|pid| writers.contains(&pid)));
    counts.then(|| words.trim())
}

/// The files that the words name as the cause: certificates, keys, and the configuration's.
pub(super) fn files(words: &[String]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for words in words {
        let place = place(words).map(|(path, _)| path);
        for path in named(words).into_iter().chain(place).map(PathBuf::from) {
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// What nginx refused, and what to do. No words: nothing was found out.
pub(super) fn refusal(words: &[String]) -> Problem {
    let told = match words {
        [] => "its error log cannot be read".to_owned(),
        lines => lines.iter().take(3).map(|line| printable(line, 300)).collect::<Vec<_>>().join("; "),
    };
    Problem::new("nginx_refused", format!("nginx refused the reload: {told}"), remedy(words))
}

fn remedy(words: &[String]) -> String {
    let again = "certhook tries again by itself";
    let first = words.iter().find_map(|words| match (place(words), named(words).first()) {
        (Some((path, line)), _) => Some(format!("mend line {line} of {}", printable(path, 300))),
        (None, Some(path)) if words.contains("key values mismatch") => {
            Some(format!("see that the key in {} belongs to its certificate", printable(path, 300)))
        }
        (None, Some(path)) => Some(format!("see that {} is there and whole", printable(path, 300))),
        (None, None) => None,
    });
    format!("{}; {again}", first.as_deref().unwrap_or("mend what it names"))
}

/// `… in /etc/nginx/nginx.conf:12`
fn place(words: &str) -> Option<(&str, u32)> {
    let (at, _) = words.match_indices(" in /").last()?;
    let (path, line) = words[at + " in ".len()..].rsplit_once(':')?;
    Some((path, line.parse().ok()?))
}

/// `cannot load certificate key "/etc/ssl/a.key"`, `SSL_CTX_use_PrivateKey("/etc/ssl/a.key") failed`,
/// `open() "/etc/nginx/mime" failed`: not what only looks like a path, as `duplicate location "/a"`.
fn named(words: &str) -> Vec<&str> {
    let before = ["certificate ", "certificate key ", "(", "() "];
    let quoted = words.match_indices('"').step_by(2).filter_map(|(at, _)| {
        let (head, tail) = (&words[..at], &words[at + 1..]);
        let path = &tail[..tail.find('"')?];
        (path.starts_with('/') && before.iter().any(|word| head.ends_with(word))).then_some(path)
    });
    quoted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_log_and_of_the_test() {
        let log = "2026/11/21 19:41:57 [notice] 7#7: signal 1\n\
                   2026/11/21 19:41:57 [emerg] 12#12: unknown directive \"foo\" in /n.conf:3\n";
        assert_eq!(emergencies(log, None), ["unknown directive \"foo\" in /n.conf:3"]);
        assert_eq!(emergencies(log, Some(&[1, 12])).len(), 1);
        assert_eq!(emergencies(log, Some(&[7])), [] as [String; 0]);
        let hostile = "2026/11/21 19:41:57 [error] 12#12: *5 open() \"/var/www/[emerg] 1#1: pwned\" failed\n\
                       2026/11/21 19:41:57 [info] x [emerg] 1#1: pwned\n[emerg] pwned\n\
                       2026/11/21 19:41:57 [error] 12#12: *5 \"GET /: [emerg] pwned\"\n";
        assert_eq!(emergencies(hostile, None), [] as [String; 0]);
        let test = "nginx: [emerg] cannot load certificate \"/a\": BIO_new_file() failed\n";
        assert_eq!(emergencies(test, Some(&[1])), ["cannot load certificate \"/a\": BIO_new_file() failed"]);
        assert_eq!(emergencies("angie: [emerg] no\n", None), ["no"]);
    }

    /// Real words, each with the files at fault and the remedy's beginning.
    #[test]
    fn the_files_at_fault_are_found() {
        let table: &[(&str, &[&str], &str)] = &[
            (
                "unknown directive \"sevrer\" in /etc/nginx/sites-enabled/shop:3",
                &["/etc/nginx/sites-enabled/shop"],
                "mend line 3 of /etc/nginx/sites-enabled/shop",
            ),
            (
                "cannot load certificate \"/ssl/a.pem\": BIO_new_file() failed (SSL: error:80000002:system \
                 library::No such file or directory:calling fopen(/ssl/a.pem, r) error:10000080:BIO \
                 routines::no such file)",
                &["/ssl/a.pem"],
                "see that /ssl/a.pem is there and whole",
            ),
            (
                "cannot load certificate key \"/ssl/a b.key\": PEM_read_bio_PrivateKey() failed (SSL: \
                 error:1E08010C:DECODER routines::unsupported)",
                &["/ssl/a b.key"],
                "see that /ssl/a b.key is there and whole",
            ),
            (
                "SSL_CTX_use_PrivateKey(\"/ssl/k.pem\") failed (SSL: error:05800074:x509 certificate \
                 routines::key values mismatch)",
                &["/ssl/k.pem"],
                "see that the key in /ssl/k.pem belongs to its certificate",
            ),
            (
                "open() \"/etc/nginx/mime\" failed (2: No such file or directory) in /etc/nginx/nginx.conf:9",
                &["/etc/nginx/mime", "/etc/nginx/nginx.conf"],
                "mend line 9 of /etc/nginx/nginx.conf",
            ),
            (
                "duplicate location \"/a\" in /etc/nginx/nginx.conf:12",
                &["/etc/nginx/nginx.conf"],
                "mend line 12",
            ),
            ("bind() to 0.0.0.0:80 failed (98: Address already in use)", &[], "mend what it names"),
            ("still could not bind()", &[], "mend what it names"),
            ("cannot load certificate \"data:\": PEM_read_bio_X509_AUX() failed", &[], "mend what it names"),
        ];
        for (words, expected, remedy) in table {
            let words = [(*words).to_owned()];
            assert_eq!(files(&words), expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{words:?}");
            let problem = refusal(&words);
            assert!(problem.remedy.starts_with(remedy), "{}", problem.remedy);
        }
    }
}
