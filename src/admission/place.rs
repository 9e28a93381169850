//! A person's place: known at once where the rules say who it is, asked of the tenant otherwise.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::admitted::{Admission, Place, Whom};
use super::{Admissions, NEVER};
use crate::broker::BrokerError;
use crate::expiring::CellError;
use crate::mapping::{DenyList, LookupField, MappedUser, Profile, UserLookup};
use crate::qlik::{QlikError, User};
use crate::tenant::{Grant, ScopeSet, Tenant};

/// Why a person has no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The tenant's user is one that is not impersonated.
    #[error("the user is not impersonated: {0}")]
    NotAllowed(&'static str),
    /// The session ended while its user was being looked up.
    #[error("the session has ended")]
    Ended,
    /// The tenant does not tell.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl From<CellError<QlikError>> for PlaceError {
    fn from(error: CellError<QlikError>) -> Self {
        Self::Broker(match error {
            CellError::Failed { error, retry_after } => BrokerError::Tenant { error, retry_after },
            CellError::Panicked | CellError::Retired => BrokerError::Internal,
        })
    }
}

impl Admissions {
    pub(super) fn place(
        &self,
        tenant: &Arc<Tenant>,
        user: UserLookup,
        scopes: ScopeSet,
        source: &Arc<str>,
        profile: Option<Arc<Profile>>,
    ) -> Place {
        let user_hash = self.user_hash(tenant, &user);
        let grant = Grant {
            tenant: Arc::clone(tenant),
            user,
            scopes,
        };
        let seat = self.broker.seat(grant, source, profile);
        Place { seat, user_hash }
    }

    /// The same user's place with other scopes.
    pub fn place_with(&self, place: &Place, scopes: ScopeSet) -> Arc<Place> {
        let grant = Grant {
            scopes,
            ..place.seat.grant().clone()
        };
        let (source, profile) = (place.seat.source(), place.seat.profile());
        Arc::new(Place {
            seat: self.broker.seat(grant, source, profile.cloned()),
            user_hash: place.user_hash.clone(),
        })
    }

    /// The place of a person. Asks the tenant who it is where the rules found an e-mail address or
    /// administrators are refused: to be called when everything else about the request is good.
    pub async fn place_of(&self, admission: &Admission) -> Result<Arc<Place>, PlaceError> {
        self.look_up(admission, true).await
    }

    pub(super) async fn look_up(
        &self,
        admission: &Admission,
        may_create: bool,
    ) -> Result<Arc<Place>, PlaceError> {
        let looked_up = match &admission.whom {
            Whom::Known(place) => return Ok(Arc::clone(place)),
            Whom::LookedUp(looked_up) => looked_up,
        };
        let tenant = &looked_up.tenant;
        // The configuration is refused where a table needs a directory and the tenant has none.
        let directory = self.directories.get(&tenant.id);
        let directory = directory.ok_or(PlaceError::Broker(BrokerError::Internal))?;
        let profile = looked_up.profile.as_ref().filter(|_| may_create);
        let finding = directory.find(&looked_up.wanted, profile);
        let user = finding.await?;
        if let Some(known) = &*looked_up.found.load()
            && Arc::ptr_eq(&known.user, &user)
        {
            return Ok(Arc::clone(&known.place));
        }
        let Some(table) = self.sessions.table(admission.table) else {
            return Err(PlaceError::Broker(BrokerError::Internal));
        };
        let deny = table.users.as_ref().map(|users| &users.mapping.deny);
        let deny = deny.unwrap_or(&self.deny);
        if let Some(why) = refusal(&user, deny, looked_up.refuse_admins) {
            return Err(PlaceError::NotAllowed(why));
        }
        let lookup = match &looked_up.wanted {
            MappedUser::Lookup(user) => user.clone(),
            MappedUser::Email(_) => user_id(&user)?,
        };
        let (scopes, profile) = (looked_up.scopes.clone(), looked_up.profile.clone());
        let place = Arc::new(self.place(tenant, lookup, scopes, &table.name, profile));
        looked_up.keep(user, Arc::clone(&place));
        // Logouts of a user count from when the user is known: all are looked at again.
        admission.logouts_seen.store(NEVER, Ordering::Release);
        admission.learnt_after.store(NEVER, Ordering::Release);
        self.learn(admission).await;
        if self.has_ended(admission) {
            return Err(PlaceError::Ended);
        }
        Ok(place)
    }
}

/// What the tenant knows of a user may refuse it, although the session's words did not.
fn refusal(user: &User, deny: &DenyList, refuse_admins: bool) -> Option<&'static str> {
    let names = [&user.subject, &user.id, &user.email];
    let client = user.client_id.iter();
    if user.client_id.is_some() {
        Some("the user is a bot")
    } else if names
        .into_iter()
        .chain(client)
        .any(|name| deny.refuses(name))
    {
        Some("the deny list holds the user that was found")
    } else if refuse_admins && user.is_admin {
        Some("the user has a role of an administrator")
    } else {
        None
    }
}

fn user_id(user: &User) -> Result<UserLookup, PlaceError> {
    let unusable = |_| {
        PlaceError::Broker(BrokerError::Tenant {
            error: QlikError::Malformed("a user without a usable id"),
            retry_after: Duration::from_secs(30),
        })
    };
    UserLookup::new(LookupField::UserId, &user.id).map_err(unusable)
}
