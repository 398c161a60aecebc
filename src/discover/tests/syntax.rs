//! Words, files and patterns.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;

use super::super::glob::{Budget, matches, parts};
use super::super::lexer::{Lexer, Token};
use super::*;

fn tokens(text: &str) -> Result<Vec<String>, (usize, String)> {
    let mut lexer = Lexer::new(text.as_bytes().into());
    let mut all = Vec::new();
    loop {
        match lexer.next() {
            Ok(Token::End) => return Ok(all),
            Ok(Token::Close) => all.push("}".to_owned()),
            Ok(Token::Simple(words)) => all.push(words.join("|")),
            Ok(Token::Open(words)) => all.push(words.join("|") + "{"),
            Err(fault) => return Err((fault.line, fault.what)),
        }
    }
}

#[test]
fn words_as_nginx_reads_them() {
    for (text, expected) in [
        ("a b;c d{}", &["a|b", "c|d{", "}"][..]),
        ("a\r\n\tb # c;\r\n;", &["a|b"]),
        ("a b#c;", &["a|b#c"]),
        ("#a;\n#", &[]),
        (r#"a "b;{}'# c" '"' "";"#, &[r#"a|b;{}'# c|"|"#]),
        (r#"a b"c d"e;"#, &[r#"a|b"c|d"e"#]),
        (r#"a "\"\\\t\x" b\ c d\;e;"#, &["a|\"\\\t\\x|b\\ c|d\\;e"]),
        ("a ${b}c $d{", &["a|${b}c|$d{"]),
        ("a $b{c;}", &["a|$b{", "c", "}"]),
        ("if ($a = \"b\") {", &["if|($a|=|b|){"]),
        ("a \"b\"{", &["a|b{"]),
        ("a }b;", &[]),
        ("a b};", &["a|b}"]),
    ] {
        if expected.is_empty() && text != "#a;\n#" {
            assert!(tokens(text).is_err(), "{text}");
        } else {
            assert_eq!(
                tokens(text).as_deref(),
                Ok(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
    }
    for (text, line, what) in [
        ("a\nb", 2, "unexpected end of file, expecting \";\" or \"}\""),
        ("a 'b;\n\n", 3, "unexpected end of file, expecting \";\" or \"}\""),
        ("a;\n;", 2, "unexpected \";\""),
        ("{", 1, "unexpected \"{\""),
        ("a \"b\"c;", 1, "unexpected \"c\""),
        ("a\n}", 2, "unexpected \"}\""),
    ] {
        assert_eq!(tokens(text), Err((line, what.to_owned())), "{text}");
    }
    let long = "x".repeat(4096);
    assert_eq!(tokens(&format!("\n{long}")).unwrap_err().0, 2);
    assert_eq!(tokens(&format!("a;\n{long};")).unwrap_err(), (2, "too long parameter".to_owned()));
    assert_eq!(tokens(&format!("{};", &long[1..])).unwrap().len(), 1);
    assert!(tokens(&format!("# {long}\na;")).is_err(), "a comment that is too long for nginx");
}

#[test]
fn lua_is_passed_over() {
    let lua = r#"
        local a = { b = "}" , c = '\'}' } -- }
        --[[ } ]] local d = [==[ } ]] ]=] ]==] if a[b[1]] then x = a - -1 end --[ }
    "#;
    let text = format!(
        "init_by_lua_block {{{lua}}} http {{ server {{ listen 1 ssl; ssl_certificate a; ssl_certificate_key b; \
         location / {{ content_by_lua_block {{ ngx.say('{{') }} }} }} }}"
    );
    assert_eq!(asked(&text), ["a: 127.0.0.1:1="]);
    assert!(found("init_by_lua_block { x = '}").problem.is_some());
}

#[test]
fn files_are_included_wherever_it_is_said() {
    let files = Files::new(&[
        (
            "nginx.conf",
            "include a/*.conf;\ninclude none/*.x;\nhttp { types { include types.x; } geo $a { include [g]; }\n include sites/[!b]*; }",
        ),
        ("a/2.conf", "error_log two;"),
        ("a/1.conf", "error_log one; include a/sub;"),
        ("a/.hidden.conf", "error_log hidden;"),
        ("a/sub", "error_log sub;"),
        ("types.x", "text/html  html;"),
        ("[g]", "127.0.0.1 x;"),
        ("sites/a", "server { include snippet; listen 1 ssl; }"),
        ("sites/b", "broken"),
        ("snippet", "ssl_certificate x; ssl_certificate_key y;"),
    ]);
    let found = files.found();
    assert_eq!(found.problem, None);
    let names = ["nginx.conf", "a/1.conf", "a/sub", "a/2.conf", "types.x", "[g]", "sites/a", "snippet"];
    assert_eq!(found.files, names.map(|name| files.path(name)));
    assert_eq!(found.folders, ["a", "none", "sites"].map(|name| files.path(name)));
    let logs = ["one", "sub", "two"].map(|name| Log::File(Path::new("/prefix").join(name)));
    assert_eq!(found.error_logs, logs);
    assert_eq!(found.pairs[0].places[0].file, files.path("snippet"));
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_rest_is_read() {
    let site = server("a", "listen 1 ssl;");
    for (bad, place, what) in [
        ("include none;", "nginx.conf:1", "is not there"),
        ("include bad;", "bad:2", "unexpected \"}\""),
        ("include open;", "open:2", "unexpected end of file, expecting \"}\""),
        ("include quote;", "quote:3", "unexpected end of file"),
        ("include folder;", "nginx.conf:1", "is not a regular file"),
        ("include loop;", "loop:1", "loop includes itself"),
        ("include bush;", "bush:1", "bush includes itself"),
        ("include bom;", "bom:1", "unknown directive"),
        ("include binary;", "binary:", "nginx would refuse"),
        ("include;", "nginx.conf:1", "invalid number of arguments"),
        ("http;", "nginx.conf:1", "has no opening \"{\""),
        ("http { ssl_certificate { } }", "nginx.conf:1", "is not terminated by \";\""),
        ("http { server; }", "nginx.conf:1", "has no opening \"{\""),
    ] {
        let files = Files::new(&[
            ("nginx.conf", &format!("{bad}\nhttp {{ server {{ {site} }} }}")),
            ("bad", "user x;\n}\n"),
            ("open", "http {\n"),
            ("quote", "a 'b;\n\n"),
            ("folder/x", ""),
            ("loop", "include loop;"),
            // Read to the bound it would be 2^200 files.
            ("bush", "include bus[h];\ninclude bush;"),
            ("bom", "\u{feff}user x;"),
            ("binary", "\u{0}\u{1}{\u{7f};}"),
        ]);
        let found = files.found();
        let problem = found.problem.expect(bad);
        assert_eq!(problem.code, "nginx_config");
        assert!(problem.message.contains(place) && problem.message.contains(what), "{bad}: {problem}");
        assert_eq!(found.pairs.len(), 1, "{bad}");
    }
    assert!(Files::new(&[]).found().problem.unwrap().message.contains("nginx.conf is not there"));
    let globals = Files::new(&[("nginx.conf", "")]).found_with(Some("daemon on"));
    assert!(globals.problem.unwrap().message.ends_with("in its command line (-g)"));
}

#[test]
fn bounds() {
    let deep = found(&"a {".repeat(100_000));
    assert!(deep.problem.unwrap().message.contains("too many blocks"));
    let chain: Vec<_> = (0..300).map(|n| (format!("c{n}"), format!("include c{};", n + 1))).collect();
    let mut files: Vec<(&str, &str)> = chain.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    files.push(("nginx.conf", "include c0;"));
    assert!(Files::new(&files).found().problem.unwrap().message.contains("is included too deep"));
    let bomb: String = "include b?;\n".repeat(1_000);
    let files: Vec<_> =
        (0..9).map(|n| (format!("b{n}"), bomb.replace("b?", &format!("b{}", n + 1)))).collect();
    let mut files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    files.extend([("b9", ""), ("nginx.conf", "include b0;")]);
    let found = Files::new(&files).found();
    assert_eq!(found.problem.unwrap().code, "nginx_unread");
    let many: Vec<String> =
        (0..9).map(|n| server("a", &format!("listen 1-65535 ssl; server_name n{n};"))).collect();
    let many = super::found(&http(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    let problem = many.problem.unwrap();
    assert_eq!(problem.code, "nginx_unread");
    assert!(problem.message.contains("nginx.conf:3"), "{problem}");
    let asks: usize = many.pairs.iter().map(|pair| pair.asks.len()).sum();
    assert!((50_000..100_000).contains(&asks), "{asks}: a pair has what was looked at before");
    let files = Files::new(&[("nginx.conf", "include big; include null;")]);
    std::fs::write(files.path("big"), vec![b' '; (8 << 20) + 1]).unwrap();
    std::os::unix::fs::symlink("/dev/null", files.path("null")).unwrap();
    assert!(files.found().problem.unwrap().message.contains("big is larger than 8 MB"));
    std::fs::write(files.path("big"), "").unwrap();
    assert_eq!(files.found().problem, None);
    std::fs::remove_file(files.path("null")).unwrap();
    nix::unistd::mkfifo(&files.path("null"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(files.found().problem.unwrap().message.contains("not a regular file"));
}

/// A geo database is larger than any configuration, and no certificate is named there.
#[test]
fn data_too_large_to_read_are_left_out_and_the_rest_is_read() {
    let text = "http { geo $a { include geo/*.conf; include geo/big.conf; } map $a $b { include big.map; }\n\
                map $a $c { include none.map; }\n\
                server { listen 443 ssl; ssl_certificate a.crt; ssl_certificate_key a.key; } }";
    let files = Files::new(&[("nginx.conf", text), ("geo/big.conf", ""), ("none.map", "")]);
    for name in ["geo/big.conf", "big.map"] {
        std::fs::write(files.path(name), vec![b'#'; (8 << 20) + 1]).unwrap();
    }
    let found = files.found();
    assert!(found.problem.unwrap().message.contains("geo/*.conf is not there"), "`geo` knows no patterns");
    std::fs::write(files.path("nginx.conf"), text.replace("include geo/*.conf;", "")).unwrap();
    let found = files.found();
    assert_eq!((found.problem, found.pairs.len()), (None, 1));
    let left: Vec<_> = found.left_out.iter().map(|left| (left.place.line, left.what.as_str())).collect();
    let include = |name: &str| format!("include {}", files.path(name).display());
    assert_eq!(left, [(1, include("geo/big.conf").as_str()), (1, include("big.map").as_str())]);
    assert!(found.left_out[0].why.starts_with("it is larger than 8 MB; "), "{:?}", found.left_out);
    std::fs::remove_file(files.path("none.map")).unwrap();
    assert!(files.found().problem.unwrap().message.contains("none.map is not there"));
}

/// nginx opens the path as it opens one of `ssl_certificate`, beside which alone it takes the command.
#[test]
fn a_certificate_of_ssl_conf_command_is_found() {
    let site = "ssl_conf_command Options PrioritizeChaCha; ssl_conf_command Certificate b.crt;
        ssl_conf_command privatekey b.key; ssl_conf_command Certificate c.crt;";
    let found =
        found(&http(&[&server("a", &format!("listen 443 ssl; {site}")), &server("d", "listen 444 ssl;")]));
    let pairs: Vec<_> = found.pairs.iter().map(line).collect();
    assert_eq!(pairs, ["b.crt: 127.0.0.1:443=", "d.crt: 127.0.0.1:444="]);
    let expected = [
        ("an ssl_conf_command of its server may replace it".to_owned(), "a.crt"),
        ("no ssl_conf_command PrivateKey goes with this ssl_conf_command".to_owned(), "c.crt"),
    ];
    assert_eq!(why(&found), expected);
    assert!(found.opened.iter().any(|opened| opened.path.ends_with("b.key")), "{:?}", found.opened);
}

/// Angie takes a file for signatures and one for encryption where it speaks NTLS; nginx takes one file.
#[test]
fn two_files_of_one_certificate_are_left_out_where_ntls_is_known() {
    let double = "ssl_certificate s.crt e.crt; ssl_certificate_key s.key e.key;";
    let site = |ntls: &str| http(&[&server("a", &format!("listen 443 ssl; {double} {ntls}"))]);
    let angie = found(&site("ssl_ntls on;"));
    assert_eq!((angie.problem.as_ref(), angie.pairs.len()), (None, 1));
    let why = "a pair of certificates for NTLS, which certhook cannot ask for".to_owned();
    assert_eq!(super::why(&angie), [(why, "s.crt e.crt")]);
    let nginx = found(&site(""));
    assert!(nginx.problem.unwrap().message.contains("invalid number of arguments in \"ssl_certificate\""));
}

#[test]
fn a_range_of_thousands_of_ports_is_read_beside_other_listeners() {
    let servers: Vec<String> = (0..3)
        .map(|n| server("a", &format!("listen 10000-15000 ssl; listen 443 ssl; server_name n{n} m{n} o{n};")))
        .collect();
    let found = super::found(&http(&servers.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(found.problem, None);
    assert_eq!(found.pairs[0].asks.len(), 5002);
}

/// A thread that works for a second whenever it is asked how long it has.
fn slow_thread() -> Duration {
    thread_local!(static WORKED: Cell<u64> = const { Cell::new(0) });
    WORKED.set(WORKED.get() + 1);
    Duration::from_secs(WORKED.get())
}

/// Also where each pattern is quick, and files that cannot be read count.
#[test]
fn patterns_that_take_too_long_are_told_of_and_the_rest_is_read() {
    let site = server("a", "listen 443 ssl;");
    let text = format!("http {{ include one/*;\ninclude two/*;\nserver {{ {site} }}\ninclude three/*;\n}}");
    let files = Files::new(&[("nginx.conf", &text), ("one/x", ""), ("two/x", ""), ("three/x", "")]);
    let read = |clock| {
        let instance = Instance { config: files.path("nginx.conf"), prefix: "/".into(), globals: None };
        pairs::found(reader::read_within(Budget::by(clock), &instance))
    };
    let found = read(slow_thread);
    let problem = found.problem.expect("a problem");
    let pattern = format!("the pattern {}", files.path("two/*").display());
    assert_eq!(problem.code, "nginx_unread");
    assert!(problem.message.contains(&pattern) && problem.message.contains("nginx.conf:2"), "{problem}");
    assert_eq!((found.pairs.len(), found.files.len()), (1, 2), "{:?}", found.files);
    let found = read(|| Duration::ZERO);
    assert_eq!((found.problem, found.files.len()), (None, 4));

    let name = |n| format!("one/y{n}");
    for n in 0..9 {
        std::fs::create_dir(files.path(&name(n))).unwrap();
    }
    std::fs::write(files.path("nginx.conf"), "include one/y*;").unwrap();
    let found = read(slow_thread);
    assert_eq!(found.problem.unwrap().code, "nginx_config", "a folder is no file");
    assert!(found.files.len() < 4, "{:?}", found.files);
}

#[test]
fn names_by_pattern() {
    for (pattern, name, fits) in [
        ("*", "a", true),
        ("*", ".a", false),
        (".*", ".a", true),
        ("?a", ".a", false),
        ("[.]a", ".a", false),
        ("*.conf", "a.conf", true),
        ("*.conf", "a.conf~", false),
        ("a*b*c", "aXbXbc", true),
        ("a*b*c", "aXbXb", false),
        ("[a-c]x", "bx", true),
        ("[!a-c]x", "bx", false),
        ("[^a-c]x", "dx", true),
        ("[]]", "]", true),
        ("[a", "[a", true),
        ("[a-]", "-", true),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("", "", true),
        ("[[:digit:]]*.conf", "10-a.conf", true),
        ("[[:digit:]]*.conf", "a.conf", false),
        ("[![:upper:][:lower:]]", "1", true),
        ("[[:alpha:]_-]", "-", true),
        ("[[:digit:]-z]", "x", false),
        ("[[:digit:]-z]", "z", true),
        ("[[:nope:]x]", "x", false),
        ("[![:nope:]x]", "y", false),
        ("[[:DIGIT:]]", "1", false),
        ("[[=x=]]", "x", true),
        ("[[.x.]-z]", "y", true),
        ("[[.hyphen.]x]", "x", false),
        ("[[:digit:]", "[1", false),
        ("[[:x]", ":", true),
        (".*", ".", true),
        ("*", "..", false),
    ] {
        assert_eq!(matches(pattern.as_bytes(), name.as_bytes(), true), fits, "{pattern} {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let files = Files::new(&[]);
        std::fs::write(files.path("nginx.conf"), bytes).unwrap();
        files.found();
    }

    #[test]
    fn any_words_are_read(words in proptest::collection::vec(proptest::sample::select(vec![
        "http", "server", "stream", "mail", "{", "}", "{", "}", ";", ";", ";", " ", " ", "\n", "\"", "'", "\\", "$", "#",
        "include", "*", "[", "nginx.conf", "listen", "443", "ssl", "[::]:1", "1-9", "unix:", "quic", "server_name",
        "*.a", ".a", "a.*", "~", "", "_", "..", "*", ".", "ssl_certificate", "ssl_certificate_key", "a.pem", "data:",
        "ssl_reject_handshake", "on", "error_log", "pid", "types", "geo", "x_by_lua_block", "[[", "--", "é",
    ]), 0..120), globals: Option<String>) {
        let files = Files::new(&[("nginx.conf", &words.concat())]);
        files.found_with(globals.as_deref());
        let files = Files::new(&[("nginx.conf", &words.join(" "))]);
        files.found();
    }

    #[test]
    fn patterns_end(pattern in "[ab*?\\[\\]!^\\\\-]{0,30}", name in "[ab.\\]-]{0,30}") {
        matches(pattern.as_bytes(), name.as_bytes(), true);
        matches(pattern.as_bytes(), name.as_bytes(), false);
    }
}

/// The folder of a new site is made before its files are.
#[test]
fn folders_where_a_file_may_come_are_told() {
    let files = Files::new(&[("sites/a/tls.conf", ""), ("sites/b/other", ""), ("sites/file", "")]);
    let (found, folders) = matching(&files.path("sites/*/tls.conf"));
    assert_eq!(found, [files.path("sites/a/tls.conf")]);
    assert_eq!(folders, [files.path("sites"), files.path("sites/b")]);
}

#[test]
fn on_windows_a_backslash_separates_and_escapes_nothing() {
    let split = |path| {
        let (root, parts) = parts(path, true);
        format!("{}|{}", root.display(), parts.join("|"))
    };
    for (path, expected) in [
        (r"C:\ssl\*\certificate.pfx", r"C:\|ssl|*|certificate.pfx"),
        ("C:/ssl/*/a.pfx", r"C:\|ssl|*|a.pfx"),
        (r"C:\ssl/mixed\\*.pfx", r"C:\|ssl|mixed|*.pfx"),
        (r"\\files\ssl$\a\*.pfx", r"\\files\ssl$\|a|*.pfx"),
        ("//files/ssl/*.pfx", r"\\files\ssl\|*.pfx"),
        (r"\ssl\*.pfx", r"\|ssl|*.pfx"),
    ] {
        assert_eq!(split(path), expected, "{path}");
    }
    assert_eq!(parts(r"/a\*/b", false), ("/".into(), vec![r"a\*", "b"]));
    for (pattern, name, on_unix, on_windows) in
        [(r"a\*", "a*", true, false), (r"a\*", r"a\b", false, true), (r"[\]]x", r"\]x", false, true)]
    {
        let fits = [true, false].map(|escapes| matches(pattern.as_bytes(), name.as_bytes(), escapes));
        assert_eq!(fits, [on_unix, on_windows], "{pattern} {name}");
    }
}

#[test]
fn a_star_is_found_as_this_system_writes_paths() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).join("a.pem");
    for name in ["one", "two"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(file(name), "").unwrap();
    }
    let (found, listed) = super::super::matching(&folder.path().join("*").join("a.pem"));
    assert_eq!(found, [file("one"), file("two")]);
    assert!(listed.contains(&folder.path().to_owned()), "{listed:?}");
    let (found, listed) = super::super::matching(&folder.path().join("none").join("*.pem"));
    assert_eq!((found.len(), listed), (0, vec![folder.path().join("none")]));
}
