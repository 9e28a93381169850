//! Who is calling: a chain of authenticators, tried in the order of the configuration.
//!
//! Each says *not mine* (the next one is asked), *proven* (stop) or *refused* (stop). The rules
//! that hold for all of them are here: keys and handles are offered to nobody else, a request with
//! an `Authorization` header is judged by it alone, and nothing is believed before it is verified.

pub mod api_key;
pub mod ended;
mod issuer;
mod jwks;
pub mod jwt;
pub mod key_set;
mod presented;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};

use crate::identity::Claims;
use crate::mapping::Mapping;
use crate::tenant::ScopeSet;

use api_key::{ApiKeys, BackEnd};
use ended::Mark;
use jwt::Jwt;
use key_set::KeySet;
use presented::{Doubled, is_ours};

pub use presented::{Authorization, Presented};

/// Why a request has no session. Never carries what was presented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Nothing was presented.
    #[error("no credential")]
    Missing,
    /// What was presented is not accepted.
    #[error("not accepted: {0}")]
    Invalid(&'static str),
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
    /// With what was seen, for the audit line of a credential that nobody takes.
    NotMine(&'static str),
    Proven(Caller),
    Refused(SessionError),
}

/// A caller whose credential was verified.
#[derive(Debug)]
pub enum Caller {
    /// A back end, which names the user itself.
    BackEnd(BackEnd),
    /// A person's session.
    Person(Person),
}

/// A verified session of a person.
#[derive(Debug)]
pub struct Person {
    /// Which table verified it.
    pub table: usize,
    /// What is known of the person.
    pub claims: Claims,
    /// Whether the browser added the credential by itself (a cookie): then the request needs a
    /// defence against cross-site forgery.
    pub ambient: bool,
    /// What a logout needs to remember to end it.
    pub mark: Mark,
    /// How long the verification holds.
    pub validity: Validity,
}

/// How long a verified session stays verified.
#[derive(Clone, Debug)]
pub struct Validity {
    /// The session's own end, leeway included.
    pub until: SystemTime,
    /// The key set it was verified with, when that can change.
    pub keys: Option<Arc<KeySet>>,
}

/// One `[[session]]` table.
#[derive(Debug)]
pub struct Table {
    /// Its name in logs and metrics.
    pub name: Arc<str>,
    /// How it verifies.
    pub authenticator: Authenticator,
}

/// The kinds of session. An enum and not a trait: all are known, and configuration chooses.
#[derive(Debug)]
pub enum Authenticator {
    /// `api_key`
    ApiKey(ApiKeys),
    /// `jwt`
    Jwt {
        /// How a JWT is verified.
        jwt: Box<Jwt>,
        /// Which user its claims stand for.
        mapping: Mapping,
        /// The scopes of this table's sessions, when they are not the tenant's default.
        scope: Option<ScopeSet>,
    },
}

/// The chain.
#[derive(Debug)]
pub struct Sessions {
    tables: Vec<Table>,
    cookies: Vec<String>,
}

impl Sessions {
    /// The tables in the order in which they are tried.
    pub fn new(tables: Vec<Table>) -> Self {
        let cookies = tables
            .iter()
            .filter_map(|table| match &table.authenticator {
                Authenticator::Jwt { jwt, .. } => jwt.cookie().map(str::to_owned),
                Authenticator::ApiKey(_) => None,
            });
        let cookies = cookies.collect();
        Self { tables, cookies }
    }

    /// Whether any table accepts a credential that browsers add by themselves.
    pub fn any_ambient(&self) -> bool {
        !self.cookies.is_empty()
    }

    /// A table by its place, as [`Person::table`] names it.
    pub fn table(&self, index: usize) -> Option<&Table> {
        self.tables.get(index)
    }

    /// All tables.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// A digest of everything in `presented` that the chain looks at: equal digests lead to equal
    /// outcomes. `None` if nothing is presented that could be remembered.
    pub fn digest(&self, presented: &Presented<'_>) -> Option<[u8; 32]> {
        let mut context = Context::new(&SHA256);
        let mut add = |part: &str| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        };
        match presented.authorization {
            Authorization::Other => return None,
            // Proving a key costs less than looking it up.
            Authorization::Bearer(token) if is_ours(token) => return None,
            Authorization::Bearer(token) => {
                add("bearer");
                add(token);
            }
            Authorization::Absent => {
                let looked_at =
                    |(name, _): &&(&str, &str)| self.cookies.iter().any(|cookie| cookie == name);
                let mut cookies = presented.cookies.iter().filter(looked_at).peekable();
                cookies.peek()?;
                add("cookies");
                for (name, value) in cookies {
                    add(name);
                    add(value);
                }
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Some(digest)
    }

    /// Asks the tables in turn. Calls an issuer at most, never a tenant.
    pub async fn authenticate(
        &self,
        presented: &Presented<'_>,
        now: SystemTime,
    ) -> Result<Caller, SessionError> {
        let mut why = "no session table looks at it";
        for (index, table) in self.tables.iter().enumerate() {
            match table.authenticate(index, presented, now).await {
                Outcome::NotMine("") => {}
                Outcome::NotMine(seen) => why = seen,
                Outcome::Proven(caller) => return Ok(caller),
                Outcome::Refused(error) => return Err(error),
            }
        }
        let nothing = matches!(presented.authorization, Authorization::Absent)
            && self
                .cookies
                .iter()
                .all(|name| matches!(presented.cookie(name), Ok(None)));
        Err(if nothing {
            SessionError::Missing
        } else {
            SessionError::Invalid(why)
        })
    }

    /// Whether a remembered verification still holds.
    pub async fn still_holds(&self, table: usize, validity: &Validity, now: SystemTime) -> bool {
        if now >= validity.until {
            return false;
        }
        match (
            &validity.keys,
            self.tables.get(table).map(|table| &table.authenticator),
        ) {
            (None, Some(_)) => true,
            (Some(keys), Some(Authenticator::Jwt { jwt, .. })) => jwt.verifies_with(keys).await,
            _ => false,
        }
    }
}

impl Table {
    async fn authenticate(
        &self,
        index: usize,
        presented: &Presented<'_>,
        now: SystemTime,
    ) -> Outcome {
        match (&self.authenticator, presented.authorization) {
            (Authenticator::ApiKey(keys), Authorization::Bearer(token)) => {
                keys.authenticate(token, now)
            }
            (Authenticator::ApiKey(_), _) => Outcome::NotMine(""),
            (_, Authorization::Other) => Outcome::NotMine("its scheme is not Bearer"),
            (Authenticator::Jwt { .. }, Authorization::Bearer(token)) if is_ours(token) => {
                Outcome::NotMine("")
            }
            (Authenticator::Jwt { jwt, .. }, Authorization::Bearer(token)) => {
                jwt.authenticate(index, token, false, now).await
            }
            (Authenticator::Jwt { jwt, .. }, Authorization::Absent) => {
                match jwt.cookie().map(|name| presented.cookie(name)) {
                    None | Some(Ok(None)) => Outcome::NotMine(""),
                    Some(Ok(Some(token))) if is_ours(token) => Outcome::NotMine(""),
                    Some(Ok(Some(token))) => jwt.authenticate(index, token, true, now).await,
                    Some(Err(Doubled)) => {
                        Outcome::Refused(SessionError::Invalid("the session cookie is there twice"))
                    }
                }
            }
        }
    }
}
