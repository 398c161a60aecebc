//! The main job, played for people: three renewals on a host of the demo's own, from the file to the portal; then
//! the whole loop, from the portal to the portal.

mod agent;
mod host;
mod interrupt;
mod paper;
mod renewal;
mod verdict;
mod whole_loop;

use std::path::Path;

use agent::{Agent, Certhook};
use host::Host;
use interrupt::Interrupt;
use paper::Paper;
use renewal::Renewal;

pub use interrupt::Stop;

/// What the timelines say.
const EXPLANATION: &str = "\
Now three tools renew the three certificates, all at the same time:

    written   the tool has written its last file: milliseconds count from here
    whole     certhook has found key, certificate and chain whole and matching
    reloaded  nginx has loaded them
    served    a handshake has shown the new certificate; a second one proves it
              when nginx's old workers no longer answer, a tenth of a second on
    reported  the portal has echoed the report
";

/// Plays it with this program. The signals that ask a process to end are its own from then on.
///
/// # Errors
/// [`Stop`]. Whatever it was, no process, port or file is left.
pub fn play(program: &Path) -> Result<(), Stop> {
    let interrupt = Interrupt::watch()?;
    let host = interrupt.explain(Host::set_up())?;
    let outcome = interrupt.explain(perform(&host, program, &interrupt));
    if let Err(Stop::Failed(_)) = &outcome {
        host.show_logs();
    }
    outcome
}

fn perform(host: &Host, program: &Path, interrupt: &Interrupt) -> Result<(), Stop> {
    let paper = Paper::new();
    interrupt.check()?;
    paper.line("A simulated portal, an nginx with three sites, and certhook between them: all on")?;
    paper.line("the loopback address, and nothing is left of it afterwards.\n")?;
    paper.line(&format!("portal    {}", host.portal.endpoint()))?;
    for site in &host.sites {
        paper.line(&format!("nginx     {}  {}", site.endpoint, site.name()))?;
    }
    let certhook = Certhook::new(program, host.config_path());
    let mut agent = Agent::start(&certhook, host.folder(), &host.log_path())?;
    let status = interrupt.until("certhook knows the three sites", || {
        agent.check()?;
        let status = certhook.json(&["status", "--json"])?;
        Ok(agent::is_at_rest(&status).then_some(status))
    })?;
    let version = status["agent"]["version"].as_str().unwrap_or_default();
    paper.line(&format!("certhook  {version}, process {}\n", agent.pid()))?;
    paper.line(EXPLANATION)?;

    let renewals = renewal::renew(host, interrupt)?;
    interrupt.until("the portal has a report of each certificate", || {
        agent.check()?;
        let reports = host.portal.reports();
        let told = |renewal: &Renewal<'_>| reports.iter().any(|report| report.id == renewal.site.id());
        Ok(renewals.iter().all(told).then_some(()))
    })?;
    let history = interrupt.until("certhook's history has all of it", || {
        let history = certhook.json(&["history", "--json"])?;
        Ok(renewals.iter().all(|renewal| renewal.is_reported(&history)).then_some(history))
    })?;
    for renewal in &renewals {
        renewal.print(&paper, &history)?;
    }
    // Until then an old worker may still answer a handshake.
    host.nginx.wait_idle();
    let reloads = host.nginx.log().reloads;
    let times = if reloads == 1 { "one reload".to_owned() } else { format!("{reloads} reloads") };
    paper.line(&format!("nginx made {times} for the three certificates.\n"))?;

    paper.line(&paper.strong("$ certhook status"))?;
    let (status, well) = certhook.text(&["status"])?;
    paper.line(&status)?;
    let mut disagreements = verdict::on_the_wire(&renewals);
    if !well {
        disagreements.push("certhook status says that something is not well".to_owned());
    }
    interrupt.check()?;
    // Nothing more is sent after this: the journal is complete.
    agent.end()?;
    paper.line(&paper.strong("What the portal was asked"))?;
    for entry in host.portal.journal() {
        paper.entry(&entry)?;
    }
    disagreements.extend(verdict::at_the_portal(host, &renewals, &history)?);
    disagreements.extend(verdict::in_the_log(host));
    verdict::pronounce(&paper, &disagreements)?;
    whole_loop::play(program, &paper, interrupt)
}
