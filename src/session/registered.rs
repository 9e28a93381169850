//! The registered claims (RFC 7519, 4.1), which JWTs and introspected tokens share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::SessionError;

/// The last second that the clocks of all platforms can hold.
const LAST_SECOND: f64 = 32_503_680_000.0; // the year 3000

/// Whether `aud`, one text or several, names this audience.
pub(super) fn names_audience(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => many.iter().any(|one| one == audience),
        _ => false,
    }
}

/// A `NumericDate` (RFC 7519, 2): a JSON number of seconds. A text is refused, not converted.
pub(super) fn numeric_date(
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Option<SystemTime>, SessionError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds.is_finite() => Ok(Some(
                UNIX_EPOCH + Duration::from_secs_f64(seconds.clamp(0.0, LAST_SECOND)),
            )),
            _ => Err(SessionError::Invalid("a time claim is not a number")),
        },
    }
}
