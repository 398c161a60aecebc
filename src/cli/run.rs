//! `certhook run`

use super::{Outcome, Result, complain, second_process};
use crate::config::{Config, Mistakes};
use crate::daemon;
use crate::platform::Manager;

pub(super) async fn run(config: Config) -> Result {
    daemon::serve(config, second_process(true)?).await?;
    Ok(Outcome::Well)
}

/// As a package has just installed it there is nothing to do. To a service manager that is no failure: older ones
/// know no condition that is a command.
pub(super) fn without_configuration(mistakes: &Mistakes) -> Outcome {
    complain(&mistakes.to_string());
    let manager = Manager::default();
    if !manager.listens() {
        return Outcome::Wrong;
    }
    manager.ready();
    manager.status("nothing is configured yet");
    Outcome::Well
}
