//! Patterns of `include`: the files that nginx reads, and what it refuses.

use super::Ground;

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
