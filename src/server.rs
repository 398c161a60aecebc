//! What a server can do: load its certificates again, and say why it did not.

mod command;
mod nginx;

use std::time::Duration;

use crate::config::{self, Kind, Reload};
use crate::problem::Problem;

/// One configured server.
#[derive(Debug, Clone)]
pub struct Server {
    name: String,
    program: Program,
}

#[derive(Debug, Clone)]
enum Program {
    /// nginx, told by a signal and watched through `/proc`.
    Nginx(nginx::Nginx),
    /// Anything, told by a command.
    Command(command::Command),
}

impl Server {
    /// From its part of the configuration.
    pub fn new(config: &config::Server) -> Self {
        let program = match (&config.reload, &config.kind) {
            (Reload::Command(argv), _) => {
                Program::Command(command::Command::new(argv, config.reload_timeout))
            }
            (Reload::Signal, Kind::Nginx(found_by)) => {
                Program::Nginx(nginx::Nginx::new(found_by.clone(), config.reload_timeout))
            }
            // The configuration refuses it; an empty command says so once more.
            (Reload::Signal, Kind::Command) => {
                Program::Command(command::Command::new(&[], config.reload_timeout))
            }
        };
        Self { name: config.name.clone(), program }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reloads it and waits until it has loaded, as far as that can be seen; the wire has the last word.
    ///
    /// # Errors
    /// Why it did not load, in its own words where they can be had.
    pub async fn reload(&self) -> Result<Duration, Problem> {
        match &self.program {
            Program::Nginx(nginx) => nginx.reload().await,
            Program::Command(command) => command.run(&self.name).await,
        }
    }

    /// What stands in the way of a reload, without doing one.
    pub fn obstacles(&self) -> Vec<Problem> {
        match &self.program {
            Program::Nginx(nginx) => nginx.obstacles(),
            Program::Command(command) => command.obstacles(),
        }
    }
}
