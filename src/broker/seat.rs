//! A grant's place in the cache, for those who come back: a remembered session keeps its seat, and
//! with it needs no look-up on a hit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::cells::{Cells, Ended, UserCell, UserKey};
use super::issued::UserToken;
use crate::digest;
use crate::mapping::Profile;
use crate::tenant::Grant;

/// A seat that is used looks its cell up this often, so that the map sees who is active.
const TOUCH_EVERY: Duration = Duration::from_secs(30);

/// A grant and the cell last seen under its key.
#[derive(Debug)]
pub struct Seat {
    grant: Grant,
    /// Where who sits here comes from, for the order of mints.
    pub(super) source: Arc<str>,
    pub(super) profile: Option<Arc<Profile>>,
    /// The digest of the groups that the session names, and whether a token of theirs was seen.
    pub(super) groups: Option<[u8; 32]>,
    groups_seen: AtomicBool,
    pub(super) key: UserKey,
    cell: ArcSwap<UserCell>,
    /// The number of logouts when the cell was last looked up.
    logouts_seen: AtomicU64,
    /// When that was, in milliseconds since the seats were set up.
    touched: AtomicU64,
}

impl Seat {
    /// Whom the token is for.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Where who sits here comes from.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// What is told of the user if the tenant creates it.
    pub fn profile(&self) -> Option<&Arc<Profile>> {
        self.profile.as_ref()
    }

    /// Whether a token may be handed out here: one that was minted after the user was put into the
    /// groups of this session. Looked at until there was one, so that two sessions that disagree do
    /// not take turns.
    pub(super) fn takes(&self, token: &UserToken) -> bool {
        if self.groups.is_none() || self.groups_seen.load(Ordering::Acquire) {
            return true;
        }
        let is_theirs = token.groups == self.groups;
        self.groups_seen.fetch_or(is_theirs, Ordering::AcqRel);
        is_theirs
    }
}

/// Leads from seats to cells, and sees to it that a logout reaches every seat.
#[derive(Debug)]
pub(super) struct Seats {
    pub cells: Arc<Cells>,
    logouts: AtomicU64,
    started: Instant,
}

impl Seats {
    pub fn new(cells: Cells) -> Self {
        Self {
            cells: Arc::new(cells),
            logouts: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    pub fn seat(&self, grant: Grant, source: &Arc<str>, profile: Option<Arc<Profile>>) -> Seat {
        let logouts = self.logouts.load(Ordering::Acquire);
        let key = UserKey::of(&grant);
        let cell = ArcSwap::new(self.cells.find_or_add(key));
        let named = profile.as_ref().and_then(|profile| profile.groups.as_ref());
        let groups = named.map(|names| digest::of("groups", names.iter().map(String::as_str)));
        Seat {
            grant,
            source: Arc::clone(source),
            profile,
            groups,
            groups_seen: AtomicBool::new(false),
            key,
            cell,
            logouts_seen: logouts.into(),
            touched: self.uptime_millis().into(),
        }
    }

    /// The cell of a seat: looked up again after any logout, and now and then.
    pub fn cell(&self, seat: &Seat) -> Arc<UserCell> {
        let logouts = self.logouts.load(Ordering::Acquire);
        let same_logouts = seat.logouts_seen.load(Ordering::Acquire) == logouts;
        let touched = seat.touched.load(Ordering::Relaxed);
        let age = Duration::from_millis(self.uptime_millis().saturating_sub(touched));
        if same_logouts && age < TOUCH_EVERY {
            return seat.cell.load_full();
        }
        self.look_up(seat)
    }

    /// The cell that the map has for a seat. One that had to leave for lack of room does not come
    /// back: a logout may have missed it meanwhile.
    pub fn look_up(&self, seat: &Seat) -> Arc<UserCell> {
        let logouts = self.logouts.load(Ordering::Acquire);
        let cell = self.cells.find_or_add(seat.key);
        seat.cell.store(Arc::clone(&cell));
        seat.logouts_seen.store(logouts, Ordering::Release);
        seat.touched.store(self.uptime_millis(), Ordering::Relaxed);
        cell
    }

    /// Ends the cells under these keys, and the one that a seat still holds although it had to leave
    /// the map. Every seat looks its cell up again from now on.
    pub fn end(&self, keys: impl Iterator<Item = UserKey>, seat: Option<&Seat>) -> Vec<Ended> {
        let mut ended: Vec<_> = keys.flat_map(|key| self.cells.end(key)).collect();
        ended.extend(seat.map(|seat| {
            let cell = seat.cell.load_full();
            let held = cell.retire();
            (cell, held)
        }));
        self.logouts.fetch_add(1, Ordering::Release);
        ended
    }

    fn uptime_millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
