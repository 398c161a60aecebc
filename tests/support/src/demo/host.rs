//! The host that is played on: three served certificates, soon to expire, that the portal has renewed.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::Stop;
use super::agent::Guard;
use super::interrupt::undisturbed;
use crate::ca::{Authority, Order, Pair, Validity};
use crate::nginx::{Nginx, NginxSite, RunMode, free_port};
use crate::portal::{Portal, Record};
use crate::writers::{Layout, Writer};

/// A tool that renews, and the site that it renews.
struct Tool {
    site: &'static str,
    id: i64,
    writer: Writer,
    /// From one step to the next. The first tool to be done is so late that the others have begun: then there
    /// is one reload for all, and it finds no key without its certificate.
    gap: Duration,
    words: &'static str,
}

static TOOLS: [Tool; 3] = [
    Tool {
        site: "contoso.com",
        id: 158,
        writer: Writer::VendorClient,
        gap: Duration::from_millis(80),
        words: "by the vendor's client: five files in place",
    },
    Tool {
        site: "fabrikam.com",
        id: 159,
        writer: Writer::Certbot,
        gap: Duration::from_millis(40),
        words: "by certbot: four new files, then four links made anew",
    },
    Tool {
        site: "adatum.com",
        id: 160,
        writer: Writer::AcmeSh,
        gap: Duration::from_millis(80),
        words: "by acme.sh: four files in place",
    },
];

/// Two months old, with one to go: when certificates of ninety days are renewed.
const SOON_TO_EXPIRE: Validity =
    Validity { from: SignedDuration::from_hours(-60 * 24), to: SignedDuration::from_hours(30 * 24) };

/// One site.
pub(super) struct Site {
    tool: &'static Tool,
    pub(super) layout: Layout,
    /// Where it is served.
    pub(super) endpoint: String,
}

impl Site {
    /// The portal's name and the host name.
    pub(super) fn name(&self) -> &'static str {
        self.tool.site
    }

    /// The portal's number.
    pub(super) fn id(&self) -> i64 {
        self.tool.id
    }

    /// How it is renewed.
    pub(super) fn words(&self) -> &'static str {
        self.tool.words
    }

    /// How it is renewed.
    pub(super) fn writer(&self) -> (Writer, Duration) {
        (self.tool.writer, self.tool.gap)
    }
}

/// The host; its fields go in this order.
pub(super) struct Host {
    pub(super) nginx: Nginx,
    pub(super) portal: Portal,
    pub(super) sites: Vec<Site>,
    authority: Authority,
    _guard: Guard,
    folder: TempDir,
}

impl Host {
    /// Three sites, served and known to the portal.
    pub(super) fn set_up() -> Result<Self, Stop> {
        let folder = tempfile::Builder::new().prefix("certhook-demo-").tempdir()?;
        let guard = Guard::set(folder.path())?;
        let (authority, portal) = (Authority::new(), Portal::builder().start()?);
        let mut sites = Vec::new();
        for tool in &TOOLS {
            let order = Order { hosts: &[tool.site], valid: SOON_TO_EXPIRE, ..Order::default() };
            let pair = authority.issue(order);
            // Each tool has a folder of its own that it orders as it likes.
            let root = folder.path().join(format!("{:?}", tool.writer).to_lowercase());
            let layout = tool.writer.layout(&root, tool.site);
            undisturbed(|| tool.writer.install(&layout, &pair))?;
            portal.add_certificate(Record {
                remote_create_date: Some(pair.not_before.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
                issue_date: pair.not_before.to_zoned(TimeZone::UTC).datetime(),
                expiry_date: pair.not_after.to_zoned(TimeZone::UTC).datetime(),
                ..Record::new(tool.id, tool.site)
            });
            sites.push(Site { tool, layout, endpoint: String::new() });
        }
        let nginx = serve(&mut sites)?;
        let host = Self { nginx, portal, sites, authority, _guard: guard, folder };
        host.configure()?;
        Ok(host)
    }

    /// A new certificate of a site's, renewed at the portal and not on disk yet.
    pub(super) fn renew_at_the_portal(&self, site: &Site) -> Pair {
        let pair = self.authority.issue(Order { hosts: &[site.name()], ..Order::default() });
        self.portal.renew(site.id(), pair.not_after.to_zoned(TimeZone::UTC).datetime());
        pair
    }

    /// What is certhook's lies here too.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.folder().join("certhook.toml")
    }

    /// Certhook's log.
    pub(super) fn log_path(&self) -> PathBuf {
        self.folder().join("certhook.log")
    }

    fn configure(&self) -> Result<(), Stop> {
        let secret = self.folder().join("client_secret");
        let private = File::options().write(true).create_new(true).mode(0o600).open(&secret);
        private?.write_all(self.portal.client_secret().as_bytes())?;
        let mut text = format!(
            "state_dir = {:?}\n\n[portal]\nendpoint = {2:?}\nlogin = {2:?}\ntenant_id = {3:?}\nclient_id = {4:?}\n\
             client_secret_file = {1:?}\nretry = \"50ms\"\n\n[server.nginx]\nkind = \"nginx\"\npid_file = {5:?}\n",
            self.folder().join("state"),
            secret,
            self.portal.endpoint(),
            self.portal.tenant(),
            self.portal.client_id(),
            self.nginx.pid_file(),
        );
        for site in &self.sites {
            let Layout { certificate, key, .. } = &site.layout;
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n[[site]]\nname = {:?}\ncertificate = {certificate:?}\nkey = {key:?}\nverify = [{:?}]\n",
                site.name(),
                site.endpoint
            );
        }
        Ok(fs::write(self.config_path(), text)?)
    }

    /// The ends of the logs, for whoever has to find out why.
    pub(super) fn show_logs(&self) {
        let certhook = fs::read(self.log_path()).unwrap_or_default();
        let logs =
            [("certhook", String::from_utf8_lossy(&certhook).into_owned()), ("nginx", self.nginx.log_text())];
        for (whose, text) in logs.iter().filter(|(_, text)| !text.is_empty()) {
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(30)..];
            let _ = writeln!(io::stderr(), "--- {whose}'s log ends so:\n{}", tail.join("\n"));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Asked, the master takes its workers' ends; killed, it leaves them to init.
        self.nginx.stop();
    }
}

/// An nginx with a port for each site. Somebody else may take a port between the asking and the listening.
fn serve(sites: &mut [Site]) -> Result<Nginx, Stop> {
    let mut words = String::new();
    for _ in 0..3 {
        for site in &mut *sites {
            site.endpoint = format!("127.0.0.1:{}", free_port());
        }
        let served = sites.iter().map(|site| NginxSite {
            listen: vec![format!("{} ssl", site.endpoint)],
            ..NginxSite::new(&[site.name()], &site.layout.certificate, &site.layout.key)
        });
        // In the foreground it is this process's child from the first moment, and not the terminal's to end.
        match Nginx::builder().mode(RunMode::Foreground).sites(served).try_start() {
            Ok(nginx) => return Ok(nginx),
            Err(error) if error.contains("Address already in use") => words = error,
            Err(error) => return Err(Stop::Failed(format!("nginx does not start: {error}"))),
        }
    }
    Err(Stop::Failed(words))
}
