//! What the portal's back end asks of the broker, with its key.

use std::time::Duration;

use serde_json::json;

use super::{Surroundings, User};
use crate::outbound::{ClientError, HttpClient, Proxy, client};

/// A broker answers within 10 s, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_secs(15);

/// The way to the broker that no browser takes.
#[derive(Clone)]
pub(super) struct BackChannel {
    http: HttpClient,
    logout: String,
    key: String,
}

/// Why the broker may not have ended anything.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotEnded {
    #[error("the broker does not answer")]
    Silent,
    #[error("the broker answers {0}")]
    Refused(u16),
}

impl BackChannel {
    pub fn new(surroundings: &Surroundings<'_>) -> Result<Self, ClientError> {
        Ok(Self {
            http: client(&Proxy::None, None)?,
            logout: format!("{}/logout", surroundings.broker),
            key: surroundings.key.to_owned(),
        })
    }

    /// Ends all that the user has at the broker: the token, and every JWT that was signed up to now.
    /// By name, as each JWT is a session of its own there: to show one would end that one alone.
    pub async fn log_out(&self, user: User) -> Result<(), NotEnded> {
        let subject = format!("auth0|{}", user.id());
        let named = json!({ "user_lookup": { "field": "subject", "value": subject } });
        let call = self.http.post(&self.logout).bearer_auth(&self.key);
        let sent = call.timeout(PATIENCE).json(&named).send().await;
        match sent.map(|answer| answer.status().as_u16()) {
            Ok(204) => Ok(()),
            Ok(status) => Err(NotEnded::Refused(status)),
            Err(_) => Err(NotEnded::Silent),
        }
    }
}
