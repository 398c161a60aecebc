//! A web host in a box: nginx with a site whose key is root's, a portal, and the packages to install.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use certhook_test_support::ca::{Authority, Order, Pair};
use certhook_test_support::machine::Machine;
use certhook_test_support::portal::{Portal, Record};
use certhook_test_support::wire;
use serde_json::Value;

/// The name of the only site.
pub const SITE: &str = "shop.test";
/// As certbot has it: links to numbered files, in folders that are root's alone.
pub const CERTIFICATE: &str = "/etc/letsencrypt/live/shop.test/fullchain.pem";
const LINEAGE: &str = "shop.test";
const ENDPOINT: &str = "127.0.0.1:443";
const ID: i64 = 158;

/// Which of the two packages that are made of the same tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Old,
    New,
}

/// The host. It is a [`Machine`], with more.
pub struct Host {
    machine: Machine,
    authority: Authority,
    renewals: u32,
    pub pair: Pair,
    /// There until the end.
    portal: Option<Portal>,
}

impl Deref for Host {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Host {
    /// Boots it; nginx serves the site, and certhook is not installed.
    pub fn boot(suite: &str) -> Self {
        let machine = Machine::boot(suite);
        for (version, folder) in [(Version::Old, "old"), (Version::New, "new")] {
            for kind in ["deb", "rpm"] {
                machine.copy_in(&package(version, kind), &format!("/root/{folder}.{kind}"));
            }
        }
        let portal = machine.in_network(|| Portal::builder().start().unwrap());
        let authority = Authority::new();
        let pair = authority.issue(Order { hosts: &[SITE], ..Order::default() });
        let mut host = Self { machine, authority, renewals: 0, pair, portal: Some(portal) };
        host.add_installed(ID, SITE);
        host.ok("mkdir -p -m 700 /etc/letsencrypt/live /etc/letsencrypt/archive");
        host.publish();
        host.write("/etc/nginx/sites-enabled/shop", 0o644, &format!(
            "server {{\n    listen {ENDPOINT} ssl;\n    server_name {SITE};\n    ssl_certificate {CERTIFICATE};\n    \
             ssl_certificate_key {};\n}}\n",
            CERTIFICATE.replace("fullchain", "privkey"),
        ));
        // Its package has begun it already, on some suites.
        host.ok("rm -f /etc/nginx/sites-enabled/default; systemctl restart nginx");
        host.wait_until_served();
        host
    }

    /// The portal, in the box's network.
    pub fn portal(&self) -> &Portal {
        self.portal.as_ref().expect("there until the end")
    }

    /// A certificate that the portal knows to be installed.
    pub fn add_installed(&self, id: i64, name: &str) {
        let installed = Some("2026-01-01T00:00:00".to_owned());
        self.portal().add_certificate(Record { remote_create_date: installed, ..Record::new(id, name) });
    }

    /// Installs a package as an administrator does: apt would only add its dependencies, which are there.
    pub fn install(&self, version: Version) {
        let name = format!("{version:?}").to_lowercase();
        self.ok(&format!("dpkg --force-confold -i /root/{name}.deb"));
    }

    /// Writes what a site with this portal needs.
    pub fn configure(&self) {
        let portal = self.portal();
        self.write("/etc/certhook/client_secret", 0o600, &portal.client_secret());
        // In place: owner, group and mode are the package's, and stay.
        std::fs::write(self.path("/etc/certhook/certhook.toml"), format!(
            "[portal]\nendpoint = {0:?}\nlogin = {0:?}\ntenant_id = {1:?}\nclient_id = {2:?}\nretry = \"100ms\"\n\
             [limits]\nchanges_free = 0\nreports_per_day = 0\nshare = 0\n\
             [server.nginx]\ndiscover = true\n",
            portal.endpoint(),
            portal.tenant(),
            portal.client_id(),
        )).unwrap();
    }

    /// Starts the agent with that configuration, and waits until it is at rest.
    pub fn start(&self) {
        self.configure();
        self.ok("systemctl start certhook");
        self.wait_until_current();
    }

    /// A new certificate, put in place as certbot does.
    pub fn renew(&mut self) {
        self.pair = self.authority.issue(Order { hosts: &[SITE], ..Order::default() });
        self.publish();
    }

    fn publish(&mut self) {
        self.renewals += 1;
        let (live, archive) =
            (format!("/etc/letsencrypt/live/{LINEAGE}"), format!("/etc/letsencrypt/archive/{LINEAGE}"));
        for (name, mode, text) in
            [("privkey", 0o600, &self.pair.key_pem), ("fullchain", 0o644, &self.pair.fullchain_pem)]
        {
            self.machine.write(&format!("{archive}/{name}{}.pem", self.renewals), mode, text);
            let link = self.machine.path(&format!("{live}/{name}.pem"));
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            let new = link.with_extension("new");
            let target = format!("../../archive/{LINEAGE}/{name}{}.pem", self.renewals);
            std::os::unix::fs::symlink(target, &new).unwrap();
            std::fs::rename(new, link).unwrap();
        }
    }

    /// Waits until the wire shows the certificate that was made last.
    pub fn wait_until_served(&self) {
        let fingerprint = &self.pair.fingerprint;
        let outcome =
            self.in_network(|| wire::wait_served(ENDPOINT, SITE, fingerprint, Duration::from_secs(60)));
        if let Err(said) = outcome {
            panic!(
                "{said}\n{}",
                String::from_utf8_lossy(&self.run("certhook status; journalctl -u certhook").stdout)
            );
        }
    }

    /// Waits until certhook knows that it is.
    pub fn wait_until_current(&self) {
        self.wait_for("served and recorded", |site| site["state"] == "current");
    }

    /// Waits until the portal has it.
    pub fn wait_until_reported(&self) {
        self.wait_for("reported", |site| {
            site["state"] == "current" && site["report"]["state"] == "delivered"
        });
    }

    /// Waits for the site's line of `certhook status`, which must be about the certificate that was made last.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let fingerprint = self.pair.fingerprint.clone();
        self.wait_until(what, |_| {
            let status = self.status();
            let site = &status["sites"][0];
            site["certificate"]["fingerprint"] == *fingerprint && wanted(site)
        });
    }

    /// `certhook status --json`; null where there is none.
    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.run("certhook status --json").stdout).unwrap_or_default()
    }

    /// A property of a unit's.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.ok(&format!("systemctl show --property={name} --value {unit}"))
    }

    /// The agent's process.
    pub fn agent(&self) -> String {
        self.property("certhook", "MainPID")
    }

    /// nginx's master, which nothing here may end.
    pub fn master(&self) -> String {
        self.read("/run/nginx.pid").trim().to_owned()
    }

    /// What a unit said since it was started last.
    pub fn journal(&self, unit: &str) -> String {
        self.ok(&format!("journalctl --sync 2>/dev/null; journalctl --no-pager --output=cat --unit={unit}"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It says goodbye by its own address.
        let portal = self.portal.take();
        self.machine.in_network(|| drop(portal));
    }
}

/// A package as `make lifecycle` has built it.
pub fn package(version: Version, kind: &str) -> PathBuf {
    let folder =
        std::env::var_os("CERTHOOK_PACKAGES").unwrap_or_else(|| panic!("run this by: make lifecycle"));
    let folder = PathBuf::from(folder).join(format!("{version:?}").to_lowercase());
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths = files.flatten().map(|entry| entry.path());
    let found = paths.find(|path| path.extension().is_some_and(|extension| extension == kind));
    found.unwrap_or_else(|| panic!("no {kind} in {}; run this by: make lifecycle", folder.display()))
}
