//! Configurations that Debian's packages ship, in `tests/corpus/nginx`.

use std::collections::BTreeMap;

use super::*;

/// A package's files; what they say is in `/etc` is moved to the test's folder, and the ports are free ones.
fn ground(package: &str) -> (Ground, BTreeMap<u16, u16>) {
    let ground = Ground::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/nginx").join(package);
    let ports: BTreeMap<u16, u16> =
        [443, 80, 8000, 8080].map(|port| (port, certhook_test_support::nginx::free_port())).into();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut text = std::fs::read_to_string(&path).unwrap();
            let conf = ground.path("conf");
            for (there, here) in [
                ("user www-data;", String::new()),
                ("/etc/nginx/", format!("{}/", conf.display())),
                ("/etc/", format!("{}/", conf.display())),
                ("/run/", ground.path("").display().to_string()),
                ("/var/log/nginx/", ground.path("").display().to_string()),
            ] {
                text = text.replace(there, &here);
            }
            for (there, here) in &ports {
                for form in ["listen ", "listen [::]:", "listen localhost:"] {
                    for end in [" ", ";"] {
                        text = text.replace(&format!("{form}{there}{end}"), &format!("{form}{here}{end}"));
                    }
                }
            }
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            ground.write(&format!("conf/{name}"), text);
        }
    }
    ground.write("conf/mime.types", "types { text/html html; }");
    (ground, ports)
}

#[test]
fn configurations_that_packages_ship() {
    for (package, expected) in [
        ("nginx-common", &["ssl/certs/ssl-cert-snakeoil.pem: 127.0.0.1:443= [::1]:443="][..]),
        ("nginx-doc", &["cert.pem: 127.0.0.1:443=localhost"]),
        (
            "mailman3-web",
            &["letsencrypt/live/mailman.example.com/fullchain.pem: 127.0.0.1:443=mailman.example.com \
               [::1]:443=mailman.example.com"],
        ),
        (
            "python3-certbot-nginx",
            &[
                "letsencrypt/live/example.com/fullchain.pem: [::1]:443=example.com,www.example.com \
                 127.0.0.1:443=example.com,www.example.com",
                "letsencrypt/live/other.example.com/fullchain.pem: 127.0.0.1:443=other.example.com",
            ],
        ),
    ] {
        let (ground, ports) = ground(package);
        let found = ground.found();
        assert_eq!((&found.problem, &found.left_out), (&None, &Vec::new()), "{package}");
        let line = |pair: &discover::Pair| {
            let asks = pair.asks.iter().map(|ask| format!(" {}={}", ask.endpoint, ask.hosts.join(",")));
            let name = pair.certificate.strip_prefix(ground.path("conf")).unwrap().display();
            format!("{name}:{}", asks.collect::<String>()).replace(&format!(":{}=", ports[&443]), ":443=")
        };
        assert_eq!(found.pairs.iter().map(line).collect::<Vec<_>>(), expected, "{package}");

        for (pair, issued) in found.pairs.iter().zip(pool()) {
            let KeyAt::File(key) = &pair.key else { panic!("{pair:?}") };
            for (path, text) in [(&pair.certificate, &issued.fullchain_pem), (key, &issued.key_pem)] {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
        }
        assert_eq!(found.files, ground.dumped().0, "{package}");
        let _running = ground.start().expect(package);
        for (pair, issued) in found.pairs.iter().zip(pool()) {
            for ask in &pair.asks {
                for host in &ask.hosts {
                    let shown = shown(&ask.endpoint, host, Accepts::Any).unwrap();
                    assert_eq!(shown, issued.fingerprint, "{package} {ask:?}");
                }
            }
        }
    }
}
