//! How a portal is set up.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::downloads::Counter;
use super::journal::Journal;
use super::record::{NotInstalled, Record};
use super::server::{Door, Place};
use super::state::State;
use super::{Api, House, Portal};
use crate::ca::Authority;

/// What does not change while the portal lives.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) tenant: String,
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) requests_per_week: usize,
    pub(super) token_lifetime: Duration,
    pub(super) expires_in_as_number: bool,
    pub(super) not_installed: NotInstalled,
    pub(super) report_answer_as_object: bool,
    pub(super) signed_links: bool,
    pub(super) link_lifetime: Duration,
    pub(super) renew_within: Duration,
    pub(super) renewal_takes: Duration,
}

/// The documentation's own example. Its secret has characters that must be percent-encoded.
impl Default for Settings {
    fn default() -> Self {
        Self {
            tenant: "contoso.com".to_owned(),
            client_id: "625bc9f6-3bf6-4b6d-94ba-e97cf07a22de".to_owned(),
            client_secret: "qkDwDJlDfig2IpeuUZYKH1Wb8q1V0ju6sILxQQqhJ+s=".to_owned(),
            requests_per_week: 50,
            token_lifetime: Duration::from_secs(3599),
            expires_in_as_number: false,
            not_installed: NotInstalled::default(),
            report_answer_as_object: false,
            signed_links: true,
            link_lifetime: Duration::from_secs(3600),
            renew_within: Duration::from_secs(30 * 24 * 3600),
            renewal_takes: Duration::from_secs(120),
        }
    }
}

/// Sets up a [`Portal`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    settings: Settings,
    listen: SocketAddr,
    downloads_listen: SocketAddr,
    authority: Option<Arc<Authority>>,
    journal_file: Option<PathBuf>,
    certificates: Vec<Record>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            downloads_listen: (Ipv4Addr::LOCALHOST, 0).into(),
            authority: None,
            journal_file: None,
            certificates: Vec::new(),
        }
    }
}

impl Builder {
    /// The loopback address to listen on; by default a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The loopback address of the download server; by default a free port of 127.0.0.1.
    pub fn downloads_listen(mut self, address: SocketAddr) -> Self {
        self.downloads_listen = address;
        self
    }

    /// A file that gets a line for each request; it is added to.
    pub fn journal_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.journal_file = Some(path.into());
        self
    }

    /// The tenant, by default `contoso.com`.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.settings.tenant = tenant.into();
        self
    }

    /// The client id, by default the documentation's.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.settings.client_id = id.into();
        self
    }

    /// The client secret, by default the documentation's.
    pub fn client_secret(mut self, secret: impl Into<String>) -> Self {
        self.settings.client_secret = secret.into();
        self
    }

    /// The weekly budget, by default 50.
    pub fn requests_per_week(mut self, requests: usize) -> Self {
        self.settings.requests_per_week = requests;
        self
    }

    /// How long a token is good for, in whole seconds; by default 3599.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.token_lifetime = lifetime;
        self
    }

    /// Whether a token's numbers come as JSON numbers; by default they are strings.
    pub fn expires_in_as_number(mut self, yes: bool) -> Self {
        self.settings.expires_in_as_number = yes;
        self
    }

    /// How "not installed" is spelled, by default as `""`.
    pub fn not_installed(mut self, spelling: NotInstalled) -> Self {
        self.settings.not_installed = spelling;
        self
    }

    /// Whether a report is answered by an object; by default it is an array of one.
    pub fn report_answer_as_object(mut self, yes: bool) -> Self {
        self.settings.report_answer_as_object = yes;
        self
    }

    /// Who issues the portal's certificates; by default an authority of its own.
    pub fn authority(mut self, authority: Arc<Authority>) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Whether a download needs the signature that its link has; by default it does.
    pub fn signed_links(mut self, yes: bool) -> Self {
        self.settings.signed_links = yes;
        self
    }

    /// How long a link's signature is good for, by the portal's clock; by default an hour.
    pub fn link_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.link_lifetime = lifetime;
        self
    }

    /// How soon a certificate must end to be scheduled for renewal; by default within 30 days.
    pub fn renew_within(mut self, within: Duration) -> Self {
        self.settings.renew_within = within;
        self
    }

    /// How long a scheduled renewal takes by the portal's clock, by default two minutes. With `Duration::ZERO`
    /// it is real at once, with `Duration::MAX` only when [`Portal::finish_renewals`] says so.
    pub fn renewal_takes(mut self, time: Duration) -> Self {
        self.settings.renewal_takes = time;
        self
    }

    /// One more certificate.
    pub fn certificate(mut self, record: Record) -> Self {
        self.certificates.push(record);
        self
    }

    /// Starts the portal. Fails when the address is not loopback or not free, when the client
    /// secret is empty, or when the journal file cannot be opened.
    pub fn start(self) -> io::Result<Portal> {
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if !self.listen.ip().is_loopback() || !self.downloads_listen.ip().is_loopback() {
            return invalid("the simulator listens on loopback addresses only");
        }
        if self.settings.client_secret.is_empty() {
            return invalid("the client secret is empty");
        }
        let mut state = State::new(self.settings);
        state.journal = Journal::open(self.journal_file.as_deref())?;
        state.store.authority = self.authority.unwrap_or_default();
        for record in self.certificates {
            state.set_certificate(record);
        }
        let (place, downloads) = (Place::reserve(self.listen)?, Place::reserve(self.downloads_listen)?);
        state.store.origin = format!("http://{}", downloads.address());
        let house = Arc::new(House::new(state));
        let door = Door::open(place, Arc::new(Api(Arc::clone(&house))))?;
        let downloads = Door::open(downloads, Arc::new(Counter(Arc::clone(&house))))?;
        Ok(Portal { house, door, downloads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_will_do() {
        let refused = Builder::default().listen(([0, 0, 0, 0], 0).into()).start().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let refused = Builder::default().client_secret("").start().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
