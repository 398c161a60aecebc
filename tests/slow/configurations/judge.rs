//! Compares certhook's word with what the client sees.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::client::{Accepts, Client, Question};
use super::made::{Dial, Made, Theme};
use super::pool::{Kind, pool};

/// What was compared, and what came of it.
#[derive(Default)]
pub struct Counts {
    /// Configurations by what they are about.
    pub themes: BTreeMap<Theme, usize>,
    pub sites: usize,
    /// Rows of `verify`: the leaf on disk is served, and the client sees it.
    pub served: usize,
    /// The same by the kind of key.
    pub kinds: BTreeMap<Kind, usize>,
    /// Another leaf is served, and the client sees that.
    pub stale: usize,
    /// No leaf is shown, to the client neither.
    pub silent: usize,
    /// The client sees a leaf, `verify` says that it cannot: by its reason.
    pub unproved: BTreeMap<String, usize>,
    /// Leaves that the client saw at a listener, and that certhook knows there.
    pub seen: usize,
    /// Leaves that the client saw, and that certhook leaves out with a note.
    pub seen_left_out: usize,
    /// Notes of `discover`, by their reason.
    pub left_out: BTreeMap<String, usize>,
    pub handshakes: usize,
    pub disagreements: Vec<String>,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        other.themes.into_iter().for_each(|(theme, count)| *self.themes.entry(theme).or_default() += count);
        other.unproved.into_iter().for_each(|(why, count)| *self.unproved.entry(why).or_default() += count);
        other.left_out.into_iter().for_each(|(why, count)| *self.left_out.entry(why).or_default() += count);
        other.kinds.into_iter().for_each(|(kind, count)| *self.kinds.entry(kind).or_default() += count);
        self.sites += other.sites;
        self.served += other.served;
        self.stale += other.stale;
        self.silent += other.silent;
        self.seen += other.seen;
        self.seen_left_out += other.seen_left_out;
        self.handshakes += other.handshakes;
        self.disagreements.extend(other.disagreements);
    }

    /// Compares one configuration.
    pub fn judge(&mut self, made: &Made, root: &Path, verdicts: &[Value], left_out: &[String]) {
        made.themes.iter().for_each(|theme| *self.themes.entry(*theme).or_default() += 1);
        for note in left_out {
            let why = note.rsplit_once(": ").map_or(note.as_str(), |(_, why)| why);
            *self.left_out.entry(why.to_owned()).or_default() += 1;
        }
        self.sites += verdicts.len();
        let mut client = Client::default();
        let mut wrong: Vec<String> = Vec::new();
        for verdict in verdicts {
            wrong.extend(self.rows(made, root, verdict, &mut client));
        }
        for dial in &made.dials {
            wrong.extend(self.listener(made, root, dial, verdicts, left_out, &mut client));
        }
        self.handshakes += client.handshakes;
        if !wrong.is_empty() {
            self.disagreements.push(format!("{}\n{made}{left_out:#?}", wrong.join("\n")));
        }
    }

    /// Asks the client what each row of a site says.
    fn rows(&mut self, made: &Made, root: &Path, verdict: &Value, client: &mut Client) -> Vec<String> {
        let path = verdict["certificate"].as_str().unwrap();
        let on_disk = verdict["on_disk"]["fingerprint"].as_str();
        let kind = Accepts::of(verdict["on_disk"]["key_type"].as_str());
        let loaded = loaded(made, root, path);
        let mut wrong = Vec::new();
        let old = loaded.map(|index| pool()[index].fingerprint.clone());
        let (mut all_match, mut one_matches, mut shows_old) = (true, false, false);
        if on_disk.is_none() {
            wrong.push(format!("{path} is not read: {}", verdict["problem"]));
        }
        for row in verdict["wire"].as_array().unwrap() {
            let text = |key: &str| row[key].as_str().map(str::to_owned);
            let (endpoint, host) = (text("endpoint").unwrap(), text("host").unwrap());
            let mut ask = |accepts| {
                let (endpoint, host) = (endpoint.clone(), host.clone());
                client.shown(Question { endpoint, host, accepts, starttls: None })
            };
            let said = text("fingerprint");
            let matches = row["matches"] == true;
            let any = ask(Accepts::Any);
            // A listener with leaves of several types shows the one that is asked for.
            let seen = if matches && said == any { any } else { ask(kind).or(any) };
            all_match &= matches;
            one_matches |= matches;
            shows_old |= seen.is_some() && seen == old && old.as_deref() != on_disk;
            let is_true = match (&said, &seen) {
                (Some(said), Some(seen)) => said == seen && matches == (on_disk == Some(seen)),
                (None, None) => !matches,
                (None, Some(_)) => {
                    let reason = reason(&text("error").unwrap_or_default());
                    *self.unproved.entry(reason).or_default() += 1;
                    !matches && may_be_unproved(made, loaded)
                }
                (Some(_), None) => false,
            };
            if !is_true {
                wrong.push(format!(
                    "{path} at {endpoint} for {host:?}: verify says {}, the client sees {}",
                    row,
                    name_of(seen.as_deref())
                ));
                continue;
            }
            match (said.is_some(), matches) {
                (true, true) => {
                    self.served += 1;
                    if let Some(index) = loaded {
                        *self.kinds.entry(pool()[index].kind).or_default() += 1;
                    }
                }
                (true, false) => self.stale += 1,
                (false, _) if seen.is_none() => self.silent += 1,
                (false, _) => {}
            }
        }
        // A certificate of other names at one of its listeners is no witness against a site.
        let ok = verdict["ok"] == true;
        let of_chain = verdict["problem"]["code"] == "incomplete_chain";
        if ok && (!one_matches || shows_old) || !ok && one_matches && all_match && !of_chain {
            wrong.push(format!("{path}: {verdict}"));
        }
        wrong
    }

    /// Looks for leaves that the client sees at a listener and certhook does not know there.
    fn listener(
        &mut self,
        made: &Made,
        root: &Path,
        dial: &Dial,
        verdicts: &[Value],
        left_out: &[String],
        client: &mut Client,
    ) -> Vec<String> {
        let several = [Accepts::Any, Accepts::Rsa, Accepts::Ecdsa];
        let has_several = made.themes.contains(&Theme::TwoCertificates);
        let mut leaves: BTreeMap<String, &str> = BTreeMap::new();
        for (at, host) in made.hosts.iter().enumerate() {
            for accepts in if has_several && at < 2 { &several[..] } else { &several[..1] } {
                let (endpoint, host, starttls) = (dial.endpoint.clone(), host.clone(), dial.starttls);
                let question = Question { endpoint, host, accepts: *accepts, starttls };
                if let Some(leaf) = client.shown(question) {
                    leaves.insert(leaf, &made.hosts[at]);
                }
            }
        }
        let mut wrong = Vec::new();
        for (leaf, host) in leaves {
            let is_known = verdicts.iter().any(|verdict| {
                let path = verdict["certificate"].as_str().unwrap();
                let is_its = loaded(made, root, path).is_some_and(|index| pool()[index].fingerprint == leaf);
                let rows = verdict["wire"].as_array().unwrap();
                rows.iter().any(|row| {
                    let at = row["endpoint"].as_str().unwrap();
                    (row["fingerprint"] == leaf.as_str() || is_its && row["fingerprint"].is_null())
                        && is_same(made, dial, at)
                })
            });
            if is_known {
                self.seen += 1;
            } else if is_left_out(made, dial, &leaf, left_out) {
                self.seen_left_out += 1;
            } else {
                let name = name_of(Some(&leaf));
                wrong.push(format!(
                    "{} for {host:?} shows {name}: certhook does not know that",
                    dial.endpoint
                ));
            }
        }
        wrong
    }
}

/// Returns the leaf that nginx has loaded from a path.
fn loaded(made: &Made, root: &Path, path: &str) -> Option<usize> {
    let below = Path::new(path).strip_prefix(root).ok()?;
    made.leaves.get(below.to_str()?).copied()
}

/// Whether the probe may fail here.
fn may_be_unproved(made: &Made, leaf: Option<usize>) -> bool {
    made.themes.contains(&Theme::BeyondTheProbe)
        || leaf.is_some_and(|index| matches!(pool()[index].kind, Kind::Ed448 | Kind::MlDsa))
}

/// Whether certhook's endpoint is the socket that was dialled.
fn is_same(made: &Made, dial: &Dial, endpoint: &str) -> bool {
    if dial.passes_on {
        return true;
    }
    if !dial.is_wild {
        return dial.endpoint == endpoint;
    }
    let port = |text: &str| text.rsplit_once(':').map(|(_, port)| port.to_owned());
    let is_others = made.dials.iter().any(|other| !other.is_wild && other.endpoint == endpoint);
    port(&dial.endpoint) == port(endpoint) && !is_others
}

fn is_left_out(made: &Made, dial: &Dial, leaf: &str, left_out: &[String]) -> bool {
    let Some(index) = pool().iter().position(|known| known.fingerprint == leaf) else { return false };
    let has = |what: &str| left_out.iter().any(|note| note.contains(what));
    if made.without_file.contains(&index) {
        return has("it is loaded anew for each handshake") || has("its text stands in the configuration");
    }
    if dial.starttls.is_some() && has(&format!("listen {}: it is served after STARTTLS", dial.endpoint)) {
        return true;
    }
    let path = made.leaves.iter().find(|(_, of)| **of == index).map(|(path, _)| path);
    let Some(name) = path.and_then(|path| path.rsplit('/').next()) else { return false };
    left_out.iter().filter(|note| note.contains(name)).any(|note| {
        note.contains("an ssl_conf_command of its server")
            || dial.starttls.is_some() && note.contains("after STARTTLS")
    })
}

/// Returns the words of TLS alone.
fn reason(error: &str) -> String {
    let error = error.split_once(": ").map_or(error, |(_, rest)| rest);
    error.chars().take(120).collect()
}

fn name_of(leaf: Option<&str>) -> String {
    let index = |leaf: &str| pool().iter().position(|known| known.fingerprint == leaf);
    match leaf.map(|leaf| (leaf, index(leaf))) {
        None => "no leaf".to_owned(),
        Some((leaf, None)) => leaf.to_owned(),
        Some((leaf, Some(index))) => format!("leaf {index} ({:?}, {})", pool()[index].kind, &leaf[..12]),
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let themes: Vec<String> =
            self.themes.iter().map(|(theme, count)| format!("{theme:?} {count}")).collect();
        writeln!(f, "configurations about: {}", themes.join(", "))?;
        let rows = [
            ("handshakes of the client", self.handshakes),
            ("sites of verify", self.sites),
            ("rows: served, and seen by the client", self.served),
            ("rows: another leaf is served, and seen", self.stale),
            ("rows: no leaf, to the client neither", self.silent),
            ("leaves seen, and known to verify", self.seen),
            ("leaves seen, and left out with a note", self.seen_left_out),
            ("configurations that disagree", self.disagreements.len()),
        ];
        rows.iter().try_for_each(|(what, count)| writeln!(f, "{count:>8}  {what}"))?;
        for (kind, count) in &self.kinds {
            writeln!(f, "{count:>8}  of the rows served: {kind:?}")?;
        }
        for (why, count) in &self.unproved {
            writeln!(f, "{count:>8}  rows unproved: {why}")?;
        }
        for (why, count) in &self.left_out {
            writeln!(f, "{count:>8}  left out: {why}")?;
        }
        Ok(())
    }
}
