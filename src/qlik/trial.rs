//! One token for a command, which shows whether a tenant accepts a client.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::{AccessToken, Credential, QlikClient, QlikError};
use crate::budget::{Budget, Granted, Replicas, Ticket, Turn};
use crate::mapping::UserLookup;
use crate::outbound::HttpClient;
use crate::secret::SecretError;
use crate::tenant::{Rate, ScopeSet, TenantId};

const PATIENCE: Duration = Duration::from_secs(20);

/// For whom a client asks.
#[derive(Clone, Debug)]
pub enum Asks {
    /// For itself.
    Own,
    /// For a user whom the tenant knows.
    For(UserLookup),
    /// For one whom no tenant knows. Being told so shows that the client is accepted, if the tenant says
    /// something else to a client that it does not accept.
    ForNobody(UserLookup),
}

/// A client, and what it asks for.
#[derive(Debug)]
pub struct Trial {
    client: QlikClient,
    budget: Arc<Budget>,
    scopes: ScopeSet,
    asks: Asks,
}

impl Trial {
    /// Reads the secret, calls nobody. `url` has no slash at its end.
    pub fn new(
        http: HttpClient,
        (tenant, url): (&TenantId, &str),
        credential: Credential,
        scopes: ScopeSet,
        asks: Asks,
    ) -> Result<Self, SecretError> {
        let rate = Rate {
            per_minute: NonZeroU32::MIN.saturating_add(79),
            burst: NonZeroU32::MIN.saturating_add(99),
        };
        Ok(Self {
            client: QlikClient::new(http, tenant.as_str(), url, credential)?,
            budget: Budget::new(rate, Replicas::ONE),
            scopes,
            asks,
        })
    }

    /// A token.
    pub async fn token(&self) -> Result<AccessToken, QlikError> {
        let (turn, until) = self.turn().await?;
        let (client, scopes) = (&self.client, &self.scopes);
        match &self.asks {
            Asks::Own => client.client_credentials(scopes, turn, until).await,
            Asks::For(user) | Asks::ForNobody(user) => {
                client.impersonate(user, scopes, turn, until).await
            }
        }
    }

    /// Whether the tenant accepts what proves the client. A user's token is revoked again, as far as
    /// that works.
    pub async fn accepts(&self) -> Result<(), QlikError> {
        match (self.token().await, &self.asks) {
            (Ok(token), Asks::For(_) | Asks::ForNobody(_)) => {
                let (turn, until) = self.turn().await?;
                drop(self.client.revoke(&token, turn, until).await);
                Ok(())
            }
            (Err(error), Asks::ForNobody(_)) if error.is_about_the_user() => Ok(()),
            (outcome, _) => outcome.map(drop),
        }
    }

    async fn turn(&self) -> Result<(Granted, Instant), QlikError> {
        let until = Instant::now() + PATIENCE;
        let ticket = Ticket {
            turn: Turn::Caller("command".into()),
            user: None,
            until,
        };
        let turn = self.budget.turn(ticket).await;
        let turn = turn.map_err(|retry_after| QlikError::Throttled { retry_after })?;
        Ok((turn, until))
    }
}
