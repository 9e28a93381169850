//! Who is calling: a chain of authenticators, tried in the order of the configuration.
//!
//! Each says *not mine* (the next one is asked), *proven* (stop) or *refused* (stop). The rules
//! that hold for all of them are here: keys and handles are offered to nobody else, a request with
//! an `Authorization` header is not judged by its cookies, and nothing is believed before it is
//! verified.

pub mod api_key;
pub mod back_end;
mod checks;
pub mod client_certificate;
pub mod ended;
pub mod handle;
pub mod introspection;
mod issuer;
mod jwks;
pub mod jwt;
pub mod key_set;
mod looks;
pub mod portal_check;
mod presented;
mod proven;
mod registered;
mod table;
mod told;
pub mod trusted_header;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderName;

use crate::mapping::Mapping;
use crate::tenant::ScopeSet;

use api_key::ApiKeys;
use client_certificate::ClientCertificates;
use handle::Handles;
use introspection::Introspection;
use jwt::Jwt;
use looks::Looks;
use portal_check::PortalCheck;
use trusted_header::TrustedHeader;

pub use checks::Keeper;
pub use issuer::KeysError;
pub use presented::{Authorization, Presented};
pub use proven::{Bond, Caller, Person, Validity, Who};

/// How long a logout is remembered of a session whose end nobody tells.
const UNKNOWN_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far the clock of an issuer that is asked may be ahead of ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(30);

/// Why a request has no session. Never carries what was presented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Nothing was presented.
    #[error("no credential")]
    Missing,
    /// What was presented is not accepted.
    #[error("not accepted: {0}")]
    Invalid(&'static str),
    /// A handle that is well-formed, and unknown: it never was, or ended long ago.
    #[error("the handle is unknown")]
    UnknownHandle,
    /// It was a session, and has ended.
    #[error("the session has ended")]
    Expired,
    /// It is a key whose time is over. No session of anybody.
    #[error("the API key has expired")]
    KeyExpired,
    /// Whether it is one cannot be told at the moment.
    #[error("cannot be verified now: {why}")]
    Unavailable {
        /// What is out of reach.
        why: &'static str,
        /// When asking again makes sense.
        retry_after: Duration,
    },
}

/// What an authenticator says.
#[derive(Debug)]
enum Outcome {
    /// With what was seen, for the audit line of a credential that nobody takes; empty when there
    /// was nothing to see.
    NotMine(&'static str),
    Proven(Caller),
    Refused(SessionError),
}

/// One `[[session]]` table.
#[derive(Debug)]
pub struct Table {
    /// Its name in logs and metrics.
    pub name: Arc<str>,
    /// How it verifies.
    pub authenticator: Authenticator,
    /// How its sessions become users, for the kinds that do not name one.
    pub users: Option<Users>,
}

/// How a table's sessions become users.
#[derive(Clone, Debug)]
pub struct Users {
    /// Which user the claims stand for.
    pub mapping: Mapping,
    /// The scopes of this table's sessions, when they are not the tenant's default.
    pub scope: Option<ScopeSet>,
    /// Whether users with an administrator role are refused.
    pub refuse_admins: bool,
}

/// The kinds of session. An enum and not a trait: all are known, and configuration chooses.
#[derive(Debug)]
pub enum Authenticator {
    /// `api_key`
    ApiKey(ApiKeys),
    /// `jwt`
    Jwt(Box<Jwt>),
    /// `handle`
    Handle(Handles),
    /// `introspection`
    Introspection(Introspection),
    /// `portal_check`
    PortalCheck(PortalCheck),
    /// `trusted_header`
    TrustedHeader(TrustedHeader),
    /// `client_certificate`
    ClientCertificate(ClientCertificates),
}

/// The chain.
#[derive(Debug)]
pub struct Sessions {
    tables: Vec<Arc<Table>>,
    looks: Looks,
}

impl Sessions {
    /// The tables in the order in which they are tried.
    pub fn new(tables: Vec<Arc<Table>>) -> Self {
        let looks = Looks::of(&tables);
        Self { tables, looks }
    }

    /// Whether any table accepts a credential that browsers or proxies add by themselves.
    pub fn any_ambient(&self) -> bool {
        self.looks.any_ambient()
    }

    /// The headers of pages that are forwarded to portals, so that CORS has to allow them.
    pub fn forwarded_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.tables
            .iter()
            .flat_map(|table| match &table.authenticator {
                Authenticator::PortalCheck(check) => check.rules().forward_headers.as_slice(),
                _ => &[],
            })
    }

    /// Where `POST /sessions` registers handles.
    pub fn handles(&self) -> Option<&Handles> {
        self.tables
            .iter()
            .find_map(|table| match &table.authenticator {
                Authenticator::Handle(handles) => Some(handles),
                _ => None,
            })
    }

    /// A table by its place, as [`Person::table`] names it.
    pub fn table(&self, index: u16) -> Option<&Table> {
        self.tables.get(usize::from(index)).map(|table| &**table)
    }

    /// All tables.
    pub fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    /// A digest of everything in `presented` that the chain looks at: equal digests lead to equal
    /// outcomes. `None` if nothing is presented that could be remembered.
    pub fn digest(&self, presented: &Presented<'_>) -> Option<[u8; 32]> {
        self.looks.digest(presented)
    }

    /// The tables whose issuer or portal is left alone at the moment, because it gave no answers.
    pub fn troubles(&self) -> impl Iterator<Item = &Arc<str>> {
        let in_trouble = self
            .tables
            .iter()
            .filter(|table| match &table.authenticator {
                Authenticator::Introspection(introspection) => introspection.is_resting(),
                Authenticator::PortalCheck(check) => check.is_resting(),
                _ => false,
            });
        in_trouble.map(|table| &table.name)
    }

    /// Asks the tables in turn. Calls an issuer or a portal at most, never a tenant. `logout` is when
    /// all of somebody's sessions were ended last: what a keeper said before counts no more.
    pub async fn authenticate(
        &self,
        presented: &Presented<'_>,
        now: SystemTime,
        logout: Option<SystemTime>,
    ) -> Result<Caller, SessionError> {
        let mut seen = match presented.authorization {
            Authorization::Absent => None,
            _ => Some("no session table looks at it"),
        };
        for (index, table) in (0..=u16::MAX).zip(&self.tables) {
            match table.authenticate(index, presented, now, logout).await {
                Outcome::NotMine("") => {}
                Outcome::NotMine(why) => seen = Some(why),
                Outcome::Proven(caller) => return Ok(caller),
                Outcome::Refused(error) => return Err(error),
            }
        }
        Err(seen.map_or(SessionError::Missing, SessionError::Invalid))
    }

    /// Whether no table has to verify a signature or to ask somebody to judge this.
    pub fn judges_at_once(&self, presented: &Presented<'_>) -> bool {
        presented.is_ours() || !self.tables.iter().any(|table| table.costs(presented))
    }

    /// Whether a remembered verification still holds.
    pub async fn still_holds(&self, table: u16, validity: &Validity, now: SystemTime) -> bool {
        if now >= validity.until {
            return false;
        }
        match (
            &validity.bond,
            self.table(table).map(|table| &table.authenticator),
        ) {
            (Bond::None, Some(_)) => true,
            (Bond::Handle(handle), Some(Authenticator::Handle(handles))) => {
                handles.still_lives(handle)
            }
            (Bond::Keys(keys), Some(Authenticator::Jwt(jwt))) => jwt.verifies_with(keys).await,
            _ => false,
        }
    }
}
