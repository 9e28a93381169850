//! A tenant's answers: what is taken of them is usable, and what is told of them is harmless.
//!
//! An input is a status and a `Retry-After` on the first line, and a body. Every body is read as an
//! answer to a call for a token, and as a page of users.

use std::time::Duration;

use qlik_token_broker::expiring::{Lease, Margins, Pause as _};
use qlik_token_broker::fuzzing::{token_answer, users_page};
use qlik_token_broker::qlik::{AccessToken, QlikError};
use qlik_token_broker::tenant::ScopeSet;

use super::first_line;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub fn run(data: &[u8]) -> bool {
    let (line, body) = first_line(data);
    let (status, retry_after) = match line.split_once(' ') {
        Some((status, retry_after)) => (status, Some(retry_after)),
        None => (line, None),
    };
    let Ok(status) = status.parse() else {
        return false;
    };
    let asked = ScopeSet::parse("user_default").unwrap();
    let is_token = match token_answer(status, retry_after, body, &asked) {
        Ok(token) => {
            assert_eq!(status, 200);
            check_token(token);
            true
        }
        Err(error) => {
            check_error(&error);
            false
        }
    };
    match users_page(body) {
        Ok(users) => {
            assert!(
                users
                    .iter()
                    .all(|user| user.client_id.as_deref() != Some(""))
            );
            is_token || status == 200
        }
        Err(error) => {
            check_error(&error);
            is_token
        }
    }
}

fn check_token(token: AccessToken) {
    let text = token.secret.expose();
    assert!((1..=16 * 1024).contains(&text.len()));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(token.id.len(), 22);
    assert!(ScopeSet::parse(&token.scope).is_ok());
    assert!(
        !token.life.is_zero() && token.life <= MONTH,
        "{:?}",
        token.life
    );
    let (life, margins) = (
        token.life,
        Margins {
            refresh: Duration::from_secs(600),
            min_life: Duration::from_secs(60),
        },
    );
    let lease = Lease::new(token.into(), life, margins, 0.5);
    assert_eq!(lease.value().life, life);
}

fn check_error(error: &QlikError) {
    let told = error.to_string();
    assert!(
        told.len() < 200 && !told.chars().any(char::is_control),
        "{told:?}"
    );
    if let QlikError::Throttled { retry_after } = error {
        assert!((Duration::from_secs(1)..=DAY).contains(retry_after));
    }
    assert!(error.pause().is_none_or(|pause| pause <= DAY));
}
