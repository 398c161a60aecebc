//! `certhook check`: the configuration and the host, every problem with its remedy.

mod privacy;
mod rivals;

use std::collections::HashSet;
use std::io::ErrorKind::NotFound;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::survey::{self, Census};
use super::{Outcome, Result, say, say_json, second_process, show};
use crate::agent::SiteId;
use crate::certificate::Fingerprint;
use crate::command::Command;
use crate::config::{self, Config, Mistake, Mistakes, Portal};
use crate::control::{self, Request};
use crate::courier::as_list;
use crate::inspect::Place;
use crate::ledger::{Entry, Ledger, Purpose, RENEWED_ELSEWHERE, Refusal};
use crate::platform;
use crate::portal;
use crate::probe::Chains;
use crate::problem::{NOT_ON_THIS_HOST, Problem, printable};
use crate::roster;
use crate::server::Server;
use crate::status::{Renewal, Report, Status};
use crate::watch::{Blind, Topic, Watcher};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also ask the login service for a token and the portal for its list (one request).
    #[arg(long)]
    online: bool,
    /// Read the configuration and nothing else: 0 if it is good, 1 if nothing is configured yet, 2 if it is wrong.
    #[arg(long, conflicts_with = "online")]
    config_only: bool,
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

/// A problem with its place, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Found<'m> {
    path: String,
    line: usize,
    #[serde(flatten)]
    problem: &'m Problem,
}

pub(super) fn mistaken(arguments: &Arguments, mistakes: &Mistakes) -> Outcome {
    print(arguments, &mistakes.0, &[]);
    // Nor is anything configured where somebody has taken the file away: hooks go on being called.
    let is_gone =
        |mistake: &Mistake| mistake.path.symlink_metadata().is_err_and(|error| error.kind() == NotFound);
    let nothing = mistakes.say_nothing_is_configured() || mistakes.0.iter().all(is_gone);
    let not_begun = arguments.config_only && nothing;
    if not_begun { Outcome::Unwell } else { Outcome::Wrong }
}

pub(super) async fn run(config: &Config, arguments: &Arguments) -> Result {
    if arguments.config_only {
        return Ok(Outcome::Well);
    }
    let mut found = Findings {
        config,
        census: survey::census(config).await,
        mistakes: Vec::new(),
        good: Vec::new(),
        notes: Vec::new(),
        leaves: Vec::new(),
    };
    found.state_folder();
    let down = survey::down(config).await;
    found.servers(&down);
    found.watching().await;
    found.sites(&down).await;
    if let Some(renewal) = &config.renewal {
        found.renewals(renewal);
    }
    if let Some(portal) = &config.portal {
        found.secret(portal);
        if arguments.online {
            found.online(portal).await;
        }
    }
    found.passwords();
    found.outlets();
    found.agent().await;
    found.mistakes.sort_by_key(|mistake| mistake.line);
    if !arguments.json {
        found.notes.sort();
        found.notes.dedup();
        for note in &found.notes {
            say(&format!("{}  {}", show::yellow("note"), printable(note, 700)));
        }
    }
    print(arguments, &found.mistakes, &found.good);
    // A file that the configuration names and that is not there is the configuration's fault.
    let wrong = found
        .mistakes
        .iter()
        .any(|mistake| matches!(mistake.problem.code.as_str(), "missing" | "secret_missing"));
    Ok(if wrong { Outcome::Wrong } else { Outcome::from(found.mistakes.is_empty()) })
}

fn print(arguments: &Arguments, mistakes: &[Mistake], good: &[String]) {
    if arguments.json {
        let found = mistakes.iter().map(|mistake| Found {
            path: mistake.path.display().to_string(),
            line: mistake.line,
            problem: &mistake.problem,
        });
        return say_json(&found.collect::<Vec<_>>());
    }
    for line in good {
        say(&format!("{}  {}", show::green("ok"), printable(line, 500)));
    }
    for mistake in mistakes {
        let Problem { code, message, remedy } = &mistake.problem;
        let (place, message, remedy) = (mistake.place(), printable(message, 500), printable(remedy, 500));
        say(&format!("{}   {place}: {message}\n    {remedy} [{code}]", show::red("!")));
    }
    if mistakes.is_empty() {
        say(&show::green("all is well"));
    } else {
        say(&show::red(&show::count(mistakes.len(), "problem")));
    }
}

struct Findings<'c> {
    config: &'c Config,
    census: Census,
    mistakes: Vec<Mistake>,
    good: Vec<String>,
    /// What to know of, and what changes nothing.
    notes: Vec<String>,
    /// What is on disk.
    leaves: Vec<Fingerprint>,
}

fn of_report(name: &str, report: &Report) -> Option<Problem> {
    let error = report.error.as_ref()?;
    let message = format!("the report of {name} is {}: {error}", report.state);
    let remedy = report.remedy.as_deref().unwrap_or("mend what it says, then run: certhook sync --retry");
    Some(Problem::new(report.code.as_deref().unwrap_or("report_failed"), message, remedy))
}

fn of_renewal(renewal: &Renewal) -> Option<Problem> {
    let why = renewal.what_failed()?;
    let remedy = "see certhook status; certhook tries again by itself, or run: certhook renew";
    Some(Problem::new("renewal_failed", format!("the renewal of {} failed: {why}", renewal.asked_at), remedy))
}

impl Findings<'_> {
    fn add(&mut self, line: usize, problem: Problem) {
        self.mistakes.push(Mistake { path: self.config.path.clone(), line, problem });
    }

    fn state_folder(&mut self) {
        let state_dir = &self.config.state_dir;
        // It is not made here: this command may be run by another user than the agent.
        match Ledger::open_existing(state_dir) {
            Ok(Some(_)) => self.good.push(format!("the ledger in {} can be used", state_dir.display())),
            Ok(None) => {
                self.good.push(format!("the ledger in {} is made at the first start", state_dir.display()));
            }
            Err(error) => self.add(0, error.problem()),
        }
        self.folders();
    }

    fn servers(&mut self, down: &[Option<Problem>]) {
        let mut told = Vec::new();
        for configured in &self.config.servers {
            let server = Server::new(configured);
            let mut obstacles = server.obstacles();
            let down = down.get(told.len()).cloned().flatten();
            obstacles.extend(down.filter(|problem| obstacles.iter().all(|known| known.code != problem.code)));
            told.push(obstacles.clone());
            for Problem { code, message, remedy } in server.notes() {
                self.notes.push(format!("{message}; {remedy} [{code}]"));
            }
            if obstacles.is_empty() {
                self.good.push(format!("{} can be reloaded", server.name()));
            }
            for problem in obstacles {
                self.add(configured.line, problem);
            }
        }
        let problems = std::mem::take(&mut self.census.problems);
        for ((configured, problem), told) in self.config.servers.iter().zip(problems).zip(told) {
            match problem {
                Some(problem) if problem.code == "not_running" || told.contains(&problem) => {}
                Some(problem) => self.add(configured.line, problem),
                None if configured.discovers() => self.discovered(configured),
                None => {}
            }
        }
    }

    fn discovered(&mut self, server: &config::Server) {
        let of_it = |site: &&roster::Site| self.config.servers[site.settings.server].name == server.name;
        let sites = self.census.sites.iter().filter(of_it).count();
        self.good.push(format!("{} has {}", server.name, show::count(sites, "certificate")));
        let found =
            self.config.servers.iter().zip(&self.census.found).filter(|(other, _)| other.name == server.name);
        let left_out: usize = found.flat_map(|(_, found)| found).map(|found| found.left_out.len()).sum();
        if left_out > 0 {
            self.good.push(format!(
                "{} left out; `certhook discover` tells why",
                show::count(left_out, "certificate or listener")
            ));
        }
    }

    async fn watching(&mut self) {
        let sites = self.census.sites.len();
        let files: Vec<_> = self
            .census
            .sites
            .iter()
            .enumerate()
            .map(|(index, site)| (Topic::Site(SiteId(index)), Place::of(&site.settings).files()))
            .collect();
        let watched = survey::within(move || {
            let mut watcher = Watcher::new(tokio::sync::mpsc::unbounded_channel().0);
            watcher.follow_all(files);
            let polled =
                (0..sites).filter_map(|site| Some((site, watcher.blind(Topic::Site(SiteId(site)))?)));
            (watcher.problem().cloned(), polled.collect::<Vec<_>>())
        });
        // A file system that hangs is told of with the sites on it.
        let Some(watched) = watched.await else { return };
        let (problem, polled) = watched;
        if polled.is_empty() {
            self.good.push("the system tells of every change to the files of every site".to_owned());
        }
        let named = |(site, why): (usize, Blind)| {
            (crate::status::display_name(&self.census.sites[site].settings, None), why.reason().to_owned())
        };
        self.good.extend(show::polled(polled.into_iter().map(named)));
        if let Some(problem) = problem {
            self.add(0, problem);
        }
    }

    async fn sites(&mut self, down: &[Option<Problem>]) {
        let sites = self.census.sites.clone();
        let asked: Vec<_> = sites.iter().map(|site| &*site.settings).collect();
        let ledger = Ledger::open_existing(&self.config.state_dir).ok().flatten();
        let recorded = ledger.and_then(|ledger| ledger.recorded().ok()).unwrap_or_default();
        let findings = survey::look(&self.census.servers, &asked).await;
        self.rivals(&findings);
        let (now, mut chains) = (Timestamp::now(), Chains::default());
        for (one, finding) in sites.iter().zip(findings) {
            let site = &one.settings;
            match &finding.seen {
                Err(incomplete) => self.add(site.line, incomplete.problem.clone()),
                Ok(seen) => {
                    let name = crate::status::display_name(site, Some(&seen.bundle.leaf));
                    self.good.push(format!("{name}: the set on disk is whole"));
                    for doubt in &seen.bundle.doubts {
                        self.good.push(format!("{name}: {doubt}"));
                    }
                }
            }
            let Ok(seen) = &finding.seen else { continue };
            self.leaves.push(seen.bundle.leaf.fingerprint);
            if let Some(reason) = finding.unseen(recorded.get(&*one.key()), site, down) {
                self.good.push(format!("loaded, not seen: {}", reason.message));
                continue;
            }
            match finding.problem(None).or_else(|| finding.chain_problem(&mut chains, now)) {
                Some(problem) if problem.code == NOT_ON_THIS_HOST => {
                    self.good.push(format!("not asked now: {}", problem.message));
                }
                Some(problem) => self.add(site.line, problem),
                None => {}
            }
        }
    }

    fn renewals(&mut self, renewal: &config::Renewal) {
        let days = renewal.every.as_secs_f64() / 86_400.0;
        self.good.push(format!(
            "renewals are scheduled every {days:.1} days, for the whole subscription: of several hosts one should do it"
        ));
        let ledger = Ledger::open_existing(&self.config.state_dir).ok().flatten();
        let history = ledger.and_then(|ledger| ledger.history(None).ok()).unwrap_or_default();
        let since = Timestamp::now() - renewal.every * 2;
        let elsewhere = |entry: &&Entry| entry.event == RENEWED_ELSEWHERE && entry.at >= since;
        if let Some(entry) = history.iter().rfind(elsewhere) {
            let message = format!(
                "{} was renewed at {}, and this host had not scheduled it: another host does that too",
                printable(&entry.site, 120),
                crate::status::whole_seconds(entry.at)
            );
            let remedy =
                "leave [renewal] to one host of the subscription; each call counts among its requests";
            self.add(renewal.line, Problem::new(RENEWED_ELSEWHERE, message, remedy));
        }
        if let Some(owner) = renewal.owner.as_deref().filter(|owner| platform::owner(owner).is_none()) {
            let message = format!("owner = {owner:?}: this system has no such user or group");
            self.add(renewal.line, Problem::new("bad_owner", message, "write it like \"root:ssl-cert\""));
        }
        if let Some(into) = &renewal.fetch_into {
            if platform::may_write_in(into) {
                self.good.push(format!("what is renewed can be put into {}", into.display()));
            } else {
                let message = format!("this user may not write in {}", into.display());
                let remedy =
                    format!("let {} write there, or leave fetch_into out", platform::WORDS.user_there);
                self.add(renewal.line, Problem::new("fetch_into", message, remedy));
            }
        }
    }

    fn outlets(&mut self) {
        if let Some(config::Metrics { line, to: config::MetricsTo::File(path) }) = &self.config.metrics {
            let folder = path.parent().filter(|folder| folder.is_dir() && platform::may_write_in(folder));
            let shown = path.display();
            match folder {
                Some(_) => self.good.push(format!("the metrics can be written to {shown}")),
                None => {
                    let message =
                        format!("{shown} cannot be written: its folder is not there, or this user may not");
                    self.add(*line, Problem::new("metrics_file", message, platform::WORDS.let_write));
                }
            }
        }
        if let Some(alert) = &self.config.alert {
            let command = Command::new(&alert.command, Duration::ZERO);
            let program = command.program();
            if command.may_run() {
                self.good.push(format!("alerts are told by {}", printable(program, 200)));
            } else {
                let message =
                    format!("{} is not there, or this user may not run it", printable(program, 200));
                let remedy = "name a program by its full path in command, and make it executable";
                self.add(alert.line, Problem::new("alert_command", message, remedy));
            }
        }
    }

    /// The agent has another user and a sandbox: what it cannot do may well be possible here.
    async fn agent(&mut self) {
        let status = match control::ask(&self.config.state_dir, &Request::Status).await {
            Ok(Some(status)) => status,
            Ok(None) => {
                self.good.push("no agent runs now; this command has looked by itself".to_owned());
                return self.ledger_says();
            }
            Err(problem) => return self.add(0, problem),
        };
        self.what_the_agent_does_not_see(&status);
        let pid = status.agent.pid.unwrap_or_default();
        self.good.push(format!("the agent runs (process {pid})"));
        let of_sites =
            status.sites.iter().filter_map(|site| Some((site.name.as_str(), site.problem.as_ref()?)));
        let of_servers =
            status.servers.iter().filter_map(|server| Some((server.name.as_str(), server.problem.as_ref()?)));
        let named = of_sites.chain(of_servers).map(|(name, problem)| {
            let message = format!("the agent says of {name}: {}", problem.message);
            Problem::new(&problem.code, message, problem.remedy.clone())
        });
        let of_all = status.problems().map(|problem| {
            let message = format!("the agent says: {}", problem.message);
            Problem::new(&problem.code, message, problem.remedy.clone())
        });
        let of_reports = status.sites.iter().filter_map(|site| of_report(&site.name, &site.report));
        let of_renewal = status.renewal.iter().filter_map(of_renewal);
        for problem in of_reports.chain(of_renewal) {
            self.add(0, problem);
        }
        for problem in named.chain(of_all) {
            if self.mistakes.iter().all(|known| known.problem.code != problem.code) {
                self.add(0, problem);
            }
        }
    }

    /// What the agent would say of reports and renewals.
    fn ledger_says(&mut self) {
        // What else is wrong with the ledger was told above.
        let Some(ledger) = Ledger::open_existing(&self.config.state_dir).ok().flatten() else { return };
        let leaves: Vec<_> = self.leaves.iter().copied().map(Some).collect();
        let reports = ledger.reports_of(&leaves).unwrap_or_default().into_iter().flatten();
        let reports: Vec<_> =
            reports.map(|report| (report.hosts.clone(), Report::told(Some(report)))).collect();
        let renewal = Renewal::of(Some(&ledger)).ok().flatten();
        let of_reports = reports.iter().filter_map(|(name, report)| of_report(name, report));
        let unreadable = ledger.unreadable_report().ok().flatten();
        for problem in of_reports.chain(renewal.iter().filter_map(of_renewal)).chain(unreadable) {
            self.add(0, problem);
        }
    }

    /// Its sandbox may close folders to it that this command sees.
    fn what_the_agent_does_not_see(&mut self, status: &Status) {
        let seen = status.sites.iter().map(|site| (site.server.as_str(), site.certificate.path.as_str()));
        let seen: HashSet<(&str, &str)> = seen.collect();
        let unseen = |site: &roster::Site| {
            let path = site.settings.certificate.display().to_string();
            let server = self.config.servers[site.settings.server].name.as_str();
            (!seen.contains(&(server, path.as_str()))).then_some((site.settings.line, path))
        };
        for (line, path) in self.census.sites.iter().filter_map(unseen).collect::<Vec<_>>() {
            let message =
                format!("the agent does not see {}, which this command does", printable(&path, 300));
            self.add(line, Problem::new("not_seen_by_agent", message, platform::WORDS.unseen));
        }
    }

    async fn online(&mut self, portal: &Portal) {
        let apart = match second_process(false) {
            Ok(apart) => apart,
            Err(problem) => return self.add(0, problem),
        };
        let client = portal::Portal::apart(portal.clone(), apart);
        if let Err(failure) = client.authorise().await {
            return self.add(portal.secret.line, failure.problem);
        }
        self.good.push("the login service gives a token".to_owned());
        let ledger = Ledger::open_existing(&self.config.state_dir).ok().flatten();
        let spend = |ledger: &Ledger| ledger.spend(Purpose::Look, portal.requests_per_week, Timestamp::now());
        // What else is wrong with the ledger was told above.
        if let Some(Err(Refusal::Spent(until))) = ledger.as_ref().map(spend) {
            let message = format!("this host's requests for looking around are spent until {until}");
            return self.add(0, Problem::new("requests_spent", message, "wait until then"));
        }
        let asked = Timestamp::now();
        match client.list().await {
            Ok(list) => {
                self.good.push(format!("the portal lists {}", show::count(list.len(), "certificate")));
                if let Some(ledger) = ledger {
                    // It saves the agent a request; if it cannot be kept, the agent asks.
                    let _ = ledger.keep_portal_list(&as_list(list, asked));
                }
            }
            Err(failure) => self.add(portal.secret.line, failure.problem),
        }
    }
}
