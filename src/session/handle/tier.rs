//! Handles in the shared tier, where every replica finds those that another one registered.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Handle, HandleGrant, REMEMBERED, millis};
use crate::clock;
use crate::mapping::{LookupField, UserLookup};
use crate::secret::Zeroizing;
use crate::shared::{Away, Found, Kind, Shared, Write};
use crate::tenant::{ScopeSet, TenantId};

/// One that is in use is written again this often in the time that it may rest.
const TOUCHES: u32 = 10;

/// A handle as it is stored. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Stored {
    tenant: String,
    field: String,
    value: Zeroizing<String>,
    scopes: Option<String>,
    began: u64,
    ends: u64,
    seen: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Tier {
    pub shared: Arc<Shared>,
}

impl Tier {
    pub async fn put(&self, handle: &Handle) {
        *handle.written() = Some((Instant::now(), self.shared.outages()));
        let now = clock::now();
        let HandleGrant {
            tenant,
            user,
            scopes,
        } = &*handle.grant;
        let stored = Stored {
            tenant: tenant.as_str().into(),
            field: user.field().as_str().into(),
            value: Zeroizing::new(user.value().into()),
            scopes: scopes.as_ref().map(|scopes| scopes.as_str().into()),
            began: since_1970(handle.began),
            ends: since_1970(handle.ends),
            seen: since_1970(now),
        };
        let Ok(value) = serde_json::to_vec(&stored) else {
            return;
        };
        // That it ended can be told for a while.
        let whole = handle.ends.duration_since(handle.began).unwrap_or_default();
        let life = handle.left() + whole * (REMEMBERED - 1);
        let put = Write::Put(Kind::Handle, handle.key, Zeroizing::new(value), life);
        self.shared.write(vec![put]).await;
    }

    /// It was shown here: the other replicas shall know, now and then, and when the store may have
    /// lost it.
    pub fn touch(&self, handle: &Arc<Handle>) {
        let outages = self.shared.outages();
        let written = *handle.written();
        let is_known = written
            .is_some_and(|(at, after)| after == outages && at.elapsed() < handle.idle / TOUCHES);
        if is_known || !self.shared.is_up() {
            return;
        }
        *handle.written() = Some((Instant::now(), outages));
        let (tier, handle) = (self.clone(), Arc::clone(handle));
        tokio::spawn(async move { tier.put(&handle).await });
    }

    /// The handle, if a replica knows it and it has not rested for too long.
    pub async fn get(&self, key: [u8; 32], idle: Duration) -> Result<Option<Handle>, Away> {
        let outages = self.shared.outages();
        let Found::Value(value, stands) = self.shared.get(Kind::Handle, &key).await? else {
            return Ok(None);
        };
        let handle = open(key, &value, idle, stands);
        if let Some(handle) = &handle {
            *handle.written() = Some((Instant::now(), outages));
        }
        Ok(handle)
    }
}

impl Handle {
    fn written(&self) -> std::sync::MutexGuard<'_, Option<(Instant, u64)>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `stands`: for how long it is still stored. By that it is known how long it lives yet where a clock is
/// wrong.
pub(crate) fn open(
    key: [u8; 32],
    value: &[u8],
    idle: Duration,
    stands: Duration,
) -> Option<Handle> {
    let stored: Stored = serde_json::from_slice(value).ok()?;
    let field = [LookupField::UserId, LookupField::Subject]
        .into_iter()
        .find(|field| field.as_str() == stored.field)?;
    let scopes = stored.scopes.map(|scopes| ScopeSet::parse(&scopes));
    let grant = HandleGrant {
        tenant: TenantId::parse(&stored.tenant)?,
        user: UserLookup::new(field, stored.value.as_str()).ok()?,
        scopes: scopes.transpose().ok()?,
    };
    let rested = since_1970(clock::now()).saturating_sub(stored.seen);
    let rests_too_long = Duration::from_millis(rested) >= idle;
    let (began, ends) = (date(stored.began), date(stored.ends));
    // It has ended, and says so.
    let ends = if rests_too_long { began } else { ends };
    let whole = ends.duration_since(began).unwrap_or_default();
    let by_store = stands.saturating_sub(whole.saturating_mul(REMEMBERED - 1));
    let by_wall = ends.duration_since(clock::now()).unwrap_or_default();
    let left = by_wall.min(by_store);
    Some(Handle::new(key, grant, idle, (began, ends), left))
}

fn since_1970(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn date(since: u64) -> SystemTime {
    let since = Duration::from_millis(since);
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
