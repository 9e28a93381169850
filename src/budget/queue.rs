//! Who waits for a turn, and who gets the next one.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// For whom a turn is.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Somebody waits for it; by where they come from.
    Caller(Arc<str>),
    /// Nobody waits for it.
    Later,
}

/// The digest that names a user's place.
pub type User = [u8; 32];

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The sources that have somebody waiting; the first is next.
    sources: VecDeque<(Arc<str>, VecDeque<Waiting>)>,
    later: VecDeque<Waiting>,
    pub is_served: bool,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub user: Option<User>,
    /// The place is kept until then.
    pub until: Instant,
    pub turn: oneshot::Sender<()>,
}

impl Queue {
    pub fn add(&mut self, turn: Turn, waiter: Waiting) {
        match turn {
            Turn::Caller(source) => self.add_caller(source, waiter),
            Turn::Later => self.later.push_back(waiter),
        }
    }

    /// Before all others: who had a turn already came before them.
    pub fn add_first(&mut self, turn: Turn, waiter: Waiting) {
        let Turn::Caller(source) = turn else {
            return self.later.push_front(waiter);
        };
        let place = self.sources.iter().position(|(name, _)| *name == source);
        let (source, mut waiting) = place
            .and_then(|place| self.sources.remove(place))
            .unwrap_or((source, VecDeque::new()));
        waiting.push_front(waiter);
        self.sources.push_front((source, waiting));
    }

    fn add_caller(&mut self, source: Arc<str>, waiter: Waiting) {
        match self.sources.iter_mut().find(|(name, _)| *name == source) {
            Some((_, waiting)) => waiting.push_back(waiter),
            None => self.sources.push_back((source, VecDeque::from([waiter]))),
        }
    }

    /// Keeps a user's place until then, which becomes a caller's if it was none. How many turns come
    /// before its own is over; `None` if the user has no place.
    pub fn keep(&mut self, user: User, source: &Arc<str>, until: Instant) -> Option<usize> {
        let place = self.later.iter().position(|one| one.user == Some(user));
        if let Some(one) = place.and_then(|place| self.later.remove(place)) {
            self.add_caller(Arc::clone(source), one);
        }
        let sources = self.sources.len();
        let mut found = None;
        for (_, waiting) in &mut self.sources {
            let Some(place) = waiting.iter().position(|one| one.user == Some(user)) else {
                continue;
            };
            waiting[place].until = waiting[place].until.max(until);
            found = Some(place);
        }
        // The others take turns with this source, until theirs run out: an upper bound.
        Some((found? + 1) * sources)
    }

    /// Gives a user's place up.
    pub fn leave(&mut self, user: User) {
        let stays = |one: &Waiting| one.user != Some(user);
        self.later.retain(stays);
        for (_, waiting) in &mut self.sources {
            waiting.retain(stays);
        }
        self.sources.retain(|(_, waiting)| !waiting.is_empty());
    }

    pub fn callers(&self) -> usize {
        self.sources.iter().map(|(_, waiting)| waiting.len()).sum()
    }

    pub fn has_callers(&self) -> bool {
        !self.sources.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.later.is_empty()
    }

    pub fn forget_late(&mut self, now: Instant) {
        let is_wanted = |one: &Waiting| one.until > now && !one.turn.is_closed();
        self.later.retain(is_wanted);
        for (_, waiting) in &mut self.sources {
            waiting.retain(is_wanted);
        }
        self.sources.retain(|(_, waiting)| !waiting.is_empty());
    }

    /// The first of the source whose turn it is, which then goes to the end.
    pub fn next(&mut self) -> Option<Waiting> {
        let Some((source, mut waiting)) = self.sources.pop_front() else {
            return self.later.pop_front();
        };
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.sources.push_back((source, waiting));
        }
        next
    }
}
