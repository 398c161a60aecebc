//! nginx where it cannot be told to reload: on Windows it knows no signals, and its makers call it unfit for more
//! than trials. Whatever is asked of it is refused.

use std::time::Duration;

use super::{Loaded, Refusal, Workers};
use crate::agent::Accepting;
use crate::config::{self, Ask, Reload};
use crate::discover::Found;
use crate::problem::Problem;

/// No nginx.
#[derive(Debug, Clone)]
pub(super) struct Nginx {
    _private: (),
}

impl Nginx {
    pub(super) fn new(_: config::Nginx, _: Reload, _: Duration) -> Self {
        Self { _private: () }
    }

    pub(super) async fn reload(&self, _: &str) -> Result<Loaded, Refusal> {
        Err(not_here().into())
    }

    pub(super) fn discover(&self) -> Result<Found, Problem> {
        Err(not_here())
    }

    pub(super) fn not_here(&self, asks: &[Ask]) -> Vec<Option<Problem>> {
        asks.iter().map(|_| None).collect()
    }

    pub(super) fn is_blocked(&self) -> bool {
        false
    }

    pub(super) fn notes(&self) -> Vec<Problem> {
        Vec::new()
    }

    pub(super) fn was_running(&self) -> bool {
        false
    }

    pub(super) fn life(&self) -> Result<super::Life, Problem> {
        Ok(super::Life::default())
    }

    pub(super) fn workers(&self) -> Option<Workers> {
        None
    }

    pub(super) fn accepting(&self) -> Accepting {
        Accepting::Unseen
    }

    pub(super) fn has_loaded_its_configuration(&self) -> bool {
        false
    }

    pub(super) fn keeps_unchanged(&self) -> bool {
        false
    }

    pub(super) fn upgrading(&self) -> Option<Problem> {
        None
    }

    pub(super) fn obstacles(&self) -> Vec<Problem> {
        vec![not_here()]
    }
}

fn not_here() -> Problem {
    Problem::new(
        "not_here",
        "certhook tells no nginx on Windows to reload",
        "use kind = \"iis\", or kind = \"command\" with a reload of your own",
    )
}
