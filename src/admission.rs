//! From what a request presents to the user's place in the cache.
//!
//! Proves the session, maps it to a tenant and a user, and remembers the outcome by the digest of
//! what was presented: verifying a signature costs several times the rest of a hit. What is
//! remembered leads to the token without a further look-up, and is dropped when the session ends,
//! when its keys change and after a logout.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::broker::{Broker, Seat};
use crate::clock;
use crate::mapping::{DenyList, MappingError, UserLookup};
use crate::session::api_key::BackEnd;
use crate::session::ended::{Ended, Mark, UserMark};
use crate::session::{Authenticator, Caller, Person, Presented, SessionError, Sessions, Validity};
use crate::telemetry::audit::Audit;
use crate::tenant::{Grant, ScopeSet, Tenant, TenantId};

/// Who came in.
#[derive(Debug)]
pub enum Admitted {
    /// A back end: whom it asks for is in its request.
    BackEnd(BackEnd),
    /// A person: whom the token is for is decided.
    Person(Arc<Admission>),
}

/// A person's session with everything that was found out about it.
#[derive(Debug)]
pub struct Admission {
    table: usize,
    table_name: Arc<str>,
    scope_is_fixed: bool,
    ambient: bool,
    mark: Mark,
    user_mark: UserMark,
    validity: Validity,
    seat: Seat,
    user_hash: String,
    logouts_seen: AtomicU64,
}

impl Admission {
    /// The session table's name.
    pub fn table_name(&self) -> &str {
        &self.table_name
    }

    /// Whether the browser added the credential by itself.
    pub fn is_ambient(&self) -> bool {
        self.ambient
    }

    /// Whether the table fixes the scopes, so that a page may not ask for others.
    pub fn scope_is_fixed(&self) -> bool {
        self.scope_is_fixed
    }

    /// The user's place with the scopes that the session has by default.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// The audit hash of the user.
    pub fn user_hash(&self) -> &str {
        &self.user_hash
    }
}

/// Why nobody was let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The session is not proven.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// No user came of it.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A claim names a tenant that does not exist, or none where there are several.
    #[error("the session belongs to no configured tenant")]
    NoTenant,
    /// The table's scopes are none that this tenant offers.
    #[error("the session's scopes are not among the tenant's")]
    NoScope,
}

/// See the module.
#[derive(Debug)]
pub struct Admissions {
    sessions: Sessions,
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    broker: Arc<Broker>,
    audit: Arc<Audit>,
    ended: Ended,
    deny: DenyList,
    remembered: Cache<[u8; 32], Arc<Admission>>,
}

impl Admissions {
    /// `capacity` bounds the remembered sessions; the least recently seen leave first. One not seen
    /// for `idle` leaves too, and with it the user's token that it leads to.
    pub fn new(
        sessions: Sessions,
        tenants: BTreeMap<TenantId, Arc<Tenant>>,
        broker: Arc<Broker>,
        audit: Arc<Audit>,
        capacity: u64,
        idle: Duration,
    ) -> Self {
        let remembered = Cache::builder()
            .max_capacity(capacity)
            .time_to_idle(idle)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self {
            sessions,
            tenants,
            broker,
            audit,
            ended: Ended::default(),
            deny: DenyList::default(),
            remembered,
        }
    }

    /// The chain of sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The configured tenants.
    pub fn tenants(&self) -> &BTreeMap<TenantId, Arc<Tenant>> {
        &self.tenants
    }

    /// What is known of a session that was proven before and still holds.
    pub async fn remembered(
        &self,
        presented: &Presented<'_>,
    ) -> Result<Option<Arc<Admission>>, SessionError> {
        let Some(digest) = self.sessions.digest(presented) else {
            return Ok(None);
        };
        let Some(known) = self.remembered.get(&digest) else {
            return Ok(None);
        };
        if self.still_admitted(&known, clock::now()).await? {
            return Ok(Some(known));
        }
        self.remembered.invalidate(&digest);
        Ok(None)
    }

    /// Proves, maps and remembers. Calls an issuer at most, never a tenant.
    pub async fn admit(&self, presented: &Presented<'_>) -> Result<Admitted, AdmissionError> {
        let person = match self.sessions.authenticate(presented, clock::now()).await? {
            Caller::BackEnd(back_end) => return Ok(Admitted::BackEnd(back_end)),
            Caller::Person(person) => person,
        };
        let admission = Arc::new(self.admit_person(person)?);
        if let Some(digest) = self.sessions.digest(presented) {
            self.remembered.insert(digest, Arc::clone(&admission));
        }
        Ok(Admitted::Person(admission))
    }

    async fn still_admitted(
        &self,
        known: &Admission,
        now: SystemTime,
    ) -> Result<bool, SessionError> {
        let holds = self
            .sessions
            .still_holds(known.table, &known.validity, now)
            .await;
        if self.has_ended(known) {
            return Err(SessionError::Expired);
        }
        Ok(holds)
    }

    fn has_ended(&self, known: &Admission) -> bool {
        let logouts = self.ended.changes();
        if known.logouts_seen.load(Ordering::Acquire) == logouts {
            return false;
        }
        if self.ended.is_ended(&known.mark, known.user_mark) {
            return true;
        }
        known.logouts_seen.store(logouts, Ordering::Release);
        false
    }

    /// To be asked once more when a person's token is at hand: a logout that came meanwhile may have
    /// looked for the token before it was there. If so, it is ended now.
    pub fn ended_meanwhile(&self, admission: &Admission) -> bool {
        let ended = self.has_ended(admission);
        if ended {
            self.end_tokens(admission);
        }
        ended
    }

    fn admit_person(&self, person: Person) -> Result<Admission, AdmissionError> {
        let Some(table) = self.sessions.table(person.table) else {
            return Err(SessionError::Invalid("its session table is gone").into());
        };
        let Authenticator::Jwt { mapping, scope, .. } = &table.authenticator else {
            return Err(SessionError::Invalid("its session table maps no users").into());
        };
        let mapped = mapping.map(&person.claims)?;
        let tenant = match &mapped.tenant {
            Some(name) => TenantId::parse(name).and_then(|id| self.tenants.get(&id)),
            None => self.only_tenant(),
        };
        let tenant = Arc::clone(tenant.ok_or(AdmissionError::NoTenant)?);
        let scopes = match scope {
            None => tenant.scopes.clone(),
            Some(scope) => tenant
                .scope_set(scope)
                .ok_or(AdmissionError::NoScope)?
                .clone(),
        };
        // Read before the look at what ended: a logout in between is then seen at the next request.
        let logouts_seen = self.ended.changes().into();
        let user_mark = UserMark::new(&tenant.id, &mapped.user);
        if self.ended.is_ended(&person.mark, user_mark) {
            return Err(SessionError::Expired.into());
        }
        let user_hash = self.user_hash(&tenant, &mapped.user);
        Ok(Admission {
            table: person.table,
            table_name: Arc::clone(&table.name),
            scope_is_fixed: scope.is_some(),
            ambient: person.ambient,
            mark: person.mark,
            user_mark,
            validity: person.validity,
            seat: self.broker.seat(Grant {
                tenant,
                user: mapped.user,
                scopes,
            }),
            user_hash,
            logouts_seen,
        })
    }

    /// The tenant, where there is only one.
    pub fn only_tenant(&self) -> Option<&Arc<Tenant>> {
        let mut tenants = self.tenants.values();
        tenants.next().filter(|_| tenants.next().is_none())
    }

    /// The audit hash of a user.
    pub fn user_hash(&self, tenant: &Tenant, user: &UserLookup) -> String {
        self.audit
            .user(tenant.id.as_str(), user.field().as_str(), user.value())
    }

    /// Whether nobody may be given a token for this user, whoever asks.
    pub fn is_denied(&self, user: &UserLookup) -> bool {
        self.deny.refuses(user)
    }

    /// A place for a grant that the request itself decides: a back end's user, or other scopes.
    pub fn seat(&self, tenant: Arc<Tenant>, user: UserLookup, scopes: ScopeSet) -> Seat {
        self.broker.seat(Grant {
            tenant,
            user,
            scopes,
        })
    }

    /// Ends one person's session and the cached tokens of its user.
    pub fn log_out(&self, admission: &Admission) {
        self.ended
            .end_session(&admission.mark, admission.validity.until, clock::now());
        self.end_tokens(admission);
    }

    fn end_tokens(&self, admission: &Admission) {
        let Grant { tenant, user, .. } = admission.seat.grant();
        self.broker
            .logout(tenant, user, Some(&admission.seat), &self.audit);
    }

    /// Ends everything of a user: its sessions up to now, and its cached tokens.
    pub fn log_out_everywhere(&self, tenant: &Tenant, user: &UserLookup) {
        self.ended
            .end_user(UserMark::new(&tenant.id, user), clock::now());
        self.broker.logout(tenant, user, None, &self.audit);
    }
}
