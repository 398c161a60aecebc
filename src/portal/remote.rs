//! The portal's client in certhook's second process, and what the first one asks of it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Failure, Next, Portal, Secret, read_secret};
use crate::apart::{Apart, Body, Kind, body};
use crate::config;
use crate::problem::Problem;

/// One request, with all that it takes.
#[derive(Serialize, Deserialize)]
pub struct Task {
    config: config::Portal,
    /// As its file has it now: the second process cannot read it.
    secret: Result<Zeroizing<String>, Problem>,
    call: Call,
}

/// What is asked.
#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Authorise,
    List,
    Report { id: i64, name: String, remote_create_date: String },
    Renew { key_vault: bool },
}

/// The first process's half.
pub(super) async fn ask<T: DeserializeOwned>(
    apart: &Apart,
    config: &config::Portal,
    call: Call,
) -> Result<T, Failure> {
    let secret = read_secret(&config.secret).map(|secret| Zeroizing::new(secret.expose_secret().to_owned()));
    let task = Task { config: config.clone(), secret, call };
    let outcome: Result<T, Failure> = apart.ask(Kind::Portal, &task).await.map_err(|problem| Failure {
        next: Next::Again(None),
        sent: true,
        problem,
    })?;
    outcome
}

/// The second process's half: one client, for as long as its configuration is the same.
#[derive(Default)]
pub struct Desk {
    kept: Mutex<Option<Arc<Portal>>>,
}

impl Desk {
    /// Does what is asked, to the message that answers.
    pub fn perform(&self, task: Task) -> impl Future<Output = std::io::Result<Body>> + Send + use<> {
        let portal = self.portal(task.config);
        let secret = task.secret.map(|secret| SecretString::from(secret.as_str()));
        portal.secret.give(secret);
        async move {
            match task.call {
                Call::Authorise => body(&portal.authorise().await),
                Call::List => body(&portal.list().await),
                Call::Report { id, name, remote_create_date } => {
                    body(&portal.report(id, &name, &remote_create_date).await)
                }
                Call::Renew { key_vault } => body(&portal.renew(key_vault).await),
            }
        }
    }

    /// Forgets the client's tokens.
    pub fn forget_token(&self) {
        if let Some(portal) = &*self.lock() {
            portal.forget_token();
        }
    }

    /// Closes the client's connections.
    pub fn rest(&self) {
        if let Some(portal) = &*self.lock() {
            portal.rest();
        }
    }

    fn portal(&self, config: config::Portal) -> Arc<Portal> {
        let mut kept = self.lock();
        match &*kept {
            Some(portal) if portal.config == config => Arc::clone(portal),
            _ => Arc::clone(kept.insert(Arc::new(Portal { secret: Secret::given(), ..Portal::new(config) }))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Portal>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
