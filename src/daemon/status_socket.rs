//! The status socket: made where its folder and group are there, and made again when somebody has removed it.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::control::{self, Call};
use crate::platform::{self, Identity};

/// The socket, while it can be had. The agent works without it.
#[derive(Default)]
pub(super) struct StatusSocket {
    /// Ends with this.
    serving: Option<(JoinSet<()>, Identity)>,
    /// Why there is none, as it was logged last.
    logged: Option<String>,
}

impl StatusSocket {
    /// Makes the socket, unless it is there.
    pub(super) async fn renew(&mut self, calls: &mpsc::UnboundedSender<Call>) {
        let Some(path) = platform::status_path() else { return };
        let made = self.serving.as_ref().map(|(_, made)| *made);
        if made.is_some() && made == platform::identity(&path) {
            return;
        }
        self.serving = None;
        match platform::listen_for_status(&path).await {
            Ok(listener) => {
                let mut serving = JoinSet::new();
                serving.spawn(control::serve_status(listener, calls.clone()));
                self.serving = Some(serving).zip(platform::identity(&path));
                self.logged = None;
            }
            Err(error) => {
                let reason = error.to_string();
                if self.logged.as_ref() != Some(&reason) {
                    tracing::debug!(path = %path.display(), reason, "there is no status socket");
                    self.logged = Some(reason);
                }
            }
        }
    }

    /// Removes the socket.
    pub(super) fn close(self) {
        let (Some((_, made)), Some(path)) = (self.serving, platform::status_path()) else { return };
        if platform::identity(&path) == Some(made) {
            // The next caller finds none rather than a dead one.
            let _ = std::fs::remove_file(&path);
        }
    }
}
