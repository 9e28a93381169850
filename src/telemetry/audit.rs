//! The audit trail: one line per decision, who, what, when and where, without values that identify
//! a user or open a door.

use std::net::IpAddr;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// The log target of audit lines.
pub const TARGET: &str = "audit";

/// Writes audit lines.
#[derive(Debug)]
pub struct Audit {
    key: hmac::Key,
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
    /// `key` makes the hashes of several replicas comparable; without one it is random, which fails
    /// only on a machine without randomness.
    pub fn new(key: Option<&Secret>) -> Result<Self, Unspecified> {
        let key = match key {
            Some(secret) => hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()),
            None => hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
        };
        Ok(Self { key })
    }

    /// A keyed hash that stands for a user: equal for equal users, useless without the key.
    pub fn user(&self, tenant: &str, field: &str, value: &str) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [tenant, field, value] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut hash = URL_SAFE_NO_PAD.encode(context.sign());
        hash.truncate(22);
        hash
    }

    /// Writes one line.
    pub fn decision(&self, decision: &Decision<'_>) {
        let Decision {
            action,
            request_id,
            tenant,
            session,
            key,
            user,
            token_id,
            outcome,
            why,
            source,
            origin,
            client,
        } = *decision;
        // Outside of the request's span, which would only say the request id once more.
        tracing::info!(
            target: TARGET,
            parent: None,
            action, request_id, tenant, session, key, user, token_id, outcome, why, source, origin, %client
        );
    }

    /// Writes how the revocation that follows a logout went.
    pub fn revocation(&self, tenant: &str, user: &str, token_id: &str, outcome: &str) {
        tracing::info!(target: TARGET, parent: None, action = "revoke", tenant, user, token_id, outcome);
    }
}
