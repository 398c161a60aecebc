//! Whether servers run, as far as their processes tell.

use std::collections::BTreeSet;

use super::{Program, Server};
use crate::problem::Problem;

/// The processes of a server that runs; none where certhook does not look at any.
#[derive(Debug, Default)]
pub struct Life {
    /// Its masters.
    pub masters: Vec<i32>,
    /// Other masters of nginx, where the configuration does not say which one is meant.
    pub(super) others: Vec<i32>,
    /// Handles that become readable when a master has ended.
    #[cfg(unix)]
    pub(super) ends: Vec<std::os::fd::OwnedFd>,
}

impl Life {
    /// Waits until one of its masters has ended; for ever where the system cannot tell.
    pub async fn ended(self) {
        #[cfg(unix)]
        {
            let mut waiting = tokio::task::JoinSet::new();
            for end in self.ends {
                waiting.spawn(async move {
                    // A pipe is what tokio registers without `AsyncFd`; it asks nothing of what is behind the handle.
                    match tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(end) {
                        Ok(end) => drop(end.readable().await),
                        Err(_) => std::future::pending().await,
                    }
                });
            }
            if waiting.join_next().await.is_some() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Server {
    /// Looks whether it runs. Blocking.
    ///
    /// # Errors
    /// It does not, or which of several masters is meant cannot be told.
    pub fn life(&self) -> Result<Life, Problem> {
        match &self.program {
            Program::Nginx(nginx) => nginx.life(),
            Program::Command(_) | Program::Iis(_) => Ok(Life::default()),
        }
    }
}

/// What is wrong with each of these servers: it does not run, or a master beside its own is named by none of them.
pub fn problems_of_lives(lives: &[Result<Life, Problem>]) -> Vec<Option<Problem>> {
    let named: BTreeSet<i32> = lives.iter().flatten().flat_map(|life| life.masters.iter().copied()).collect();
    let problem = |life: &Result<Life, Problem>| {
        match life {
        Err(problem) => Some(problem.clone()),
        Ok(life) => life.others.iter().find(|pid| !named.contains(pid)).map(|pid| {
            Problem::new(
                "several_masters",
                format!("another master of nginx runs, which no server of the configuration names (process {pid})"),
                format!(
                    "see what it is: ps -fp {pid}; name the one that is meant with unit or pid_file in its [server.…], \
                     and give the other a [server.…] of its own if its certificates are to be looked after"
                ),
            )
        }),
    }
    };
    lives.iter().map(problem).collect()
}
