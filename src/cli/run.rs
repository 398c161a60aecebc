//! `certhook run`

use super::{Outcome, Result};
use crate::config::Config;
use crate::daemon;

pub(super) async fn run(config: Config) -> Result {
    daemon::serve(config).await?;
    Ok(Outcome::Well)
}
