//! A server's workers: new ones show that somebody had it load its configuration.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Daemon;
use super::News;
use crate::agent::{Event, ServerId};

/// While a site's server has not loaded its part yet, its workers are looked at as often.
const WORKERS_EVERY: Duration = Duration::from_secs(1);

const MOST_WORKERS_EVERY: Duration = Duration::from_secs(60);

impl Daemon {
    /// While sites wait for their server to load its configuration: new workers show that somebody had it loaded.
    pub(super) fn look_at_workers(&mut self, id: ServerId) {
        let awaits = self.agent.awaits_load(id);
        let followed = &mut self.servers.all[id.0];
        if !awaits {
            (followed.workers, followed.workers_at) = (None, None);
            return;
        }
        let now = Instant::now();
        let (_, since) = followed.workers_at.unwrap_or((now, now));
        // Who does not load it soon may do so much later.
        let pause = (now.duration_since(since) / 10).clamp(WORKERS_EVERY, MOST_WORKERS_EVERY);
        followed.workers_at = Some((now + pause, since));
        self.ask_for_workers(id);
    }

    /// Off the loop: of an nginx that is not there systemd may be asked.
    pub(super) fn ask_for_workers(&mut self, id: ServerId) {
        let followed = &mut self.servers.all[id.0];
        if std::mem::replace(&mut followed.looking, true) {
            return;
        }
        let (server, news) = (Arc::clone(&followed.server), self.servers.news.clone());
        tokio::task::spawn_blocking(move || {
            let serving = server.workers().map(|workers| workers.serving);
            // The loop is gone only when certhook ends.
            let _ = news.send(News::Serving(id, serving));
        });
    }

    pub(super) fn serving(&mut self, id: ServerId, serving: Option<BTreeSet<i32>>) {
        let awaits = self.agent.awaits_load(id);
        let followed = &mut self.servers.all[id.0];
        followed.looking = false;
        let Some(now) = serving else { return };
        if followed.reading || followed.read_at.is_some() {
            // Those that are there while the configuration changes.
            followed.workers.get_or_insert(now);
        } else if awaits {
            let before = followed.workers.replace(now.clone());
            if before.is_some_and(|before| !now.is_subset(&before)) {
                tracing::info!(server = followed.server.name(), "somebody reloaded it");
                self.feed(Event::LoadedByOthers(id));
            }
        }
    }
}
