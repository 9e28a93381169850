//! The audit trail: one line per decision, who, what, when and where, without values that identify
//! a user or open a door.

use std::net::IpAddr;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compact_str::CompactString;

use jiff::Timestamp;

use super::lines;
use super::traces::Trace;
use crate::clock;
use crate::json::Object;
use crate::secret::Secret;

/// What marks audit lines among log lines.
const TARGET: &str = "audit";
/// Most lines are not longer, in bytes.
const USUAL_LENGTH: usize = 512;

/// Writes audit lines.
#[derive(Debug)]
pub struct Audit {
    key: hmac::Key,
    is_random: bool,
}

/// One decision. Empty text stands for "not known at that point".
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// What was asked for, such as `POST /session-token`.
    pub action: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// The tenant, once known.
    pub tenant: &'a str,
    /// The session table of a person.
    pub session: &'a str,
    /// The key of a back end.
    pub key: &'a str,
    /// [`Audit::user`] of the user, once known.
    pub user: &'a str,
    /// The id of the token handed out.
    pub token_id: &'a str,
    /// `ok`, or the problem's code.
    pub outcome: &'a str,
    /// Which check failed, where the outcome alone does not tell.
    pub why: &'a str,
    /// Where the token came from.
    pub source: &'a str,
    /// The page's origin, if it sent a well-formed one.
    pub origin: &'a str,
    /// The client's address.
    pub client: IpAddr,
}

impl Audit {
    /// `key` makes the hashes of several replicas comparable; without one it is random, the same as that
    /// of `previous` where there is one. It fails only on a machine without randomness.
    pub fn new(key: Option<&Secret>, previous: Option<&Self>) -> Result<Self, Unspecified> {
        let random = previous.filter(|previous| previous.is_random);
        Ok(Self {
            key: match (key, random) {
                (Some(secret), _) => hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()),
                (None, Some(previous)) => previous.key.clone(),
                (None, None) => hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
            },
            is_random: key.is_none(),
        })
    }

    /// A keyed hash that stands for a user: equal for equal users, useless without the key.
    pub fn user(&self, tenant: &str, field: &str, value: &str) -> CompactString {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [tenant, field, value] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let hash = URL_SAFE_NO_PAD.encode(context.sign());
        CompactString::new(&hash[..22])
    }

    /// Writes one line.
    pub fn decision(&self, decision: &Decision<'_>) {
        let mut line = line();
        line.text("action", decision.action);
        line.text("request_id", decision.request_id);
        line.text("tenant", decision.tenant);
        line.text("session", decision.session);
        line.text("key", decision.key);
        line.text("user", decision.user);
        line.text("token_id", decision.token_id);
        line.text("outcome", decision.outcome);
        line.text("why", decision.why);
        line.text("source", decision.source);
        line.text("origin", decision.origin);
        line.address("client", decision.client);
        write(line);
    }

    /// Writes how the revocation that follows a logout went.
    pub fn revocation(&self, tenant: &str, user: &str, token_id: &str, outcome: &str) {
        let mut line = line();
        line.text("action", "revoke");
        line.text("tenant", tenant);
        line.text("user", user);
        line.text("token_id", token_id);
        line.text("outcome", outcome);
        write(line);
    }
}

/// The frame of a line, as log lines have it. One JSON object per line, whatever the log's format: every
/// request writes one, so it goes the short way, and programs read it.
fn line() -> Object {
    let mut line = Object::with_capacity(USUAL_LENGTH);
    let now = Timestamp::try_from(clock::now()).unwrap_or_default();
    line.time("timestamp", now);
    line.text("level", "INFO");
    line.text("target", TARGET);
    if let Some(trace) = Trace::current() {
        line.text("trace_id", &trace.id());
    }
    line
}

fn write(line: Object) {
    let mut line = line.end();
    line.push(b'\n');
    lines::write(&line);
}
