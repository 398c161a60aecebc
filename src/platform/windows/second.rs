//! No second process: a service of Windows has the rights of its account, and none that a part of it could give up.

use std::io;

use tokio::io::DuplexStream;
use tokio::process::Child;

/// There is none.
pub struct Second {
    /// The one way to it.
    pub stream: DuplexStream,
    /// To learn how it ended.
    pub child: Child,
}

/// `None`.
///
/// # Errors
/// None.
pub fn start_second(_: &[String]) -> io::Result<Option<Second>> {
    Ok(None)
}

/// Nothing.
///
/// # Errors
/// Always.
pub fn first_process() -> io::Result<DuplexStream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing.
///
/// # Errors
/// None.
pub fn give_up_rights() -> io::Result<()> {
    Ok(())
}

/// Nothing.
///
/// # Errors
/// None.
pub fn confine_to_the_network() -> io::Result<()> {
    Ok(())
}

/// Never.
pub fn has_lent_rights() -> bool {
    false
}
