//! What was found out about who came in.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwapOption;
use compact_str::CompactString;

use crate::broker::Seat;
use crate::digest;
use crate::mapping::{MappedUser, Profile};
use crate::qlik::User;
use crate::session::Validity;
use crate::session::back_end::BackEnd;
use crate::session::ended::{Mark, UserMark};
use crate::tenant::{ScopeSet, Tenant};

/// Who came in.
#[derive(Debug)]
pub enum Admitted {
    /// A back end: whom it asks for is in its request.
    BackEnd(Arc<BackEnd>),
    /// A person: whom the token is for is decided.
    Person(Arc<Admission>),
}

/// A person's session with everything that was found out about it.
#[derive(Debug)]
pub struct Admission {
    /// That of the [`Admissions`](super::Admissions) that let it in.
    pub(super) generation: u32,
    pub(super) table: u16,
    pub(super) scope_is_fixed: bool,
    pub(super) ambient: bool,
    pub(super) mark: Mark,
    pub(super) validity: Validity,
    pub(super) whom: Whom,
    pub(super) logouts_seen: AtomicU64,
    /// The outages of the shared tier when it was asked about the session last.
    pub(super) learnt_after: AtomicU64,
}

/// A user's place in the cache.
#[derive(Debug)]
pub struct Place {
    /// The place, with the scopes that the session has by default.
    pub seat: Seat,
    /// The audit hash of the user.
    pub user_hash: CompactString,
}

impl Place {
    /// The user's tenant.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.seat.grant().tenant
    }

    /// Digested anew when it is wanted, which is after a logout: it would be kept for each session.
    pub(super) fn user_mark(&self) -> UserMark {
        let grant = self.seat.grant();
        UserMark::new(&grant.tenant.id, &grant.user)
    }
}

/// Whom a session is of.
#[derive(Debug)]
pub(super) enum Whom {
    /// The rules say it all.
    Known(Arc<Place>),
    /// The tenant has to be asked.
    LookedUp(Box<LookedUp>),
}

/// A user that the tenant is asked about, now and then.
#[derive(Debug)]
pub(super) struct LookedUp {
    pub tenant: Arc<Tenant>,
    pub table_name: Arc<str>,
    pub wanted: MappedUser,
    pub scopes: ScopeSet,
    pub profile: Option<Arc<Profile>>,
    pub refuse_admins: bool,
    pub found: ArcSwapOption<Found>,
}

/// What the tenant said, and the place that it led to.
#[derive(Debug)]
pub(super) struct Found {
    pub user: Arc<User>,
    pub place: Arc<Place>,
}

impl LookedUp {
    pub fn keep(&self, user: Arc<User>, place: Arc<Place>) {
        self.found.store(Some(Arc::new(Found { user, place })));
    }
}

impl Admission {
    /// The session table's name.
    pub fn table_name(&self) -> &str {
        match &self.whom {
            Whom::Known(place) => place.seat.source(),
            Whom::LookedUp(looked_up) => &looked_up.table_name,
        }
    }

    /// Whether the browser or a proxy added the credential by itself.
    pub fn is_ambient(&self) -> bool {
        self.ambient
    }

    /// What limits count its calls under: the session, or its user where a proxy keeps the session.
    pub fn limited_as(&self) -> [u8; 32] {
        let user = || match &self.whom {
            Whom::Known(place) => {
                let user = &place.seat.grant().user;
                digest_of(place.tenant(), user.field().as_str(), user.value())
            }
            Whom::LookedUp(looked_up) => match &looked_up.wanted {
                MappedUser::Lookup(user) => {
                    digest_of(&looked_up.tenant, user.field().as_str(), user.value())
                }
                MappedUser::Email(address) => {
                    digest_of(&looked_up.tenant, "email", address.as_str())
                }
            },
        };
        self.mark.session.unwrap_or_else(user)
    }

    /// Whether the session is bound to its scopes, so that a page may not ask for others.
    pub fn scope_is_fixed(&self) -> bool {
        self.scope_is_fixed
    }

    /// The scopes that the session has by default.
    pub fn scopes(&self) -> &ScopeSet {
        match &self.whom {
            Whom::Known(place) => &place.seat.grant().scopes,
            Whom::LookedUp(looked_up) => &looked_up.scopes,
        }
    }

    /// The tenant.
    pub fn tenant(&self) -> &Arc<Tenant> {
        match &self.whom {
            Whom::Known(place) => place.tenant(),
            Whom::LookedUp(looked_up) => &looked_up.tenant,
        }
    }

    /// The place, if the tenant never has to be asked for it.
    pub fn known_place(&self) -> Option<&Arc<Place>> {
        match &self.whom {
            Whom::Known(place) => Some(place),
            Whom::LookedUp(_) => None,
        }
    }

    /// The place, as far as it is known without asking.
    pub fn place_now(&self) -> Option<Arc<Place>> {
        match &self.whom {
            Whom::Known(place) => Some(Arc::clone(place)),
            Whom::LookedUp(looked_up) => {
                let found = looked_up.found.load();
                found.as_ref().map(|found| Arc::clone(&found.place))
            }
        }
    }

    pub(super) fn user_mark(&self) -> Option<UserMark> {
        match &self.whom {
            Whom::Known(place) => Some(place.user_mark()),
            Whom::LookedUp(looked_up) => {
                let found = looked_up.found.load();
                found.as_ref().map(|found| found.place.user_mark())
            }
        }
    }
}

/// Stands for a user, found by now or not.
fn digest_of(tenant: &Tenant, field: &str, value: &str) -> [u8; 32] {
    digest::of("mapped user", [tenant.id.as_str(), field, value])
}
