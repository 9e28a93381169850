//! `POST /oauth/token`.

use std::sync::Arc;

use reqwest::header::{ACCEPT, ORIGIN, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::AccessToken;
use super::answer::parse_token;
use super::credential::{Credential, InUse, Key, Prover};
use super::error::{QlikError, classify, code_of};
use super::tries::{Tries, within};
use crate::budget::Granted;
use crate::clock;
use crate::mapping::UserLookup;
use crate::outbound::{BodyError, read_capped};
use crate::secret::SecretError;
use crate::telemetry::metrics::UpstreamCall;
use crate::telemetry::upstream::Asking;
use crate::tenant::ScopeSet;

/// The grant by which a client acts as a user.
pub const IMPERSONATION: &str = "urn:qlik:oauth:user-impersonation";
/// The grant by which a client acts for itself.
pub const CLIENT_CREDENTIALS: &str = "client_credentials";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
/// "Invalid Origin Header".
const FOREIGN_ORIGIN: &str = "OAUTH-29";
/// A token answer is 2 kB; a page of an error portal may be larger and is not wanted.
const BODY_CAP: usize = 64 * 1024;

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Issues the users' tokens.
    Issuing,
    /// Looks users up.
    Management,
    /// Has tokens of its own.
    Service,
}

impl Role {
    /// As metrics and commands name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issuing => "issuing",
            Self::Management => "management",
            Self::Service => "service",
        }
    }
}

/// A client of one tenant with one credential.
#[derive(Debug)]
pub struct QlikClient {
    pub(super) http: Client,
    tenant: String,
    url: String,
    token_url: String,
    prover: Arc<Prover>,
}

impl QlikClient {
    /// `tenant` names it in metrics; `url` has no slash at its end. Reads the secret, calls nobody.
    pub fn new(
        http: Client,
        tenant: &str,
        url: &str,
        credential: Credential,
    ) -> Result<Self, SecretError> {
        let token_url = format!("{url}/oauth/token");
        let prover = Prover::new(credential, token_url.clone())?;
        Ok(Self {
            http,
            tenant: tenant.into(),
            url: url.into(),
            token_url,
            prover: Arc::new(prover),
        })
    }

    /// Goes on with what a client that was there `before` knows of its secrets, if it is the same one.
    /// What it reads them from is looked at with [`QlikClient::renew`].
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        if !self.prover.is_of_same(&before.prover) {
            return self;
        }
        let prover = Arc::clone(&before.prover);
        Self { prover, ..self }
    }

    /// Reads its secrets again, which may come from other places than before. Whether any changed.
    pub fn renew(&self, credential: &Credential) -> bool {
        self.prover.renew(&credential.proof)
    }

    /// Which of its secrets or keys is in use.
    pub fn secret_in_use(&self) -> InUse {
        self.prover.in_use()
    }

    /// A token that acts as `user`. Tries again on transient failures until `deadline`, each try with
    /// a turn of its own.
    pub async fn impersonate(
        &self,
        user: &UserLookup,
        scopes: &ScopeSet,
        turn: Granted,
        deadline: Instant,
    ) -> Result<AccessToken, QlikError> {
        let request = json!({
            "grant_type": IMPERSONATION,
            "scope": scopes.as_str(),
            "user_lookup": {"field": user.field().as_str(), "value": user.value()},
        });
        self.token(request, scopes, true, turn, deadline).await
    }

    /// A token of the client itself.
    pub async fn client_credentials(
        &self,
        scopes: &ScopeSet,
        turn: Granted,
        deadline: Instant,
    ) -> Result<AccessToken, QlikError> {
        let request = json!({"grant_type": CLIENT_CREDENTIALS, "scope": scopes.as_str()});
        self.token(request, scopes, false, turn, deadline).await
    }

    async fn token(
        &self,
        request: Value,
        scopes: &ScopeSet,
        names_user: bool,
        turn: Granted,
        deadline: Instant,
    ) -> Result<AccessToken, QlikError> {
        let Value::Object(request) = request else {
            return Err(QlikError::Malformed("the request is not an object"));
        };
        let mut tries = Tries::new(turn, deadline);
        let mut attempt = Attempt {
            key: self.prover.current(),
            refused: Vec::new(),
            all_certain: true,
        };
        within(deadline, async {
            loop {
                let asking = self.try_keys(&request, scopes, names_user, &mut attempt, &mut tries);
                match asking.await {
                    Err(error) => tries.after(error).await?,
                    token => return token,
                }
            }
        })
        .await
    }

    /// Tries the current secret or private key and, when the client is refused, each of the others
    /// once.
    async fn try_keys(
        &self,
        request: &Map<String, Value>,
        scopes: &ScopeSet,
        names_user: bool,
        attempt: &mut Attempt,
        tries: &mut Tries,
    ) -> Result<AccessToken, QlikError> {
        loop {
            let (request, number) = (request.clone(), tries.next());
            let asking = self.try_once(request, &attempt.key, scopes, names_user, number);
            match asking.await {
                Err(QlikError::ClientRefused {
                    status,
                    code,
                    certain,
                }) => {
                    attempt.refused.push(Arc::clone(&attempt.key));
                    // A stale secret in the list is refused for certain, and says nothing of the rest.
                    attempt.all_certain &= certain;
                    let error = QlikError::ClientRefused {
                        status,
                        code,
                        certain: attempt.all_certain,
                    };
                    let Some(next) = self.prover.next_after(&attempt.refused) else {
                        return Err(error);
                    };
                    attempt.key = next;
                    if !tries.turn.again(tries.deadline).await {
                        return Err(error);
                    }
                }
                Ok(token) => {
                    if !attempt.refused.is_empty() {
                        self.prover.keep(&attempt.key, &attempt.refused);
                    }
                    return Ok(token);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_once(
        &self,
        mut request: Map<String, Value>,
        key: &Key,
        scopes: &ScopeSet,
        names_user: bool,
        number: u32,
    ) -> Result<AccessToken, QlikError> {
        let proven = self.prover.prove(&mut request, key, clock::now());
        proven.map_err(|_| QlikError::Malformed("our own private key cannot sign"))?;
        let asking = Asking::begin(&self.tenant, UpstreamCall::Token, number);
        let outcome = self.post_token(request, scopes, names_user).await;
        asking.answered(outcome.as_ref().map_or_else(QlikError::label, |_| "ok"));
        outcome
    }

    async fn post_token(
        &self,
        request: Map<String, Value>,
        scopes: &ScopeSet,
        names_user: bool,
    ) -> Result<AccessToken, QlikError> {
        let sent = self
            .http
            .post(&self.token_url)
            .header(ACCEPT, "application/json")
            .json(&request)
            .send();
        let response = sent.await.map_err(|error| unreachable_reason(&error))?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = read_capped(response, BODY_CAP)
            .await
            .map_err(|error| match error {
                BodyError::Cut => QlikError::Unreachable("the answer was cut off"),
                BodyError::TooLong => QlikError::Malformed("the answer is longer than 64 KiB"),
            })?;
        if status != StatusCode::OK {
            return Err(classify(
                status.as_u16(),
                retry_after.as_deref(),
                &body,
                names_user,
            ));
        }
        parse_token(&body, scopes, clock::now())
    }

    /// Whether the tenant lets a page of this origin use the client: what it says to a page that
    /// exchanges a token, which needs no proof of the client. The token is made up. For `check`.
    pub async fn allows_origin(&self, origin: &str) -> Result<bool, QlikError> {
        let request = json!({
            "grant_type": EXCHANGE, "client_id": self.prover.client_id(), "purpose": "websocket",
            "subject_token": "made-up", "subject_token_type": ACCESS_TOKEN_TYPE,
        });
        let asking = self.http.post(&self.token_url).header(ORIGIN, origin);
        let sent = asking.json(&request).send().await;
        let response = sent.map_err(|error| unreachable_reason(&error))?;
        let status = response.status().as_u16();
        let body = read_capped(response, BODY_CAP).await;
        let body = body.map_err(|_| QlikError::Unreachable("the answer was cut off"))?;
        match (status, code_of(&body)) {
            (429 | 500..=599, _) => Err(classify(status, None, &body, false)),
            (_, code) => Ok(code.as_deref() != Some(FOREIGN_ORIGIN)),
        }
    }

    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// What one call tries to prove itself with. No key is tried twice, whatever else goes wrong.
struct Attempt {
    key: Arc<Key>,
    refused: Vec<Arc<Key>>,
    all_certain: bool,
}

/// Words of our own: an error of the HTTP library may hold the URL.
pub(super) fn unreachable_reason(error: &reqwest::Error) -> QlikError {
    QlikError::Unreachable(match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection",
        _ => "the connection broke",
    })
}
