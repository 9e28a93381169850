//! How often a tenant is asked, and in which order.
//!
//! A tenant counts calls, and answers 429 to all when there are too many. So each call of that tier
//! takes a turn first. Turns are as many as the budget allows, which `governor` decides; who gets the
//! next one is decided here: sources take turns among each other (a key, the sessions of a table), so
//! that none of them can keep the others out, and within a source whoever came first goes first. What
//! nobody waits for, refreshes and revocations, gets what callers leave.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::cells::UserKey;
use super::pause::TenantPause;
use crate::qlik::QlikError;
use crate::tenant::Rate;

/// For whom a turn is.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    /// Somebody waits for it; by where they come from.
    Caller(Arc<str>),
    /// Nobody waits for it.
    Later,
}

/// governor on tokio's clock, which tests can stop.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>;

/// A tenant's budget.
#[derive(Debug)]
pub(super) struct Budget {
    rate: Rate,
    clock: TokioClock,
    limiter: Limiter,
    pause: Arc<TenantPause>,
    queue: Mutex<Queue>,
    /// Somebody joined the queue.
    came: Notify,
}

#[derive(Debug)]
struct Queue {
    /// The sources that have somebody waiting; the first is next.
    sources: VecDeque<(Arc<str>, VecDeque<Waiting>)>,
    later: VecDeque<Waiting>,
    is_served: bool,
    /// What was left of the burst, and when.
    left: (u32, Instant),
}

#[derive(Debug)]
struct Waiting {
    user: Option<UserKey>,
    /// The place is kept until then.
    until: Instant,
    turn: oneshot::Sender<()>,
}

impl Budget {
    pub fn new(rate: Rate, pause: Arc<TenantPause>) -> Arc<Self> {
        let clock = TokioClock(Instant::now());
        let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Arc::new(Self {
            rate,
            limiter: limiter.with_middleware(),
            clock,
            pause,
            queue: Mutex::new(Queue {
                sources: VecDeque::new(),
                later: VecDeque::new(),
                is_served: false,
                left: (rate.burst.get(), Instant::now()),
            }),
            came: Notify::new(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when it is this caller's turn, or with how long that would take when it is not by
    /// `until`. `user` names the place, for [`Budget::keep`].
    pub async fn turn(
        self: &Arc<Self>,
        turn: Turn,
        user: Option<UserKey>,
        until: Instant,
    ) -> Result<(), Duration> {
        let (granted, waiting) = oneshot::channel();
        let waiter = Waiting {
            user,
            until,
            turn: granted,
        };
        {
            let mut queue = self.queue();
            match turn {
                Turn::Caller(source) => queue.add(source, waiter),
                Turn::Later => queue.later.push_back(waiter),
            }
            if !std::mem::replace(&mut queue.is_served, true) {
                tokio::spawn(Arc::clone(self).serve());
            }
        }
        self.came.notify_one();
        waiting.await.map_err(|_| self.wait_of_a_newcomer())
    }

    /// Somebody still wants this user's token: the place is kept `until` then, and becomes a caller's
    /// if it was none. How long it will take; `None` if the user has no place.
    pub fn keep(&self, user: UserKey, source: &Arc<str>, until: Instant) -> Option<Duration> {
        let mut queue = self.queue();
        let place = queue.later.iter().position(|one| one.user == Some(user));
        if let Some(one) = place.and_then(|place| queue.later.remove(place)) {
            queue.add(Arc::clone(source), one);
        }
        let sources = queue.sources.len();
        let mut found = None;
        for (_, waiting) in &mut queue.sources {
            let Some(place) = waiting.iter().position(|one| one.user == Some(user)) else {
                continue;
            };
            waiting[place].until = waiting[place].until.max(until);
            found = Some(place);
        }
        drop(queue);
        // The others take turns with this source, until theirs run out: an upper bound.
        Some(self.wait_of((found? + 1) * sources))
    }

    fn wait_of_a_newcomer(&self) -> Duration {
        let queue = self.queue();
        let waiting: usize = queue.sources.iter().map(|(_, waiting)| waiting.len()).sum();
        drop(queue);
        self.wait_of(waiting + 1)
    }

    fn wait_of(&self, turns: usize) -> Duration {
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        self.interval()
            .saturating_mul(turns)
            .max(self.pause.throttle_left())
    }

    /// The time in which one turn comes up.
    fn interval(&self) -> Duration {
        Duration::from_secs(60) / self.rate.per_minute.get()
    }

    /// Learns from a failed call: of a 429 that there were too many, whatever was counted here. The
    /// tenant is left alone for as long as it says, and then there is no burst.
    pub fn throttled(&self, error: &QlikError) {
        if !matches!(error, QlikError::Throttled { .. }) {
            return;
        }
        self.pause.note_throttle(error);
        while self.limiter.check().is_ok() {}
        self.queue().left = (0, Instant::now());
    }

    async fn serve(self: Arc<Self>) {
        loop {
            let throttled = self.pause.throttle_left();
            if !throttled.is_zero() {
                // Those whose time is over meanwhile are told when it is.
                let look = throttled.min(self.interval());
                self.queue().forget_late(Instant::now());
                sleep(look).await;
                continue;
            }
            match self.serve_one() {
                Next::Served => {}
                // A caller who comes meanwhile does not wait for what nobody waits for.
                Next::At(time) => drop(timeout_at(time, self.came.notified()).await),
                Next::Nobody => return,
            }
        }
    }

    fn serve_one(&self) -> Next {
        let now = Instant::now();
        let mut queue = self.queue();
        queue.forget_late(now);
        let has_callers = !queue.sources.is_empty();
        if !has_callers && queue.later.is_empty() {
            queue.is_served = false;
            return Next::Nobody;
        }
        if !has_callers && self.left(&queue, now) <= self.rate.burst.get() / 2 {
            return Next::At(now + self.interval());
        }
        match self.limiter.check() {
            Ok(state) => {
                queue.left = (state.remaining_burst_capacity(), now);
                if let Some(next) = queue.next(has_callers) {
                    // Who left meanwhile was forgotten above, under the same lock.
                    let _ = next.turn.send(());
                }
                Next::Served
            }
            Err(not_yet) => Next::At(now + not_yet.wait_time_from(self.clock.now())),
        }
    }

    fn left(&self, queue: &Queue, now: Instant) -> u32 {
        let (left, at) = queue.left;
        let refilled =
            now.saturating_duration_since(at).as_millis() / self.interval().as_millis().max(1);
        left.saturating_add(u32::try_from(refilled).unwrap_or(u32::MAX))
            .min(self.rate.burst.get())
    }
}

enum Next {
    Served,
    At(Instant),
    Nobody,
}

impl Queue {
    fn add(&mut self, source: Arc<str>, waiter: Waiting) {
        match self.sources.iter_mut().find(|(name, _)| *name == source) {
            Some((_, waiting)) => waiting.push_back(waiter),
            None => self.sources.push_back((source, VecDeque::from([waiter]))),
        }
    }

    fn forget_late(&mut self, now: Instant) {
        let is_wanted = |one: &Waiting| one.until > now && !one.turn.is_closed();
        self.later.retain(is_wanted);
        for (_, waiting) in &mut self.sources {
            waiting.retain(is_wanted);
        }
        self.sources.retain(|(_, waiting)| !waiting.is_empty());
    }

    /// The first of the source whose turn it is, which then goes to the end.
    fn next(&mut self, of_callers: bool) -> Option<Waiting> {
        if !of_callers {
            return self.later.pop_front();
        }
        let (source, mut waiting) = self.sources.pop_front()?;
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.sources.push_back((source, waiting));
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use tokio::task::JoinHandle;
    use tokio::time::{advance, timeout};

    const FAR: Duration = Duration::from_secs(3600);

    fn budget(per_minute: u32, burst: u32) -> Arc<Budget> {
        let rate = Rate {
            per_minute: NonZeroU32::new(per_minute).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        Budget::new(rate, Arc::default())
    }

    fn caller(source: &str) -> Turn {
        Turn::Caller(source.into())
    }

    /// Starts to wait; what comes is noted under `name`.
    async fn wait(
        budget: &Arc<Budget>,
        turn: Turn,
        name: &'static str,
        served: &Arc<Mutex<Vec<&'static str>>>,
    ) -> JoinHandle<()> {
        let (budget, served) = (Arc::clone(budget), Arc::clone(served));
        let waiting = tokio::spawn(async move {
            let until = Instant::now() + FAR;
            budget.turn(turn, None, until).await.unwrap();
            served.lock().unwrap().push(name);
        });
        tokio::task::yield_now().await;
        waiting
    }

    #[tokio::test(start_paused = true)]
    async fn c43_the_tenant_s_window_is_never_exceeded_and_fully_used() {
        let budget = budget(80, 100);
        let started = Instant::now();
        let mut turns = Vec::new();
        for _ in 0..700 {
            budget.turn(caller("a"), None, started + FAR).await.unwrap();
            turns.push(started.elapsed());
        }
        assert_eq!(turns[99], Duration::ZERO, "the burst");
        let five_minutes = Duration::from_secs(300);
        for (index, start) in turns.iter().enumerate() {
            let within = turns[index..]
                .iter()
                .take_while(|turn| **turn < *start + five_minutes);
            assert!(within.count() <= 500);
        }
        assert!(
            turns[699] <= Duration::from_secs(600 * 60 / 80 + 1),
            "{:?}",
            turns[699]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_first_goes_first_and_sources_take_turns() {
        let (budget, served) = (budget(60, 1), Arc::default());
        budget
            .turn(caller("x"), None, Instant::now() + FAR)
            .await
            .unwrap();
        let mut waiting = Vec::new();
        for name in ["a1", "a2", "a3", "a4"] {
            waiting.push(wait(&budget, caller("a"), name, &served).await);
        }
        for name in ["b1", "b2"] {
            waiting.push(wait(&budget, caller("b"), name, &served).await);
        }
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(
            *served.lock().unwrap(),
            ["a1", "b1", "a2", "b2", "a3", "a4"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn c44_what_nobody_waits_for_leaves_half_of_the_burst_to_callers() {
        let (budget, served) = (budget(60, 20), Arc::default());
        for _ in 0..30 {
            wait(&budget, Turn::Later, "later", &served).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(served.lock().unwrap().len(), 10);
        let started = Instant::now();
        for _ in 0..10 {
            budget.turn(caller("a"), None, started + FAR).await.unwrap();
        }
        assert_eq!(started.elapsed(), Duration::ZERO, "no caller waited");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(
            served.lock().unwrap().len() >= 28,
            "and later they get theirs"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_kept_for_as_long_as_somebody_wants_it() {
        let budget = budget(60, 1);
        budget
            .turn(caller("x"), None, Instant::now() + FAR)
            .await
            .unwrap();
        let tenant = crate::tenant::Tenant {
            id: crate::tenant::TenantId::parse("acme").unwrap(),
            url: "https://acme.example".into(),
            client_id: "c".into(),
            scopes: crate::tenant::ScopeSet::parse("user_default").unwrap(),
            optional_scopes: Vec::new(),
            allowed_origins: Vec::new(),
            client_origins: arc_swap::ArcSwap::default(),
            provision: None,
        };
        let key = |value: &str| {
            let field = crate::mapping::LookupField::Subject;
            let user = crate::mapping::UserLookup::new(field, value).unwrap();
            UserKey::new(&tenant, &user, &tenant.scopes)
        };
        let soon = Instant::now() + Duration::from_secs(2);
        let turns = ["one", "two", "three", "four", "five"].map(|name| {
            let (budget, user) = (Arc::clone(&budget), key(name));
            tokio::spawn(async move { budget.turn(caller("a"), Some(user), soon).await })
        });
        tokio::task::yield_now().await;
        let source: Arc<str> = "a".into();
        assert_eq!(budget.keep(key("nobody"), &source, soon), None);
        let wait = budget
            .keep(key("five"), &source, Instant::now() + FAR)
            .unwrap();
        assert_eq!(wait, Duration::from_secs(5));
        let [one, _two, three, four, five] = turns;
        assert_eq!(one.await.unwrap(), Ok(()));
        // Nobody wanted these two any more, so that the fifth comes earlier.
        assert!(three.await.unwrap().is_err() && four.await.unwrap().is_err());
        assert_eq!(
            timeout(Duration::from_secs(2), five)
                .await
                .unwrap()
                .unwrap(),
            Ok(())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_429_nobody_is_served_until_it_is_over_and_then_one_by_one() {
        let budget = budget(60, 100);
        budget.throttled(&QlikError::Throttled {
            retry_after: Duration::from_secs(13),
        });
        let (served, mut waiting) = (Arc::default(), Vec::new());
        for _ in 0..5 {
            waiting.push(wait(&budget, caller("a"), "a", &served).await);
        }
        advance(Duration::from_millis(12_900)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(served.lock().unwrap().len(), 0);
        let started = Instant::now();
        for one in waiting {
            one.await.unwrap();
        }
        // What came up during the pause is there at once; there is no burst beyond it.
        assert!(started.elapsed() < Duration::from_secs(6));
    }
}
