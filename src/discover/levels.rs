//! The directives that matter, by the level that they stand on: what is inherited, and the servers.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::lexer::Fault;
use super::listen::{self, Listen, Resolver};
use super::opened::Drafts;
use super::reader::{At, refused};
use super::{Found, Log, Place};
use crate::problem::{Problem, printable};

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Main,
    /// `http`, `stream`, `mail`.
    Kind(Kind),
    /// Index into [`Levels::servers`].
    Server(usize),
    /// `location` and what stands in it.
    Location,
    /// Its lines are values and no directives.
    Data,
    /// The same; it includes without patterns.
    Geo,
    Other,
}

/// Which of nginx's modules serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Http,
    Stream,
    Mail,
}

/// Everything read, not yet put together.
pub(super) struct Levels {
    pub found: Found,
    /// By [`Kind`].
    pub outer: [Tls; 3],
    pub servers: Vec<Server>,
    pub opened: Drafts,
    /// `ssl_ntls` stands somewhere: a program that knows it takes two arguments of `ssl_certificate`.
    knows_ntls: bool,
    /// The first directive with two, and its end.
    double: Option<(Rc<Path>, usize, String)>,
    folder: PathBuf,
    prefix: PathBuf,
    resolver: Resolver,
}

/// What a level says of TLS.
#[derive(Debug, Clone, Default)]
pub(super) struct Tls {
    pub certificates: Vec<Value>,
    pub keys: Vec<Value>,
    /// `ssl_conf_command`, by the command's name in lower case.
    pub commands: Vec<(String, Value)>,
    /// `ssl_certificate` with a file for signatures and one for encryption, as Angie's `ssl_ntls` wants it.
    pub doubles: Vec<Value>,
    /// `ssl on`, of nginx before 1.25.1.
    pub on: Option<bool>,
    pub reject: Option<bool>,
    pub starttls: Option<bool>,
    /// A program chooses the certificate.
    pub lua: Option<bool>,
}

/// One word of a directive.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub text: String,
    pub place: Place,
}

/// One `server` block.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub kind: Kind,
    pub place: Place,
    pub tls: Tls,
    pub listens: Vec<Listen>,
    /// As written, in lower case but for regular expressions.
    pub names: Vec<String>,
}

impl Levels {
    pub fn new(folder: PathBuf, prefix: PathBuf) -> Self {
        let (outer, opened, resolver) = Default::default();
        Self {
            found: Found::default(),
            outer,
            servers: Vec::new(),
            opened,
            knows_ntls: false,
            double: None,
            folder,
            prefix,
            resolver,
        }
    }

    /// Keeps the first.
    pub fn problem(&mut self, problem: impl FnOnce() -> Problem) {
        self.found.problem.get_or_insert_with(problem);
    }

    /// A path of the configuration: relative to its own folder.
    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// What a server has, its own or inherited; each setting by itself, as nginx merges them.
    pub fn tls(&self, server: &Server) -> Tls {
        let (own, outer) = (&server.tls, &self.outer[server.kind as usize]);
        fn values<T: Clone>(own: &[T], outer: &[T]) -> Vec<T> {
            if own.is_empty() { outer.to_vec() } else { own.to_vec() }
        }
        Tls {
            certificates: values(&own.certificates, &outer.certificates),
            keys: values(&own.keys, &outer.keys),
            commands: values(&own.commands, &outer.commands),
            doubles: values(&own.doubles, &outer.doubles),
            on: own.on.or(outer.on),
            reject: own.reject.or(outer.reject),
            starttls: own.starttls.or(outer.starttls),
            lua: own.lua.or(outer.lua),
        }
    }

    /// Notes the file that a directive names, if nginx opens it when it loads the configuration.
    pub fn opens(&mut self, words: &[String], at: &At, blocks: &[Block]) {
        self.opened.directive(words, at, blocks, &self.folder, &self.prefix);
    }

    /// `words {`
    pub fn block(&mut self, around: Block, words: &[String], at: &At) -> Result<Block, Fault> {
        let name = words[0].as_str();
        if let Block::Data | Block::Geo = around {
            return Ok(Block::Data);
        }
        allowed(around, name, at)?;
        let entered = match (around, name) {
            (Block::Main, "http") => Block::Kind(Kind::Http),
            (Block::Main, "stream") => Block::Kind(Kind::Stream),
            (Block::Main, "mail") => Block::Kind(Kind::Mail),
            (Block::Kind(kind), "server") => {
                let place = at.place();
                self.servers.push(Server {
                    kind,
                    place,
                    tls: Tls::default(),
                    listens: Vec::new(),
                    names: Vec::new(),
                });
                Block::Server(self.servers.len() - 1)
            }
            (_, "types" | "map" | "charset_map" | "split_clients") => return Ok(Block::Data),
            (_, "geo") => return Ok(Block::Geo),
            (Block::Server(_), "location" | "if") | (Block::Location, "location" | "if" | "limit_except") => {
                return Ok(Block::Location);
            }
            _ if is_simple(around, name) => {
                return Err(at.fault(format!("directive \"{name}\" is not terminated by \";\"")));
            }
            _ => return Ok(Block::Other),
        };
        match words.len() {
            1 => Ok(entered),
            _ => Err(at.fault(format!("invalid number of arguments in \"{name}\" directive"))),
        }
    }

    /// `words;`
    pub fn directive(&mut self, block: Block, words: &[String], at: &At) -> Result<(), Fault> {
        let name = words[0].as_str();
        allowed(block, name, at)?;
        match block {
            Block::Main => return self.main(words, at),
            Block::Kind(_) if name == "server" => {
                return Err(at.fault("directive \"server\" has no opening \"{\""));
            }
            _ if !is_simple(block, name) => return Ok(()),
            _ => {}
        }
        let arguments = match (name, words) {
            ("ssl_conf_command", [_, _, _]) | ("listen" | "server_name", [_, _, ..]) => &words[1..],
            ("ssl_conf_command", _) => {
                return Err(at.fault(format!("invalid number of arguments in \"{name}\" directive")));
            }
            ("ssl_certificate" | "ssl_certificate_key", [_, _, _]) => {
                self.double.get_or_insert_with(|| (Rc::clone(&at.file), at.end, name.to_owned()));
                let text = words[1..].join(" ");
                let tls = self.level(block).filter(|_| name == "ssl_certificate");
                tls.into_iter()
                    .for_each(|tls| tls.doubles.push(Value { text: text.clone(), place: at.place() }));
                return Ok(());
            }
            (_, [_, _]) => &words[1..],
            _ => return Err(at.fault(format!("invalid number of arguments in \"{name}\" directive"))),
        };
        let value = || Value { text: arguments[0].clone(), place: at.place() };
        let on = arguments[0].eq_ignore_ascii_case("on");
        if let Block::Server(index) = block {
            match name {
                "listen" => {
                    let listen = listen::parse(&mut self.resolver, self.servers[index].kind, arguments, at)?;
                    self.servers[index].listens.push(listen);
                    return Ok(());
                }
                "server_name" => {
                    self.servers[index].names.extend(arguments.iter().map(|name| match name.as_str() {
                        regex if regex.starts_with('~') => name.clone(),
                        _ => name.to_ascii_lowercase(),
                    }));
                    return Ok(());
                }
                _ => {}
            }
        }
        self.knows_ntls |= name == "ssl_ntls";
        let Some(tls) = self.level(block) else { return Ok(()) };
        match name {
            "ssl_conf_command" => {
                let value = Value { text: arguments[1].clone(), place: at.place() };
                tls.commands.push((arguments[0].to_ascii_lowercase(), value));
            }
            "ssl_certificate" => tls.certificates.push(value()),
            "ssl_certificate_key" => tls.keys.push(value()),
            "ssl" => tls.on = Some(on),
            "ssl_reject_handshake" => tls.reject = Some(on),
            "starttls" => tls.starttls = Some(!arguments[0].eq_ignore_ascii_case("off")),
            "ssl_certificate_by_lua_file" | "ssl_certificate_by_lua" => tls.lua = Some(true),
            _ => {}
        }
        Ok(())
    }

    /// Checks what can be judged only when all is read.
    pub fn finish(&mut self) {
        if let Some((file, line, name)) = self.double.take().filter(|_| !self.knows_ntls) {
            let what = format!("invalid number of arguments in \"{name}\" directive");
            self.problem(|| refused(&what, Some((&file, line))));
        }
    }

    /// A block of Lua.
    pub fn lua(&mut self, block: Block, name: &str) {
        if name == "ssl_certificate_by_lua_block"
            && let Some(tls) = self.level(block)
        {
            tls.lua = Some(true);
        }
    }

    fn level(&mut self, block: Block) -> Option<&mut Tls> {
        match block {
            Block::Kind(kind) => Some(&mut self.outer[kind as usize]),
            Block::Server(index) => Some(&mut self.servers[index].tls),
            _ => None,
        }
    }

    fn main(&mut self, words: &[String], at: &At) -> Result<(), Fault> {
        match (words[0].as_str(), &words[1..]) {
            ("error_log", [target, ..]) => self.found.error_logs.push(log(&self.prefix, target)),
            ("pid", [file]) => self.found.pid_file = Some(self.prefix.join(file)),
            ("error_log" | "pid", _) => {
                return Err(at.fault(format!(
                    "invalid number of arguments in \"{}\" directive",
                    printable(&words[0], 40)
                )));
            }
            ("http" | "stream" | "mail" | "events", _) => {
                return Err(at.fault(format!("directive \"{}\" has no opening \"{{\"", words[0])));
            }
            _ => {}
        }
        Ok(())
    }
}

fn log(prefix: &Path, target: &str) -> Log {
    match target {
        "stderr" => Log::Stderr,
        _ if target.starts_with("syslog:") => Log::Syslog,
        _ if target.starts_with("memory:") => Log::Other(printable(target, 100)),
        _ => Log::File(prefix.join(target)),
    }
}

/// The directives that are read on a level of `http`, `stream` and `mail` and in their servers.
fn is_simple(block: Block, name: &str) -> bool {
    match name {
        "listen" | "server_name" => matches!(block, Block::Server(_)),
        "ssl_certificate"
        | "ssl_certificate_key"
        | "ssl_conf_command"
        | "ssl_ntls"
        | "ssl"
        | "ssl_reject_handshake"
        | "starttls"
        | "ssl_certificate_by_lua"
        | "ssl_certificate_by_lua_file" => matches!(block, Block::Server(_) | Block::Kind(_)),
        "include" => !matches!(block, Block::Data | Block::Geo),
        "user" | "worker_processes" | "pid" | "error_log" | "load_module" | "daemon" | "env" => {
            block == Block::Main
        }
        _ => false,
    }
}

/// What has other letters than directives have is no configuration, or begins with a mark of its encoding; and
/// a block in the wrong place tells of a brace that is missing before it.
fn allowed(block: Block, name: &str, at: &At) -> Result<(), Fault> {
    let is_read = matches!(block, Block::Main | Block::Kind(_) | Block::Server(_) | Block::Location);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if is_read && (name.is_empty() || !name.bytes().all(fits)) {
        return Err(at.fault(format!("unknown directive \"{}\"", printable(name, 80))));
    }
    let misplaced = match name {
        "events" | "http" | "mail" => matches!(block, Block::Kind(_) | Block::Server(_) | Block::Location),
        "server" => matches!(block, Block::Main | Block::Server(_) | Block::Location),
        "listen" => matches!(block, Block::Main | Block::Kind(_) | Block::Location),
        // A mail server's may be inherited.
        "server_name" => {
            matches!(block, Block::Main | Block::Kind(Kind::Http | Kind::Stream) | Block::Location)
        }
        "location" => matches!(block, Block::Main | Block::Kind(_)),
        "ssl_certificate" | "ssl_certificate_key" => matches!(block, Block::Main | Block::Location),
        _ => false,
    };
    match misplaced {
        true => Err(at.fault(format!("\"{name}\" directive is not allowed here"))),
        false => Ok(()),
    }
}
