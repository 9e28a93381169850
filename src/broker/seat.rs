//! A grant's place in the cache, for those who come back: a remembered session keeps its seat, and
//! with it needs no look-up on a hit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::cells::{Cells, Ended, UserCell, UserKey};
use super::issued::{Groups, UserToken};
use crate::digest;
use crate::mapping::Profile;
use crate::tenant::Grant;

/// A seat that is used looks its cell up this often, so that the map sees who is active; more often where
/// who rests for less is forgotten.
const TOUCH_EVERY: Duration = Duration::from_secs(30);

/// A grant and the cell last seen under its key. Small: each session of a million users has one.
#[derive(Debug)]
pub struct Seat {
    grant: Grant,
    /// Where who sits here comes from, for the order of mints.
    pub(super) source: Arc<str>,
    told: Option<Box<Told>>,
    pub(super) key: UserKey,
    cell: ArcSwap<UserCell>,
    /// The number of logouts when the cell was last looked up: it may begin anew, but not so soon.
    logouts_seen: AtomicU32,
    /// When that was, in milliseconds since the seats were set up: it may begin anew, but not so soon.
    touched: AtomicU32,
}

/// What the session tells of the user.
#[derive(Debug)]
struct Told {
    profile: Arc<Profile>,
    groups: Option<Groups>,
    /// Whether a token of these groups was seen.
    groups_seen: AtomicBool,
}

impl Told {
    fn by(profile: Arc<Profile>) -> Self {
        let names = profile.groups.as_ref();
        let groups =
            names.map(|names| Arc::new(digest::of("groups", names.iter().map(String::as_str))));
        Self {
            groups,
            profile,
            groups_seen: AtomicBool::new(false),
        }
    }
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
        self.told.as_ref().map(|told| &told.profile)
    }

    /// Whether a token may be handed out here: one that was minted after the user was put into the
    /// groups of this session. Looked at until there was one, so that two sessions that disagree do
    /// not take turns.
    pub(super) fn takes(&self, token: &UserToken) -> bool {
        let told = self.told.as_ref().filter(|told| told.groups.is_some());
        let Some(told) = told.filter(|told| !told.groups_seen.load(Ordering::Acquire)) else {
            return true;
        };
        let is_theirs = token.groups == told.groups;
        told.groups_seen.fetch_or(is_theirs, Ordering::AcqRel);
        is_theirs
    }

    /// The groups that the session names.
    pub(super) fn groups(&self) -> Option<&Groups> {
        self.told.as_ref()?.groups.as_ref()
    }
}

/// Leads from seats to cells, and sees to it that a logout reaches every seat.
#[derive(Debug)]
pub(super) struct Seats {
    pub cells: Arc<Cells>,
    logouts: AtomicU32,
    started: Instant,
    /// In milliseconds.
    touch_every: u32,
}

impl Seats {
    /// `idle`: how long the cells keep those whom nobody looks for.
    pub fn new(cells: Cells, idle: Duration) -> Self {
        Self {
            cells: Arc::new(cells),
            logouts: AtomicU32::new(0),
            started: Instant::now(),
            touch_every: low_millis(TOUCH_EVERY.min(idle / 2)),
        }
    }

    pub fn seat(&self, grant: Grant, source: &Arc<str>, profile: Option<Arc<Profile>>) -> Seat {
        let logouts = self.logouts.load(Ordering::Acquire);
        let key = UserKey::of(&grant);
        let cell = ArcSwap::new(self.cells.find_or_add(key));
        Seat {
            grant,
            source: Arc::clone(source),
            told: profile.map(Told::by).map(Box::new),
            key,
            cell,
            logouts_seen: logouts.into(),
            touched: self.uptime().into(),
        }
    }

    /// The cell of a seat: looked up again after any logout, and now and then.
    pub fn cell(&self, seat: &Seat) -> Arc<UserCell> {
        let logouts = self.logouts.load(Ordering::Acquire);
        let same_logouts = seat.logouts_seen.load(Ordering::Acquire) == logouts;
        let touched = seat.touched.load(Ordering::Relaxed);
        if same_logouts && self.uptime().wrapping_sub(touched) < self.touch_every {
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
        seat.touched.store(self.uptime(), Ordering::Relaxed);
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

    fn uptime(&self) -> u32 {
        low_millis(self.started.elapsed())
    }
}

/// Milliseconds that begin anew after 49 days: longer than anybody rests and keeps a seat.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
fn low_millis(duration: Duration) -> u32 {
    duration.as_millis() as u32
}
