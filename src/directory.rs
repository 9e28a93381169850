//! The users of a tenant, as far as the broker has to know them: who has an e-mail address, why a
//! user is refused a token, and users that are created with their first session.
//!
//! There is one per tenant with a management client. What was found is kept for minutes, so it
//! decides who somebody is, and never whether they may have a token: that is the tenant's word.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::digest;
use crate::expiring::{CellError, ExpiringCell, Lease};
use crate::kept::Kept;
use crate::mapping::{DenyList, Email, LookupField, MappedUser, Profile, UserLookup};
use crate::qlik::management::reason;
use crate::qlik::{Management, QlikError, User};

/// Users that are known at a time; one more displaces the one not asked for longest.
const KNOWN: u64 = 100_000;
/// How long a user is taken to be the same: an address may change hands, a role may be given.
const FOUND_FOR: Duration = Duration::from_secs(300);
/// How long if nobody can be asked: better than to shut out everybody who is found by e-mail.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// How long it is remembered that there is no such user.
const MISSED_FOR: Duration = Duration::from_secs(30);
/// One look-up or creation, with the token that it needs.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was looked for. That there is nobody, or several, is an answer and no failure: it takes the
/// place of an older one.
type Looked = Result<Arc<User>, QlikError>;
type Cell = ExpiringCell<Looked, QlikError>;

/// See the module.
#[derive(Debug)]
pub struct Directory {
    management: Arc<Management>,
    known: Kept<[u8; 32], Arc<Cell>>,
    created: Kept<[u8; 32], Arc<Cell>>,
}

/// What the tenant says of a user that it refused a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no such user.
    Absent,
    /// There is, and it may not be impersonated.
    Inactive,
    /// There is nothing wrong with the user.
    Active,
    /// It cannot be found out now.
    NotKnown,
}

/// What was done before a user's first token.
#[derive(Debug)]
pub enum Prepared {
    /// The user is there, in the groups of its profile.
    Done,
    /// Nobody was found whom the profile describes.
    NotFound,
    /// Whether the user is there could not be asked.
    NotAsked(QlikError),
}

impl Directory {
    /// Knows nobody yet.
    pub fn new(management: Arc<Management>) -> Self {
        Self {
            management,
            known: Kept::new(KNOWN, FOUND_FOR),
            created: Kept::new(KNOWN, FOUND_FOR),
        }
    }

    /// The management client behind it.
    pub fn management(&self) -> &Arc<Management> {
        &self.management
    }

    /// The user that the rules name. One that has an address of `profile` and is not there yet is
    /// created.
    pub async fn find(
        self: &Arc<Self>,
        wanted: &MappedUser,
        profile: Option<&Arc<Profile>>,
    ) -> Result<Arc<User>, CellError<QlikError>> {
        let (field, value) = match wanted {
            MappedUser::Lookup(user) => (user.field().as_str(), user.value().to_owned()),
            MappedUser::Email(email) => ("email", email.as_str().to_ascii_lowercase()),
        };
        let subject = profile.map_or("", |profile| profile.subject.as_str());
        let key = digest::of(field, [value.as_str(), subject]);
        let cell = self.known.get_or_insert_with(key, Arc::default);
        let got = cell.get(|| {
            let (directory, wanted) = (Arc::clone(self), wanted.clone());
            let profile = profile.cloned();
            async move { lease(directory.look(&wanted, profile.as_ref()).await, KEPT_FOR) }
        });
        match &*got.await?.value {
            Ok(user) => Ok(Arc::clone(user)),
            Err(error) => Err(CellError::Failed {
                error: error.clone(),
                retry_after: MISSED_FOR,
            }),
        }
    }

    async fn look(
        self: &Arc<Self>,
        wanted: &MappedUser,
        profile: Option<&Arc<Profile>>,
    ) -> Result<Arc<User>, QlikError> {
        let deadline = Instant::now() + PATIENCE;
        let found = match wanted {
            MappedUser::Lookup(user) => self.management.user(user, deadline).await?,
            MappedUser::Email(email) => self.management.user_by_email(email, deadline).await?,
        };
        match (found, profile) {
            (Some(user), _) => Ok(Arc::new(user)),
            (None, Some(profile)) if is_of(profile, wanted) => {
                // Whoever was disabled does not come back under another subject.
                if let MappedUser::Email(email) = wanted
                    && self.management.is_address_taken(email, deadline).await?
                {
                    return Err(QlikError::UserDisabled);
                }
                let created = self.create(profile).await?;
                // The subject may be there already, under another address or disabled.
                let is_wanted = |email: &Email| created.is_active && email.is(&created.email);
                match wanted {
                    MappedUser::Email(email) if !is_wanted(email) => Err(QlikError::UserUnknown),
                    _ => Ok(created),
                }
            }
            (None, _) => Err(QlikError::UserUnknown),
        }
    }

    /// The user of this profile, who is created if the tenant has none: once, however many ask.
    async fn create(self: &Arc<Self>, profile: &Arc<Profile>) -> Result<Arc<User>, QlikError> {
        if DenyList::default().refuses(&profile.subject) {
            return Err(QlikError::UserUnknown);
        }
        let key = digest::of("created", [profile.subject.as_str()]);
        let cell = self.created.get_or_insert_with(key, Arc::default);
        let got = cell.get(|| {
            let (directory, profile) = (Arc::clone(self), Arc::clone(profile));
            async move {
                lease(
                    directory.create_once(&profile).await.map(Arc::new),
                    FOUND_FOR,
                )
            }
        });
        match got.await {
            Ok(got) => Looked::clone(&got.value),
            Err(error) => Err(reason(error)),
        }
    }

    async fn create_once(&self, profile: &Profile) -> Result<User, QlikError> {
        let deadline = Instant::now() + PATIENCE;
        if let Some(created) = self.management.create_user(profile, deadline).await? {
            return Ok(created);
        }
        // Another replica was faster, or somebody has this subject.
        let subject = UserLookup::new(LookupField::Subject, &profile.subject)
            .map_err(|_| QlikError::UserUnknown)?;
        let there = self.management.user(&subject, deadline).await?;
        there.ok_or(QlikError::UserUnknown)
    }

    /// Before a user's first token: creates whom the tenant does not know, and sets the groups.
    pub async fn prepare(
        self: &Arc<Self>,
        user: &UserLookup,
        profile: &Arc<Profile>,
        deadline: Instant,
    ) -> Result<Prepared, QlikError> {
        let may_create = is_of(profile, &MappedUser::Lookup(user.clone()));
        if profile.groups.is_none() && !may_create {
            return Ok(Prepared::NotFound);
        }
        let there = match self.management.user(user, deadline).await {
            // Without groups there is nothing that must come before the token.
            Err(error) if profile.groups.is_none() => return Ok(Prepared::NotAsked(error)),
            there => there?,
        };
        let there = match there {
            Some(there) => Arc::new(there),
            None if may_create => self.create(profile).await?,
            // The tenant says so itself when it is asked for the token.
            None => return Ok(Prepared::NotFound),
        };
        if let Some(groups) = profile
            .groups
            .as_ref()
            .filter(|groups| there.groups != **groups)
        {
            self.management.set_groups(&there, groups, deadline).await?;
        }
        Ok(Prepared::Done)
    }

    /// What the tenant says of a user now.
    pub async fn standing(&self, user: &UserLookup, deadline: Instant) -> Standing {
        match self.management.user(user, deadline).await {
            Ok(None) => Standing::Absent,
            Ok(Some(user)) if user.is_active => Standing::Active,
            Ok(Some(_)) => Standing::Inactive,
            Err(_) => Standing::NotKnown,
        }
    }
}

/// How long an answer is believed; what is none is an error.
fn lease(looked: Looked, kept_for: Duration) -> Result<Lease<Looked>, QlikError> {
    match looked {
        Ok(user) => Ok(Lease::renewed_every(
            Arc::new(Ok(user)),
            FOUND_FOR,
            kept_for,
        )),
        Err(error) if error.is_about_the_user() => {
            Ok(Lease::fixed(Arc::new(Err(error)), MISSED_FOR))
        }
        Err(error) => Err(error),
    }
}

/// Whether a user created from the profile would be the one that is wanted.
fn is_of(profile: &Profile, wanted: &MappedUser) -> bool {
    match wanted {
        MappedUser::Lookup(user) => {
            user.field() == LookupField::Subject && user.value() == profile.subject
        }
        MappedUser::Email(email) => profile.email.as_deref().is_some_and(|own| email.is(own)),
    }
}
