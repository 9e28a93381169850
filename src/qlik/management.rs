//! A tenant's REST API, as its management client calls it: the bearer, the tries, the errors.

use std::sync::{Arc, Mutex, PoisonError};

use backon::Retryable;
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::time::{Duration, Instant, timeout_at};

use super::AccessToken;
use super::admin::Admin;
use super::credential::Credential;
use super::error::QlikError;
use super::rest::{self, Answer, Request};
use super::token::QlikClient;
use super::tries::backoff;
use crate::budget::{Budget, Granted, Ticket, Turn};
use crate::expiring::{CellError, ExpiringCell, Lease, Margins};
use crate::telemetry::metrics::UpstreamCall;
use crate::telemetry::upstream::Asking;
use crate::tenant::ScopeSet;

const MARGINS: Margins = Margins {
    refresh: Duration::from_secs(600),
    min_life: Duration::from_secs(60),
};

const PATIENCE: Duration = Duration::from_secs(15);
/// How often a token that the tenant does not accept is replaced at the most.
const RENEWED_EVERY: Duration = Duration::from_secs(60);

/// The management client of one tenant.
#[derive(Debug)]
pub struct Management {
    client: QlikClient,
    http: Client,
    scopes: ScopeSet,
    token: Arc<ExpiringCell<AccessToken, QlikError>>,
    /// Writes share the tier of tokens.
    budget: Arc<Budget>,
    /// Until when the tenant wants no reads.
    closed: Closed,
    renewed: Closed,
}

#[derive(Debug, Default)]
struct Closed(Mutex<Option<Instant>>);

impl Closed {
    fn left(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn close(&self, pause: Duration) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Some(Instant::now() + pause));
    }
}

/// One call.
pub(super) struct Ask<'a> {
    pub call: UpstreamCall,
    pub method: Method,
    /// Below the tenant's address, query included.
    pub path: &'a str,
    pub body: Option<&'a Value>,
}

impl Management {
    /// A client that asks for these scopes; calls nobody yet.
    pub fn new(
        client: QlikClient,
        http: Client,
        scopes: ScopeSet,
        budget: Arc<Budget>,
    ) -> Arc<Self> {
        Arc::new(Self {
            client,
            http,
            scopes,
            token: Arc::default(),
            budget,
            closed: Closed::default(),
            renewed: Closed::default(),
        })
    }

    /// Who asks.
    pub fn client(&self) -> &QlikClient {
        &self.client
    }

    /// See [`QlikClient::renew`].
    pub fn renew(&self, credential: &Credential) -> bool {
        self.client.renew(credential)
    }

    /// Starts with a token that was got elsewhere, instead of asking for one. For `check`.
    pub async fn start_with(&self, token: Arc<AccessToken>) {
        let life = token.life;
        let load = || async move { Ok(Lease::new(token, life, MARGINS, 0.0)) };
        drop(self.token.get(load).await);
    }

    /// The tenant as an administrator with this token sees it. For `check`.
    pub fn admin(&self, token: &AccessToken) -> Admin {
        Admin::new(self.http.clone(), self.client.url(), token.secret.clone())
    }

    /// Makes a call before `deadline`, again on transient failures. A token that the tenant does not
    /// accept any more is replaced once.
    pub(super) async fn call(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        deadline: Instant,
    ) -> Result<Answer, QlikError> {
        let mut made = 0;
        let one_try = || {
            made += 1;
            self.try_call(ask, made)
        };
        let tries = one_try.retry(backoff()).when(QlikError::is_transient);
        let late = QlikError::Unreachable("no answer within the deadline");
        timeout_at(deadline, tries).await.unwrap_or(Err(late))
    }

    async fn try_call(self: &Arc<Self>, ask: &Ask<'_>, number: u32) -> Result<Answer, QlikError> {
        let token = self.token().await?;
        let outcome = self.call_with(&token, ask, number).await;
        let is_refused = matches!(outcome, Err(QlikError::ClientRefused { status: 401, .. }));
        // A tenant that refuses a new token, too, is not asked for another one every time.
        if !is_refused || self.renewed.left().is_some() {
            return outcome;
        }
        self.renewed.close(RENEWED_EVERY);
        self.token.discard(&token);
        let token = self.token().await?;
        self.call_with(&token, ask, number).await
    }

    async fn token(self: &Arc<Self>) -> Result<Arc<AccessToken>, QlikError> {
        let got = self.token.get(|| self.load()).await;
        got.map(|got| got.value).map_err(reason)
    }

    /// With a patience of its own: what one caller has no time for, others may wait for.
    fn load(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<Lease<AccessToken>, QlikError>> + Send + 'static + use<> {
        let management = Arc::clone(self);
        async move {
            let (client, scopes) = (&management.client, &management.scopes);
            let deadline = Instant::now() + PATIENCE;
            let turn = management.turn(deadline).await?;
            let token = client.client_credentials(scopes, turn, deadline).await?;
            let life = token.life;
            Ok(Lease::new(Arc::new(token), life, MARGINS, 0.0))
        }
    }

    async fn call_with(
        &self,
        token: &AccessToken,
        ask: &Ask<'_>,
        number: u32,
    ) -> Result<Answer, QlikError> {
        let is_read = ask.method == Method::GET;
        let turn = if is_read {
            None
        } else {
            Some(self.turn(Instant::now() + PATIENCE).await?)
        };
        if let Some(retry_after) = self.closed.left().filter(|_| is_read) {
            return Err(QlikError::Throttled { retry_after });
        }
        let asking = Asking::begin(self.client.tenant(), ask.call, number);
        let outcome = self.send(token, ask).await;
        asking.answered(outcome.as_ref().map_or_else(QlikError::label, |_| "ok"));
        if let Err(QlikError::Throttled { retry_after }) = outcome {
            match turn {
                None => self.closed.close(retry_after),
                Some(turn) => turn.throttled(retry_after),
            }
        }
        outcome
    }

    /// Whoever waits for a user takes turns with those who wait for a token.
    async fn turn(&self, until: Instant) -> Result<Granted, QlikError> {
        let ticket = Ticket {
            turn: Turn::Caller("users".into()),
            user: None,
            until,
        };
        let turn = self.budget.turn(ticket).await;
        turn.map_err(|retry_after| QlikError::Throttled { retry_after })
    }

    async fn send(&self, token: &AccessToken, ask: &Ask<'_>) -> Result<Answer, QlikError> {
        let request = Request {
            method: ask.method.clone(),
            url: format!("{}{}", self.client.url(), ask.path),
            body: ask.body,
        };
        // Two answers of the tenant's that mean something else here than an error.
        rest::send(&self.http, &token.secret, &request, &[404, 409]).await
    }
}

/// What a cell says, without its memory: of a throttle, what is left of it.
pub fn reason(error: CellError<QlikError>) -> QlikError {
    match error {
        CellError::Failed { error, retry_after } => match error {
            QlikError::Throttled { .. } => QlikError::Throttled { retry_after },
            error => error,
        },
        CellError::Panicked | CellError::Retired => {
            QlikError::Unreachable("asking it broke; this is a bug")
        }
    }
}
