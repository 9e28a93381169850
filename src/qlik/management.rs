//! A tenant's REST API, as its management client calls it: the bearer, the tries, the errors.

use std::sync::Arc;

use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::AccessToken;
use super::error::{QlikError, classify};
use super::token::{QlikClient, unreachable_reason};
use crate::expiring::{CellError, ExpiringCell, Lease, Margins};
use crate::outbound::{BodyError, read_capped};
use crate::telemetry::metrics::{self, UpstreamCall};
use crate::tenant::ScopeSet;

/// A page of users, with all their roles and groups.
const BODY_CAP: usize = 1024 * 1024;
const MARGINS: Margins = Margins {
    refresh: Duration::from_secs(600),
    min_life: Duration::from_secs(60),
};

/// The management client of one tenant.
#[derive(Debug)]
pub struct Management {
    client: QlikClient,
    http: Client,
    scopes: ScopeSet,
    token: Arc<ExpiringCell<AccessToken, QlikError>>,
}

/// One call.
pub(super) struct Ask<'a> {
    pub call: UpstreamCall,
    pub method: Method,
    /// Below the tenant's address, query included.
    pub path: &'a str,
    pub body: Option<&'a Value>,
}

/// An answer below 400.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Management {
    /// A client that asks for these scopes; calls nobody yet.
    pub fn new(client: QlikClient, http: Client, scopes: ScopeSet) -> Arc<Self> {
        Arc::new(Self {
            client,
            http,
            scopes,
            token: Arc::default(),
        })
    }

    /// Whether the tenant accepts the client, for `check`.
    pub async fn reach(self: &Arc<Self>, deadline: Instant) -> Result<(), QlikError> {
        self.token(deadline).await.map(drop)
    }

    /// Makes a call. A token that the tenant does not accept any more is replaced once.
    pub(super) async fn call(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        deadline: Instant,
    ) -> Result<Answer, QlikError> {
        let token = self.token(deadline).await?;
        match self.call_with(&token, ask).await {
            Err(QlikError::ClientRefused { status: 401, .. }) => {
                self.token.discard(&token);
                let token = self.token(deadline).await?;
                self.call_with(&token, ask).await
            }
            outcome => outcome,
        }
    }

    async fn token(self: &Arc<Self>, deadline: Instant) -> Result<Arc<AccessToken>, QlikError> {
        let got = self.token.get(|| {
            let management = Arc::clone(self);
            async move {
                let (client, scopes) = (&management.client, &management.scopes);
                let token = client.client_credentials(scopes, deadline).await?;
                let life = token.life;
                Ok(Lease::new(Arc::new(token), life, MARGINS, 0.0))
            }
        });
        match got.await {
            Ok(got) => Ok(got.value),
            Err(CellError::Failed { error, .. }) => Err(error),
            Err(_) => Err(QlikError::Unreachable(
                "asking for a management token broke",
            )),
        }
    }

    async fn call_with(&self, token: &AccessToken, ask: &Ask<'_>) -> Result<Answer, QlikError> {
        let started = Instant::now();
        let outcome = self.send(token, ask).await;
        let label = outcome.as_ref().map_or_else(QlikError::label, |_| "ok");
        metrics::upstream(self.client.tenant(), ask.call, label, started.elapsed());
        outcome
    }

    async fn send(&self, token: &AccessToken, ask: &Ask<'_>) -> Result<Answer, QlikError> {
        let url = format!("{}{}", self.client.url(), ask.path);
        let mut request = self
            .http
            .request(ask.method.clone(), url)
            .bearer_auth(token.secret.expose())
            .header(ACCEPT, "application/json");
        if let Some(body) = ask.body {
            request = request.json(body);
        }
        let sent = request.send().await;
        let response = sent.map_err(|error| unreachable_reason(&error))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok().map(str::to_owned));
        let body = read_capped(response, BODY_CAP).await;
        let body = body.map_err(|error| match error {
            BodyError::Cut => QlikError::Unreachable("the answer was cut off"),
            BodyError::TooLong => QlikError::Malformed("the answer is longer than 1 MiB"),
        })?;
        let status = match status {
            // Two answers of the tenant's that mean something else here than an error.
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => status.as_u16(),
            status if status.is_success() => status.as_u16(),
            status => {
                return Err(classify(
                    status.as_u16(),
                    retry_after.as_deref(),
                    &body,
                    false,
                ));
            }
        };
        Ok(Answer { status, body })
    }
}
