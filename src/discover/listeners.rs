//! Who listens where: servers put together by their sockets, and how each socket is dialled.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::Place;
use super::levels::{Kind, Levels};
use super::listen::{Listen, Socket};
use super::names::Names;
use crate::config::{Address, Endpoint};
use crate::files;

/// Sockets of all servers, and names on all sockets.
const MOST: usize = 1_000_000;
/// As many of them may come of ranges of ports, which multiply them: some ranges of thousands do.
const MOST_OF_RANGES: usize = 100_000;

/// One socket, with all its servers.
pub(super) struct Listener {
    pub place: Place,
    pub socket: Socket,
    pub tls: bool,
    /// Only QUIC listens there.
    pub quic: bool,
    pub proxy_protocol: bool,
    /// `[::]` takes IPv4 too.
    dual: bool,
    /// Who answers where no name is given or known.
    pub default: usize,
    explicit_default: bool,
    pub names: Names,
}

/// All of them, and those of each server, in its own order.
#[derive(Default)]
pub(super) struct Listeners {
    pub all: Vec<Listener>,
    pub of: Vec<Vec<usize>>,
    /// The first `listen` of which not every socket is looked at: there are too many.
    pub too_many: Option<Place>,
    exact: HashSet<SocketAddr>,
}

/// How a socket is reached from this host.
pub(super) enum Way {
    Dial(Endpoint),
    /// It cannot be.
    None(&'static str),
}

impl Listeners {
    pub fn of(levels: &Levels) -> Self {
        let mut found = Self::default();
        let mut known: HashMap<(Kind, Socket, bool), usize> = HashMap::new();
        let (mut left, mut left_of_ranges) = (MOST, MOST_OF_RANGES);
        for (index, server) in levels.servers.iter().enumerate() {
            let implied = [Listen::implied(server.place.clone())];
            let listens = match (server.listens.is_empty(), server.kind) {
                (true, Kind::Http) => &implied[..],
                _ => &server.listens,
            };
            let hostname = hostname_if_named(&server.names);
            let mut own = Vec::new();
            let mut seen = HashSet::new();
            for listen in listens {
                let datagrams = listen.quic || listen.udp;
                let left = if listen.ports.len() > 1 { &mut left_of_ranges } else { &mut left };
                for socket in listen.sockets() {
                    let Some(rest) = left.checked_sub(1 + server.names.len()) else {
                        found.too_many.get_or_insert_with(|| listen.place.clone());
                        break;
                    };
                    *left = rest;
                    let at = *known.entry((server.kind, socket.clone(), datagrams)).or_insert_with(|| {
                        found.all.push(Listener {
                            place: listen.place.clone(),
                            socket,
                            tls: false,
                            quic: listen.quic,
                            proxy_protocol: false,
                            dual: false,
                            default: index,
                            explicit_default: false,
                            names: Names::default(),
                        });
                        found.all.len() - 1
                    });
                    found.all[at].join(listen, index);
                    if seen.insert(at) {
                        own.push(at);
                        // A mail server's name is what it greets with.
                        for name in server.names.iter().filter(|_| server.kind != Kind::Mail) {
                            let name = if name == HOSTNAME { &hostname } else { name };
                            found.all[at].names.claim(name, index);
                        }
                    }
                }
            }
            found.of.push(own);
        }
        for listener in &mut found.all {
            // Before nginx 1.25.1 `ssl on` of its default server makes a listener speak TLS.
            let default = &levels.servers[listener.default];
            listener.tls |= !listener.quic && levels.tls(default).on == Some(true);
            if let (Socket::Tcp(address), false) = (&listener.socket, listener.quic) {
                found.exact.insert(*address);
            }
        }
        found
    }

    /// How this host reaches the listener. nginx looks for the exact address first, also where one socket takes
    /// the connections to all of them: a wildcard is asked at an address that is nobody's own.
    pub fn way(&self, listener: &Listener) -> Way {
        let address = match &listener.socket {
            Socket::Unix(path) if Path::new(path).is_absolute() => Address::Unix(path.into()),
            Socket::Unix(_) => return Way::None("its path is relative"),
            Socket::Tcp(address) if !address.ip().is_unspecified() => Address::Tcp(address.to_string()),
            Socket::Tcp(address) => {
                let found = match address {
                    SocketAddr::V4(_) => self.free_ipv4(address.port()),
                    SocketAddr::V6(_) => self.free(Ipv6Addr::LOCALHOST.into(), address.port()),
                };
                match found {
                    Some(address) => Address::Tcp(address.to_string()),
                    None => {
                        return Way::None("other listeners have this host's own addresses on that port");
                    }
                }
            }
        };
        Way::Dial(Endpoint { address, proxy_protocol: listener.proxy_protocol })
    }

    /// How it is reached by IPv4 as well, where it is an IPv6 socket for both: a host may have only one of them.
    pub fn way_by_ipv4(&self, listener: &Listener) -> Option<Endpoint> {
        let Socket::Tcp(SocketAddr::V6(address)) = &listener.socket else { return None };
        if !listener.dual || !address.ip().is_unspecified() {
            return None;
        }
        let address = Address::Tcp(self.free_ipv4(address.port())?.to_string());
        Some(Endpoint { address, proxy_protocol: listener.proxy_protocol })
    }

    /// The address, if no listener has it for its own.
    fn free(&self, ip: IpAddr, port: u16) -> Option<SocketAddr> {
        let address = SocketAddr::new(ip, port);
        (!self.exact.contains(&address)).then_some(address)
    }

    fn free_ipv4(&self, port: u16) -> Option<SocketAddr> {
        (1..=254).find_map(|n| self.free(Ipv4Addr::new(127, 0, 0, n).into(), port))
    }
}

impl Listener {
    /// What one server says of the socket counts for all of them.
    fn join(&mut self, listen: &Listen, server: usize) {
        self.tls |= listen.ssl && !listen.quic && !listen.udp;
        self.proxy_protocol |= listen.proxy_protocol;
        self.dual |= listen.dual;
        if listen.default && !self.explicit_default {
            self.default = server;
            self.explicit_default = true;
        }
    }
}

const MOST_HOSTNAME: u64 = 4096;

pub(super) const HOSTNAME: &str = "$hostname";

/// What nginx puts for `$hostname`.
pub(super) fn hostname_if_named(names: &[String]) -> String {
    match names.iter().any(|name| name == HOSTNAME) {
        true => files::read_beside_writers(Path::new("/proc/sys/kernel/hostname"), MOST_HOSTNAME)
            .map(|content| String::from_utf8_lossy(&content.bytes).trim().to_ascii_lowercase())
            .unwrap_or_default(),
        false => String::new(),
    }
}
