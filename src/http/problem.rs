//! Problem details (RFC 9457), and the one table that decides statuses.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::admission::AdmissionError;
use crate::broker::BrokerError;
use crate::mapping::MappingError;
use crate::qlik::QlikError;
use crate::session::SessionError;

/// The codes of the API. Part of the contract: a code keeps its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below explains each")]
pub enum Code {
    RequestInvalid,
    SessionMissing,
    SessionInvalid,
    SessionExpired,
    SessionServiceUnavailable,
    OriginNotAllowed,
    CsrfRejected,
    CallerNotAllowed,
    TenantNotAllowed,
    ScopeNotAllowed,
    UserNotAllowed,
    UserNotMapped,
    UserUnknown,
    UserDisabled,
    UserAmbiguous,
    UserTokenLimit,
    NotFound,
    MethodNotAllowed,
    BodyTooLarge,
    MediaType,
    RateLimited,
    RenewalTooSoon,
    TenantRefusedClient,
    TenantMalformed,
    TenantThrottled,
    TenantUnavailable,
    Overloaded,
    Internal,
}

struct Row(u16, &'static str, &'static str, &'static str);

impl Code {
    /// Every code.
    pub const ALL: [Self; 28] = [
        Self::RequestInvalid,
        Self::SessionMissing,
        Self::SessionInvalid,
        Self::SessionExpired,
        Self::SessionServiceUnavailable,
        Self::OriginNotAllowed,
        Self::CsrfRejected,
        Self::CallerNotAllowed,
        Self::TenantNotAllowed,
        Self::ScopeNotAllowed,
        Self::UserNotAllowed,
        Self::UserNotMapped,
        Self::UserUnknown,
        Self::UserDisabled,
        Self::UserAmbiguous,
        Self::UserTokenLimit,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::MediaType,
        Self::RateLimited,
        Self::RenewalTooSoon,
        Self::TenantRefusedClient,
        Self::TenantMalformed,
        Self::TenantThrottled,
        Self::TenantUnavailable,
        Self::Overloaded,
        Self::Internal,
    ];

    #[rustfmt::skip]
    fn row(self) -> Row {
        match self {
            Self::RequestInvalid => Row(400, "request_invalid", "The request is not valid",
                "The body is not the JSON that this path takes, has an unknown field or a value out of range, or a header is there twice. The detail says which. Correct the request; sending it again as it is will not help."),
            Self::SessionMissing => Row(401, "session_missing", "No session was presented",
                "The request carries no credential that any configured session kind looks at. Send the portal's session as a bearer token or cookie. From a page, check that cookies are included (credentials: \"include\") if your session is a cookie."),
            Self::SessionInvalid => Row(401, "session_invalid", "The session is not accepted",
                "A credential was presented, and no configured session table accepts it: a wrong signature, issuer, audience or algorithm, or a key that is not known. The log line with this request id says which check failed."),
            Self::SessionExpired => Row(401, "session_expired", "The session has ended",
                "The session was valid once and has ended: by its own time limit or by a logout. Send the person to the portal's login."),
            Self::SessionServiceUnavailable => Row(503, "session_service_unavailable", "The session cannot be verified now",
                "What is needed to verify the session, such as the issuer's key set, is out of reach. The session may well be good: do not send people to log in, try again after Retry-After."),
            Self::OriginNotAllowed => Row(403, "origin_not_allowed", "This page may not ask here",
                "The request's Origin is not among the allowed origins of the tenant, or a back-end key was used from a page. Add the exact origin (scheme, host and port) to the tenant's allowed_origins; keep API keys out of pages."),
            Self::CsrfRejected => Row(403, "csrf_rejected", "The request could be forged",
                "The session came from a cookie, which browsers add to requests of any page. Such a request needs the header X-Broker-Request and, where the browser says so, a listed origin."),
            Self::CallerNotAllowed => Row(403, "caller_not_allowed", "The key may not do this",
                "The API key is known, but its allow list lacks this call. Add it in the configuration, or use another key."),
            Self::TenantNotAllowed => Row(403, "tenant_not_allowed", "The tenant is not open to this caller",
                "The caller named a tenant that its key does not hold, a browser named a tenant at all, or the session's claims name none that is configured."),
            Self::ScopeNotAllowed => Row(403, "scope_not_allowed", "The scope is not offered",
                "The scope asked for is neither the tenant's default set nor, as a whole, one of its optional sets, or the session is bound to another set."),
            Self::UserNotAllowed => Row(403, "user_not_allowed", "The user may not be impersonated",
                "The user is on the deny list (bots always are), or a browser tried to name a user. Whom a token is for is decided by the verified session alone."),
            Self::UserNotMapped => Row(403, "user_not_mapped", "The session leads to no Qlik user",
                "The session is valid, but no mapping rule had all its claims, or the rule refused the value. Compare the session's claims with the table's user rules."),
            Self::UserUnknown => Row(403, "user_unknown", "The tenant has no such user",
                "The tenant does not know the user that the session is mapped to. Users must exist in the tenant before they can be impersonated: create the user, or correct the mapping."),
            Self::UserDisabled => Row(403, "user_disabled", "The tenant refuses the user",
                "The tenant refuses tokens for this user: it is disabled, or has reached its number of tokens. Enable the user in the tenant."),
            Self::UserAmbiguous => Row(403, "user_ambiguous", "Several users match",
                "The tenant has more than one user for this e-mail address. Map by subject or user id instead."),
            Self::UserTokenLimit => Row(403, "user_token_limit", "The user has too many tokens",
                "The tenant has issued this user as many tokens as it allows. Revoke old ones in the tenant, or wait until they expire."),
            Self::NotFound => Row(404, "not_found", "There is nothing here",
                "The path is not one of the API's."),
            Self::MethodNotAllowed => Row(405, "method_not_allowed", "The method is not allowed here",
                "The path exists, but answers other methods: the Allow header lists them. Tokens are handed out for POST only."),
            Self::BodyTooLarge => Row(413, "body_too_large", "The body is too large",
                "Request bodies may hold 16 KiB. No request of this API needs more."),
            Self::MediaType => Row(415, "media_type", "The body is not JSON",
                "A body needs the header Content-Type: application/json. Forms and text are refused, because pages of other origins can send them without being asked."),
            Self::RateLimited => Row(429, "rate_limited", "Asked too often",
                "This caller asks more often than it may. Wait for Retry-After; one token serves all embeds of a page."),
            Self::RenewalTooSoon => Row(429, "renewal_too_soon", "The token was examined a moment ago",
                "The rejected token is younger than the renewal pause, or the tenant was asked about it a moment ago and accepted it. Use the token you have; if the tenant keeps refusing it, ask again after Retry-After."),
            Self::TenantRefusedClient => Row(502, "tenant_refused_client", "The tenant refuses the broker's client",
                "The tenant refuses the broker's OAuth client: its secret, its grant, its scopes or its consent (which must be trusted). An operator must act: run the check command."),
            Self::TenantMalformed => Row(502, "tenant_malformed", "The tenant's answer made no sense",
                "Something answered at the tenant's address, but not as a tenant does: often a proxy or a maintenance page. Operators find the reason in the log by the request id."),
            Self::TenantThrottled => Row(503, "tenant_throttled", "The tenant's rate limit is reached",
                "The tenant allows a limited number of new tokens a minute, and they are used up. Nobody who has a token notices; try again after Retry-After."),
            Self::TenantUnavailable => Row(503, "tenant_unavailable", "The tenant is out of reach",
                "The tenant did not answer, or failed. Users with a cached token are still served; try again after Retry-After."),
            Self::Overloaded => Row(503, "overloaded", "Too many requests at once",
                "The broker has as many requests in flight as it may. Try again after Retry-After."),
            Self::Internal => Row(500, "internal", "A fault of the broker",
                "This is a bug. The log line with this request id helps to find it; please report it."),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code as it is written.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The same for every occurrence of the code.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// What happened and what to do, for the page at `/problems/{code}`.
    pub fn explanation(self) -> &'static str {
        self.row().3
    }
}

/// An error as it is answered.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// `detail` is for the embedding developer. It never holds upstream text, a secret, a token, a
    /// session value or anything else that came from outside.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// Adds when asking again makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The whole answer.
    pub fn render(&self, public_url: &str, request_id: &str) -> Response {
        let body = json!({
            "type": format!("{public_url}/problems/{}", self.code.as_str()),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "code": self.code.as_str(),
            "detail": self.detail,
            "request_id": request_id,
        });
        let mut response = (self.code.status(), body.to_string()).into_response();
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
            SessionError::Invalid(why) => {
                tracing::debug!(why, "session refused");
                Self::new(
                    Code::SessionInvalid,
                    "No session table accepts the credential. The broker's log says why.",
                )
            }
            SessionError::Expired => Self::new(
                Code::SessionExpired,
                "The session has ended. The person has to log in again.",
            ),
            SessionError::Unavailable { why, retry_after } => {
                tracing::warn!(why, "session cannot be verified");
                Self::new(
                    Code::SessionServiceUnavailable,
                    "The session cannot be verified at the moment. It may be good: try again, do not send people to log in.",
                )
                .retry_after(retry_after)
            }
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
            AdmissionError::Mapping(error) => {
                tracing::debug!(%error, "session not mapped");
                Self::new(
                    Code::UserNotMapped,
                    "The session is valid, but no mapping rule leads from it to a Qlik user.",
                )
            }
        }
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
