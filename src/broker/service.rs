//! Tokens of a tenant's service client: nobody is impersonated, the client acts for itself.

use std::sync::Arc;

use tokio::time::{Duration, Instant, timeout_at};

use super::error::{BrokerError, MintError};
use super::issued::{Issued, UserToken};
use super::live_or_late;
use super::pause::TenantPause;
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
    /// The whole tenant's: what throttles one of its clients throttles all.
    pause: Arc<TenantPause>,
}

impl Service {
    pub fn new(
        client: QlikClient,
        scopes: ScopeSet,
        margins: Margins,
        pause: &Arc<TenantPause>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                client,
                scopes,
                margins,
                pause: Arc::clone(pause),
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
            Err(_) => live_or_late(&self.cell),
        }
    }
}

impl Inner {
    async fn ask(&self, deadline: Instant) -> Result<Lease<UserToken>, MintError> {
        // Only a throttle is the tenant's: what else stops it is about the issuing client.
        if let Err((error @ QlikError::Throttled { .. }, left)) = self.pause.wait(deadline).await {
            return Err(MintError {
                error,
                tenant_pause: Some(left),
            });
        }
        let asking = self.client.client_credentials(&self.scopes, deadline);
        let access = asking.await.map_err(|error| {
            self.pause.note_throttle(&error);
            MintError {
                error,
                tenant_pause: None,
            }
        })?;
        let life = access.life;
        let token = Arc::new(UserToken::received(access, None));
        Ok(Lease::new(token, life, self.margins, 0.0))
    }
}
