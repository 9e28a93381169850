//! What the token endpoint's answers mean.
//!
//! Its errors are not those of RFC 6749 but `{"errors":[{code,title,…}],"traceId":…}`; gateways in
//! front of it may answer in the RFC's shape, so both are understood.

use std::time::Duration;

use serde::Deserialize;

use crate::clock;
use crate::expiring::Pause;

/// A refused user or client is not asked for again for this long.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// A 429 without a usable `Retry-After`.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(5);
/// No tenant means longer than this; a nonsensical header must not stop one for ever.
const LONGEST_THROTTLE: Duration = Duration::from_secs(24 * 3600);
/// Codes that speak of our client, whatever the status: a wrong secret, and a client that is not
/// authorized. The RFC 6749 names (5.2) are what a gateway would say for the same.
const CLIENT_CODES: [&str; 6] = [
    "OAUTH-22",
    "OAUTH-14",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// Why the tenant gave no token. Cloned, because everybody who waited gets the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QlikError {
    /// No connection, no answer in time, or one that was cut off.
    #[error("the tenant cannot be reached: {0}")]
    Unreachable(&'static str),
    /// A 5xx.
    #[error("the tenant failed with status {status}")]
    Failed {
        /// The status.
        status: u16,
    },
    /// A 429. Every endpoint of the tier is closed meanwhile.
    #[error("the tenant throttles us for {} s", retry_after.as_secs())]
    Throttled {
        /// How long to stay away.
        retry_after: Duration,
    },
    /// The tenant refuses our client: its secret, its grant or its consent.
    #[error("the tenant refuses our client: status {status}, code {}", code.as_deref().unwrap_or("none"))]
    ClientRefused {
        /// The status.
        status: u16,
        /// The tenant's code, if it looked like one.
        code: Option<String>,
        /// Whether the code can only mean the client. Otherwise it may be one odd user.
        certain: bool,
    },
    /// The tenant has no such user.
    #[error("the tenant does not know the user")]
    UserUnknown,
    /// The tenant refuses the user: disabled or, where nobody can look, with too many tokens.
    #[error("the tenant refuses the user")]
    UserDisabled,
    /// The tenant refuses an active user, which means that it was issued too many tokens.
    #[error("the tenant has issued the user too many tokens")]
    UserTokenLimit,
    /// The tenant has several users for what identifies one.
    #[error("the tenant has several such users")]
    UserAmbiguous,
    /// A user that the tenant cannot be asked about: how a filter escapes quotes and backslashes is
    /// not documented.
    #[error("the user's value cannot stand in a filter")]
    UserNotAskable,
    /// A whole answer that made no sense.
    #[error("the tenant's answer made no sense: {0}")]
    Malformed(&'static str),
}

impl QlikError {
    /// Whether another try may help at once.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::Failed { .. } | Self::Malformed(_)
        )
    }

    /// Whether it says something of one user, and the tenant is well.
    pub fn is_about_the_user(&self) -> bool {
        matches!(
            self,
            Self::UserUnknown
                | Self::UserDisabled
                | Self::UserTokenLimit
                | Self::UserAmbiguous
                | Self::UserNotAskable
        )
    }

    /// As it is labelled in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Failed { .. } => "failed",
            Self::Throttled { .. } => "throttled",
            Self::ClientRefused { .. } => "client_refused",
            Self::UserUnknown => "user_unknown",
            Self::UserDisabled => "user_disabled",
            Self::UserTokenLimit => "user_token_limit",
            Self::UserAmbiguous => "user_ambiguous",
            Self::UserNotAskable => "user_not_askable",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl Pause for QlikError {
    fn pause(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } => Some(*retry_after),
            Self::ClientRefused { .. }
            | Self::UserUnknown
            | Self::UserDisabled
            | Self::UserTokenLimit
            | Self::UserAmbiguous
            | Self::UserNotAskable => Some(REFUSED_PAUSE),
            Self::Unreachable(_) | Self::Failed { .. } | Self::Malformed(_) => None,
        }
    }
}

/// Either shape of an error body, as far as it is read.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: Option<serde_json::Value>,
}

/// Whether a body that came with a 200 is an error in disguise.
pub(super) fn holds_errors(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return false;
    };
    let named = |name| body.get(name).filter(|value| !value.is_null());
    let empty = |errors: &serde_json::Value| errors.as_array().is_some_and(Vec::is_empty);
    named("errors").is_some_and(|errors| !empty(errors)) || named("error").is_some()
}

/// Sorts an answer that is not a 200 into its class.
pub(crate) fn classify(
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
    names_user: bool,
) -> QlikError {
    match status {
        429 => {
            return QlikError::Throttled {
                retry_after: throttle(retry_after),
            };
        }
        500..=599 => return QlikError::Failed { status },
        _ => {}
    }
    let Some(ErrorCode(code)) = ErrorCode::of(body) else {
        return match status {
            401 => QlikError::ClientRefused {
                status,
                code: None,
                certain: false,
            },
            _ => QlikError::Malformed("an unexpected status without the tenant's error body"),
        };
    };
    let certain = code
        .as_deref()
        .is_some_and(|code| CLIENT_CODES.contains(&code));
    match status {
        _ if certain => QlikError::ClientRefused {
            status,
            code,
            certain,
        },
        400 | 404 if names_user => QlikError::UserUnknown,
        403 if names_user => QlikError::UserDisabled,
        400 | 401 | 403 => QlikError::ClientRefused {
            status,
            code,
            certain,
        },
        _ => QlikError::Malformed("an unexpected status"),
    }
}

/// The tenant's code in an error body, if it looks like one.
pub(super) fn code_of(body: &[u8]) -> Option<String> {
    ErrorCode::of(body)?.0
}

/// The code of an error body, if it has a usable one.
struct ErrorCode(Option<String>);

impl ErrorCode {
    /// `None` if the body is no error body at all.
    fn of(body: &[u8]) -> Option<Self> {
        let body: ErrorBody = serde_json::from_slice(body).ok()?;
        if body.errors.is_empty() && body.error.is_none() {
            return None;
        }
        let code = match body.errors.into_iter().next().and_then(|entry| entry.code) {
            Some(serde_json::Value::String(code)) => Some(code),
            Some(serde_json::Value::Number(code)) => Some(code.to_string()),
            _ => body.error,
        };
        Some(Self(code.filter(|code| is_code(code))))
    }
}

/// The code goes into logs: nothing that is not a code may get there by it.
fn is_code(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=40).contains(&text.len()) && text.bytes().all(allowed)
}

/// Seconds or a date (RFC 9110, 10.2.3).
fn throttle(retry_after: Option<&str>) -> Duration {
    let text = retry_after.map_or("", str::trim);
    let date = || {
        httpdate::parse_http_date(text)
            .ok()?
            .duration_since(clock::now())
            .ok()
    };
    let seconds = text.parse().ok().map(Duration::from_secs);
    let asked_for = seconds.or_else(date).unwrap_or(DEFAULT_THROTTLE);
    asked_for.clamp(Duration::from_secs(1), LONGEST_THROTTLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_into_their_classes() {
        let body = |code: &str| {
            format!(
                r#"{{"errors":[{{"title":"x","code":"{code}","status":"400"}}],"traceId":"t"}}"#
            )
        };
        let class = |status, body: &str| classify(status, None, body.as_bytes(), true);
        let refused = |status, code: &str, certain| QlikError::ClientRefused {
            status,
            code: Some(code.into()),
            certain,
        };
        assert_eq!(
            class(401, &body("OAUTH-22")),
            refused(401, "OAUTH-22", true)
        );
        assert_eq!(
            class(400, &body("OAUTH-14")),
            refused(400, "OAUTH-14", true)
        );
        assert_eq!(class(401, &body("OAUTH-5")), refused(401, "OAUTH-5", false));
        assert_eq!(
            class(401, r#"{"error":"invalid_client"}"#),
            refused(401, "invalid_client", true)
        );
        assert_eq!(class(400, &body("OAUTH-9")), QlikError::UserUnknown);
        assert_eq!(class(404, &body("OAUTH-9")), QlikError::UserUnknown);
        assert_eq!(class(403, &body("OAUTH-9")), QlikError::UserDisabled);
        assert!(matches!(class(404, "<html>"), QlikError::Malformed(_)));
        assert!(matches!(
            class(403, "blocked by the firewall"),
            QlikError::Malformed(_)
        ));
        assert!(matches!(class(302, ""), QlikError::Malformed(_)));
        assert_eq!(class(502, "<html>"), QlikError::Failed { status: 502 });
    }

    #[test]
    fn without_a_user_an_error_speaks_of_the_client() {
        let body = br#"{"errors":[{"code":"OAUTH-9"}]}"#;
        assert!(matches!(
            classify(400, None, body, false),
            QlikError::ClientRefused { certain: false, .. }
        ));
    }

    #[test]
    fn a_code_that_is_none_never_reaches_a_log() {
        let body = br#"{"errors":[{"code":"x\n{\"injected\":1}"}]}"#;
        assert_eq!(
            classify(401, None, body, true),
            QlikError::ClientRefused {
                status: 401,
                code: None,
                certain: false
            }
        );
    }

    #[test]
    fn retry_after_is_taken_as_it_stands() {
        let wait = |header| match classify(429, header, b"", true) {
            QlikError::Throttled { retry_after } => retry_after.as_secs(),
            other => panic!("{other}"),
        };
        assert_eq!(
            (
                wait(Some("13")),
                wait(None),
                wait(Some("soon")),
                wait(Some("0"))
            ),
            (13, 5, 5, 1)
        );
        let date = httpdate::fmt_http_date(clock::now() + Duration::from_secs(120));
        assert!((118..=120).contains(&wait(Some(&date))), "{date}");
        let past = httpdate::fmt_http_date(clock::now() - Duration::from_secs(120));
        assert_eq!(wait(Some(&past)), 5);
    }
}
