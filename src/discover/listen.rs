//! `listen`: addresses and what is said of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Place;
use super::levels::Kind;
use super::lexer::Fault;
use super::reader::At;
use crate::files;
use crate::problem::printable;

/// One `listen`.
#[derive(Debug, Clone)]
pub(super) struct Listen {
    pub place: Place,
    pub hosts: Hosts,
    pub ports: RangeInclusive<u16>,
    pub ssl: bool,
    /// UDP, as QUIC is: a socket of its own.
    pub quic: bool,
    pub udp: bool,
    pub proxy_protocol: bool,
    pub default: bool,
    /// An IPv6 socket takes IPv4 too.
    pub dual: bool,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hosts {
    /// One address, or those of a name.
    At(Vec<IpAddr>),
    /// A path.
    Unix(String),
}

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Socket {
    Tcp(SocketAddr),
    Unix(String),
}

impl Listen {
    /// Without any `listen` a server of `http` has this.
    pub fn implied(place: Place) -> Self {
        let hosts = Hosts::At(vec![Ipv4Addr::UNSPECIFIED.into()]);
        let (ssl, quic, udp, proxy_protocol, default) = (false, false, false, false, false);
        Self { place, hosts, ports: 80..=80, ssl, quic, udp, proxy_protocol, default, dual: false }
    }

    /// Every socket; of a range of ports all.
    pub fn sockets(&self) -> impl Iterator<Item = Socket> {
        let (addresses, path) = match &self.hosts {
            Hosts::At(addresses) => (addresses.as_slice(), None),
            Hosts::Unix(path) => (&[][..], Some(Socket::Unix(path.clone()))),
        };
        let tcp = self.ports.clone().flat_map(move |port| {
            addresses.iter().map(move |address| Socket::Tcp(SocketAddr::new(*address, port)))
        });
        tcp.chain(path)
    }
}

/// The words after `listen`.
pub(super) fn parse(resolver: &mut Resolver, kind: Kind, words: &[String], at: &At) -> Result<Listen, Fault> {
    let text = words[0].as_str();
    let (hosts, ports) = address(resolver, kind, text).map_err(|why| {
        at.fault(format!("{why} in \"{}\" of the \"listen\" directive", printable(text, 200)))
    })?;
    let has = |wanted: &str| words[1..].iter().any(|word| word == wanted);
    Ok(Listen {
        place: at.place(),
        hosts,
        ports,
        ssl: has("ssl"),
        quic: has("quic"),
        udp: has("udp"),
        proxy_protocol: has("proxy_protocol"),
        default: has("default_server") || kind == Kind::Http && has("default"),
        dual: has("ipv6only=off"),
    })
}

type Address = (Hosts, RangeInclusive<u16>);

fn address(resolver: &mut Resolver, kind: Kind, text: &str) -> Result<Address, &'static str> {
    if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("unix:")) {
        return Ok((Hosts::Unix(text[5..].to_owned()), 1..=1));
    }
    let default_port = || match kind {
        Kind::Http => Ok(80..=80),
        _ => Err("no port"),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("invalid host")?;
        let host: Ipv6Addr = host.parse().map_err(|_| "invalid IPv6 address")?;
        let ports = match rest.strip_prefix(':') {
            Some(port) => ports(port)?,
            None if rest.is_empty() => default_port()?,
            None => return Err("invalid port"),
        };
        return Ok((Hosts::At(vec![host.into()]), ports));
    }
    let Some((host, port)) = text.split_once(':') else {
        let any = || Hosts::At(vec![Ipv4Addr::UNSPECIFIED.into()]);
        let is_port = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        return match is_port {
            true => Ok((any(), ports(text)?)),
            false => Ok((resolver.resolve(text)?, default_port()?)),
        };
    };
    Ok((resolver.resolve(host)?, ports(port)?))
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err("invalid port"),
    };
    match text.split_once('-') {
        None => port(text).map(|port| port..=port),
        Some((first, last)) => match (port(first)?, port(last)?) {
            (first, last) if first <= last => Ok(first..=last),
            _ => Err("invalid port range"),
        },
    }
}

/// A name is looked up: nginx listens on all of its addresses.
#[derive(Default)]
pub(super) struct Resolver {
    known: HashMap<String, Vec<IpAddr>>,
    spent: Duration,
}

/// For all names together; one lookup may take longer, but then it was the last.
const MOST_TIME: Duration = Duration::from_secs(5);

impl Resolver {
    fn resolve(&mut self, host: &str) -> Result<Hosts, &'static str> {
        if host == "*" {
            return Ok(Hosts::At(vec![Ipv4Addr::UNSPECIFIED.into()]));
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Ok(Hosts::At(vec![address.into()]));
        }
        if !self.known.contains_key(host) {
            let addresses = self.look_up(host)?;
            self.known.insert(host.to_owned(), addresses);
        }
        match &self.known[host] {
            none if none.is_empty() => Err("host not found"),
            addresses => Ok(Hosts::At(addresses.clone())),
        }
    }

    fn look_up(&mut self, host: &str) -> Result<Vec<IpAddr>, &'static str> {
        if host.is_empty() {
            return Err("no host");
        }
        if self.spent > MOST_TIME {
            return Err("certhook has no time left to look up the host");
        }
        let begun = Instant::now();
        let mut found: Vec<IpAddr> = Vec::new();
        for address in (host, 0).to_socket_addrs().into_iter().flatten().take(64) {
            if !found.contains(&address.ip()) {
                found.push(address.ip());
            }
        }
        self.spent += begun.elapsed();
        let read = |path: &str| {
            let content = files::read_beside_writers(Path::new(path), MAX_ADDRESSES).ok();
            content.map(|content| String::from_utf8_lossy(&content.bytes).into_owned())
        };
        let is_configured =
            has_other_than_loopback(read("/proc/self/net/fib_trie"), read("/proc/self/net/if_inet6"));
        keep_configured(&mut found, is_configured);
        Ok(found)
    }
}

/// A host with thousands of addresses has less.
const MAX_ADDRESSES: u64 = 4 << 20;

/// Whether the host has an IPv4 and an IPv6 address beside loopback's.
fn has_other_than_loopback(trie: Option<String>, inet6: Option<String>) -> (bool, bool) {
    let trie = trie.unwrap_or_default();
    let lines: Vec<&str> = trie.lines().map(str::trim).collect();
    let is_other = |pair: &[&str]| {
        pair[1] == "/32 host LOCAL" && pair[0].strip_prefix("|-- ").is_some_and(|leaf| leaf != "127.0.0.1")
    };
    let v6 = inet6.unwrap_or_default();
    let is_other_v6 = |line: &str| {
        let address = line.split(' ').next().and_then(|address| u128::from_str_radix(address, 16).ok());
        address.is_some_and(|address| Ipv6Addr::from(address) != Ipv6Addr::LOCALHOST)
    };
    (lines.windows(2).any(is_other), v6.lines().any(is_other_v6))
}

/// Keeps the addresses of a name that nginx gets: it asks for those of the kinds that the host has (`AI_ADDRCONFIG`).
fn keep_configured(addresses: &mut Vec<IpAddr>, (v4, v6): (bool, bool)) {
    if v4 != v6 {
        addresses.retain(|address| address.is_ipv4() == v4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_the_kinds_that_the_host_has() {
        let trie = |leaf: &str| {
            Some(format!("Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- {leaf}\n        /32 host LOCAL\n"))
        };
        let (lo4, lo6) =
            (trie("127.0.0.1"), Some("00000000000000000000000000000001 01 80 10 80       lo\n".to_owned()));
        let (eth4, eth6) =
            (trie("10.0.0.1"), Some("fd000000000000000000000000000002 04 40 00 82     eth0\n".to_owned()));
        let all: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for (trie, inet6, expected) in [
            (&lo4, &lo6, &all[..]),
            (&eth4, &lo6, &all[..1]),
            (&eth4, &None, &all[..1]),
            (&lo4, &eth6, &all[1..]),
            (&eth4, &eth6, &all[..]),
            (&None, &None, &all[..]),
        ] {
            let mut found = all.to_vec();
            keep_configured(&mut found, has_other_than_loopback(trie.clone(), inet6.clone()));
            assert_eq!(found, expected);
        }
    }
}
