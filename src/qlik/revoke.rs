//! What becomes of a token later: `POST /oauth/revoke`, and `GET /api/v1/users/me` to see whether it
//! is still good.

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::json;
use tokio::time::Instant;

use super::AccessToken;
use super::error::{QlikError, classify};
use super::token::{QlikClient, unreachable_reason};
use super::tries::{Tries, within};
use crate::budget::Granted;
use crate::telemetry::metrics::UpstreamCall;
use crate::telemetry::upstream::Asking;

/// What `users/me` says about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The tenant answered 401: it will not be accepted again.
    Dead,
    /// Anything else.
    NotKnownDead,
}

impl QlikClient {
    /// Revokes a token (RFC 7009). Tries again on transient failures until `deadline`, each try with a
    /// turn of its own. The tenant's own SDK sends the token as bearer as well.
    pub async fn revoke(
        &self,
        token: &AccessToken,
        turn: Granted,
        deadline: Instant,
    ) -> Result<(), QlikError> {
        let mut tries = Tries::new(turn, deadline);
        within(deadline, async {
            loop {
                match self.try_revoke(token, tries.next()).await {
                    Err(error) => tries.after(error).await?,
                    Ok(()) => return Ok(()),
                }
            }
        })
        .await
    }

    async fn try_revoke(&self, token: &AccessToken, number: u32) -> Result<(), QlikError> {
        let asking = Asking::begin(self.tenant(), UpstreamCall::Revoke, number);
        let body = json!({"token": token.secret.expose(), "token_type_hint": "access_token"});
        let request = self
            .http
            .post(format!("{}/oauth/revoke", self.url()))
            .bearer_auth(token.secret.expose())
            .json(&body);
        let outcome = match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => {
                let retry_after = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok());
                Err(classify(
                    response.status().as_u16(),
                    retry_after,
                    b"",
                    false,
                ))
            }
            Err(error) => Err(unreachable_reason(&error)),
        };
        asking.answered(outcome.as_ref().map_or_else(QlikError::label, |()| "ok"));
        outcome
    }

    /// Asks the tenant whether it still accepts a token. A redirect, which is how a tenant answers
    /// a good one, is not followed: the token goes to no other place.
    pub async fn examine(&self, token: &AccessToken) -> Liveness {
        let asking = Asking::begin(self.tenant(), UpstreamCall::UserMe, 1);
        let request = self
            .http
            .get(format!("{}/api/v1/users/me", self.url()))
            .bearer_auth(token.secret.expose());
        let status = request.send().await.ok().map(|response| response.status());
        let (liveness, outcome) = match status {
            Some(StatusCode::UNAUTHORIZED) => (Liveness::Dead, "dead"),
            Some(status) if status.as_u16() < 400 => (Liveness::NotKnownDead, "ok"),
            _ => (Liveness::NotKnownDead, "failed"),
        };
        asking.answered(outcome);
        liveness
    }
}
