//! Where a link of the portal's may lead. The links come from outside: without these rules a portal that is not
//! what it seems, or whoever writes its links, has certhook make requests to services of this host and network.
//!
//! A name is not resolved to judge it: private endpoints of a cloud have public names and private addresses. Over
//! https nothing is sent before the server has proved that name by a certificate that this host trusts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// The rules that the portal's own endpoint sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    /// Plain http to loopback is allowed, because the endpoint is asked that way.
    plain: bool,
    /// How far from this host the endpoint is: a link leads no nearer.
    nearest: Distance,
}

/// How far a host is, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    /// Loopback and unspecified addresses, `localhost`.
    ThisHost,
    /// Private, shared, link-local (as clouds' metadata services) and other addresses that are not routed globally.
    ThisNetwork,
    /// Anything else; names too.
    Elsewhere,
}

impl Admission {
    /// The rules for links of the portal at `endpoint`.
    pub(super) fn of(endpoint: &str) -> Self {
        // The configuration holds no other; what is no URL allows the least.
        let url = Url::parse(endpoint).ok();
        Self {
            plain: url.as_ref().is_some_and(|url| url.scheme() == "http"),
            nearest: url.as_ref().map_or(Distance::Elsewhere, distance),
        }
    }

    /// Whether a link may be asked for at all.
    pub(super) fn admit(self, url: &Url) -> Result<(), &'static str> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user or a password");
        }
        let distance = distance(url);
        match url.scheme() {
            "https" => {}
            "http" if self.plain && is_loopback(url) => return Ok(()),
            "http" if distance == Distance::ThisHost => return Err("is http:// to this host"),
            "http" => return Err("is http://, which anybody on the way can change"),
            _ => return Err("is not https://"),
        }
        match distance {
            near if near >= self.nearest => Ok(()),
            Distance::ThisHost => Err("leads to this host"),
            _ => Err("leads to a private address"),
        }
    }

    /// Whether a redirect may be followed.
    pub(super) fn follows(self, from: &Url, to: &Url) -> Result<(), &'static str> {
        if from.scheme() != to.scheme() {
            return Err("redirects to another scheme");
        }
        if distance(to) < distance(from) {
            return Err("redirects to this host or a private address");
        }
        self.admit(to).map_err(|_| "redirects to where nothing may be asked for")
    }
}

/// Whether what is sent there in the clear stays on this host.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn distance(url: &Url) -> Distance {
    match url.host() {
        Some(url::Host::Ipv4(address)) => distance_of(address.into()),
        Some(url::Host::Ipv6(address)) => distance_of(address.into()),
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            match name == "localhost" || name.ends_with(".localhost") {
                true => Distance::ThisHost,
                false => Distance::Elsewhere,
            }
        }
        None => Distance::ThisHost,
    }
}

fn distance_of(address: IpAddr) -> Distance {
    let (this_host, this_network) = match address {
        IpAddr::V4(address) => (is_this_host(address), is_near(address)),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(inner) => (is_this_host(inner), is_near(inner)),
            None => (address.is_loopback() || address.is_unspecified(), is_near_v6(address)),
        },
    };
    match (this_host, this_network) {
        (true, _) => Distance::ThisHost,
        (_, true) => Distance::ThisNetwork,
        _ => Distance::Elsewhere,
    }
}

/// All of 0/8 is taken for this host by some systems.
fn is_this_host(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.octets()[0] == 0
}

fn is_near(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || is_shared
}

/// Unique local, link-local, site-local, multicast; and the prefixes that carry an IPv4 address (NAT64, 6to4), whose
/// far end may be such a one.
fn is_near_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    let carries =
        matches!(address.segments(), [0x64, 0xff9b, ..] | [0x2002, ..]) || address.to_ipv4().is_some();
    first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80 || address.is_multicast() || carries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(endpoint: &str) -> Admission {
        Admission::of(endpoint)
    }

    const OUT: &str = "https://portal.example";
    const PRIVATE: &str = "https://10.0.0.5";
    const HOME: &str = "http://127.0.0.1:8080";

    #[test]
    fn links_lead_no_nearer_than_the_endpoint() {
        // For an endpoint elsewhere, in a private network, and on this host by plain http.
        for (link, may) in [
            ("https://files.example.net/a?sig=x", [true, true, true]),
            ("HTTPS://files.example.net/a", [true, true, true]),
            ("https://203.0.113.7/a", [true, true, true]),
            ("https://10.0.0.5/a", [false, true, true]),
            ("https://192.168.1.1:8443/a", [false, true, true]),
            ("https://169.254.169.254/latest", [false, true, true]),
            ("https://100.64.0.1/a", [false, true, true]),
            ("https://[fd00::1]/a", [false, true, true]),
            ("https://[fe80::1]/a", [false, true, true]),
            ("https://[::ffff:10.0.0.1]/a", [false, true, true]),
            ("https://[64:ff9b::a00:1]/a", [false, true, true]),
            ("https://127.0.0.1:6443/a", [false, false, true]),
            ("https://127.1/a", [false, false, true]),
            ("https://0/a", [false, false, true]),
            ("https://0.1.2.3/a", [false, false, true]),
            ("https://[::1]/a", [false, false, true]),
            ("https://[::ffff:127.0.0.1]/a", [false, false, true]),
            ("https://localhost/a", [false, false, true]),
            ("https://x.localhost./a", [false, false, true]),
            ("http://127.0.0.1:81/a", [false, false, true]),
            ("http://127.1/a", [false, false, true]),
            ("http://[::1]:81/a", [false, false, true]),
            ("http://localhost/a", [false, false, true]),
            ("http://0.0.0.0/a", [false, false, false]),
            ("http://files.example.net/a", [false, false, false]),
            ("http://localhost.example.net/a", [false, false, false]),
            ("http://10.0.0.5/a", [false, false, false]),
            ("http://169.254.169.254/latest", [false, false, false]),
            ("https://user@files.example.net/a", [false, false, false]),
            ("https://:pass@files.example.net/a", [false, false, false]),
            ("file:///etc/shadow", [false, false, false]),
            ("ftp://files.example.net/a", [false, false, false]),
            ("data:text/plain,x", [false, false, false]),
            ("unix:/run/docker.sock", [false, false, false]),
        ] {
            let url = Url::parse(link).unwrap();
            let found = [OUT, PRIVATE, HOME].map(|endpoint| rules(endpoint).admit(&url).is_ok());
            assert_eq!(found, may, "{link}");
        }
        // An endpoint on this host by https is no reason for plain links.
        assert!(rules("https://127.0.0.1").admit(&Url::parse("http://127.0.0.1/a").unwrap()).is_err());
    }

    #[test]
    fn redirects_stay_with_the_scheme_and_come_no_nearer() {
        let out = "https://a.example/x";
        for (endpoint, from, to, may) in [
            (OUT, out, "https://b.example/y", true),
            (OUT, out, "http://b.example/y", false),
            (OUT, out, "http://127.0.0.1/y", false),
            (OUT, out, "https://127.0.0.1/y", false),
            (OUT, out, "https://10.1.2.3/y", false),
            (OUT, out, "https://[::1]/y", false),
            (OUT, out, "https://[::ffff:127.0.0.1]/y", false),
            (OUT, out, "https://0/y", false),
            (OUT, out, "https://localhost./y", false),
            (OUT, out, "https://user@b.example/y", false),
            (OUT, out, "file:///etc/shadow", false),
            // A link that leads elsewhere brings nobody home, whatever the endpoint is.
            (HOME, out, "https://127.0.0.1/y", false),
            (HOME, "http://127.0.0.1/x", "http://127.0.0.1:9/y", true),
            (HOME, "http://127.0.0.1/x", "http://b.example/y", false),
            (HOME, "http://127.0.0.1/x", "https://b.example/y", false),
        ] {
            let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
            assert_eq!(rules(endpoint).follows(&from, &to).is_ok(), may, "{from} {to}");
        }
    }
}
