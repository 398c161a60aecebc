//! Downloads here, or in certhook's second process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::download::{Downloader, Got};
use crate::apart::{Apart, Kind};
use crate::problem::Problem;

/// Where files come from.
pub(super) struct Downloads {
    endpoint: String,
    timeout: Duration,
    here: Downloader,
    pub(super) apart: Option<Apart>,
}

impl Downloads {
    pub(super) fn new(endpoint: &str, timeout: Duration) -> Self {
        let here = Downloader::new(endpoint, timeout);
        Self { endpoint: endpoint.to_owned(), timeout, here, apart: None }
    }

    /// `what` and `name` say in errors what it is of which certificate.
    pub(super) async fn get(&self, link: &str, what: &str, name: &str) -> Result<Got, Problem> {
        let Some(apart) = &self.apart else { return self.here.get(link, what, name).await };
        let task = Task {
            endpoint: self.endpoint.clone(),
            timeout: self.timeout,
            link: link.to_owned(),
            what: what.to_owned(),
            name: name.to_owned(),
        };
        apart.ask::<Result<Got, Problem>>(Kind::Download, &task).await?
    }

    /// Lets go of the connections. In the second process they go with the portal's.
    pub(super) fn rest(&self) {
        self.here.rest();
    }
}

/// One file from one link.
#[derive(Serialize, Deserialize)]
pub struct Task {
    endpoint: String,
    timeout: Duration,
    link: String,
    what: String,
    name: String,
}

/// The second process's half.
#[derive(Default)]
pub struct Desk {
    /// Kept for as long as the portal is the same.
    kept: Mutex<Option<(String, Duration, Arc<Downloader>)>>,
}

impl Desk {
    /// Downloads.
    ///
    /// # Errors
    /// What is wrong with the link, or at its other end.
    pub async fn perform(&self, task: Task) -> Result<Got, Problem> {
        self.downloader(&task).get(&task.link, &task.what, &task.name).await
    }

    /// Lets go of the connections.
    pub fn rest(&self) {
        if let Some((.., downloader)) = &*self.kept.lock().unwrap_or_else(PoisonError::into_inner) {
            downloader.rest();
        }
    }

    fn downloader(&self, task: &Task) -> Arc<Downloader> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((endpoint, timeout, known)) if (endpoint, timeout) == (&task.endpoint, &task.timeout) => {
                Arc::clone(known)
            }
            _ => {
                let new = Arc::new(Downloader::new(&task.endpoint, task.timeout));
                *kept = Some((task.endpoint.clone(), task.timeout, Arc::clone(&new)));
                new
            }
        }
    }
}

/// A file in a message; every copy is wiped.
pub(super) mod base64 {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use zeroize::Zeroizing;

    use super::super::Bytes;

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        Zeroizing::new(STANDARD.encode(bytes)).as_str().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The error would repeat a byte.
        STANDARD.decode(text.as_bytes()).map(Zeroizing::new).map_err(|_| D::Error::custom("no base64"))
    }
}
