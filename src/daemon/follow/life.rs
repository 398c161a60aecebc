//! Whether servers run: looked at when somebody asks, and when a master ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::Daemon;
use super::{News, QUIET, set};
use crate::agent::{Cause, Event, ServerId, SiteId};
use crate::problem::Problem;
use crate::server::{Life, Server, problems_of_lives};
use crate::status::Status;

/// A look takes no longer, or what was known before is told.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that is restarted is there again within this time, and is looked for that often.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);
const RESTART_INTERVAL: Duration = Duration::from_millis(500);

impl Daemon {
    /// Answers with a status whose servers were looked at since.
    pub(in crate::daemon) fn answer_status(&mut self, answer: oneshot::Sender<Status>) {
        self.statuses.push(answer);
        self.look_at_masters();
    }

    /// Off the loop: processes are listed, and systemd may be asked.
    pub(in crate::daemon) fn look_at_masters(&mut self) {
        self.servers.masters_at = None;
        if std::mem::replace(&mut self.servers.looking_at_masters, true) {
            self.servers.look_at_masters_again = true;
            return;
        }
        let servers: Vec<Arc<Server>> =
            self.servers.all.iter().map(|followed| Arc::clone(&followed.server)).collect();
        let news = self.servers.news.clone();
        tokio::spawn(async move {
            let look = move || servers.iter().map(|server| server.life()).collect();
            let lives = timeout(LOOK_TIMEOUT, tokio::task::spawn_blocking(look)).await;
            // The loop is gone only when certhook ends, or goes on with another configuration.
            let _ = news.send(News::Lives(lives.ok().and_then(Result::ok)));
        });
    }

    pub(super) fn take_lives(&mut self, lives: Option<Vec<Result<Life, Problem>>>) {
        self.servers.looking_at_masters = false;
        if let Some(lives) = lives {
            let problems = problems_of_lives(&lives);
            for (index, (life, problem)) in lives.into_iter().zip(problems).enumerate() {
                self.take_life(ServerId(index), life, problem);
            }
        }
        if std::mem::take(&mut self.servers.look_at_masters_again) {
            // Who asked while it was looked may mean what happened since.
            return self.look_at_masters();
        }
        if let Some(since) =
            self.servers.all.iter().filter_map(|followed| Some(followed.down.as_ref()?.1)).max()
        {
            let just_now = since.elapsed() < RESTART_TIMEOUT;
            let pause = if just_now { RESTART_INTERVAL.min(self.servers.poll) } else { self.servers.poll };
            self.servers.masters_at = Some(Instant::now() + pause);
        }
        if !self.statuses.is_empty() {
            let status = self.status();
            for answer in self.statuses.drain(..) {
                // Whoever asked may have left.
                let _ = answer.send(status.clone());
            }
        }
    }

    fn take_life(&mut self, id: ServerId, life: Result<Life, Problem>, problem: Option<Problem>) {
        let followed = &mut self.servers.all[id.0];
        let masters = life.as_ref().map(|life| life.masters.clone()).unwrap_or_default();
        let was_known = followed.masters.is_some();
        let others = followed.masters.replace(masters.clone()).is_none_or(|before| before != masters);
        let code =
            |problem: &Option<(Problem, Instant)>| problem.as_ref().map(|(problem, _)| problem.code.clone());
        let before = code(&followed.down);
        set(&mut followed.down, problem);
        let differs = before != code(&followed.down);
        if differs && let Some((Problem { code, message, remedy }, _)) = &followed.down {
            tracing::warn!(server = followed.server.name(), code, problem = message, remedy, "problem");
        }
        followed.watched &= !others;
        if let (false, Ok(life)) = (followed.watched, life) {
            followed.watched = true;
            let news = self.servers.news.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = life.ended() => drop(news.send(News::MasterEnded(id))),
                    () = news.closed() => {}
                }
            });
        }
        if differs {
            self.changed();
        }
        if was_known && others {
            self.look_at_sites_of(id);
        }
    }

    /// A master has ended: it may have been replaced already.
    pub(super) fn master_ended(&mut self, id: ServerId) {
        let followed = &mut self.servers.all[id.0];
        tracing::info!(server = followed.server.name(), "a master of nginx has ended");
        followed.watched = false;
        self.look_at_masters();
    }

    /// Another master, or none: what its sites show is asked, and its configuration may be another.
    fn look_at_sites_of(&mut self, id: ServerId) {
        let followed = &mut self.servers.all[id.0];
        if followed.discovers {
            let now = Instant::now();
            followed.read_at.get_or_insert((now + QUIET, now));
        }
        let sites = self.sites.iter().filter(|(_, site)| site.roster.settings.server == id.0);
        for site in sites.map(|(id, _)| *id).collect::<Vec<SiteId>>() {
            self.feed(Event::Look(site, Cause::Reloaded));
        }
    }
}
