//! `listen`: addresses and what is said of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::Place;
use super::levels::Kind;
use super::lexer::Fault;
use super::reader::At;
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
        Self { place, hosts, ports: 80..=80, ssl, quic, udp, proxy_protocol, default }
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
        Ok(found)
    }
}
