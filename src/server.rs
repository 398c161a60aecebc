//! What a server can do: load its certificates again, and say why it did not.

mod command;
mod iis;
mod life;
#[cfg(unix)]
mod nginx;
#[cfg(windows)]
#[path = "server/nginx_elsewhere.rs"]
mod nginx;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::agent::Accepting;
use crate::certificate::{Fingerprint, Leaf, Material, Thumbprint};
use crate::config::{self, Ask, Binding, Kind, Reload};
use crate::discover;
use crate::problem::Problem;
pub use iis::{Claimant, same_names};
pub use life::{Life, problems_of_lives};

/// One configured server.
#[derive(Debug, Clone)]
pub struct Server {
    name: String,
    program: Program,
}

#[derive(Debug, Clone)]
enum Program {
    /// nginx, watched through `/proc` however it is told.
    Nginx(nginx::Nginx),
    /// Anything, told by a command.
    Command(command::Command),
    /// IIS, given each certificate.
    Iis(iis::Iis),
}

/// A server's workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workers {
    /// The processes that take connections: others after each reload.
    pub serving: BTreeSet<i32>,
    /// How many of earlier loads end their last connections.
    pub draining: usize,
}

/// A reload that ended well, as far as that can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Until new workers were there.
    pub took: Duration,
    /// How many workers of earlier loads ended their last connections at that time. Those of the load that is
    /// being replaced are not told to end before 100 ms after it.
    pub draining: usize,
    /// Its processes before the reload; empty where there are none, or none can be seen.
    pub before: BTreeSet<i32>,
}

/// A reload that did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in the server's own words where they can be had.
    pub problem: Problem,
    /// The files that those words name as the cause.
    pub files: Vec<PathBuf>,
    /// It was not told to reload, since it would wait for ever for a file: see [`Server::is_blocked`].
    pub blocked: bool,
}

/// A certificate for a server that is given them.
#[derive(Debug, Clone)]
pub struct Installing {
    /// What its site is called in the log.
    pub label: String,
    /// The whole set.
    pub material: Material,
    /// The bindings that are to have it, beside those that have an earlier one.
    pub bindings: Vec<Binding>,
    /// The leaf that was last seen served for its site.
    pub recorded: Option<Fingerprint>,
    /// The bindings that other sites name.
    pub others: Vec<Binding>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, files: Vec::new(), blocked: false }
    }
}

impl Server {
    /// From its part of the configuration.
    pub fn new(config: &config::Server) -> Self {
        let patience = config.reload_timeout;
        let program = match (&config.kind, &config.reload) {
            (Kind::Nginx(found_by), told_by) => {
                Program::Nginx(nginx::Nginx::new(found_by.clone(), told_by.clone(), patience))
            }
            (Kind::Iis(settings), _) => Program::Iis(iis::Iis::new(settings.clone(), patience)),
            (Kind::Command, Reload::Command(argv)) => Program::Command(command::Command::new(argv, patience)),
            // The configuration refuses it; an empty command says so once more.
            (Kind::Command, Reload::Signal | Reload::Systemd) => {
                Program::Command(command::Command::new(&[], patience))
            }
        };
        Self { name: config.name.clone(), program }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its configuration serves. Blocking.
    ///
    /// # Errors
    /// It is no nginx, none is found, or its configuration's file is not known.
    pub fn discover(&self) -> Result<discover::Found, Problem> {
        match &self.program {
            Program::Nginx(nginx) => nginx.discover(),
            Program::Iis(iis) => iis.discover(),
            Program::Command(_) => Err(Problem::new(
                "not_discoverable",
                format!(
                    "what {} serves cannot be found out: it is known by its reload command only",
                    self.name
                ),
                "name its sites, or use kind = \"nginx\"",
            )),
        }
    }

    /// The bindings of IIS, each with the certificate that it has in the machine's stores; none of other servers.
    /// Blocking.
    ///
    /// # Errors
    /// Its configuration, the records or the stores cannot be read.
    pub fn shown(&self) -> Result<Vec<(Binding, Option<Leaf>)>, Problem> {
        match &self.program {
            Program::Iis(iis) => iis.shown(),
            Program::Nginx(_) | Program::Command(_) => Ok(Vec::new()),
        }
    }

    /// Whether it ran when it was looked for last, as far as that is known. Quick.
    pub fn was_running(&self) -> bool {
        match &self.program {
            Program::Nginx(nginx) => nginx.was_running(),
            Program::Command(_) | Program::Iis(_) => true,
        }
    }

    /// The processes that serve now; `None` where it cannot be told. A few reads below `/proc`, but of one that
    /// does not run systemd may be asked: blocking.
    pub fn workers(&self) -> Option<Workers> {
        match &self.program {
            Program::Nginx(nginx) => nginx.workers(),
            Program::Command(_) | Program::Iis(_) => None,
        }
    }

    /// Who accepts its connections. A few reads below `/proc`: blocking.
    pub fn accepting(&self) -> Accepting {
        match &self.program {
            Program::Nginx(nginx) => nginx.accepting(),
            Program::Command(_) => Accepting::Unseen,
            // HTTP.sys takes a binding for all connections at once.
            Program::Iis(_) => Accepting::AllNew,
        }
    }

    /// Whether every worker that accepts was started after its configuration was last written, by a second at least. A
    /// few reads below `/proc`, and of the metadata of its configuration's files: blocking.
    pub fn has_loaded_its_configuration(&self) -> bool {
        match &self.program {
            Program::Nginx(nginx) => nginx.has_loaded_its_configuration(),
            Program::Command(_) | Program::Iis(_) => false,
        }
    }

    /// Reloads it and waits until it has loaded, as far as that can be seen; the wire has the last word.
    ///
    /// # Errors
    /// Why it did not load, in its own words where they can be had.
    pub async fn reload(&self) -> Result<Loaded, Refusal> {
        match &self.program {
            Program::Nginx(nginx) => nginx.reload(&self.name).await,
            Program::Command(command) => {
                let took = command.run(&self.name).await?;
                Ok(Loaded { took, draining: 0, before: BTreeSet::new() })
            }
            // There is nothing to load: each certificate is given to it by [`Server::install`].
            Program::Iis(_) => Ok(Loaded { took: Duration::ZERO, draining: 0, before: BTreeSet::new() }),
        }
    }

    /// Whether it is given its certificates by [`Server::install`], and not told to load them from files.
    pub fn takes_certificates(&self) -> bool {
        matches!(self.program, Program::Iis(_))
    }

    /// Ends what an earlier certhook began and did not come to end, where that cannot wait. Blocking.
    ///
    /// # Errors
    /// Why it cannot be ended; it is tried again before the next certificate is given.
    pub fn recover(&self) -> Result<(), Problem> {
        match &self.program {
            Program::Iis(iis) => iis.recover(),
            Program::Nginx(_) | Program::Command(_) => Ok(()),
        }
    }

    /// Gives it certificates: an outcome for each, in their order. What is refused for one keeps no other back. `all`
    /// are all sites that it has: what two of them would take from each other neither gets. Blocking.
    pub fn install(&self, sites: &[Installing], all: &[Claimant]) -> Vec<Result<(), Problem>> {
        match &self.program {
            Program::Iis(iis) => iis.install(sites, all),
            Program::Nginx(_) | Program::Command(_) => sites.iter().map(|_| Ok(())).collect(),
        }
    }

    /// Once the wire has shown a leaf that was installed: what it replaced long enough ago is removed from the
    /// server's store. To be called after each proof, and now and then. Blocking.
    ///
    /// # Errors
    /// Why nothing was removed; no harm is done, and the next time may do it.
    pub fn retire(&self, proved: &Fingerprint, now: Timestamp) -> Result<Vec<Thumbprint>, Problem> {
        match &self.program {
            Program::Iis(iis) => iis.retire(proved, now),
            Program::Nginx(_) | Program::Command(_) => Ok(Vec::new()),
        }
    }

    /// Whether it keeps a loaded certificate over a reload when the file's inode and whole-second write time are
    /// unchanged (nginx from 1.27.4); `false` where that is not known. Blocking: runs `nginx -V`, once.
    pub fn keeps_unchanged(&self) -> bool {
        match &self.program {
            Program::Nginx(nginx) => nginx.keeps_unchanged(),
            Program::Command(_) | Program::Iis(_) => false,
        }
    }

    /// Why the old certificate may still be served after a reload that ended well: nginx is being upgraded, and
    /// the workers of its old program cannot be told to load. Quick, as [`Server::workers`].
    pub fn upgrading(&self) -> Option<Problem> {
        match &self.program {
            Program::Nginx(nginx) => nginx.upgrading(),
            Program::Command(_) | Program::Iis(_) => None,
        }
    }

    /// Of endpoints that its configuration names, why each is not asked now: the address is not of the network that the
    /// server listens in, and another host may answer there. Blocking, for a few reads below `/proc`.
    pub fn not_here(&self, asks: &[Ask]) -> Vec<Option<Problem>> {
        match &self.program {
            Program::Nginx(nginx) => nginx.not_here(asks),
            Program::Command(_) | Program::Iis(_) => asks.iter().map(|_| None).collect(),
        }
    }

    /// Whether it would wait for ever for a file if it were told to reload now. Blocking.
    pub fn is_blocked(&self) -> bool {
        match &self.program {
            Program::Nginx(nginx) => nginx.is_blocked(),
            Program::Command(_) | Program::Iis(_) => false,
        }
    }

    /// What an administrator may want to know of and what changes nothing, such as untrusted processes that claim to
    /// be this server. Blocking.
    pub fn notes(&self) -> Vec<Problem> {
        match &self.program {
            Program::Nginx(nginx) => nginx.notes(),
            Program::Command(_) | Program::Iis(_) => Vec::new(),
        }
    }

    /// What stands in the way of a reload, without doing one. Blocking.
    pub fn obstacles(&self) -> Vec<Problem> {
        match &self.program {
            Program::Nginx(nginx) => nginx.obstacles(),
            Program::Command(command) => command.obstacles(),
            Program::Iis(iis) => iis.obstacles(),
        }
    }
}
