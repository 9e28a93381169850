//! Tokens of a tenant's service client: nobody is impersonated, the client acts for itself.

use std::sync::Arc;

use tokio::time::{Duration, Instant, timeout_at};

use super::AFTER_DEADLINE;
use super::error::{BrokerError, MintError};
use super::issued::{Issued, UserToken};
use super::tier::Epoch;
use crate::budget::{Budget, Ticket, Turn};
use crate::expiring::{ExpiringCell, Lease, Margins};
use crate::qlik::{QlikClient, QlikError};
use crate::tenant::ScopeSet;

const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Service {
    inner: Arc<Inner>,
    cell: Arc<ExpiringCell<UserToken, MintError>>,
}

#[derive(Debug)]
struct Inner {
    client: QlikClient,
    scopes: ScopeSet,
    margins: Margins,
    /// The whole tenant's.
    budget: Arc<Budget>,
}

impl Service {
    pub fn new(
        client: QlikClient,
        scopes: ScopeSet,
        margins: Margins,
        budget: &Arc<Budget>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                client,
                scopes,
                margins,
                budget: Arc::clone(budget),
            }),
            cell: Arc::default(),
        }
    }

    pub async fn token(&self, deadline: Instant) -> Result<Issued, BrokerError> {
        let getting = self.cell.get(|| {
            let inner = Arc::clone(&self.inner);
            // With a patience of its own: what one caller has no time for, others may wait for.
            async move { inner.ask(Instant::now() + PATIENCE).await }
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
    async fn ask(&self, deadline: Instant) -> Result<Lease<UserToken>, MintError> {
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
        let life = access.life;
        let token = Arc::new(UserToken::minted(access, None, Epoch::Start));
        Ok(Lease::new(token, life, self.margins, 0.0))
    }
}
