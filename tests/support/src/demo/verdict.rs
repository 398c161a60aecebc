//! Whether the wire, the portal's journal and nginx's log agree with the files on disk.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Stop;
use super::host::Host;
use super::paper::Paper;
use super::renewal::Renewal;
use crate::portal::What;
use crate::wire;

/// Each site must serve its new leaf, seen by a handshake of the demo's own.
pub(super) fn on_the_wire(renewals: &[Renewal<'_>]) -> Vec<String> {
    let wrong = renewals.iter().filter_map(|Renewal { site, pair, .. }| {
        match wire::served(&site.endpoint, site.name()) {
            Ok(served) if served.fingerprint == pair.fingerprint => None,
            Ok(served) => {
                Some(format!("{} serves {}, not {}", site.name(), served.fingerprint, pair.fingerprint))
            }
            Err(error) => Some(format!("{} at {}: {error}", site.name(), site.endpoint)),
        }
    });
    wrong.collect()
}

/// The portal must have been told of each certificate once, in the right words, and not before it was served.
pub(super) fn at_the_portal(
    host: &Host,
    renewals: &[Renewal<'_>],
    history: &Value,
) -> Result<Vec<String>, Stop> {
    let posts: Vec<_> =
        host.portal.journal().into_iter().filter(|entry| entry.what == What::Report).collect();
    let mut wrong = Vec::new();
    for renewal in renewals {
        let (name, id) = (renewal.site.name(), renewal.site.id());
        let right = json!({
            "id": id,
            "name": name,
            "remoteCreateDate": write_time(&renewal.site.layout.certificate)?,
        });
        let ours: Vec<_> = posts.iter().filter(|post| post.json()["id"] == id).collect();
        match ours.as_slice() {
            [post] if post.status != Some(200) => wrong.push(format!("{name}: the portal answered {post}")),
            [post] if post.json() != right => wrong.push(format!("{name}: told {}, not {right}", post.body)),
            [post] if renewal.served_at(history).is_none_or(|served| post.time < served) => {
                wrong.push(format!("{name}: told at {} and before it was served", post.time));
            }
            [_] => {}
            _ => wrong.push(format!("{name}: the portal was told {} times, not once", ours.len())),
        }
        let known = host.portal.certificate(id).and_then(|record| record.remote_create_date);
        if known.as_deref() != right["remoteCreateDate"].as_str() {
            wrong.push(format!("{name}: the portal has {known:?}, not {}", right["remoteCreateDate"]));
        }
    }
    if posts.len() > renewals.len() {
        wrong.push(format!("the portal was told {} times of {} certificates", posts.len(), renewals.len()));
    }
    Ok(wrong)
}

/// nginx must not have refused to load anything.
pub(super) fn in_the_log(host: &Host) -> Vec<String> {
    host.nginx.log().emergencies
}

/// The last line, or what is wrong.
pub(super) fn pronounce(paper: &Paper, disagreements: &[String]) -> Result<(), Stop> {
    if disagreements.is_empty() {
        let words = "The wire and the journal agree: three certificates served, each told once.";
        return paper.line(&format!("\n{}", paper.good(words)));
    }
    Err(Stop::Failed(format!("the sides do not agree:\n  {}", disagreements.join("\n  "))))
}

/// The write time of a file as the portal wants it, links followed, by way of another program than certhook.
fn write_time(path: &Path) -> Result<String, Stop> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S", "-r"]).arg(path).output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Stop::Failed(format!("date: {words}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
