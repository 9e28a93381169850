//! Problem details (RFC 9457): the shape of every error, and what each cause becomes.

mod code;

use std::borrow::Cow;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admission::{AdmissionError, PlaceError};
use crate::broker::BrokerError;
use crate::limits::{Exceeded, Limit};
use crate::mapping::MappingError;
use crate::qlik::QlikError;
use crate::session::SessionError;
use crate::tenant::TenantId;

pub use code::Code;

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body<'a> {
    #[schema(schema_with = super::openapi::codes)]
    code: &'static str,
    /// What happened this time, for the developer. Never text of the tenant, a secret, a token or a session.
    detail: &'a str,
    /// The answer's `X-Request-Id`: names the request in the broker's log and audit lines.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    request_id: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The same for every occurrence of the code.
    title: &'static str,
    /// Where the code is explained: `server.public_url`, `/problems/` and the code.
    #[schema(format = "uri-reference", pattern = "/problems/[a-z_]+$")]
    r#type: String,
}

/// An error as it is answered.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// What the audit line says besides: for the operator, not for the caller.
    why: &'static str,
    /// Which tenant it is about, once that is known. Not for the caller either.
    pub tenant: Option<TenantId>,
}

impl Problem {
    /// `detail` is for the embedding developer. It never holds upstream text, a secret, a token, a
    /// session value or anything else that came from outside.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
            why: "",
            tenant: None,
        }
    }

    /// Adds what the operator is told and the caller is not.
    #[must_use]
    pub fn because(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    /// What the operator is told.
    pub fn why(&self) -> &'static str {
        self.why
    }

    /// Adds when asking again makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The answer's body.
    pub(super) fn body<'a>(&'a self, public_url: &str, request_id: &'a str) -> Body<'a> {
        Body {
            code: self.code.as_str(),
            detail: &self.detail,
            request_id,
            status: self.code.status().as_u16(),
            title: self.code.title(),
            r#type: format!("{public_url}/problems/{}", self.code.as_str()),
        }
    }

    /// The whole answer.
    pub fn render(&self, public_url: &str, request_id: &str) -> Response {
        let body = serde_json::to_string(&self.body(public_url, request_id));
        let body = body.unwrap_or_default();
        let mut response = (self.code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = self.retry_after {
            // Rounded up: coming back early would only be refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        let challenge = match self.code {
            Code::SessionMissing => Some("Bearer"),
            Code::SessionInvalid | Code::SessionExpired => Some("Bearer error=\"invalid_token\""),
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// Only marks the response: the frame knows the request id, and renders it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Missing => Self::new(
                Code::SessionMissing,
                "The request carries no credential. Send the portal's session as a bearer token, or as the configured cookie.",
            ),
            SessionError::Invalid(why) => Self::new(
                Code::SessionInvalid,
                "No session table accepts the credential. The broker's audit line with this request id says why.",
            )
            .because(why),
            SessionError::UnknownHandle => Self::new(
                Code::SessionInvalid,
                "The handle is unknown: it never was one, or ended long ago.",
            )
            .because("the handle is unknown"),
            SessionError::Expired => Self::new(
                Code::SessionExpired,
                "The session has ended. The person has to log in again.",
            ),
            SessionError::KeyExpired => {
                Self::new(Code::SessionExpired, "The API key has expired. Configure a new one.")
            }
            SessionError::Unavailable { why, retry_after } => Self::new(
                Code::SessionServiceUnavailable,
                "The session cannot be verified at the moment. It may be good: try again, do not send people to log in.",
            )
            .because(why)
            .retry_after(retry_after),
        }
    }
}

impl From<AdmissionError> for Problem {
    fn from(error: AdmissionError) -> Self {
        match error {
            AdmissionError::Session(error) => error.into(),
            AdmissionError::Mapping(MappingError::Denied) => Self::new(
                Code::UserNotAllowed,
                "The session leads to a user that is never impersonated.",
            ),
            AdmissionError::NoTenant | AdmissionError::Mapping(MappingError::NoTenant) => {
                Self::new(
                    Code::TenantNotAllowed,
                    "The session's claims name no tenant that is configured.",
                )
            }
            AdmissionError::NoScope => Self::new(
                Code::ScopeNotAllowed,
                "The session's scopes are not among those of its tenant.",
            ),
            AdmissionError::Mapping(error) => Self::new(
                Code::UserNotMapped,
                "The session is valid, but no mapping rule leads from it to a Qlik user.",
            )
            .because(match error {
                MappingError::Refused { why, .. } => why,
                _ => "no mapping rule has all its claims",
            }),
        }
    }
}

impl From<PlaceError> for Problem {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::NotAllowed(why) => Self::new(
                Code::UserNotAllowed,
                "The session leads to a user that is not impersonated.",
            )
            .because(why),
            PlaceError::Ended => SessionError::Expired.into(),
            PlaceError::Broker(error) => error.into(),
        }
    }
}

impl From<Exceeded> for Problem {
    fn from(exceeded: Exceeded) -> Self {
        let (detail, why) = match exceeded.limit {
            Limit::Session => (
                "The session asks more often than it may. One token serves all embeds of a page.",
                "session_per_minute is used up",
            ),
            Limit::Failures => (
                "Too many credentials from this address were refused. Those that are known go on; others have to wait.",
                "failures_per_minute is used up",
            ),
            Limit::Key => (
                "The key asks more often than it may.",
                "the key's requests_per_minute is used up",
            ),
        };
        Self::new(Code::RateLimited, detail)
            .because(why)
            .retry_after(exceeded.retry_after)
    }
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Tenant { error, retry_after } => of_tenant(&error, retry_after),
            BrokerError::Deadline { retry_after } => Self::new(
                Code::TenantUnavailable,
                "The tenant has not answered in time; the broker goes on trying.",
            )
            .retry_after(retry_after),
            BrokerError::Queued { retry_after } => Self::new(
                Code::TenantThrottled,
                "The tenant's budget of new tokens is used up. The user's place in the queue is kept.",
            )
            .retry_after(retry_after),
            BrokerError::SessionEnded => Self::new(
                Code::SessionExpired,
                "The session was ended while its token was being fetched.",
            ),
            BrokerError::RenewalTooSoon { retry_after } => Self::new(
                Code::RenewalTooSoon,
                "The rejected token is new, or was examined a moment ago and found good. Use it.",
            )
            .retry_after(retry_after),
            BrokerError::Internal => Self::new(
                Code::Internal,
                "The broker failed. Please report this with the request id.",
            ),
        }
    }
}

fn of_tenant(error: &QlikError, retry_after: Duration) -> Problem {
    let (code, detail) = match error {
        QlikError::Unreachable(_) | QlikError::Failed { .. } => (
            Code::TenantUnavailable,
            "The tenant is out of reach or failing.",
        ),
        QlikError::Throttled { .. } => {
            (Code::TenantThrottled, "The tenant's rate limit is reached.")
        }
        QlikError::ClientRefused { .. } => (
            Code::TenantRefusedClient,
            "The tenant refuses the broker's OAuth client. An operator has to run `check --live`.",
        ),
        QlikError::UserUnknown => (
            Code::UserUnknown,
            "The tenant has no such user. Create the user, or correct the mapping.",
        ),
        QlikError::UserDisabled => (
            Code::UserDisabled,
            "The tenant refuses this user: it is disabled, or has too many tokens.",
        ),
        QlikError::UserTokenLimit => (
            Code::UserTokenLimit,
            "The tenant has issued this user as many tokens as it allows.",
        ),
        QlikError::UserNotAskable => (
            Code::UserNotAllowed,
            "The tenant cannot be asked about this user: its value holds a quote or a backslash.",
        ),
        QlikError::UserAmbiguous => (
            Code::UserAmbiguous,
            "The tenant has several users for what identifies this one.",
        ),
        QlikError::Malformed(_) => (
            Code::TenantMalformed,
            "What answered at the tenant's address did not answer as a tenant.",
        ),
    };
    let problem = Problem::new(code, detail);
    match code.status().as_u16() {
        429 | 502 | 503 => problem.retry_after(retry_after),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_explained() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(
                Code::ALL
                    .iter()
                    .position(|other| other.as_str() == code.as_str()),
                Some(index)
            );
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(code.explanation().len() > 30 && !code.title().is_empty());
        }
    }

    #[test]
    fn retry_after_is_never_rounded_down() {
        let problem =
            Problem::new(Code::TenantThrottled, "x").retry_after(Duration::from_millis(12_001));
        assert_eq!(problem.render("", "id").headers()["retry-after"], "13");
    }
}
