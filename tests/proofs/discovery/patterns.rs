//! Patterns of `include` and regular expressions of `server_name`, as nginx takes them.

use super::{Accepts, Ground, index_of, pool, shown};
use certhook_test_support::nginx::free_port;

const FILES: [&str; 9] = [
    "1a.conf",
    "20.conf",
    "xa.conf",
    "A.conf",
    "-.conf",
    ".z.conf",
    "sub/s.conf",
    ".hid/s.conf",
    "other/t.conf",
];

/// Those that nginx takes: by `-T`.
const TAKEN: [&str; 22] = [
    "d/[[:digit:]]*.conf",
    "d/[![:digit:]]*.conf",
    "d/[[:upper:][:digit:]]*.conf",
    "d/[[:digit:]-z]*.conf",
    "d/[[:nope:]x]*.conf",
    "d/[![:nope:]x]*.conf",
    "d/[[:DIGIT:]x]*.conf",
    "d/[[=x=]]a.conf",
    "d/[[.x.]-z]a.conf",
    "d/[[.hyphen.]x]a.conf",
    "d/[[:digit:]a.conf",
    "d/[x/]a.conf",
    "d/[.]z*",
    "d/.z*",
    "d/.*/s.conf",
    "d/.*/[x]a.conf",
    "d/s*/../xa.conf",
    "d//x*.conf",
    "d/x*.conf/",
    "d/none*/",
    "d/*/s.conf",
    "d/**[[:alpha:]].conf",
];

#[test]
fn patterns_find_what_nginx_finds() {
    let ground = Ground::new();
    for file in FILES {
        ground.write(&format!("conf/d/{file}"), "# nothing\n");
    }
    let mut wrong = Vec::new();
    for pattern in TAKEN {
        ground.write("conf/nginx.conf", format!("events {{}}\ninclude {pattern};\n"));
        let (files, _) = ground.dumped();
        let found = ground.found();
        if found.problem.is_some() || found.files != files {
            wrong.push(format!("{pattern}: nginx {files:?}, certhook {found:?}"));
        }
    }
    for pattern in ["d/*/", "d/.*", "d/s*/", "d/*"] {
        ground.write("conf/nginx.conf", format!("events {{}}\ninclude {pattern};\n"));
        assert!(!ground.run("-t").status.success(), "{pattern}");
        let problem = ground.found().problem;
        if problem.as_ref().is_none_or(|problem| problem.code != "nginx_config") {
            wrong.push(format!("{pattern}: nginx refuses it, certhook {problem:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every server is asked by a name that shows its certificate, whatever it is that takes names from it.
#[test]
fn a_name_of_a_regular_expression_shows_its_server() {
    let names = [
        "c0.own.example own.example *.x.own.example",
        "~^(?<sub>.+)\\.own\\.example$",
        "\"~^[cd]\\d{1,2}\\.Other\\.example$\"",
        "~^(www\\.)?(b|c)\\.test$",
        "b.test www.b.test",
        "~\\.example\\.",
        "~^([[:alpha:]]+)-\\w+\\.test$ plain.test",
        "~^.+-probe\\.net$",
    ];
    let ground = Ground::new();
    let port = free_port();
    let mut text = format!(
        "events {{}}\npid nginx.pid;\nhttp {{ server {{ listen 127.0.0.1:{port} ssl; {} }}\n",
        pair(0)
    );
    for (index, names) in names.iter().enumerate() {
        text += &format!(
            "server {{ listen 127.0.0.1:{port} ssl; server_name {names}; {} }}\n",
            pair(2 * index + 2)
        );
    }
    ground.write("conf/nginx.conf", text + "}\n");
    let _running = ground.start().expect("nginx starts");
    let found = ground.found();
    assert_eq!((found.problem.as_ref(), found.pairs.len()), (None, names.len() + 1), "{found:#?}");
    for pair in &found.pairs {
        let index = index_of(&pair.certificate);
        for ask in &pair.asks {
            assert!(!ask.hosts.is_empty(), "{index}: {found:#?}");
            for host in &ask.hosts {
                let shown = shown(&ask.endpoint, host, Accepts::Any).unwrap();
                assert_eq!(shown, pool()[index].fingerprint, "{index}.crt for {host}");
            }
        }
    }
}

fn pair(index: usize) -> String {
    format!("ssl_certificate pool/{index}.crt; ssl_certificate_key pool/{}.key;", index / 2 * 2)
}
