//! What certhook reads in nginx's configuration is what nginx does: asked of a real one, by `-T`, by `-t` and by
//! handshakes, for configurations made by chance and for those that packages ship.

#[path = "discovery/made.rs"]
mod made;
#[path = "discovery/patterns.rs"]
mod patterns;
#[path = "discovery/shipped.rs"]
mod shipped;

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use certhook::config::{Address, Endpoint, KeyAt};
use certhook::discover::{self, Found, Instance};
use certhook_test_support::ca::{Authority, KeyType, Order, Pair};
use certhook_test_support::wire::{Accepts, Client};
use tempfile::TempDir;

use made::Made;

/// Configurations made by chance; the issue asks for 200.
const CONFIGURATIONS: u64 = 240;

const GLOBALS: &str = "daemon off; master_process off;";

/// Certificates, two of each key, RSA and ECDSA by turns of two; made once.
fn pool() -> &'static [Pair] {
    static POOL: OnceLock<Vec<Pair>> = OnceLock::new();
    POOL.get_or_init(|| {
        let authority = Authority::new();
        let mut pairs: Vec<Pair> = Vec::new();
        for index in 0..32 {
            let names = [format!("c{index}.own.example"), format!("d{index}.own.example")];
            let hosts = names.each_ref().map(String::as_str);
            let key = if index % 4 < 2 { KeyType::Rsa2048 } else { KeyType::EcdsaP256 };
            let reuse_key = (index % 2 == 1).then(|| pairs[index - 1].clone());
            let order = Order { hosts: &hosts, key, reuse_key: reuse_key.as_ref(), ..Order::default() };
            pairs.push(authority.issue(order));
        }
        pairs
    })
}

fn is_rsa(index: usize) -> bool {
    index % 4 < 2
}

/// Which of the pool a path is: its name is `NN.crt`.
fn index_of(path: &Path) -> usize {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// A folder with the pool's files, and nginx in it.
struct Ground {
    folder: TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("certhook-discovery-").tempdir().unwrap();
        let ground = Self { folder };
        for (index, pair) in pool().iter().enumerate() {
            ground.write(&format!("conf/pool/{index}.crt"), &pair.fullchain_pem);
            ground.write(&format!("conf/pool/{index}.key"), &pair.key_pem);
        }
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    fn found(&self) -> Found {
        discover::nginx(&Instance {
            config: self.path("conf/nginx.conf"),
            prefix: self.path(""),
            globals: Some(GLOBALS.to_owned()),
        })
    }

    /// Dies with the thread that starts it.
    fn nginx(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nginx", "-g", GLOBALS, "-p"]).arg(self.path(""));
        command.arg("-e").arg(self.path("error.log")).arg("-c").arg(self.path("conf/nginx.conf"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin")).stdin(Stdio::null());
        command
    }

    fn run(&self, argument: &str) -> Output {
        self.nginx().arg(argument).output().unwrap()
    }

    /// The files that nginx read, and everything in them.
    fn dumped(&self) -> (Vec<PathBuf>, String) {
        let output = self.run("-T");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let named = |line: &str| Some(line.strip_prefix("# configuration file ")?.strip_suffix(':')?.into());
        (text.lines().filter_map(named).collect(), text)
    }

    fn start(&self) -> Option<Running> {
        let log = std::fs::File::create(self.path("stderr")).unwrap();
        // A test of the configuration leaves an empty one.
        let _ = std::fs::remove_file(self.path("nginx.pid"));
        let mut running = Running(self.nginx().stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let begun = Instant::now();
        // It is written when all sockets listen.
        while !self.path("nginx.pid").exists() {
            if running.0.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "nginx does not start");
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(running)
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fingerprint that an endpoint shows.
fn shown(endpoint: &Endpoint, host: &str, accepts: Accepts) -> std::io::Result<String> {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n";
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));
    let client = Client { accepts, ..Client::default() };
    let header = if endpoint.proxy_protocol { HEADER } else { b"" };
    let served = match &endpoint.address {
        Address::Tcp(address) => {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(PATIENCE)?;
            stream.write_all(header)?;
            client.served_over(stream, host, |_| Ok(()))
        }
        Address::Unix(path) => {
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(PATIENCE)?;
            stream.write_all(header)?;
            client.served_over(stream, host, |_| Ok(()))
        }
    };
    served.map(|served| served.fingerprint)
}

/// Counts, to see that the corpus is not about nothing.
#[derive(Default)]
struct Seen {
    pairs: AtomicUsize,
    handshakes: AtomicUsize,
    others: AtomicUsize,
    left_out: AtomicUsize,
}

fn judge(made: &Made, ground: &Ground, seen: &Seen) {
    let found = ground.found();
    assert_eq!(found.problem, None, "{made}");
    let (files, text) = ground.dumped();
    assert_eq!(found.files, files, "{made}");

    let named: BTreeSet<usize> =
        text.split(".crt").filter_map(|part| part.rsplit_once("pool/")?.1.parse().ok()).collect();
    let of_pairs = found.pairs.iter().map(|pair| index_of(&pair.certificate));
    let left_out = found
        .left_out
        .iter()
        .filter_map(|left| left.what.strip_suffix(".crt")?.rsplit('/').next()?.parse().ok());
    let told: BTreeSet<usize> = of_pairs.chain(left_out).collect();
    assert_eq!(told, named, "{made}\n{found:#?}");

    let mut asked: HashMap<String, BTreeSet<Endpoint>> = HashMap::new();
    for pair in &found.pairs {
        let index = index_of(&pair.certificate);
        let expected = &pool()[index];
        assert_eq!(pair.key, KeyAt::File(ground.path(&format!("conf/pool/{}.key", index / 2 * 2))), "{made}");
        let accepts = if is_rsa(index) { Accepts::Rsa } else { Accepts::Ecdsa };
        for ask in &pair.asks {
            let hosts = if ask.hosts.is_empty() { &expected.hosts } else { &ask.hosts };
            for host in hosts {
                let shown = shown(&ask.endpoint, host, accepts);
                assert_eq!(
                    shown.as_deref().map_err(ToString::to_string),
                    Ok(expected.fingerprint.as_str()),
                    "{index}.crt at {} for {host:?}\n{made}\n{found:#?}",
                    ask.endpoint
                );
                seen.handshakes.fetch_add(1, Ordering::Relaxed);
            }
            asked.entry(expected.fingerprint.clone()).or_default().insert(ask.endpoint.clone());
        }
        seen.pairs.fetch_add(1, Ordering::Relaxed);
    }
    seen.left_out.fetch_add(found.left_out.len(), Ordering::Relaxed);

    // And the other way: whatever a client can get anywhere is asked for there.
    for endpoint in &made.endpoints(ground) {
        for host in &made.hosts {
            let Ok(fingerprint) = shown(endpoint, host, Accepts::Any) else { continue };
            let known = asked.get(&fingerprint);
            assert!(
                known.is_some_and(|endpoints| endpoints.contains(endpoint)),
                "{endpoint} for {host:?} shows {:?}\n{made}\n{found:#?}",
                pool().iter().position(|pair| pair.fingerprint == fingerprint)
            );
            seen.others.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn configurations_made_by_chance() {
    let (next, seen) = (AtomicUsize::new(0), Seen::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if seed >= CONFIGURATIONS {
                        return;
                    }
                    // A port may have been taken since; then others are tried.
                    let tried = (0..5).any(|_| {
                        let ground = Ground::new();
                        let made = Made::new(seed, &ground);
                        let Some(_running) = ground.start() else {
                            let said = std::fs::read_to_string(ground.path("stderr")).unwrap();
                            assert!(said.contains("Address already in use"), "{said}\n{made}");
                            return false;
                        };
                        judge(&made, &ground, &seen);
                        true
                    });
                    assert!(tried, "{seed}: no free ports");
                }
            });
        }
    });
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    let counts = (count(&seen.pairs), count(&seen.handshakes), count(&seen.others), count(&seen.left_out));
    println!(
        "{CONFIGURATIONS} configurations, {:?}; pairs, handshakes, others, left out: {counts:?}",
        begun.elapsed()
    );
    assert!(counts.0 > 500 && counts.1 > 1000 && counts.2 > 1000 && counts.3 > 50, "{counts:?}");
}

/// What nginx refuses, and where it says that the fault is.
#[test]
fn what_nginx_refuses_is_refused_at_the_same_line() {
    let long = "x".repeat(5000);
    let site =
        "listen unix:/tmp/certhook-never ssl;\nssl_certificate pool/0.crt;\nssl_certificate_key pool/0.key;";
    let in_main = |text: &str| format!("{text}\nevents {{}}\n");
    let in_server = |text: &str| format!("events {{}}\nhttp {{\nserver {{\n{site}\n{text}\n}}\n}}\n");
    let mut texts: Vec<Vec<u8>> = [
        "user x",
        "\n\n}",
        ";",
        "{",
        "events {}\n}",
        "include none.conf;",
        "include\n  none.conf\n;",
        "user \"x\"y;",
        "user 'x;\n",
        "user \"x;\n",
        "http {\n\n",
        "http {\nserver {\n}\n\n",
        "\u{feff}user root;",
        "include other;",
        "include unbalanced;",
        "include unclosed;",
        "include quote;",
        "include;",
        "include a b;",
        "http;",
        "events;",
        "pid;",
        "pid a b;",
        "user root }",
        "\"user;",
        "# fine\n\n\\",
        "$",
        "user root;\n;",
        "binary\u{1} x;",
        "error_log;",
        "events {}\nhttp { ssl_certificate a b; }",
        "events {}\nhttp {\nserver;\n}",
        "events {}\nhttp { ssl_certificate\n{ } }",
        "user a\n}",
        "load_module x;;",
        "events {}\nhttp { include bad*; }",
    ]
    .map(|text| in_main(text).into_bytes())
    .into();
    texts.extend(
        [
            "listen 0;",
            "listen 65536;",
            "listen 9-8;",
            "listen [::1;",
            "listen [::x]:1;",
            "listen;",
            "listen :1;",
            "server_name;",
            "ssl_certificate;",
            "ssl_certificate a b;",
            "listen 127.0.0.1:;",
            "include none;",
            "location / {",
            "listen {",
            "server_name a b {",
            "listen 127.0.0.1:1 \"x;",
            "listen 1a;",
        ]
        .map(|text| in_server(text).into_bytes()),
    );
    texts.push(in_main(&format!("user {long};")).into_bytes());
    texts.push(in_main(&format!("user \"{long}\";")).into_bytes());
    texts.push(in_main(&format!("\n# {long}\n")).into_bytes());
    texts.push(b"user root;\n\x00\x01\xff\xfe{;}".to_vec());
    let ground = Ground::new();
    ground.write("conf/other", "user root;\n\n}\n");
    ground.write("conf/unbalanced", "events {\n\n");
    ground.write("conf/unclosed", "events {}\nuser root\n");
    ground.write("conf/quote", "user \"root;\n\n");
    ground.write("conf/bad.1", "# fine\n");
    ground.write("conf/bad.2", "server_tokens\noff\n");
    let mut wrong = Vec::new();
    for text in texts {
        ground.write("conf/nginx.conf", &text);
        let said = String::from_utf8_lossy(&ground.run("-t").stderr).into_owned();
        // What it complains of may hold line feeds itself.
        let (_, emerg) = said.split_once("[emerg]").unwrap_or_default();
        let emerg = emerg.split("\nnginx: ").next().unwrap_or_default().trim();
        let place =
            emerg.rsplit_once(" in /").map_or("nowhere".to_owned(), |(_, place)| format!(" in /{place}"));
        let problem = ground.found().problem;
        if !problem
            .as_ref()
            .is_some_and(|found| found.code == "nginx_config" && found.message.ends_with(&place))
        {
            let text = String::from_utf8_lossy(&text).chars().take(300).collect::<String>();
            wrong.push(format!("{text}\n{emerg}\n{problem:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
