//! Certificates with their keys, and the handshakes that show them.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::levels::{Kind, Levels, Server, Tls, Value};
use super::listen::Socket;
use super::listeners::{HOSTNAME, Listeners, Way, hostname_if_named};
use super::names::{candidates, is_regex};
use super::reader::refused;
use super::{Found, LeftOut, Pair, Place};
use crate::config::{Ask, Endpoint, KeyAt};
use crate::problem::{Problem, printable};

/// Puts together what was read.
pub(super) fn found(mut levels: Levels) -> Found {
    let mut builder = Builder::default();
    let listeners = Listeners::of(&levels);
    for (index, server) in levels.servers.iter().enumerate() {
        let tls = levels.tls(server);
        for value in &tls.doubles {
            let why = "a pair of certificates for NTLS, which certhook cannot ask for";
            builder.leave_out(&value.place, &shown(&value.text), why);
        }
        if tls.certificates.is_empty() {
            continue;
        }
        let mut drafts = builder.name(&levels, server, &tls);
        drafts.extend(builder.name_commanded(&levels, &tls));
        builder.ask(&listeners, index, server, &tls, &drafts);
    }
    for outer in &levels.outer {
        for value in &outer.certificates {
            let is_pair = builder.by_path.contains_key(&levels.path(&value.text));
            if !is_pair && !builder.used.contains(&value.place) {
                builder.leave_out(&value.place, &shown(&value.text), "no server uses it");
            }
        }
    }
    if let Some(problem) = builder.problem.take() {
        levels.problem(|| problem);
    }
    if let Some(place) = &listeners.too_many {
        levels.problem(|| {
            Problem::new(
                "nginx_unread",
                format!(
                    "nginx's configuration has more listeners and names than can be looked at in {place}"
                ),
                "name the sites in certhook's own configuration",
            )
        });
    }
    let servers = &levels.servers;
    levels.found.opened =
        std::mem::take(&mut levels.opened).finish(|index| servers[index].names.first().cloned());
    builder.finish(levels.found)
}

#[derive(Default)]
struct Builder {
    drafts: Vec<Draft>,
    by_path: HashMap<PathBuf, usize>,
    left_out: Vec<LeftOut>,
    said: HashSet<LeftOut>,
    /// Where the directives stand that some server has or inherits.
    used: HashSet<Place>,
    /// Places that a draft has.
    placed: HashSet<(usize, Place)>,
    problem: Option<Problem>,
}

/// A pair being put together.
struct Draft {
    certificate: PathBuf,
    key: KeyAt,
    places: Vec<Place>,
    /// For each endpoint the names of each server.
    asks: Vec<(Endpoint, Vec<Vec<String>>)>,
    by_endpoint: HashMap<Endpoint, usize>,
    /// Why the first server that has it cannot be asked.
    why_not: Option<&'static str>,
    /// The listeners that show it after STARTTLS.
    after_starttls: Vec<(Place, String)>,
}

const AFTER_STARTTLS: &str = "it is served after STARTTLS only, which is not asked";

impl Builder {
    /// The drafts of a server's certificates.
    fn name(&mut self, levels: &Levels, server: &Server, tls: &Tls) -> Vec<usize> {
        self.used.extend(tls.certificates.iter().map(|value| value.place.clone()));
        let variable = |value: &Value| server.kind != Kind::Mail && value.text.contains('$');
        let of_all = if tls.lua == Some(true) {
            Some("a Lua program chooses the certificate at each handshake")
        } else if tls.certificates.iter().chain(&tls.keys).any(variable) {
            Some("it is loaded anew for each handshake: a variable stands among its server's certificates")
        } else if tls.reject == Some(true) {
            Some("its server rejects every handshake")
        } else if commanded(tls, "certificate").next().is_some() {
            // Of one kind of key the last one loaded counts, and the kinds are not known here.
            Some("an ssl_conf_command of its server may replace it")
        } else {
            None
        };
        let mut drafts = Vec::new();
        for (index, value) in tls.certificates.iter().enumerate() {
            let what = shown(&value.text);
            let Some(key) = tls.keys.get(index) else {
                let fault = format!("no \"ssl_certificate_key\" is defined for certificate \"{what}\"");
                let place = (value.place.file.as_path(), value.place.line);
                self.problem.get_or_insert_with(|| refused(&fault, Some(place)));
                self.leave_out(&value.place, &what, "it has no ssl_certificate_key");
                continue;
            };
            let why = if of_all.is_some() {
                of_all
            } else if value.text.starts_with("data:") || key.text.starts_with("data:") {
                Some("its text stands in the configuration and in no file")
            } else if value.text.contains(['\u{fffd}', '\0']) || key.text.contains(['\u{fffd}', '\0']) {
                Some("its path is no UTF-8")
            } else {
                None
            };
            match why {
                Some(why) => self.leave_out(&value.place, &what, why),
                None => drafts.push(self.draft(levels, value, key)),
            }
        }
        drafts
    }

    /// The drafts of what `ssl_conf_command` loads. nginx takes it only beside an `ssl_certificate`.
    fn name_commanded(&mut self, levels: &Levels, tls: &Tls) -> Vec<usize> {
        if tls.reject == Some(true) || tls.lua == Some(true) {
            return Vec::new();
        }
        let mut drafts = Vec::new();
        let mut keys = commanded(tls, "privatekey");
        for value in commanded(tls, "certificate") {
            let Some(key) = keys.next() else {
                let why = "no ssl_conf_command PrivateKey goes with this ssl_conf_command";
                self.leave_out(&value.place, &shown(&value.text), why);
                continue;
            };
            drafts.push(self.draft(levels, value, key));
        }
        drafts
    }

    fn draft(&mut self, levels: &Levels, value: &Value, key: &Value) -> usize {
        let certificate = levels.path(&value.text);
        let key = match key.text.starts_with("engine:") || key.text.starts_with("store:") {
            true => KeyAt::Elsewhere(key.text.clone()),
            false => KeyAt::File(levels.path(&key.text)),
        };
        let at = *self.by_path.entry(certificate.clone()).or_insert_with(|| {
            self.drafts.push(Draft {
                certificate,
                key: key.clone(),
                places: Vec::new(),
                asks: Vec::new(),
                by_endpoint: HashMap::new(),
                why_not: None,
                after_starttls: Vec::new(),
            });
            self.drafts.len() - 1
        });
        if self.drafts[at].key != key {
            let first = self.drafts[at].places.first().map(ToString::to_string).unwrap_or_default();
            self.leave_out(
                &value.place,
                &shown(&value.text),
                &format!("with another key than at {first}, which counts"),
            );
        }
        if self.placed.insert((at, value.place.clone())) {
            self.drafts[at].places.push(value.place.clone());
        }
        at
    }

    /// Every handshake that shows this server's certificates.
    fn ask(&mut self, listeners: &Listeners, index: usize, server: &Server, tls: &Tls, drafts: &[usize]) {
        let mut names = server.names.clone();
        let hostname = hostname_if_named(&names);
        names.iter_mut().filter(|name| *name == HOSTNAME).for_each(|name| name.clone_from(&hostname));
        // A mail server's name is what it greets with.
        let candidates = if server.kind == Kind::Mail { Vec::new() } else { candidates(&names) };
        let regex = server.names.iter().find(|name| is_regex(name)).filter(|_| server.kind != Kind::Mail);
        let has_starttls = server.kind == Kind::Mail && tls.starttls == Some(true);
        let mut why_not = if has_starttls { AFTER_STARTTLS } else { "no listener of its server speaks TLS" };
        for listener in listeners.of[index].iter().map(|at| &listeners.all[*at]) {
            if listener.quic {
                why_not = "it is served over QUIC only, which cannot be asked";
            }
            if !listener.tls {
                if has_starttls {
                    let what = format!("listen {}", shown_socket(&listener.socket));
                    for at in drafts {
                        self.drafts[*at].after_starttls.push((listener.place.clone(), what.clone()));
                    }
                }
                continue;
            }
            let owned = candidates.iter().filter(|host| listener.names.owner(host) == Some(index));
            let mut hosts: Vec<String> = owned.cloned().collect();
            if hosts.is_empty() && listener.default != index && regex.is_some() {
                hosts.extend(listener.names.sample(index));
            }
            if hosts.is_empty() && listener.default == index {
                hosts.push(String::new());
            } else if hosts.is_empty() && regex.is_none() {
                why_not = "no client can reach it: other servers have its names on its listeners";
                continue;
            } else if hosts.is_empty() {
                let what = format!("server_name {}", shown(regex.map_or("", String::as_str)));
                let why = "no name is known that it matches: its certificate's own names are asked for";
                self.leave_out(&server.place, &what, why);
            }
            match listeners.way(listener) {
                Way::Dial(endpoint) => {
                    for endpoint in std::iter::once(endpoint).chain(listeners.way_by_ipv4(listener)) {
                        drafts.iter().for_each(|at| self.drafts[*at].add(&endpoint, &hosts));
                    }
                }
                Way::None(why) => {
                    why_not = why;
                    let what = format!("listen {}", shown_socket(&listener.socket));
                    self.leave_out(&listener.place, &what, why);
                }
            }
        }
        for at in drafts {
            self.drafts[*at].why_not.get_or_insert(why_not);
        }
    }

    fn leave_out(&mut self, place: &Place, what: &str, why: &str) {
        let left_out = LeftOut { place: place.clone(), what: what.to_owned(), why: why.to_owned() };
        if self.said.insert(left_out.clone()) {
            self.left_out.push(left_out);
        }
    }

    fn finish(mut self, mut found: Found) -> Found {
        for draft in std::mem::take(&mut self.drafts) {
            if draft.asks.is_empty() {
                let what = shown(&draft.certificate.display().to_string());
                self.leave_out(&draft.places[0], &what, draft.why_not.unwrap_or("it is not served"));
                continue;
            }
            // Other listeners prove the certificate; these do not.
            for (place, what) in &draft.after_starttls {
                self.leave_out(place, what, AFTER_STARTTLS);
            }
            let asks = draft.asks.into_iter().map(|(endpoint, lists)| Ask { endpoint, hosts: mix(&lists) });
            found.pairs.push(Pair {
                certificate: draft.certificate,
                key: draft.key,
                asks: asks.collect(),
                places: draft.places,
            });
        }
        found.left_out.append(&mut self.left_out);
        found
    }
}

impl Draft {
    fn add(&mut self, endpoint: &Endpoint, hosts: &[String]) {
        let at = *self.by_endpoint.entry(endpoint.clone()).or_insert_with(|| {
            self.asks.push((endpoint.clone(), Vec::new()));
            self.asks.len() - 1
        });
        self.asks[at].1.push(hosts.to_vec());
    }
}

/// One name of each server first, then their second ones: only the first twenty are asked for, and each server
/// may have been forgotten by itself.
fn mix(lists: &[Vec<String>]) -> Vec<String> {
    let mut known = HashSet::new();
    let mut mixed = Vec::new();
    let mut left: Vec<_> = lists.iter().map(|list| list.iter()).collect();
    while !left.is_empty() {
        left.retain_mut(|list| match list.next() {
            Some(host) => {
                if known.insert(host) {
                    mixed.push(host.clone());
                }
                true
            }
            None => false,
        });
    }
    mixed
}

/// The values of an `ssl_conf_command`.
fn commanded<'t>(tls: &'t Tls, command: &str) -> impl Iterator<Item = &'t Value> {
    tls.commands.iter().filter(move |(name, _)| name == command).map(|(_, value)| value)
}

fn shown_socket(socket: &Socket) -> String {
    match socket {
        Socket::Tcp(address) => address.to_string(),
        Socket::Unix(path) => format!("unix:{}", shown(path)),
    }
}

fn shown(text: &str) -> String {
    match text.strip_prefix("data:") {
        // What follows may be a key.
        Some(_) => "data:…".to_owned(),
        None => printable(text, 300),
    }
}
