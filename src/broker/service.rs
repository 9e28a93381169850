//! Tokens of a tenant's service client: nobody is impersonated, the client acts for itself.

use std::sync::Arc;

use tokio::time::{Duration, Instant, timeout_at};

use super::AFTER_DEADLINE;
use super::error::{BrokerError, MintError};
use super::issued::{Issued, UserToken};
use super::tier::Epoch;
use crate::budget::{Budget, Ticket, Turn};
use crate::expiring::{ExpiringCell, Lease, Margins};
use crate::qlik::{Credential, QlikClient, QlikError};
use crate::tenant::ScopeSet;

const PATIENCE: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub struct Service {
    inner: Arc<Inner>,
    cell: Arc<ExpiringCell<UserToken, MintError>>,
}

#[derive(Debug)]
struct Inner {
    client: QlikClient,
    scopes: ScopeSet,
    /// The whole tenant's.
    budget: Arc<Budget>,
}

impl Service {
    /// Asks for these scopes; has no token yet.
    pub fn new(client: QlikClient, scopes: ScopeSet, budget: Arc<Budget>) -> Self {
        Self {
            inner: Arc::new(Inner {
                client,
                scopes,
                budget,
            }),
            cell: Arc::default(),
        }
    }

    /// Who asks.
    pub fn client(&self) -> &QlikClient {
        &self.inner.client
    }

    /// See [`QlikClient::renew`].
    pub fn renew(&self, credential: &Credential) -> bool {
        self.inner.client.renew(credential)
    }

    pub(super) async fn token(
        &self,
        margins: Margins,
        deadline: Instant,
    ) -> Result<Issued, BrokerError> {
        let getting = self.cell.get(|| {
            let inner = Arc::clone(&self.inner);
            // With a patience of its own: what one caller has no time for, others may wait for.
            async move { inner.ask(margins, Instant::now() + PATIENCE).await }
        });
        match timeout_at(deadline, getting).await {
            Ok(got) => Ok(got.map(Issued::from)?),
            Err(_) => Issued::live(&self.cell).ok_or(BrokerError::Deadline {
                retry_after: AFTER_DEADLINE,
            }),
        }
    }
}

impl Inner {
    async fn ask(
        &self,
        margins: Margins,
        deadline: Instant,
    ) -> Result<Lease<UserToken>, MintError> {
        let failed = |error| MintError {
            error,
            tenant_pause: None,
        };
        let ticket = Ticket {
            turn: Turn::Caller("service".into()),
            user: None,
            until: deadline,
        };
        let turn = self.budget.turn(ticket).await;
        let turn = turn.map_err(|retry_after| MintError {
            error: QlikError::Throttled { retry_after },
            // The next one who asks gets a new place at once.
            tenant_pause: Some(Duration::ZERO),
        })?;
        let asking = self.client.client_credentials(&self.scopes, turn, deadline);
        let access = asking.await.map_err(failed)?;
        let token = Arc::new(UserToken::minted(access, None, Epoch::Start));
        let (left, life) = (token.usable(), token.access.life);
        Ok(Lease::resumed(token, left, life, margins, 0.0))
    }
}
