//! Configurations made by chance, as administrators write them: many files, many ways to say the same.

use std::fmt;
use std::path::Path;

use certhook::config::{Address, Endpoint};
use certhook_test_support::nginx::free_port;
use fastrand::Rng;

use super::Ground;

/// Names that servers fight about; each begins or ends with another's.
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
    "\"\"",
    "192.0.2.1",
    "C.test",
    "$hostname",
    "c.test",
    "localhost",
    "*.x.b.test",
    ".test",
];

/// What a client asks for, to see what is shown.
const HOSTS: [&str; 12] = [
    "",
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
    "p.x.b.test",
];

/// One configuration, written to a folder.
pub struct Made {
    seed: u64,
    files: Vec<(String, String)>,
    dials: Vec<String>,
    pub hosts: Vec<&'static str>,
}

/// A socket that servers share.
struct Socket {
    /// Ways to write it.
    texts: Vec<String>,
    ssl: bool,
    proxy_protocol: bool,
    default_given: bool,
    used: bool,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        self.files.iter().try_for_each(|(name, text)| writeln!(f, "==> {name}\n{text}"))
    }
}

impl Made {
    pub fn new(seed: u64, ground: &Ground) -> Self {
        let mut maker = Maker {
            rng: Rng::with_seed(seed),
            root: ground.path("").display().to_string(),
            files: Vec::new(),
            sockets: Vec::new(),
            outer: Vec::new(),
            regexes: 0,
        };
        let (main, dials) = maker.main();
        maker.files.push(("conf/nginx.conf".to_owned(), main));
        for (name, text) in &maker.files {
            ground.write(name, text);
        }
        let mut hosts = HOSTS.to_vec();
        maker.rng.shuffle(&mut hosts);
        hosts.truncate(5);
        hosts.push("");
        Self { seed, files: maker.files, dials, hosts }
    }

    /// Every socket of it that a client here can reach, with and without the header.
    pub fn endpoints(&self, ground: &Ground) -> Vec<Endpoint> {
        let parsed = self.dials.iter().map(|dial| {
            Endpoint::parse(&dial.replace("ROOT/", &ground.path("").display().to_string())).unwrap()
        });
        let both = |endpoint: Endpoint| {
            let file_is_there = match &endpoint.address {
                Address::Unix(path) => Path::new(path).exists(),
                Address::Tcp(_) => true,
            };
            let with = Endpoint { proxy_protocol: true, ..endpoint.clone() };
            file_is_there.then_some([endpoint, with]).into_iter().flatten()
        };
        parsed.flat_map(both).collect()
    }
}

struct Maker {
    rng: Rng,
    root: String,
    files: Vec<(String, String)>,
    sockets: Vec<Socket>,
    /// Of `http`.
    outer: Vec<usize>,
    regexes: usize,
}

impl Maker {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(..of.len())]
    }

    /// A word, in quotes or not.
    fn word(&mut self, word: &str) -> String {
        if word.starts_with('"') {
            return word.to_owned();
        }
        match self.rng.u32(..8) {
            0 => format!("\"{word}\""),
            1 => format!("'{word}'"),
            _ => word.to_owned(),
        }
    }

    fn blank(&mut self) -> &'static str {
        self.pick(&[" ", " ", " ", "  ", "\t", "\n    ", "\r\n", " # a comment; with { ' \"\n "])
    }

    fn line(&mut self, words: &[&str]) -> String {
        let mut line = String::new();
        for word in words {
            line += &self.word(word);
            line += self.blank();
        }
        if self.chance(70) {
            line.truncate(line.trim_end().len().max(line.rfind('\n').map_or(0, |at| at + 1)));
        }
        line + ";" + self.pick(&["\n", "\n", "\r\n", " ", " # }\n", "\n\n"])
    }

    /// `ssl_certificate` and its key, as paths relative or not.
    fn pair(&mut self, index: usize) -> String {
        let (certificate, key) = (self.certificate(index), self.key(index));
        if self.chance(20) { key + &certificate } else { certificate + &key }
    }

    fn certificate(&mut self, index: usize) -> String {
        let path = self.pool_path(&format!("{index}.crt"));
        self.line(&["ssl_certificate", &path])
    }

    fn key(&mut self, index: usize) -> String {
        let path = self.pool_path(&format!("{}.key", index / 2 * 2));
        self.line(&["ssl_certificate_key", &path])
    }

    fn pool_path(&mut self, name: &str) -> String {
        // One path for one file: two would be two pairs.
        if name.starts_with('1') { format!("{}conf/pool/{name}", self.root) } else { format!("pool/{name}") }
    }

    /// An RSA or an ECDSA pair, or both.
    fn certificates(&mut self) -> Vec<usize> {
        let rsa = self.rng.usize(..8) * 4 + self.rng.usize(..2);
        let ecdsa = self.rng.usize(..8) * 4 + 2 + self.rng.usize(..2);
        match self.rng.u32(..10) {
            0..3 => vec![rsa],
            3..7 => vec![ecdsa],
            7..9 => vec![rsa, ecdsa],
            _ => vec![ecdsa, rsa],
        }
    }

    fn main(&mut self) -> (String, Vec<String>) {
        let (p, q, r, s) = (free_port(), free_port(), free_port(), free_port());
        let socket = |texts: &[String]| Socket {
            texts: texts.to_vec(),
            ssl: false,
            proxy_protocol: false,
            default_given: false,
            used: false,
        };
        self.sockets = vec![
            socket(&[format!("{p}"), format!("*:{p}"), format!("0.0.0.0:{p}")]),
            socket(&[format!("[::]:{p}"), format!("[0::0]:{p}")]),
            socket(&[format!("127.0.0.1:{p}")]),
            socket(&[format!("127.0.0.1:{q}"), format!("127.0.0.1:{q}-{q}")]),
            socket(&[format!("[::1]:{q}")]),
            socket(&[format!("127.0.0.2:{q}")]),
            socket(&[format!("unix:{}a.sock", self.root)]),
            socket(&[format!("localhost:{r}")]),
        ];
        let with_modules = std::env::var_os("CERTHOOK_TEST_NGINX").is_none();
        let mut main = String::new();
        let stream = with_modules && self.chance(25);
        let mail = with_modules && self.chance(10);
        for module in [("stream", stream), ("mail", mail)].iter().filter(|(_, wanted)| *wanted) {
            main += &format!("load_module /usr/lib/nginx/modules/ngx_{}_module.so;\n", module.0);
        }
        main += &self.line(&["pid", "nginx.pid"]);
        main += "error_log error.log;\nevents { worker_connections 1024; }\n";
        main += &self.http();
        if stream {
            let (pair, port) = (self.certificates(), s.to_string());
            let pair: String = pair.into_iter().map(|index| self.pair(index)).collect();
            let (outer, inner) = if self.chance(50) { (pair, String::new()) } else { (String::new(), pair) };
            main += &format!(
                "stream {{ {outer} server {{ listen 127.0.0.1:{port} ssl; {inner} return ok; }} }}\n"
            );
        } else if mail {
            let pair: String = self.certificates().into_iter().map(|index| self.pair(index)).collect();
            main += &format!(
                "mail {{ auth_http 127.0.0.1:1; {pair} server {{ listen 127.0.0.1:{s} ssl; protocol imap; server_name a.test; }} \
                 server {{ listen unix:{}m.sock; starttls on; protocol smtp; }} }}\n",
                self.root
            );
        }
        // What listens on all addresses answers on the second where another has the first.
        let wild = if self.sockets[2].used { "127.0.0.2:P" } else { "127.0.0.1:P" };
        let tcp = [
            "127.0.0.1:P",
            wild,
            "[::1]:P",
            "127.0.0.1:Q",
            "[::1]:Q",
            "127.0.0.2:Q",
            "127.0.0.1:R",
            "[::1]:R",
        ];
        let ports = [("P", p), ("Q", q), ("R", r)];
        let with_port = |dial: &str| {
            ports.iter().fold(dial.to_owned(), |dial, (name, port)| dial.replace(name, &port.to_string()))
        };
        let mut dials: Vec<String> = tcp.iter().map(|dial| with_port(dial)).collect();
        dials.extend(["unix:ROOT/a.sock".to_owned(), format!("127.0.0.1:{s}")]);
        (main, dials)
    }

    fn http(&mut self) -> String {
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}temp;\n", self.root));
        let mut http = format!("http {{\naccess_log off;\n{}", temp.concat());
        if self.chance(30) {
            http += "types { text/html html; 'text/x ; {' x; }\nmap $host $x { '~^a{1,2}$' 1; \"}\" 2; default \"\"; }\n";
        }
        let mut late = String::new();
        if self.chance(45) {
            self.outer = self.certificates();
            let pairs: String = self.outer.clone().into_iter().map(|index| self.pair(index)).collect();
            if self.chance(50) { http += &pairs } else { late = pairs }
        }
        let count = self.rng.usize(1..8);
        let servers: Vec<String> = (0..count).map(|number| self.server(number)).collect();
        http + &self.spread(servers) + &late + "}\n"
    }

    /// Servers in one file, or in many.
    fn spread(&mut self, servers: Vec<String>) -> String {
        let mut here = String::new();
        let pattern = self.pick(&[
            "sites/*.conf",
            "sites/[0-9a]*.conf",
            "sites/?.conf",
            "s*s/*.co[m-o][!a]",
            "./sites/*.conf",
        ]);
        let root = if self.chance(30) { format!("{}conf/", self.root) } else { String::new() };
        let mut globbed = false;
        for (number, server) in servers.into_iter().enumerate() {
            match self.rng.u32(..3) {
                0 => here += &server,
                1 => {
                    self.files.push((format!("conf/one/{number}"), server));
                    here += &self.line(&["include", &format!("{root}one/{number}")]);
                }
                _ => {
                    self.files.push((format!("conf/sites/{}.conf", 9 - number), server));
                    if !globbed {
                        here += &self.line(&["include", &format!("{root}{pattern}")]);
                        globbed = true;
                    }
                }
            }
        }
        for decoy in ["sites/.hidden.conf", "sites/0.conf~", "sites/0.conf.bak"] {
            self.files.push((format!("conf/{decoy}"), "this is } not read".to_owned()));
        }
        here + &self.line(&["include", "nothing/*.conf"])
    }

    fn server(&mut self, number: usize) -> String {
        let mut lines = self.listens();
        let reject = self.chance(6);
        if reject {
            lines.push(self.line(&["ssl_reject_handshake", "on"]));
        }
        lines.extend(self.names(number));
        // Without certificates of its own it takes those of `http`.
        let is_own = self.outer.is_empty() && !reject || self.chance(60);
        let own = if is_own { self.own_certificates() } else { Vec::new() };
        lines.extend(own.iter().cloned());
        self.rng.shuffle(&mut lines);
        // The order of several pairs counts.
        let of_pairs = lines.iter_mut().filter(|line| line.contains("pool/"));
        of_pairs.zip(own).for_each(|(line, own)| *line = own);
        lines.push("return 204;\n".to_owned());
        if self.chance(30) {
            lines.push("location ~ ^/(a|b)$ { if ($host = \"x\") { return 403; } }\n".to_owned());
        }
        if self.chance(30) {
            let cut = self.rng.usize(..lines.len());
            let moved: String = lines.drain(cut..).collect();
            self.files.push((format!("conf/snippets/{number}"), moved));
            lines.push(self.line(&["include", &format!("snippets/{number}")]));
        }
        let open = self.pick(&["server {", "server{", "server\n{", "\"server\" {", "server # {\n {"]);
        format!("{open}\n{}}}\n", lines.concat())
    }

    fn own_certificates(&mut self) -> Vec<String> {
        let outer = self.outer.clone();
        if !outer.is_empty() && self.chance(40) {
            // One of both is inherited: its twin has the same key.
            return match self.chance(50) {
                true => outer.into_iter().map(|index| self.certificate(index ^ 1)).collect(),
                false => outer.into_iter().map(|index| self.key(index)).collect(),
            };
        }
        let own = self.certificates();
        let mut lines: Vec<String> = own.iter().map(|index| self.certificate(*index)).collect();
        lines.extend(own.iter().map(|index| self.key(*index)));
        lines
    }

    fn listens(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for at in 0..self.sockets.len() {
            let likely = [55, 25, 12, 35, 15, 10, 20, 12][at];
            if !(self.rng.u32(..100) < likely || lines.is_empty() && at + 1 == self.sockets.len()) {
                continue;
            }
            let text = self.sockets[at].texts[self.rng.usize(..self.sockets[at].texts.len())].clone();
            let first = !self.sockets[at].used;
            self.sockets[at].used = true;
            let mut words = vec!["listen".to_owned(), text];
            // The first one decides; others may say it or not.
            if first {
                self.sockets[at].ssl = self.chance(90);
                self.sockets[at].proxy_protocol = self.chance(15);
            }
            if self.sockets[at].ssl && (first || self.chance(70)) {
                words.push("ssl".to_owned());
            }
            if self.sockets[at].proxy_protocol && (first || self.chance(50)) {
                words.push("proxy_protocol".to_owned());
            }
            if !self.sockets[at].default_given && self.chance(15) {
                self.sockets[at].default_given = true;
                words.push(self.pick(&["default_server", "default"]).to_owned());
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            lines.push(self.line(&words));
        }
        lines
    }

    fn names(&mut self, number: usize) -> Vec<String> {
        if self.chance(8) {
            return Vec::new();
        }
        if self.chance(10) && self.regexes == 0 {
            // Only the certificate's own names; all servers' certificates have such.
            self.regexes += 1;
            return vec!["server_name \"~^[cd]\\d{1,2}\\.own\\.example$\";\n".to_owned()];
        }
        let count = self.rng.usize(1..4);
        let mut names: Vec<String> = (0..count).map(|_| self.pick(&NAMES).to_owned()).collect();
        names.push(format!("only{number}.test"));
        if self.chance(25) {
            names.pop();
        }
        let mut words = vec!["server_name"];
        words.extend(names.iter().map(String::as_str));
        let cut = if words.len() > 2 && self.chance(20) { 2 } else { words.len() };
        let mut lines = vec![self.line(&words[..cut])];
        if cut < words.len() {
            let rest: Vec<&str> =
                std::iter::once("server_name").chain(words[cut..].iter().copied()).collect();
            lines.push(self.line(&rest));
        }
        lines
    }
}
