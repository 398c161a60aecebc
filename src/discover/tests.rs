//! Each rule by itself. That nginx has the same rules is asked of nginx, in `tests/proofs/discovery.rs`.

#![cfg(unix)] // nginx's configuration

mod syntax;

use std::path::Path;

use super::*;

/// A folder of configuration files, `nginx.conf` among them.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn found(&self) -> Found {
        self.found_with(None)
    }

    fn found_with(&self, globals: Option<&str>) -> Found {
        let globals = globals.map(str::to_owned);
        nginx(&Instance { config: self.path("nginx.conf"), prefix: "/prefix".into(), globals })
    }
}

fn found(text: &str) -> Found {
    Files::new(&[("nginx.conf", text)]).found()
}

/// `http { … }` around servers of `contents; `; all pairs as `file: endpoint=host,host endpoint=…`.
fn asked(text: &str) -> Vec<String> {
    let found = found(text);
    assert_eq!(found.problem, None);
    found.pairs.iter().map(line).collect()
}

fn line(pair: &Pair) -> String {
    let name = pair.certificate.file_name().unwrap().to_string_lossy();
    let asks = pair.asks.iter().map(|ask| format!(" {}={}", ask.endpoint, ask.hosts.join(",")));
    format!("{name}:{}", asks.collect::<String>())
}

fn http(servers: &[&str]) -> String {
    let servers = servers.iter().map(|server| format!("server {{ {server} }}\n"));
    format!("events {{}}\nhttp {{\n{}}}\n", servers.collect::<String>())
}

/// One server with the pair `NAME.crt`, `NAME.key`.
fn server(name: &str, rest: &str) -> String {
    format!("ssl_certificate {name}.crt; ssl_certificate_key {name}.key; {rest}")
}

fn asked_of(servers: &[String]) -> Vec<String> {
    asked(&http(&servers.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn why(found: &Found) -> Vec<(String, &str)> {
    let of = |left: &LeftOut| left.why.split(':').next().unwrap().to_owned();
    found.left_out.iter().map(|left| (of(left), left.what.as_str())).collect()
}

#[test]
fn a_plain_server() {
    let files = Files::new(&[("nginx.conf", &http(&[&server("a", "listen 443 ssl;\nserver_name a.test;")]))]);
    let found = files.found();
    let ask = Ask {
        endpoint: crate::config::Endpoint::parse("127.0.0.1:443").unwrap(),
        hosts: vec!["a.test".to_owned()],
    };
    let place = Place { file: files.path("nginx.conf"), line: 3 };
    assert_eq!(place.to_string(), format!("{}:3", files.path("nginx.conf").display()));
    let pair = Pair {
        certificate: files.path("a.crt"),
        key: KeyAt::File(files.path("a.key")),
        asks: vec![ask],
        places: vec![place],
    };
    let opened =
        [("nginx.conf", "include", 0), ("a.crt", "ssl_certificate", 3), ("a.key", "ssl_certificate_key", 3)];
    let opened = opened.map(|(name, directive, line)| Opened {
        path: files.path(name).into(),
        directive,
        file: files.path("nginx.conf").into(),
        line,
        site: (line > 0).then(|| "a.test".into()),
    });
    let files = vec![files.path("nginx.conf")];
    assert_eq!(found, Found { pairs: vec![pair], files, opened: opened.into(), ..Found::default() });
}

/// Relative paths mean the configuration's directory, but for logs and modules; variables, data and engines are no files
/// that are opened.
#[test]
fn files_that_a_reload_opens_are_known_with_their_sites() {
    let text = "load_module modules/x.so; error_log logs/e.log; include mime.types;
        http { access_log off; access_log syslog:server=unix:/s; ssl_dhparam dh.pem; map $a $b { ssl_crl no.pem; }
        server { listen 1 ssl; ssl_certificate $name.crt; ssl_certificate_key data:k; ssl_crl /crl.pem;
            location / { proxy_ssl_certificate_key engine:x:y; proxy_ssl_certificate p.crt; auth_basic_user_file u; }
            server_name late.test; }
        server { listen 2 ssl; ssl_crl /crl.pem; ssl_password_file pw; access_log /log/$host.log; error_log stderr; } }";
    let files = Files::new(&[("nginx.conf", text), ("mime.types", "types { a b; }")]);
    let opened: Vec<(String, &str, String)> = files
        .found()
        .opened
        .iter()
        .map(|opened| {
            let path = opened.path.strip_prefix(files.path("")).unwrap_or(&opened.path);
            let site = opened.site.as_deref().unwrap_or("-").to_owned();
            (path.display().to_string(), opened.directive, site)
        })
        .collect();
    let expected = [
        ("nginx.conf", "include", "-"),
        ("/prefix/modules/x.so", "load_module", "-"),
        ("/prefix/logs/e.log", "error_log", "-"),
        ("mime.types", "include", "-"),
        ("dh.pem", "ssl_dhparam", "-"),
        ("/crl.pem", "ssl_crl", "late.test"),
        ("p.crt", "proxy_ssl_certificate", "late.test"),
        ("pw", "ssl_password_file", "-"),
    ];
    let expected = expected.map(|(path, directive, site)| (path.to_owned(), directive, site.to_owned()));
    assert_eq!(opened, expected);
}

#[test]
fn certificates_and_keys_are_inherited_each_by_itself() {
    let text = "http { server { listen 1 ssl; server_name a; }
        server { listen 2 ssl; server_name b; ssl_certificate b.crt; }
        server { listen 3 ssl; server_name c; ssl_certificate_key c.key; ssl_certificate c.crt; }
        ssl_certificate h.crt; ssl_certificate_key h.key; }";
    let found = found(text);
    let pairs: Vec<String> = found.pairs.iter().map(line).collect();
    assert_eq!(
        pairs,
        ["h.crt: 127.0.0.1:1=a", "b.crt: 127.0.0.1:2=b", "c.crt: 127.0.0.1:3=c"].map(str::to_owned)
    );
    let keys = found.pairs.iter().map(|pair| match &pair.key {
        KeyAt::File(path) => path.file_name().unwrap().to_str().unwrap(),
        KeyAt::Elsewhere(_) | KeyAt::Pfx(_) => "-",
    });
    assert_eq!(keys.collect::<Vec<_>>(), ["h.key", "h.key", "c.key"]);
}

#[test]
fn several_pairs_of_one_server_and_one_pair_of_several_servers() {
    let two = "listen 1 ssl; server_name a; ssl_certificate r.crt; ssl_certificate e.crt; \
        ssl_certificate_key r.key; ssl_certificate_key e.key;";
    let text = http(&[
        two,
        &server("r", "listen 1 ssl; listen 2 ssl; server_name b;"),
        &server("e", "listen 3 ssl; ssl_certificate_key other.key;")
            .replace("ssl_certificate_key e.key;", ""),
    ]);
    let found = found(&text);
    assert_eq!(
        found.pairs.iter().map(line).collect::<Vec<_>>(),
        ["r.crt: 127.0.0.1:1=a,b 127.0.0.1:2=b", "e.crt: 127.0.0.1:1=a 127.0.0.1:3="]
    );
    assert_eq!(found.pairs[0].places.len(), 2);
    assert!(found.left_out[0].why.starts_with("with another key than at "), "{:?}", found.left_out);
}

#[test]
fn fewer_keys_than_certificates() {
    let found =
        found(&http(&["listen 1 ssl;\nssl_certificate a;\nssl_certificate b; ssl_certificate_key k;"]));
    let problem = found.problem.as_ref().unwrap();
    assert_eq!(problem.code, "nginx_config");
    assert!(problem.message.contains("is defined for certificate \"b\" in /"), "{problem}");
    assert!(problem.message.ends_with(":5"), "{problem}");
    assert_eq!((found.pairs.len(), found.left_out.len()), (1, 1));
}

#[test]
fn listeners_and_how_they_are_reached() {
    for (listen, asked) in [
        ("443 ssl", "127.0.0.1:443="),
        ("*:443 ssl", "127.0.0.1:443="),
        ("127.0.0.1 ssl", "127.0.0.1:80="),
        ("192.0.2.7:443 ssl proxy_protocol", "192.0.2.7:443 proxy_protocol="),
        ("[::]:443 ssl", "[::1]:443="),
        ("[::]:443 ipv6only=on ssl", "[::1]:443="),
        ("[::]:443 ipv6only=off ssl", "[::1]:443= 127.0.0.1:443="),
        ("[::1]:443 ipv6only=off ssl", "[::1]:443="),
        ("[2001:db8::1] ssl", "[2001:db8::1]:80="),
        ("unix:/run/a.sock ssl", "unix:/run/a.sock="),
        ("8000-8002 ssl", "127.0.0.1:8000= 127.0.0.1:8001= 127.0.0.1:8002="),
        ("443 ssl; listen 443 quic", "127.0.0.1:443="),
        ("443; ssl on", "127.0.0.1:443="),
    ] {
        assert_eq!(asked_of(&[server("a", &format!("listen {listen};"))]), [format!("a.crt: {asked}")]);
    }
    let local = found(&http(&[&server("a", "listen localhost:1 ssl;")]));
    assert!(line(&local.pairs[0]).contains("127.0.0.1:1="), "{local:?}");
    for (listen, why_not) in [
        ("443", "no listener of its server speaks TLS"),
        ("443 quic", "it is served over QUIC only, which cannot be asked"),
        ("unix:a.sock ssl", "its path is relative"),
    ] {
        let found = found(&http(&[&server("a", &format!("listen {listen};"))]));
        assert!(found.pairs.is_empty());
        let last = found.left_out.last().unwrap();
        assert!(last.what.ends_with("/a.crt") && last.why == why_not, "{:?}", found.left_out);
    }
    for listen in ["0", "65536", "1-", "9-8", "[::1", "[::x]:1", "127.0.0.1:", ":443", "a.invalid:443"] {
        let found = found(&http(&[&server("a", &format!("listen {listen};"))]));
        assert_eq!(found.problem.expect(listen).code, "nginx_config");
    }
}

#[test]
fn a_wildcard_is_asked_where_no_other_listens() {
    let wild = server("a", "listen 1 ssl; listen [::]:1 ssl;");
    let exact = server("b", "listen 127.0.0.1:1 ssl; listen [::1]:1 ssl; listen 127.0.0.2:1;");
    let found = found(&http(&[&wild, &exact]));
    assert_eq!(line(&found.pairs[0]), "a.crt: 127.0.0.3:1=");
    assert_eq!(line(&found.pairs[1]), "b.crt: 127.0.0.1:1= [::1]:1=");
    assert_eq!(found.left_out[0].what, "listen [::]:1");
}

#[test]
fn what_one_server_says_of_a_socket_counts_for_all() {
    let servers = [
        server("a", "listen 1; server_name a;"),
        server("b", "listen *:1 ssl proxy_protocol; server_name b;"),
        server("c", "listen 0.0.0.0:1 default_server;"),
    ];
    let end = "127.0.0.1:1 proxy_protocol";
    assert_eq!(
        asked_of(&servers),
        [format!("a.crt: {end}=a"), format!("b.crt: {end}=b"), format!("c.crt: {end}=")]
    );
    // Only the default server's `ssl on` makes a listener speak TLS.
    let servers = [server("a", "listen 1; server_name a;"), server("b", "listen 1; server_name b; ssl on;")];
    assert_eq!(asked_of(&servers), Vec::<String>::new());
    let servers =
        [server("a", "listen 1; server_name a;"), server("b", "listen 1 default; server_name b; ssl on;")];
    assert_eq!(asked_of(&servers), ["a.crt: 127.0.0.1:1=a", "b.crt: 127.0.0.1:1=b"]);
}

#[test]
fn the_names_that_reach_a_server() {
    let names = |names: &[&str]| {
        let server = |(i, names): (usize, &&str)| {
            server(&i.to_string(), &format!("listen 1 ssl; server_name {names};"))
        };
        let found = found(&http(
            &names
                .iter()
                .enumerate()
                .map(server)
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ));
        let hosts = |pair: &Pair| pair.asks[0].hosts.join(",");
        found.pairs.iter().map(hosts).collect::<Vec<_>>()
    };
    assert_eq!(names(&["*.d.test WWW.d.test", "x.test"]), ["www.d.test,certhook-probe.d.test", "x.test"]);
    assert_eq!(names(&[".d.test", "x.test"]), ["d.test,certhook-probe.d.test", "x.test"]);
    assert_eq!(names(&["www.example.*"]), ["www.example.certhook-probe"]);
    // The first server has the name; a default server without one is asked without.
    assert_eq!(names(&["a b", "b c", "b"]), ["a,b", "c"]);
    assert_eq!(names(&["*.d.test w.*", "*.d.test w.* x"]), ["certhook-probe.d.test,w.certhook-probe", "x"]);
    assert_eq!(names(&["_", "a"]), ["", "a"]);
    assert_eq!(names(&["\"\" 192.0.2.1 a/b"]), [""]);
    // A conflicting `.d` is ignored as a whole, and notes `d`.
    assert_eq!(names(&["d.test", ".d.test x"]), ["d.test", "x"]);
    assert_eq!(names(&["*.d.test", ".d.test y", "d.test z"]), ["certhook-probe.d.test", "y", "z"]);
    // Something more specific has what would stand for the star.
    assert_eq!(names(&["*.d.test a", "certhook-probe.d.test"]), ["a", "certhook-probe.d.test"]);
    // The first expression that matches has a name that no other kind of name takes.
    assert_eq!(names(&["a", "~^x\\d+$"]), ["a", "x0"]);
    assert_eq!(
        names(&["*.d.test d.test", "~^(www\\.)?(.+)\\.d\\.test$", "~^(?<n>.+)\\.test$", "~^c.*\\.test$"]),
        ["d.test,certhook-probe.d.test", "", "certhook-probe.test", ""]
    );
    // By its own names, which are not known here; so is what an expression before it may take.
    assert_eq!(names(&["a", "~^x(?=1)", "~^y$"]), ["a", "", ""]);
}

#[test]
fn what_cannot_be_a_site_is_said() {
    let text = http(&[
        "listen 1 ssl; ssl_reject_handshake on;",
        &server("b", "listen 1 ssl; server_name b; ssl_reject_handshake on;"),
        &server("c$ssl_server_name", "listen 1 ssl; server_name c;"),
        "listen 1 ssl; server_name d; ssl_certificate data:SECRET; ssl_certificate_key data:SECRET;",
        &server("e", "listen 1 ssl;"),
        &server("f", "listen 1 ssl; server_name f; ssl_certificate_by_lua_block { print('}') }"),
        &server("g", "listen 1 ssl; server_name ~(?=g)g;"),
    ]);
    let found = found(&text);
    assert_eq!(found.problem, None);
    assert!(!format!("{found:?}").contains("SECRET"));
    let said = why(&found);
    for expected in [
        ("its server rejects every handshake", "b.crt"),
        ("it is loaded anew for each handshake", "c$ssl_server_name.crt"),
        ("its text stands in the configuration and in no file", "data:…"),
        ("a Lua program chooses the certificate at each handshake", "f.crt"),
        ("no name is known that it matches", "server_name ~(?=g)g"),
    ] {
        assert!(said.contains(&(expected.0.to_owned(), expected.1)), "{expected:?}: {said:?}");
    }
    assert!(said.iter().any(|(why, what)| why == "no client can reach it" && what.ends_with("/e.crt")));
    assert_eq!(found.pairs.iter().map(line).collect::<Vec<_>>(), ["g.crt: 127.0.0.1:1="]);
    assert!(found.pairs[0].asks[0].hosts.is_empty());
}

#[test]
fn keys_in_devices() {
    let found = found(&http(&["listen 1 ssl; ssl_certificate a; ssl_certificate_key engine:pkcs11:x;"]));
    assert_eq!(found.pairs[0].key, KeyAt::Elsewhere("engine:pkcs11:x".to_owned()));
}

#[test]
fn stream_and_mail() {
    let text = format!(
        "stream {{ server {{ {} }} server {{ {} }} server {{ listen 9; ssl_preread on; }} }}
        mail {{ starttls on; server_name m; server {{ {} }} server {{ {} }} }}",
        server("s", "listen 1 ssl; proxy_pass x;"),
        server("n", "listen 2 ssl; server_name n;"),
        server("m", "listen 993 ssl; server_name greeting;"),
        server("t", "listen 143; protocol imap;"),
    );
    let found = found(&text);
    assert_eq!(
        found.pairs.iter().map(line).collect::<Vec<_>>(),
        ["s.crt: 127.0.0.1:1=", "n.crt: 127.0.0.1:2=n", "m.crt: 127.0.0.1:993="]
    );
    assert_eq!(found.left_out[0].why, "it is served after STARTTLS only, which is not asked");
}

#[test]
fn starttls_listener_of_certificate_asked_elsewhere_is_left_out() {
    let text = "mail { ssl_certificate m.crt; ssl_certificate_key m.key;
        server { listen 993 ssl; protocol imap; }
        server { listen 127.0.0.1:143; protocol imap; starttls on; }
        server { listen unix:/run/smtp; protocol smtp; starttls only; }
        server { listen 110; protocol pop3; } }";
    let found = Files::new(&[("nginx.conf", text)]).found();
    assert_eq!(found.pairs.iter().map(line).collect::<Vec<_>>(), ["m.crt: 127.0.0.1:993="]);
    let left_out: Vec<_> =
        found.left_out.iter().map(|left| (left.place.line, left.what.as_str(), left.why.as_str())).collect();
    let why = "it is served after STARTTLS only, which is not asked";
    assert_eq!(left_out, [(3, "listen 127.0.0.1:143", why), (4, "listen unix:/run/smtp", why)]);
}

#[test]
fn logs_and_the_pid_file() {
    let text = "pid run/a.pid; error_log b.log warn; error_log syslog:server=x; http { error_log no.log; }";
    let found = Files::new(&[("nginx.conf", text)]).found_with(Some("error_log stderr; pid /x;"));
    let file = Log::File("/prefix/b.log".into());
    assert_eq!(found.error_logs, [Log::Stderr, file, Log::Syslog]);
    assert_eq!(found.pid_file.as_deref(), Some(Path::new("/prefix/run/a.pid")));
}

#[test]
fn the_first_twenty_names_are_of_twenty_servers() {
    let many = |prefix: &str| (0..30).map(|n| format!(" {prefix}{n}")).collect::<String>();
    let servers =
        ["a", "b", "c"].map(|name| server("x", &format!("listen 1 ssl; server_name{};", many(name))));
    let found = found(&http(&servers.each_ref().map(String::as_str)));
    assert_eq!(found.pairs[0].asks[0].hosts[..4], ["a0", "b0", "c0", "a1"]);
}

#[test]
fn ten_thousand_servers_in_ten_thousand_files() {
    let folder =
        Files::new(&[("nginx.conf", "http { include sites/*; }"), ("tls", "ssl_protocols TLSv1.3;")]);
    std::fs::create_dir(folder.path("sites")).unwrap();
    for n in 0..10_000 {
        let server =
            server(&n.to_string(), &format!("listen 1 ssl; listen [::]:1 ssl; server_name n{n} *.n{n};"));
        std::fs::write(folder.path(&format!("sites/{n}")), format!("server {{ include tls; {server} }}"))
            .unwrap();
    }
    let found = folder.found();
    assert_eq!((found.pairs.len(), found.files.len(), found.problem), (10_000, 10_002, None));
}
