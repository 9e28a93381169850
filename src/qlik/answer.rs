//! The token endpoint's 200: what of it is taken, and what makes it no answer at all.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use super::error::{QlikError, holds_errors};
use super::{AccessToken, token_id};
use crate::secret::Secret;
use crate::tenant::ScopeSet;

/// Longest token that is taken. Bounds what a cached user costs, and fits a header line.
const TOKEN_CAP: usize = 16 * 1024;
/// Taken when the tenant names no life at all: short, but enough to load a page.
const UNNAMED_LIFE: Duration = Duration::from_secs(300);
/// No access token lives longer; keeps times far from overflow.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    token_type: Option<String>,
    scope: Option<String>,
    expires_in: Option<Value>,
    expires_at: Option<String>,
}

/// Parses an answer that was received at `now`.
pub(crate) fn parse_token(
    body: &[u8],
    asked: &ScopeSet,
    now: SystemTime,
) -> Result<AccessToken, QlikError> {
    if holds_errors(body) {
        return Err(QlikError::Malformed("errors in an answer of status 200"));
    }
    let answer: TokenAnswer = serde_json::from_slice(body)
        .map_err(|_| QlikError::Malformed("not the JSON of a token"))?;
    let is_token = |token: &String| {
        !token.is_empty() && token.len() <= TOKEN_CAP && token.bytes().all(|b| b.is_ascii_graphic())
    };
    let token = answer
        .access_token
        .filter(is_token)
        .ok_or(QlikError::Malformed("no usable access_token"))?;
    if !answer
        .token_type
        .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(QlikError::Malformed("the token_type is not bearer"));
    }
    let life = life(
        answer.expires_in.as_ref(),
        answer.expires_at.as_deref(),
        now,
    )?;
    // Many users have what was asked for: the text is kept once.
    let is_other = |scope: &String| scope != asked.as_str() && ScopeSet::parse(scope).is_ok();
    Ok(AccessToken {
        id: token_id(&token),
        secret: Secret::new(token),
        scope: answer
            .scope
            .filter(is_other)
            .map_or_else(|| asked.text(), Arc::from),
        life,
    })
}

/// `expires_in` and `expires_at` reconciled: the smaller wins.
fn life(
    expires_in: Option<&Value>,
    expires_at: Option<&str>,
    now: SystemTime,
) -> Result<Duration, QlikError> {
    let by_count = match expires_in {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_f64()
                .ok_or(QlikError::Malformed("expires_in is not a number"))?,
        ),
    };
    let by_clock = match expires_at {
        None => None,
        Some(text) => {
            let at: jiff::Timestamp = text
                .parse()
                .map_err(|_| QlikError::Malformed("expires_at is not a time"))?;
            let left = SystemTime::from(at).duration_since(now).unwrap_or_default();
            Some(left.as_secs_f64())
        }
    };
    let seconds = match (by_count, by_clock) {
        (Some(count), Some(clock)) => count.min(clock),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Ok(UNNAMED_LIFE),
    };
    let life = Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_LIFE.as_secs_f64()));
    if life.is_zero() {
        return Err(QlikError::Malformed("the token has no life left"));
    }
    Ok(life)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn parse(body: &str) -> Result<AccessToken, QlikError> {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000); // 2023-11-14T22:13:20Z
        parse_token(
            body.as_bytes(),
            &ScopeSet::parse("user_default").unwrap(),
            now,
        )
    }

    #[test]
    fn the_smaller_life_wins_and_none_is_short() {
        let life = |fields: &str| {
            parse(&format!(
                r#"{{"access_token":"t","token_type":"Bearer"{fields}}}"#
            ))
            .map(|t| t.life.as_secs())
        };
        assert_eq!(life(""), Ok(300));
        assert_eq!(life(r#","expires_in":21600"#), Ok(21600));
        assert_eq!(
            life(r#","expires_in":21600,"expires_at":"2023-11-14T23:13:20.000Z""#),
            Ok(3600)
        );
        assert_eq!(
            life(r#","expires_in":60,"expires_at":"2023-11-14T23:13:20.000Z""#),
            Ok(60)
        );
        assert_eq!(life(r#","expires_in":1e300"#), Ok(LONGEST_LIFE.as_secs()));
        for none in [
            r#","expires_in":0"#,
            r#","expires_in":-5"#,
            r#","expires_in":1e-10"#,
            r#","expires_in":"60""#,
            r#","expires_at":"2020-01-01T00:00:00Z""#,
            r#","expires_at":"soon""#,
        ] {
            assert!(life(none).is_err(), "{none}");
        }
    }

    #[test]
    fn only_a_usable_bearer_token_is_taken() {
        assert_eq!(
            parse(r#"{"access_token":"t","token_type":"BEARER"}"#)
                .unwrap()
                .scope
                .as_ref(),
            "user_default"
        );
        assert_eq!(
            parse(r#"{"access_token":"t","token_type":"bearer","scope":"a b"}"#)
                .unwrap()
                .scope
                .as_ref(),
            "a b"
        );
        let long = format!(
            r#"{{"access_token":"{}","token_type":"bearer"}}"#,
            "x".repeat(TOKEN_CAP + 1)
        );
        for body in [
            "",
            "[]",
            "not json",
            r#"{"token_type":"bearer"}"#,
            &long,
            r#"{"access_token":"","token_type":"bearer"}"#,
            r#"{"access_token":"a\nb","token_type":"bearer"}"#,
            r#"{"access_token":"t","token_type":"mac"}"#,
            r#"{"access_token":"t"}"#,
            r#"{"access_token":"t","token_type":"bearer","errors":[{"code":"OAUTH-1"}]}"#,
        ] {
            assert!(
                matches!(parse(body), Err(QlikError::Malformed(_))),
                "{body}"
            );
        }
    }
}
