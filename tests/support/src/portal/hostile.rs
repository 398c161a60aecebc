//! What a list of certificates must not be able to do: names and links for
//! [`Record::new`](super::Record::new) and [`Record::answers`](super::Record::answers).

/// Names that are no host names, and some of which lead out of a folder.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        "../../etc/cron.d/x",
        "/etc/cron.d/x",
        "..\\..\\windows\\x",
        "C:\\windows\\x",
        "contoso.com/../../x",
        "contoso.com\0.evil.test",
        "contoso.com\n[evil]",
        "contoso.com\u{1b}[2J\u{7}",
        "contoso.com\u{202e}moc",
        " contoso.com",
        "contoso.com,../../x",
        "*.../x",
        "~/x",
        "$(touch x)",
        "CON",
        "cöntoso.com",
    ]
    .map(str::to_owned)
    .into();
    names.push("a".repeat(300));
    names.push(format!("{}.com", "a.".repeat(150)));
    names
}

/// Links that nobody should follow; `download` is one that is good.
pub fn links(download: &str) -> Vec<String> {
    let after_scheme = download.split_once("://").map_or(download, |(_, rest)| rest);
    let mut links: Vec<String> = [
        "http://10.0.0.1/x",
        "http://169.254.169.254/metadata/identity/oauth2/token",
        "http://localhost.evil.test/x",
        "http://127.0.0.1.evil.test/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:text/plain,x",
        "javascript:x",
        "//127.0.0.1/x",
        "/certificates/x",
        "https://",
        "http://[::1",
        "not a url",
        " ",
        "\0",
    ]
    .map(str::to_owned)
    .into();
    links.push(format!("http://user:password@{after_scheme}"));
    links.push(format!("gopher://{after_scheme}"));
    links.push(format!("http://127.0.0.1:99999/{}", "x".repeat(10_000)));
    links
}
