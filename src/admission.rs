//! From what a request presents to the user's place in the cache.
//!
//! Proves the session, maps it to a tenant and a user, and remembers the outcome by the digest of
//! what was presented: verifying a signature costs several times the rest of a hit. What is
//! remembered leads to the token without a further look-up, and is dropped when the session ends,
//! when its keys change and after a logout.

mod admitted;
mod asked;
mod grant;
mod logout;
mod place;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use crate::broker::Broker;
use crate::clock;
use crate::directory::Directory;
use crate::kept::Kept;
use crate::mapping::{DenyList, MappedUser, UserLookup};
use crate::session::ended::Ended;
use crate::session::{Caller, Person, Presented, SessionError, Sessions, Who};
use crate::telemetry::audit::Audit;
use crate::tenant::{Tenant, TenantId};

pub use admitted::{Admission, Admitted, Place};
pub use grant::{AdmissionError, Decided, decide};
pub use place::PlaceError;

use admitted::{LookedUp, Whom};
use asked::Asked;

/// No count of outages or logouts is ever so large.
const NEVER: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub struct Admissions {
    sessions: Sessions,
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    directories: HashMap<TenantId, Arc<Directory>>,
    broker: Arc<Broker>,
    audit: Arc<Audit>,
    ended: Arc<Ended>,
    deny: DenyList,
    /// Those of the configurations before as well, which were proven and are judged anew.
    remembered: Arc<Kept<[u8; 32], Arc<Admission>>>,
    /// 1 more per reload.
    generation: u32,
    asked: Asked,
}

/// What [`Admissions`] are made of.
#[derive(Debug)]
pub struct Parts {
    /// The chain of sessions.
    pub sessions: Sessions,
    /// The configured tenants.
    pub tenants: BTreeMap<TenantId, Arc<Tenant>>,
    /// Those of tenants with a management client.
    pub directories: HashMap<TenantId, Arc<Directory>>,
    /// From here to the tokens.
    pub broker: Arc<Broker>,
    /// Hashes users.
    pub audit: Arc<Audit>,
    /// What was logged out.
    pub ended: Arc<Ended>,
}

impl Admissions {
    /// `capacity` bounds the remembered sessions; the least recently seen leave first. One not seen
    /// for `idle` leaves too, and with it the user's token that it leads to.
    pub fn new(parts: Parts, capacity: u64, idle: Duration, previous: Option<&Self>) -> Self {
        let Parts {
            sessions,
            tenants,
            directories,
            broker,
            audit,
            ended,
        } = parts;
        Self {
            sessions,
            tenants,
            directories,
            broker,
            audit,
            ended,
            deny: DenyList::default(),
            remembered: previous.map_or_else(
                || Arc::new(Kept::new(capacity, idle)),
                |previous| Arc::clone(&previous.remembered),
            ),
            generation: previous.map_or(0, |previous| previous.generation.wrapping_add(1)),
            asked: Asked::new(capacity, idle),
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

    /// Drops what nobody asked for in long.
    pub fn tidy(&self) {
        self.remembered.tidy();
        self.asked.tidy();
    }

    /// What was logged out.
    pub fn ended(&self) -> &Arc<Ended> {
        &self.ended
    }

    /// What is known of a session that was proven before and still holds.
    pub async fn remembered(
        &self,
        presented: &Presented<'_>,
    ) -> Result<Option<Arc<Admission>>, SessionError> {
        let Some(digest) = self.sessions.digest(presented) else {
            return Ok(None);
        };
        let known = self.remembered.get(&digest);
        let Some(known) = known.filter(|known| known.generation == self.generation) else {
            return Ok(None);
        };
        if self.still_admitted(&known, clock::now()).await? {
            return Ok(Some(known));
        }
        self.remembered.remove(&digest);
        Ok(None)
    }

    /// Whether it was proven under a configuration before, so that judging it again is no favour.
    pub fn was_proven(&self, presented: &Presented<'_>) -> bool {
        let digest = self.sessions.digest(presented);
        digest.is_some_and(|digest| self.remembered.has(&digest))
    }

    /// Proves, maps and remembers. Calls an issuer or a portal at most, never a tenant.
    pub async fn admit(&self, presented: &Presented<'_>) -> Result<Admitted, AdmissionError> {
        let logout = self.ended.last_everywhere();
        let proving = self.sessions.authenticate(presented, clock::now(), logout);
        let person = match proving.await? {
            Caller::BackEnd(back_end) => return Ok(Admitted::BackEnd(back_end)),
            Caller::Person(person) => person,
        };
        let admission = Arc::new(Box::pin(self.admit_person(*person)).await?);
        if let Some(digest) = self.sessions.digest(presented) {
            self.remembered.insert(digest, Arc::clone(&admission));
        }
        Ok(Admitted::Person(admission))
    }

    async fn admit_person(&self, person: Person) -> Result<Admission, AdmissionError> {
        let Some(table) = self.sessions.table(person.table) else {
            return Err(SessionError::Invalid("its session table is gone").into());
        };
        let Decided {
            tenant,
            user,
            scopes,
            scope_is_fixed,
            profile,
            refuse_admins,
            ..
        } = match (&person.who, &table.users) {
            (Who::Named(named), _) => grant::of_handle(named, &self.tenants)?,
            (Who::Claims(claims), Some(users)) => decide(claims, users, &self.tenants)?,
            (Who::Claims(_), None) => {
                return Err(SessionError::Invalid("its session table maps no users").into());
            }
        };
        // Read before the look at what ended: a logout in between is then seen at the next request.
        let logouts_seen = self.ended.changes().into();
        let whom = match user {
            MappedUser::Lookup(user) if !refuse_admins => Whom::Known(Arc::new(self.place(
                &tenant,
                user,
                scopes,
                &table.name,
                profile,
            ))),
            wanted => Whom::LookedUp(Box::new(LookedUp {
                tenant,
                table_name: Arc::clone(&table.name),
                wanted,
                scopes,
                profile,
                refuse_admins,
                found: None.into(),
            })),
        };
        let admission = Admission {
            generation: self.generation,
            table: person.table,
            scope_is_fixed,
            ambient: person.ambient,
            mark: person.mark,
            validity: person.validity,
            whom,
            logouts_seen,
            learnt_after: NEVER.into(),
        };
        self.learn(&admission).await;
        let user = admission.user_mark();
        if self.ended.is_ended(&admission.mark, user, clock::now()) {
            return Err(SessionError::Expired.into());
        }
        Ok(admission)
    }

    /// The tenant, where there is only one.
    pub fn only_tenant(&self) -> Option<&Arc<Tenant>> {
        grant::only(&self.tenants)
    }

    /// The audit hash of a user.
    pub fn user_hash(&self, tenant: &Tenant, user: &UserLookup) -> CompactString {
        self.audit
            .user(tenant.id.as_str(), user.field().as_str(), user.value())
    }

    /// Whether nobody may be given a token for this user, whoever asks.
    pub fn is_denied(&self, user: &UserLookup) -> bool {
        self.deny.refuses(user.value())
    }
}
