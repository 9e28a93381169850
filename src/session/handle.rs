//! `handle`: an opaque session that a back end registered at login (`POST /sessions`).
//!
//! A handle reads `qtbs_` and 43 base64url characters. Only its digest is kept, so what leaks from
//! memory opens nothing; it carries its own tenant, user and scopes, and is mapped by nobody.

pub(crate) mod tier;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::ended::Mark;
use super::presented::Token;
use super::{Bond, Caller, Outcome, Person, SessionError, Validity, Who};
use crate::clock;
use crate::digest;
use crate::kept::Kept;
use crate::mapping::UserLookup;
use crate::secret::Secret;
use crate::shared::{Away, Shared};
use crate::tenant::{ScopeSet, TenantId};

use tier::Tier;

const PREFIX: &str = "qtbs_";
/// 256 random bits, as base64url.
const RANDOM_BYTES: usize = 32;
const RANDOM_CHARS: usize = 43;
/// One that ended is still told from one that never was: it is kept for so many times the longest life
/// after it was seen last.
const REMEMBERED: u32 = 2;
/// When to come back while the store is away.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What a `handle` table says.
#[derive(Clone, Debug)]
pub struct HandleRules {
    /// A cookie that may hold the handle.
    pub cookie: Option<String>,
    /// How long a handle lives at most.
    pub ttl: Duration,
    /// One that nobody shows for this long ends.
    pub idle: Duration,
}

/// Whom a handle stands for.
#[derive(Clone, Debug)]
pub struct HandleGrant {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserLookup,
    /// The scopes, when the back end named some. A page may then ask for no others.
    pub scopes: Option<ScopeSet>,
}

/// A handle as it is kept.
#[derive(Debug)]
pub struct Handle {
    key: [u8; 32],
    grant: Arc<HandleGrant>,
    idle: Duration,
    began: SystemTime,
    ends: SystemTime,
    /// The same two by the clock that never jumps, but may stand still while a machine sleeps.
    began_at: Instant,
    ends_at: Instant,
    /// When it was last shown by either clock: milliseconds since it began.
    seen: [AtomicU64; 2],
    /// When it was put where other replicas find it, and after how many outages.
    written: Mutex<Option<(Instant, u64)>>,
}

/// A handle that was just made.
#[derive(Debug)]
pub struct NewHandle {
    /// The handle: given to the back end, kept nowhere.
    pub handle: Secret,
    /// How long it lives.
    pub life: Duration,
    /// When it ends.
    pub ends: SystemTime,
}

impl HandleRules {
    /// How long after it was shown last a handle is remembered.
    fn remembered(&self) -> Duration {
        self.ttl.saturating_mul(REMEMBERED)
    }
}

/// The handles of a table.
#[derive(Debug)]
pub struct Handles {
    rules: HandleRules,
    kept: Arc<Kept<[u8; 32], Arc<Handle>>>,
    /// Where the other replicas find them.
    tier: Option<Tier>,
}

impl Handles {
    /// No handle yet. Beyond `capacity`, the one not seen for longest leaves.
    pub fn new(rules: HandleRules, capacity: u64, shared: Option<Arc<Shared>>) -> Self {
        // Whether a handle is good is decided by its own times; the map only keeps house.
        let kept = Arc::new(Kept::new(capacity, rules.remembered()));
        let tier = shared.map(|shared| Tier { shared });
        Self { rules, kept, tier }
    }

    /// The same handles. Those that are made from now on keep to other rules.
    #[must_use]
    pub fn with_rules(&self, rules: HandleRules) -> Self {
        self.kept.keep_for(rules.remembered());
        Self {
            rules,
            kept: Arc::clone(&self.kept),
            tier: self.tier.clone(),
        }
    }

    /// The cookie that may hold a handle.
    pub fn cookie(&self) -> Option<&str> {
        self.rules.cookie.as_deref()
    }

    /// Registers a session. A longer `life` than the table's is cut. `None` if the machine gives no
    /// randomness.
    pub async fn make(&self, grant: HandleGrant, life: Option<Duration>) -> Option<NewHandle> {
        let mut random = [0; RANDOM_BYTES];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let life = life.map_or(self.rules.ttl, |life| life.min(self.rules.ttl));
        let began = clock::now();
        let key = key(&text);
        let (idle, ends) = (self.rules.idle, began + life);
        let handle = Arc::new(Handle::new(key, grant, idle, (began, ends), life));
        self.kept.insert(key, Arc::clone(&handle));
        if let Some(tier) = &self.tier {
            tier.put(&handle).await;
        }
        Some(NewHandle {
            handle: Secret::new(text),
            life,
            ends,
        })
    }

    /// Whether a handle that was shown before still lives. It is looked up again, so that the map sees
    /// which ones are in use, and one that had to leave it has ended everywhere.
    pub(super) fn still_lives(&self, handle: &Arc<Handle>) -> bool {
        let kept = self.kept.get(&handle.key);
        kept.is_some_and(|kept| Arc::ptr_eq(&kept, handle)) && self.touch(handle)
    }

    fn touch(&self, handle: &Arc<Handle>) -> bool {
        let lives = handle.touch();
        if let Some(tier) = self.tier.as_ref().filter(|_| lives) {
            tier.touch(handle);
        }
        lives
    }

    /// One that is not known here, or has not been shown here for long, may be known by another
    /// replica.
    async fn find(&self, key: [u8; 32]) -> Result<Arc<Handle>, SessionError> {
        let here = self.kept.get(&key);
        if let Some(handle) = &here {
            if self.touch(handle) {
                return Ok(Arc::clone(handle));
            }
            // No other replica knows better, whatever the clocks say by now.
            if let Some(ago) = handle.ended_ago(Instant::now(), clock::now()) {
                return Err(self.dead(handle, ago));
            }
        }
        let unknown = match here {
            Some(_) => SessionError::Expired,
            None => SessionError::UnknownHandle,
        };
        let Some(tier) = &self.tier else {
            return Err(unknown);
        };
        let there =
            tier.get(key, self.rules.idle)
                .await
                .map_err(|Away| SessionError::Unavailable {
                    why: "the store of handles is out of reach",
                    retry_after: STORE_RETRY,
                })?;
        let Some(handle) = there else {
            return Err(unknown);
        };
        if !handle.touch() {
            return Err(SessionError::Expired);
        }
        let handle = Arc::new(handle);
        self.kept.insert(key, Arc::clone(&handle));
        tier.touch(&handle);
        Ok(handle)
    }

    /// What is said of one that ended. Whoever shows it for ever does not keep it in the place of one that
    /// lives.
    fn dead(&self, handle: &Arc<Handle>, ago: Duration) -> SessionError {
        if ago < self.rules.ttl {
            return SessionError::Expired;
        }
        self.kept
            .remove_if(&handle.key, |found| Arc::ptr_eq(found, handle));
        SessionError::UnknownHandle
    }

    pub(super) async fn authenticate(&self, table: u16, token: Token<'_>) -> Outcome {
        let Some(random) = token.text.strip_prefix(PREFIX) else {
            return Outcome::NotMine("it is no handle");
        };
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if random.len() != RANDOM_CHARS || !random.bytes().all(is_base64url) {
            return Outcome::Refused(SessionError::Invalid("the handle is malformed"));
        }
        let key = key(token.text);
        let handle = match self.find(key).await {
            Ok(handle) => handle,
            Err(error) => return Outcome::Refused(error),
        };
        Outcome::Proven(Caller::Person(Box::new(Person {
            table,
            who: Who::Named(Arc::clone(&handle.grant)),
            ambient: token.ambient,
            mark: Mark {
                session: Some(key),
                ends: handle.ends,
                began: handle.began,
                is_asked: false,
            },
            validity: Validity {
                until: handle.ends,
                bond: Bond::Handle(handle),
            },
        })))
    }
}

/// The comparison of a digest that the caller cannot choose needs no constant time.
fn key(handle: &str) -> [u8; 32] {
    digest::of("handle", [handle])
}

impl Handle {
    /// One that lives for so long from now on, by the clock that never jumps.
    fn new(
        key: [u8; 32],
        grant: HandleGrant,
        idle: Duration,
        (began, ends): (SystemTime, SystemTime),
        left: Duration,
    ) -> Self {
        let (now, wall) = (Instant::now(), clock::now());
        let handle = Self {
            key,
            grant: Arc::new(grant),
            idle,
            began,
            ends,
            began_at: now,
            ends_at: now + left,
            seen: Default::default(),
            written: Mutex::default(),
        };
        // One that began long ago on another replica has not rested since.
        let age = wall.duration_since(began).unwrap_or_default();
        handle.seen[1].store(millis(age), Ordering::Release);
        handle
    }

    /// How long it lives yet, by both clocks.
    fn left(&self) -> Duration {
        let by_wall = self.ends.duration_since(clock::now()).unwrap_or_default();
        by_wall.min(self.ends_at.saturating_duration_since(Instant::now()))
    }

    /// How long ago it ended by either clock, if it did. That it rested for too long is no end by itself.
    fn ended_ago(&self, now: Instant, wall: SystemTime) -> Option<Duration> {
        let by_wall = wall.duration_since(self.ends).ok();
        by_wall.max(now.checked_duration_since(self.ends_at))
    }

    /// Whether it still lives, by both clocks; if so, it was seen just now.
    pub(crate) fn touch(&self) -> bool {
        let (now, wall) = (Instant::now(), clock::now());
        let ages = [
            now.saturating_duration_since(self.began_at),
            wall.duration_since(self.began).unwrap_or_default(),
        ];
        let rested = |(age, seen): (&Duration, &AtomicU64)| {
            age.saturating_sub(Duration::from_millis(seen.load(Ordering::Acquire)))
        };
        let idle = ages.iter().zip(&self.seen).map(rested).max();
        if self.ended_ago(now, wall).is_some() || idle >= Some(self.idle) {
            return false;
        }
        for (age, seen) in ages.iter().zip(&self.seen) {
            seen.fetch_max(millis(*age), Ordering::AcqRel);
        }
        true
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::LookupField;
    use tokio::time::advance;

    const SECOND: Duration = Duration::from_secs(1);
    const IDLE: Duration = Duration::from_secs(3600);
    const TTL: Duration = Duration::from_secs(8 * 3600);

    fn handles(capacity: u64) -> Handles {
        let rules = HandleRules {
            cookie: None,
            ttl: TTL,
            idle: IDLE,
        };
        Handles::new(rules, capacity, None)
    }

    fn grant() -> HandleGrant {
        HandleGrant {
            tenant: TenantId::parse("acme").unwrap(),
            user: UserLookup::new(LookupField::Subject, "canary-ann").unwrap(),
            scopes: None,
        }
    }

    async fn shown(handles: &Handles, handle: &NewHandle) -> Result<(), SessionError> {
        let token = Token {
            text: handle.handle.expose(),
            ambient: false,
        };
        match handles.authenticate(0, token).await {
            Outcome::Proven(_) => Ok(()),
            Outcome::Refused(error) => Err(error),
            Outcome::NotMine(why) => panic!("{why}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handle_that_rests_ends_to_the_second() {
        let handles = handles(10);
        let handle = handles.make(grant(), None).await.unwrap();
        for _ in 0..3 {
            advance(IDLE.checked_sub(SECOND).unwrap()).await;
            assert_eq!(shown(&handles, &handle).await, Ok(()), "a second before");
        }
        advance(IDLE).await;
        assert_eq!(shown(&handles, &handle).await, Err(SessionError::Expired));
        advance(SECOND).await;
        assert_eq!(
            shown(&handles, &handle).await,
            Err(SessionError::Expired),
            "and showing it does not wake it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_handle_in_use_ends_to_the_second() {
        let handles = handles(10);
        let handle = handles.make(grant(), None).await.unwrap();
        assert_eq!(handle.life, TTL);
        let half = IDLE / 2;
        for _ in 0..15 {
            advance(half).await;
            assert_eq!(shown(&handles, &handle).await, Ok(()));
        }
        advance(half.checked_sub(SECOND).unwrap()).await;
        assert_eq!(shown(&handles, &handle).await, Ok(()), "a second before");
        advance(SECOND).await;
        assert_eq!(shown(&handles, &handle).await, Err(SessionError::Expired));
    }

    #[tokio::test(start_paused = true)]
    async fn a_back_end_may_ask_for_less_life_and_not_for_more() {
        let handles = handles(10);
        let short = handles.make(grant(), Some(5 * SECOND)).await.unwrap();
        let long = handles.make(grant(), Some(100 * TTL)).await.unwrap();
        assert_eq!((short.life, long.life), (5 * SECOND, TTL));
        advance(4 * SECOND).await;
        assert_eq!(shown(&handles, &short).await, Ok(()));
        advance(SECOND).await;
        assert_eq!(shown(&handles, &short).await, Err(SessionError::Expired));
        assert_eq!(shown(&handles, &long).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_shows_a_dead_one_does_not_keep_it() {
        let handles = handles(10);
        let handle = handles.make(grant(), Some(5 * SECOND)).await.unwrap();
        advance(5 * SECOND).await;
        for _ in 0..8 {
            assert_eq!(shown(&handles, &handle).await, Err(SessionError::Expired));
            advance(IDLE).await;
        }
        let unknown = Err(SessionError::UnknownHandle);
        assert_eq!(shown(&handles, &handle).await, unknown);
        assert_eq!(handles.kept.tidy(), 0);
    }

    #[tokio::test]
    async fn there_are_never_more_than_may_be_and_the_longest_unseen_leave() {
        let handles = handles(100);
        let first = handles.make(grant(), None).await.unwrap();
        for _ in 0..1000 {
            handles.make(grant(), None).await.unwrap();
            assert_eq!(shown(&handles, &first).await, Ok(()), "it is in use");
        }
        assert_eq!(handles.kept.tidy(), 100);
    }

    #[tokio::test]
    async fn nothing_that_is_kept_opens_anything() {
        let handles = handles(10);
        let handle = handles.make(grant(), None).await.unwrap();
        let secret = handle.handle.expose();
        let key = key(secret);
        let kept = handles.kept.get(&key).unwrap();
        let kept = format!("{handles:?} {kept:?} {handle:?}");
        assert!(!kept.contains(secret) && !kept.contains(&secret[5..]));
        assert!(!kept.contains("canary"));
        assert_eq!(handles.kept.tidy(), 1);
        assert!(
            !key.windows(4)
                .any(|part| secret.as_bytes().windows(4).any(|of| of == part))
        );
    }
}
