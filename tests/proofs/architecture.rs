//! Dependencies point inward, and the core reaches no clock, randomness, file, socket or runtime.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The sources of one room, its tests left out: `src/NAME.rs` and what is below `src/NAME/`.
fn sources(room: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![root.join(format!("{room}.rs"))];
    let mut folders = vec![root.join(room)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.file_name().unwrap().to_str().unwrap() {
                "tests" | "tests.rs" => {}
                _ if path.is_dir() => folders.push(path),
                name if name.ends_with(".rs") => found.push(path),
                _ => {}
            }
        }
    }
    let code = |text: String| text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
    found.into_iter().map(|path| (path.clone(), code(std::fs::read_to_string(path).unwrap()))).collect()
}

fn rooms() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let names =
        std::fs::read_dir(root).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let mut rooms: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect();
    rooms.retain(|room| room != "main" && room != "lib");
    rooms
}

/// The other rooms that a room's code names.
fn uses(room: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in sources(room) {
        for part in text.split("crate::").skip(1) {
            if let Some(list) = part.strip_prefix('{') {
                let list = list.split_once('}').map_or(list, |(inside, _)| inside);
                found.extend(list.split(',').map(|name| name.trim().split("::").next().unwrap().to_owned()));
            } else {
                found.insert(part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
    }
    found.remove(room);
    let rooms = rooms();
    found.retain(|name| rooms.contains(name));
    found
}

#[test]
fn the_core_reaches_nothing_outside() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "File::",
        "TcpStream",
        "UnixStream",
        "Instant::now",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "rand",
        "tokio",
        "reqwest",
        "notify::",
        "nix::",
        "rusqlite",
        "async ",
        ".await",
    ];
    for room in ["agent", "alert", "certificate"] {
        let sources = sources(room);
        assert!(sources.len() >= 3, "{room}: {sources:?}");
        for (path, text) in sources {
            for (index, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap();
                for word in forbidden {
                    assert!(!code.contains(word), "{}:{}: {word}: {line}", path.display(), index + 1);
                }
            }
        }
    }
}

#[test]
fn dependencies_point_inward() {
    let allowed: &[(&str, &[&str])] = &[
        ("problem", &[]),
        ("crash", &["platform"]),
        ("platform", &[]),
        ("certificate", &[]),
        ("agent", &["certificate", "problem"]),
        ("telemetry", &["platform"]),
        ("config", &["platform", "problem"]),
        ("files", &["platform", "problem"]),
        ("apart", &["platform", "problem"]),
        ("network", &["apart", "fetch", "metrics", "platform", "portal", "probe", "problem"]),
        ("fetch", &["apart", "certificate", "files", "platform", "portal", "problem"]),
        ("inspect", &["agent", "certificate", "config", "files", "platform", "problem"]),
        ("stage", &["certificate", "config", "files", "inspect", "platform", "problem"]),
        ("roster", &["config", "discover", "stage"]),
        ("watch", &["agent", "platform", "problem"]),
        ("discover", &["config", "files", "platform", "problem"]),
        (
            "server",
            &[
                "agent",
                "certificate",
                "command",
                "config",
                "crash",
                "discover",
                "files",
                "platform",
                "problem",
            ],
        ),
        ("probe", &["agent", "apart", "certificate", "config", "platform", "problem"]),
        ("ledger", &["agent", "certificate", "platform", "problem"]),
        ("portal", &["apart", "certificate", "config", "files", "problem"]),
        ("courier", &["certificate", "config", "crash", "ledger", "platform", "portal", "problem"]),
        ("renewal", &["config", "courier", "crash", "fetch", "ledger", "platform", "portal", "problem"]),
        ("status", &["agent", "certificate", "config", "ledger", "problem"]),
        ("control", &["platform", "problem", "status"]),
        ("command", &["platform"]),
        ("alert", &["ledger", "problem", "status"]),
        ("metrics", &["files", "ledger", "platform", "problem", "status"]),
        (
            "outlets",
            &[
                "alert", "apart", "command", "config", "control", "ledger", "metrics", "platform", "problem",
                "status",
            ],
        ),
    ];
    for room in rooms() {
        // The loop and the verbs may use everything.
        if room == "daemon" || room == "cli" {
            continue;
        }
        let (_, allowed) = allowed
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{room} is a new room: say what it may use"));
        for used in uses(&room) {
            assert!(allowed.contains(&used.as_str()), "{room} uses {used}");
        }
    }
    assert!(uses("courier").contains("ledger"), "the reader of sources sees nothing");
}

#[test]
fn systems_differ_in_their_rooms_only() {
    for room in rooms() {
        for (path, text) in sources(&room) {
            let may = ["platform", "server", "crash"].contains(&room.as_str());
            assert!(
                may || !text.contains("cfg(unix")
                    && !text.contains("cfg(windows")
                    && !text.contains("std::os::"),
                "{}",
                path.display()
            );
        }
    }
}

/// `src/lib.rs` forbids it on every other system.
#[test]
fn only_the_calls_of_windows_and_of_the_heap_are_unsafe() {
    for room in rooms() {
        for (path, text) in sources(&room) {
            let is_windows = path.with_extension("").components().any(|part| part.as_os_str() == "windows");
            let is_heap = path.ends_with("platform/unix/memory.rs");
            assert!(is_windows || is_heap || !text.contains("unsafe"), "{}", path.display());
        }
    }
}

#[test]
fn no_room_has_become_two() {
    for room in rooms() {
        for (path, text) in sources(&room) {
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn the_readme_s_configuration_is_right() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let samples: Vec<&str> =
        readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let parse = |text: &str| certhook::config::Config::parse(Path::new("certhook.toml"), text).unwrap();
    let config = parse(samples[0]);
    assert!(config.portal.is_some() && config.servers[0].discovers() && config.sites.is_empty());
    // The others are to be added to the first.
    let config = parse(&samples.concat());
    assert_eq!((samples.len(), config.sites.len(), config.servers.len()), (3, 1, 1));
    assert!(config.renewal.is_some());
}

/// The codes of the README's table, and those that the sources give to problems of a site or of the host.
#[test]
fn the_readme_knows_every_code() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let told: BTreeSet<&str> = readme.split('`').skip(1).step_by(2).collect();
    let mut missing = Vec::new();
    for room in [
        "agent",
        "certificate",
        "daemon",
        "discover",
        "files",
        "inspect",
        "ledger",
        "outlets",
        "probe",
        "server",
        "stage",
        "watch",
    ] {
        for (path, text) in sources(room) {
            for part in text.split("Problem::new(").skip(1) {
                let Some(code) = part.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                else {
                    continue;
                };
                if !told.contains(code) {
                    missing.push(format!("{}: {code}", path.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    for code in ["key_mismatch", "ledger_corrupt", "empty", "nginx_refused"] {
        assert!(told.contains(code), "{code}");
    }
}

/// Every code that tells what is at a path is coarse outside: a new one is put into a family, or named here.
#[test]
fn codes_of_files_do_not_go_out() {
    // The last ones are told of commands and the files that they write.
    let exact = ["expired", "not_yet_valid", "not_sealed", "not_written", "not_run"];
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let codes: BTreeSet<&str> = readme.split('`').skip(1).step_by(2).collect();
    let mut found = BTreeSet::new();
    for (path, text) in [sources("files"), sources("inspect"), sources("certificate")].concat() {
        if path.to_string_lossy().contains("certificate") && !path.ends_with("fault.rs") {
            continue;
        }
        found.extend(
            text.split('"').skip(1).step_by(2).filter(|word| codes.contains(word)).map(str::to_owned),
        );
    }
    assert!(found.len() > 10 && found.contains("key_mismatch"), "{found:?}");
    found.retain(|word| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    for code in found.iter().filter(|code| !exact.contains(&code.as_str())) {
        let status: certhook::status::Status = serde_json::from_value(serde_json::json!({
            "agent": {"running": true, "pid": 1, "version": "0.1.0"},
            "portal": null, "watch": {"polled_sites": 0, "problem": null}, "ledger_problem": null,
            "sites": [{
                "name": "a.test", "server": "nginx", "state": "pending",
                "certificate": {"path": "/c", "fingerprint": null, "hosts": [], "not_after": null, "written_at": null},
                "served": null,
                "report": {"state": "none", "remote_create_date": null, "attempts": 0, "next_attempt_at": null,
                           "error": null},
                "problem": {"code": code, "message": "x", "remedy": "x", "since": "2026-01-01T00:00:00Z"},
                "pending": null
            }]
        }))
        .unwrap();
        let told = status.outward().sites[0].problem.clone().unwrap().code;
        assert_eq!(told, "not_whole", "{code}: src/status/outward.rs");
    }
}
