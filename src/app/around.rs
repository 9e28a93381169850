//! Tenants and session tables, made of their configuration; or kept, where that is still the same.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::served::Served;
use super::{App, BuildError};
use crate::budget::Replicas;
use crate::config::{SessionKind, SessionTable, TenantConfig};
use crate::digest;
use crate::outbound::Outgoing;
use crate::session::api_key::ApiKeys;
use crate::session::client_certificate::ClientCertificates;
use crate::session::handle::{HandleRules, Handles};
use crate::session::introspection::Introspection;
use crate::session::jwt::Jwt;
use crate::session::portal_check::PortalCheck;
use crate::session::trusted_header::TrustedHeader;
use crate::session::{Authenticator, Table};
use crate::shared::Shared;
use crate::tenant::TenantId;

/// Somebody who is logged in with several browsers has as many handles.
const HANDLES_PER_USER: u64 = 4;

/// What is around them.
pub(super) struct Around<'a> {
    pub outgoing: Outgoing<'a>,
    pub max_users: u64,
    pub replicas: NonZeroU32,
    pub shared: Option<&'a Arc<Shared>>,
    pub previous: Option<&'a App>,
}

impl Around<'_> {
    pub fn tenant(&self, id: &TenantId, config: &TenantConfig) -> Result<Arc<Served>, BuildError> {
        let replicas = Replicas {
            count: self.replicas,
            shared: self
                .shared
                .map(|shared| (Arc::clone(shared), digest::of("pace", [id.as_str()]))),
        };
        let before = self.previous.and_then(|previous| previous.tenants.get(id));
        Served::of(config, &self.outgoing, replicas, before)
    }

    /// The table that was there before, if it is still the same: with its caches, its keys and its
    /// handles. Otherwise a new one.
    pub fn table(&self, config: SessionTable) -> Result<Arc<Table>, BuildError> {
        let before = self.previous.map(|previous| &previous.tables);
        if let Some(same) = before.and_then(|before| before.get(&config.fingerprint)) {
            return Ok(Arc::clone(same));
        }
        let failed = |reason: String| BuildError {
            place: format!("session {}", config.name),
            reason,
        };
        let http = || {
            let made = self.outgoing.client(None);
            made.map_err(|error| failed(error.to_string()))
        };
        let authenticator = match config.kind {
            SessionKind::ApiKey(keys) => Authenticator::ApiKey(ApiKeys::new(keys)),
            SessionKind::Jwt(rules) => {
                let jwt = Jwt::new(rules, http()?).map_err(|error| failed(error.to_owned()))?;
                Authenticator::Jwt(Box::new(jwt))
            }
            SessionKind::Handle(rules) => Authenticator::Handle(self.handles(rules)),
            SessionKind::Introspection(rules) => {
                Authenticator::Introspection(Introspection::new(&config.name, rules, http()?))
            }
            SessionKind::PortalCheck(rules) => {
                Authenticator::PortalCheck(PortalCheck::new(&config.name, rules, http()?))
            }
            SessionKind::TrustedHeader(rules) => {
                Authenticator::TrustedHeader(TrustedHeader::new(rules))
            }
            SessionKind::ClientCertificate(clients) => {
                Authenticator::ClientCertificate(ClientCertificates::new(clients))
            }
        };
        Ok(Arc::new(Table {
            name: config.name,
            authenticator,
            users: config.users,
        }))
    }

    /// There is one such table at most, so that the handles are those of whichever was there before.
    fn handles(&self, rules: HandleRules) -> Handles {
        let sessions = self.previous.map(|previous| previous.admissions.sessions());
        if let Some(handles) = sessions.and_then(|sessions| sessions.handles()) {
            return handles.with_rules(rules);
        }
        let capacity = self.max_users.saturating_mul(HANDLES_PER_USER);
        Handles::new(rules, capacity, self.shared.cloned())
    }
}
