//! The second act: nobody writes a file. certhook has the portal renew, waits, downloads, and goes on as before.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

use super::Stop;
use super::agent::{self, Agent, Certhook, Guard};
use super::interrupt::Interrupt;
use super::paper::{Paper, cut};
use crate::nginx::{Nginx, NginxSite, RunMode};
use crate::portal::{Portal, Record, What};
use crate::wire;

/// The portal's certificates, and the folders that its own client would give them.
const CERTIFICATES: [(i64, &str, &str); 3] = [
    (158, "contoso.com", "contoso-com"),
    (159, "*.fabrikam.com", "wcard-fabrikam-com"),
    (160, "adatum.com,www.adatum.com", "adatum-com-san-www"),
];

/// One for the first list, one that schedules, one look, and a report for each.
const MOST_REQUESTS: usize = 6;

const EXPLANATION: &str = "\
Now the whole loop. Three certificates of the portal's end in ten days, and nobody
writes a file: certhook has them renewed, looks whether they are, downloads them,
and the files go the same way as before. Milliseconds count from the scheduling.
";

/// The host of this act; its fields go in this order.
struct Host {
    nginx: Nginx,
    portal: Portal,
    _guard: Guard,
    folder: TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.nginx.stop();
    }
}

/// Plays it.
pub(super) fn play(program: &Path, paper: &Paper, interrupt: &Interrupt) -> Result<(), Stop> {
    interrupt.check()?;
    paper.line(&format!("\n{EXPLANATION}"))?;
    let host = set_up()?;
    let certhook = Certhook::new(program, host.folder.path().join("certhook.toml"));
    let mut agent = Agent::start(&certhook, host.folder.path(), &host.folder.path().join("certhook.log"))?;
    let status = interrupt.until("all three are renewed and reported", || {
        agent.check()?;
        let status = certhook.json(&["status", "--json"])?;
        let sites = status["sites"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told = sites.iter().filter(|site| site["report"]["state"] == "delivered").count();
        let over = status["renewal"]["state"] == "done";
        Ok((over && told == CERTIFICATES.len() && agent::is_at_rest(&status)).then_some(status))
    })?;
    host.nginx.wait_idle();
    let history = certhook.json(&["history", "--json"])?;
    for (_, name, _) in CERTIFICATES {
        timeline(paper, &history, name)?;
    }
    let disagreements = disagreements(&host, &status);
    agent.end()?;
    paper.line(&paper.strong("What the portal was asked"))?;
    for entry in host.portal.journal() {
        paper.entry(&entry)?;
    }
    if disagreements.is_empty() {
        let words = "The loop is closed: three renewed, fetched, served and told, with six requests.";
        return paper.line(&format!("\n{}", paper.good(words)));
    }
    Err(Stop::Failed(format!("the loop is not closed:\n  {}", disagreements.join("\n  "))))
}

/// Certificates of the portal's own, ten days before their end, served from the layout of its client.
fn set_up() -> Result<Host, Stop> {
    let folder = tempfile::Builder::new().prefix("certhook-demo-").tempdir()?;
    let guard = Guard::set(folder.path())?;
    let portal = Portal::builder().renewal_takes(Duration::from_millis(300)).start()?;
    let end = (Timestamp::now() + SignedDuration::from_hours(240)).to_zoned(TimeZone::UTC).datetime();
    let mut sites = Vec::new();
    for (id, name, folder_name) in CERTIFICATES {
        let installed = Some("2026-01-01T00:00:00".to_owned());
        let record = Record { remote_create_date: installed, ..Record::new(id, name) };
        portal.add_certificate(record.expires(end).issued());
        let pair = portal.issued(id).ok_or_else(|| Stop::Failed(format!("{name} is not issued")))?;
        let at = folder.path().join("rclcertbot").join(folder_name);
        fs::create_dir_all(&at)?;
        let files = [
            ("privateKey.key", &pair.key_pem),
            ("primaryCertificate.crt", &pair.leaf_pem),
            ("caBundle.crt", &pair.chain_pem),
            ("fullChainCertificate.crt", &pair.fullchain_pem),
        ];
        for (file, text) in files {
            fs::write(at.join(file), text)?;
        }
        let hosts: Vec<&str> = name.split(',').collect();
        let (certificate, key) = (at.join("fullChainCertificate.crt"), at.join("privateKey.key"));
        sites.push(NginxSite::new(&hosts, certificate, key));
    }
    let nginx = Nginx::builder().mode(RunMode::Foreground).sites(sites).try_start();
    let nginx = nginx.map_err(|error| Stop::Failed(format!("nginx does not start: {error}")))?;
    let host = Host { nginx, portal, _guard: guard, folder };
    configure(&host)?;
    Ok(host)
}

fn configure(host: &Host) -> Result<(), Stop> {
    let at = |name: &str| -> PathBuf { host.folder.path().join(name) };
    let private = File::options().write(true).create_new(true).mode(0o600).open(at("client_secret"));
    private?.write_all(host.portal.client_secret().as_bytes())?;
    let text = format!(
        "state_dir = {:?}\n[portal]\nendpoint = {1:?}\nlogin = {1:?}\ntenant_id = {2:?}\nclient_id = {3:?}\n\
         client_secret_file = {4:?}\nretry = \"50ms\"\n[renewal]\nevery = \"4d\"\nwait = \"8s\"\n\
         fetch_into = {5:?}\n[server.nginx]\ndiscover = true\npid_file = {6:?}\n",
        at("state"),
        host.portal.endpoint(),
        host.portal.tenant(),
        host.portal.client_id(),
        at("client_secret"),
        at("rclcertbot"),
        host.nginx.pid_file(),
    );
    Ok(fs::write(at("certhook.toml"), text)?)
}

fn timeline(paper: &Paper, history: &Value, name: &str) -> Result<(), Stop> {
    let entries = history.as_array().map(Vec::as_slice).unwrap_or_default();
    let of_it = |entry: &&Value| entry["site"] == name;
    let at = |entry: &Value| -> Option<Timestamp> { entry["at"].as_str()?.parse().ok() };
    let scheduled = entries.iter().filter(of_it).find(|entry| entry["event"] == "renewal_scheduled");
    let Some(begun) = scheduled.and_then(at) else {
        return Err(Stop::Failed(format!("{name} was not scheduled")));
    };
    paper.line(&paper.strong(name))?;
    for entry in entries.iter().filter(of_it) {
        let Some(at) = at(entry).filter(|at| *at >= begun) else { continue };
        let after = at.as_millisecond() - begun.as_millisecond();
        let (event, detail) = (entry["event"].as_str(), entry["detail"].as_str());
        let line = format!(
            "{after:>+7} ms  {}  {:<17}  {}",
            at.strftime("%H:%M:%S%.3f"),
            event.unwrap_or_default(),
            detail.unwrap_or_default()
        );
        paper.line(cut(&line, 80).trim_end())?;
    }
    paper.line("")
}

fn disagreements(host: &Host, status: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, name, _) in CERTIFICATES {
        let host_name = name.split(',').next().unwrap_or_default().replace('*', "any");
        let wanted = host.portal.issued(id).map(|pair| pair.fingerprint);
        match wire::served(&host.nginx.endpoint(), &host_name) {
            Ok(served) if Some(&served.fingerprint) == wanted.as_ref() => {}
            Ok(served) => wrong.push(format!("{name}: {} is served", served.fingerprint)),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    let journal = host.portal.journal();
    let counted =
        |what: What| journal.iter().filter(|entry| entry.what == what && entry.counted.is_some()).count();
    if counted(What::Renew) != 1 || counted(What::Report) != CERTIFICATES.len() {
        wrong.push("the portal was not asked to renew once and told of each once".to_owned());
    }
    let requests = journal.iter().filter(|entry| entry.counted.is_some()).count();
    if requests > MOST_REQUESTS {
        wrong.push(format!("{requests} requests instead of {MOST_REQUESTS}"));
    }
    let carries = |headers: &[(String, String)]| headers.iter().any(|(name, _)| name == "authorization");
    if host.portal.downloads().iter().any(|download| carries(&download.headers)) {
        wrong.push("a token went where the files are".to_owned());
    }
    if !status["renewal"]["error"].is_null() {
        wrong.push(format!("the renewal says {}", status["renewal"]["error"]));
    }
    wrong.extend(host.nginx.log().emergencies);
    wrong
}
