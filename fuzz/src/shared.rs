//! What stands in the shared tier, and what is told through it: read without a panic, and never
//! taken for more than it is.
//!
//! An input is what it stands for on the first line, and the value.

use std::sync::Arc;
use std::time::Duration;

use qlik_token_broker::expiring::{Lease, Margins};
use qlik_token_broker::fuzzing::{open, seal, stored_handle, stored_token};
use qlik_token_broker::secret::Zeroizing;
use qlik_token_broker::session::ended::Ended;
use qlik_token_broker::shared::{EncryptionKey, Kind, Notice};

use super::first_line;
use super::front::Front;

thread_local! {
    static FRONT: Front = Front::new("[[session]]\ntype = 'handle'\n[[session]]\ntype = 'api_key'\n\
        keys = [{ id = 'k', sha256 = '0000000000000000000000000000000000000000000000000000000000000000' }]\n");
}

pub fn run(data: &[u8]) -> bool {
    let (line, value) = first_line(data);
    let (what, number) = line.split_once(' ').unwrap_or((line, ""));
    let seconds = Duration::from_secs(number.parse().unwrap_or(3600));
    match what {
        "sealed" => sealed(value),
        "token" => token(value, seconds),
        "handle" => stored_handle(value, seconds, seconds).is_some(),
        "logout" => told(Kind::Tombstone, value),
        "dead" => told(Kind::DeadToken, value),
        "session" => told(Kind::EndedSession, value),
        "user" => told(Kind::EndedUser, value),
        _ => false,
    }
}

/// What nobody sealed does not open; what was sealed opens in its place only.
fn sealed(value: &[u8]) -> bool {
    let key = EncryptionKey {
        id: "k1".to_owned(),
        key: Zeroizing::new([7; 32]),
    };
    let (here, there) = ([1; 32], [2; 32]);
    for kind in [Kind::Token, Kind::Handle, Kind::Tombstone] {
        assert!(open(&key, kind, &here, value).is_none());
    }
    let sealed = seal(&key, Kind::Token, &here, value).unwrap();
    let opened = open(&key, Kind::Token, &here, &sealed);
    assert_eq!(opened.unwrap().as_slice(), value);
    assert!(open(&key, Kind::Token, &there, &sealed).is_none());
    assert!(open(&key, Kind::Handle, &here, &sealed).is_none());
    true
}

fn token(value: &[u8], left: Duration) -> bool {
    let Some(token) = stored_token(value, left) else {
        return false;
    };
    let (remaining, life) = (token.remaining(), token.access.life);
    assert!(remaining <= left.min(life), "longer than it stands there");
    assert!(!token.expires_at_text.is_empty());
    let margins = Margins {
        refresh: Duration::from_secs(600),
        min_life: Duration::from_secs(60),
    };
    drop(Lease::resumed(
        Arc::new(token),
        remaining,
        life,
        margins,
        0.5,
    ));
    true
}

/// As [`qlik_token_broker::app`] does it.
fn told(kind: Kind, body: &[u8]) -> bool {
    let body = Arc::new(Zeroizing::new(body.to_vec()));
    let notice = Notice { kind, body };
    Ended::new(None).heed(&notice);
    FRONT.with(|front| front.within(|app| app.broker.heed(&notice)));
    true
}
