//! The `http` block: sockets, servers, names.

use certhook_test_support::nginx::free_port;

use super::made::{Dial, Theme};
use super::maker::Maker;
use super::pool::pool;

const NAMES: [&str; 20] = [
    "a.test",
    "b.test",
    "www.a.test",
    "x.www.a.test",
    "*.a.test",
    ".a.test",
    "*.www.a.test",
    "*.test",
    ".b.test",
    "www.*",
    "www.a.*",
    "_",
    "",
    "192.0.2.1",
    "C.test",
    "$hostname",
    "xn--bcher-kva.test",
    "localhost",
    "*.x.b.test",
    "default",
];

/// What a client asks for.
const HOSTS: [&str; 12] = [
    "a.test",
    "b.test",
    "www.a.test",
    "y.a.test",
    "x.www.a.test",
    "www.a.example",
    "www.b.test",
    "c.test",
    "z.test",
    "localhost",
    "xn--bcher-kva.test",
    "p.x.b.test",
];

/// A socket that servers share.
struct Socket {
    /// Ways to write it.
    texts: Vec<String>,
    dial: Dial,
    is_used: bool,
    has_default: bool,
    proxy_protocol: bool,
    ssl: bool,
}

impl Maker {
    pub(super) fn http(&mut self, port: u16) -> String {
        let mut sockets = self.sockets(port);
        let mut text = "http {\naccess_log off;\n".to_owned();
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            text += &format!("{kind}_temp_path {}temp;\n", self.root);
        }
        text += "server_names_hash_bucket_size 128;\n";
        text += "ssl_password_file password;\n";
        let mut outer = Vec::new();
        let mut late = String::new();
        if self.wants(Theme::Inheritance, 20) {
            outer = self.leaves();
            let pairs = self.pairs(&outer);
            if self.chance(50) { text += &pairs } else { late = pairs }
        }
        let is_of_all = self.chance(50);
        if is_of_all {
            text += &self.http_options();
        }
        let count = self.rng.usize(1..5);
        let servers: Vec<String> = (0..count)
            .map(|number| {
                let (before, server) = self.server(number, &mut sockets, &outer, !is_of_all);
                text += &before;
                server
            })
            .collect();
        text += &self.spread(servers);
        let used = sockets.into_iter().filter(|socket| socket.is_used);
        self.made.dials.extend(used.map(|socket| {
            let header = if socket.proxy_protocol { " proxy_protocol" } else { "" };
            Dial { endpoint: socket.dial.endpoint + header, ..socket.dial }
        }));
        let mut hosts = HOSTS.to_vec();
        self.rng.shuffle(&mut hosts);
        // No name, one of a server that wants to be asked for it, and others.
        let named = self.made.hosts.pop();
        self.made.hosts = named.into_iter().chain([String::new()]).collect();
        self.made.hosts.extend(hosts.iter().take(1).map(ToString::to_string));
        text + &late + "}\n"
    }

    fn sockets(&mut self, p: u16) -> Vec<Socket> {
        let (q, r, root) = (free_port(), free_port(), self.root.clone());
        let socket = |texts: &[String], endpoint: String, is_wild: bool| Socket {
            texts: texts.to_vec(),
            dial: Dial { endpoint, is_wild, passes_on: false, starttls: None },
            is_used: false,
            has_default: false,
            proxy_protocol: false,
            ssl: false,
        };
        let mut sockets = vec![
            socket(&[format!("127.0.0.1:{p}")], format!("127.0.0.1:{p}"), false),
            socket(&[format!("127.0.0.2:{p}")], format!("127.0.0.2:{p}"), false),
            socket(
                &[format!("{q}"), format!("*:{q}"), format!("0.0.0.0:{q}"), format!("{q}-{q}")],
                // Where another socket has this address, it is not shown there: no listener has 127.0.0.9.
                format!("127.0.0.9:{q}"),
                true,
            ),
            socket(&[format!("127.0.0.1:{q}")], format!("127.0.0.1:{q}"), false),
            socket(&[format!("[::1]:{q}"), format!("[0:0::1]:{q}")], format!("[::1]:{q}"), false),
            socket(&[format!("[::]:{r}")], format!("[::1]:{r}"), true),
            socket(&[format!("unix:{root}a.sock")], format!("unix:{root}a.sock"), false),
        ];
        if self.wants(Theme::ProxyProtocol, 5) {
            let at = self.pick(&[0, 1, 3, 4]);
            sockets[at].proxy_protocol = true;
        }
        sockets
    }

    /// Returns what stands before the server, and the server.
    fn server(
        &mut self,
        number: usize,
        sockets: &mut [Socket],
        outer: &[usize],
        own_options: bool,
    ) -> (String, String) {
        let mut before = String::new();
        let mut lines = self.listens(sockets);
        let reject = self.wants(Theme::RejectHandshake, 4);
        if reject {
            lines.push(self.line(&["ssl_reject_handshake", "on"]));
        }
        lines.extend(self.names(number));
        if own_options {
            lines.push(self.http_options());
        }
        if outer.is_empty() && !(reject && self.chance(70)) || self.chance(55) {
            if self.wants(Theme::Variables, 4) {
                let (map, certificates) = self.by_variable(number);
                before += &map;
                lines.push(certificates);
            } else {
                let leaves = self.leaves();
                lines.push(self.pairs(&leaves));
            }
        } else if !outer.is_empty() && self.chance(25) {
            let (_, key) = self.place(outer[0]);
            if outer.len() == 1 {
                lines.push(self.line(&["ssl_certificate_key", &key]));
            }
        }
        if self.wants(Theme::ConfCommand, 3) {
            let leaf = self.leaf(None);
            let (certificate, key) = self.place(leaf);
            // A key under a password is not loaded this way.
            if !self.made.files.iter().any(|(_, text)| text.contains("ENCRYPTED") && key_is(text, leaf)) {
                lines.push(
                    self.line(&["ssl_conf_command", "Certificate", &certificate])
                        + &self.line(&["ssl_conf_command", "PrivateKey", &key]),
                );
            }
        }
        self.rng.shuffle(&mut lines);
        lines.push("return 204;\n".to_owned());
        if self.wants(Theme::UpstreamTls, 10) {
            lines.push(self.upstream_location());
        }
        if self.wants(Theme::Includes, 20) {
            let moved: String = lines.drain(lines.len() / 2..).collect();
            self.add_file(&format!("conf/snippets/{number}"), moved);
            lines.push(self.line(&["include", &format!("snippets/{number}")]));
        }
        let open = self.pick(&["server {", "server{", "server\n{", "\"server\" {", "server # {\n {"]);
        (before, format!("{open}\n{}}}\n", lines.concat()))
    }

    /// Certificates that nginx finds for each handshake, and one that stands in the configuration.
    fn by_variable(&mut self, number: usize) -> (String, String) {
        let leaf = self.leaf(None);
        self.made.without_file.insert(leaf);
        let (certificate, key) = (pool()[leaf].certificate.clone(), pool()[leaf].key.clone());
        match self.rng.u32(..3) {
            0 => {
                self.add_file("conf/a.test.crt", certificate);
                self.add_file("conf/a.test.key", key);
                self.made.hosts.push("a.test".to_owned());
                (
                    String::new(),
                    "ssl_certificate $ssl_server_name.crt; ssl_certificate_key $ssl_server_name.key;\n"
                        .into(),
                )
            }
            1 => {
                self.add_file(&format!("conf/of{number}.crt"), certificate);
                self.add_file(&format!("conf/of{number}.key"), key);
                let map =
                    format!("map $ssl_server_name $of{number} {{ default {}conf/of{number}; }}\n", self.root);
                (
                    map,
                    format!(
                        "ssl_certificate $of{number}.crt; ssl_certificate_key \"${{of{number}}}.key\";\n"
                    ),
                )
            }
            _ => (
                String::new(),
                format!("ssl_certificate \"data:{certificate}\";\nssl_certificate_key \"data:{key}\";\n"),
            ),
        }
    }

    fn listens(&mut self, sockets: &mut [Socket]) -> Vec<String> {
        let mut lines = Vec::new();
        let many = self.wants(Theme::Listens, 20);
        let last = sockets.len() - 1;
        for (at, socket) in sockets.iter_mut().enumerate() {
            let likely = if many { 45 } else { [70, 12, 25, 12, 12, 8, 8][at] };
            let is_last_chance = at == last && lines.is_empty();
            if !(self.chance(likely) || is_last_chance) {
                continue;
            }
            let text = socket.texts[self.rng.usize(..socket.texts.len())].clone();
            let mut words = vec!["listen", &text];
            let is_first = !socket.is_used;
            if is_first {
                socket.is_used = true;
                socket.ssl = self.chance(94);
            }
            // What one server says of a socket counts for all.
            if socket.ssl && (is_first || self.chance(75)) {
                words.push("ssl");
            }
            if socket.proxy_protocol && (is_first || self.chance(50)) {
                words.push("proxy_protocol");
            }
            if is_first && self.chance(10) {
                words.push("http2");
            }
            if !socket.has_default && self.chance(20) {
                socket.has_default = true;
                words.push(self.pick(&["default_server", "default"]));
            }
            lines.push(self.line(&words));
        }
        lines
    }

    fn names(&mut self, number: usize) -> Vec<String> {
        if self.chance(8) {
            return Vec::new();
        }
        if self.chance(12) {
            let name = match self.rng.u32(..4) {
                0 => format!("~^(?<user>\\w+)\\.re{number}\\.test$"),
                1 => format!("~^[a-z]{{1,4}}\\.re{number}\\.test$"),
                2 => format!("~^(?:www\\.)?(x|y)\\.re{number}\\.test$"),
                _ => format!("~\\.re{number}\\.test$"),
            };
            self.made.hosts.push(format!("x.re{number}.test"));
            return vec![self.line(&["server_name", &name])];
        }
        let count = if self.wants(Theme::Names, 20) { self.rng.usize(2..6) } else { self.rng.usize(1..3) };
        let mut names: Vec<String> = (0..count).map(|_| self.pick(&NAMES).to_owned()).collect();
        if self.chance(75) {
            names.push(format!("only{number}.test"));
        }
        let mut words = vec!["server_name"];
        words.extend(names.iter().map(String::as_str));
        vec![self.line(&words)]
    }

    /// Puts the servers into one file, or into many.
    fn spread(&mut self, servers: Vec<String>) -> String {
        let includes = self.wants(Theme::Includes, 20);
        let root = if self.chance(30) { format!("{}conf/", self.root) } else { String::new() };
        let pattern = self.pick(&["sites/*.conf", "sites/[0-9a]*.conf", "sites/?.conf", "s*s/*.co[m-o][!a]"]);
        let (mut here, mut is_included) = (String::new(), false);
        for (number, server) in servers.into_iter().enumerate() {
            match if includes { self.rng.u32(..3) } else { 0 } {
                0 => here += &server,
                1 => {
                    self.add_file(&format!("conf/one/{number}"), server);
                    here += &self.line(&["include", &format!("{root}one/{number}")]);
                }
                _ => {
                    self.add_file(&format!("conf/sites/{}.conf", 9 - number), server);
                    if !is_included {
                        here += &self.line(&["include", &format!("{root}{pattern}")]);
                        is_included = true;
                    }
                }
            }
        }
        for decoy in ["sites/.hidden.conf", "sites/0.conf~"] {
            self.add_file(&format!("conf/{decoy}"), "this is } not read".to_owned());
        }
        here
    }
}

fn key_is(text: &str, leaf: usize) -> bool {
    pool()[leaf].encrypted.as_ref().is_some_and(|encrypted| text.contains(encrypted.as_str()))
}
