//! Back ends: callers that are no person, and name the user themselves.

use std::sync::Arc;

use crate::limits::{Exceeded, Limit, Limiter};
use crate::tenant::TenantId;

/// What a back end may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// `POST /session-token` for a user it names.
    Token,
    /// `POST /sessions`.
    Sessions,
    /// `POST /logout` for a session or user it names.
    Logout,
    /// `POST /service-token`.
    ServiceToken,
}

/// A back end that proved itself, by a key or a certificate.
#[derive(Debug)]
pub struct BackEnd {
    /// Names it in logs: the key's id, or the certificate's name.
    pub id: String,
    /// The same for the order of mints.
    pub source: Arc<str>,
    /// The tenants it may name. Never empty.
    pub tenants: Vec<TenantId>,
    /// The calls it may make.
    pub allow: Vec<Permission>,
    /// Whether a browser would add its proof by itself, as it does with a certificate.
    pub ambient: bool,
    /// How often it may call; as often as it likes if there is none.
    pub limiter: Option<Limiter>,
}

impl BackEnd {
    /// One more call.
    pub fn take(&self) -> Result<(), Exceeded> {
        let taken = self.limiter.as_ref().map_or(Ok(()), Limiter::take);
        taken.map_err(|wait| Limit::Key.exceeded(wait))
    }
}
