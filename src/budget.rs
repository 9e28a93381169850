//! How often a tenant is asked, and in which order.
//!
//! A tenant counts calls, and answers 429 to all when there are too many. So each call of that tier
//! takes a turn first. Turns are as many as the budget allows, which `governor` decides; who gets the
//! next one is decided here: sources take turns among each other (a key, the sessions of a table), so
//! that none of them can keep the others out, and within a source whoever came first goes first. What
//! nobody waits for, refreshes and revocations, gets what callers leave.

mod pacer;
mod queue;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::shared::Taken;
use crate::tenant::Rate;
use pacer::Pacer;
use queue::{Queue, Waiting};

pub use pacer::Replicas;
pub use queue::{Turn, User};

/// A tenant's budget.
#[derive(Debug)]
pub struct Budget {
    pacer: Pacer,
    /// Until when the tenant wants no calls at all.
    closed: Mutex<Option<Instant>>,
    queue: Mutex<Queue>,
    /// Somebody joined the queue.
    came: Notify,
}

/// Who wants a turn.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// For whom.
    pub turn: Turn,
    /// Names the place, for [`Budget::keep`].
    pub user: Option<User>,
    /// How long the place is kept.
    pub until: Instant,
}

/// One call that may be made now, and whoever asked for it.
#[derive(Debug)]
#[must_use]
pub struct Granted {
    budget: Arc<Budget>,
    ticket: Ticket,
}

impl Granted {
    /// Another turn for the same, before all who wait for their first. Whether it came by `until`.
    pub async fn again(&mut self, until: Instant) -> bool {
        let ticket = Ticket {
            until,
            ..self.ticket.clone()
        };
        let turn = self.budget.join(ticket, Queue::add_first).await;
        turn.is_ok()
    }

    /// The call was answered 429: there were too many, whatever was counted here.
    pub fn throttled(&self, pause: Duration) {
        self.budget.throttled(pause);
    }
}

impl Budget {
    /// Nobody has called yet.
    pub fn new(rate: Rate, replicas: Replicas) -> Arc<Self> {
        Arc::new(Self {
            pacer: Pacer::new(rate, replicas),
            closed: Mutex::default(),
            queue: Mutex::default(),
            came: Notify::new(),
        })
    }

    /// Another rate from now on, or another number of replicas. What has been used of the window stays used.
    pub fn set_rate(&self, rate: Rate, replicas: NonZeroU32) {
        self.pacer.change(rate, replicas);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    /// Returns when it is this one's turn, or with how long that would take when it is not in time.
    pub async fn turn(self: &Arc<Self>, ticket: Ticket) -> Result<Granted, Duration> {
        self.join(ticket, Queue::add).await
    }

    async fn join(
        self: &Arc<Self>,
        ticket: Ticket,
        add: fn(&mut Queue, Turn, Waiting),
    ) -> Result<Granted, Duration> {
        let (granted, waiting) = oneshot::channel();
        let waiter = Waiting {
            user: ticket.user,
            until: ticket.until,
            turn: granted,
        };
        {
            let mut queue = self.queue();
            // Who joins others changes nothing about the next turn.
            if !queue.has_callers() {
                self.came.notify_one();
            }
            add(&mut queue, ticket.turn.clone(), waiter);
            if !std::mem::replace(&mut queue.is_served, true) {
                tokio::spawn(Arc::clone(self).serve());
            }
        }
        match waiting.await {
            Ok(()) => Ok(Granted {
                budget: Arc::clone(self),
                ticket,
            }),
            Err(_) => Err(self.wait_of(self.queue().callers() + 1)),
        }
    }

    /// Somebody still wants this user's token: the place is kept `until` then, and becomes a caller's
    /// if it was none. How long it will take; `None` if the user has no place.
    pub fn keep(&self, user: User, source: &Arc<str>, until: Instant) -> Option<Duration> {
        let turns = self.queue().keep(user, source, until);
        Some(self.wait_of(turns?))
    }

    /// How many wait for a turn, and how many turns there are at once.
    pub fn level(&self) -> (usize, u32) {
        (self.queue().callers(), self.pacer.available())
    }

    /// Nobody may have this user's token any more: whoever waits for its turn is told at once.
    pub fn leave(&self, user: User) {
        self.queue().leave(user);
    }

    fn wait_of(&self, turns: usize) -> Duration {
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        let interval = self.pacer.interval();
        interval.saturating_mul(turns).max(self.throttle_left())
    }

    /// A call was answered 429. The tenant is left alone for as long as it says, and then there is no
    /// burst.
    pub fn throttled(&self, pause: Duration) {
        self.close(pause);
        self.pacer.forgo_burst();
        self.pacer.close(pause);
    }

    /// A shorter pause never cuts a longer one short.
    fn close(&self, pause: Duration) {
        let mut closed = locked(&self.closed);
        *closed = (*closed).max(Some(Instant::now() + pause));
    }

    /// How long the tenant still throttles us.
    pub fn throttle_left(&self) -> Duration {
        let closed = *locked(&self.closed);
        closed.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    async fn serve(self: Arc<Self>) {
        loop {
            let throttled = self.throttle_left();
            if !throttled.is_zero() {
                // Those whose time is over meanwhile are told when it is.
                self.queue().forget_late(Instant::now());
                sleep(throttled.min(self.pacer.interval())).await;
                continue;
            }
            let Some(somebody_waits) = self.look() else {
                return;
            };
            match self.pacer.take(somebody_waits).await {
                Taken::Now(_) => self.serve_one(),
                Taken::Closed(pause) => self.close(pause),
                // A caller who comes meanwhile does not wait for what nobody waits for.
                Taken::In(wait) => drop(timeout(wait, self.came.notified()).await),
            }
        }
    }

    /// Whether somebody waits for the next turn; `None` if nobody is there at all.
    fn look(&self) -> Option<bool> {
        let mut queue = self.queue();
        queue.forget_late(Instant::now());
        queue.is_served = !queue.is_empty();
        queue.is_served.then(|| queue.has_callers())
    }

    fn serve_one(&self) {
        let mut queue = self.queue();
        queue.forget_late(Instant::now());
        if let Some(next) = queue.next() {
            // Who left meanwhile was forgotten above, under the same lock.
            let _ = next.turn.send(());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::pacer::WINDOW;
    use super::*;
    use tokio::task::JoinHandle;
    use tokio::time::advance;

    const FAR: Duration = Duration::from_secs(3600);

    fn budget(per_minute: u32, burst: u32) -> Arc<Budget> {
        let rate = Rate {
            per_minute: NonZeroU32::new(per_minute).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        Budget::new(rate, Replicas::ONE)
    }

    fn caller(source: &str) -> Turn {
        Turn::Caller(source.into())
    }

    async fn turn(
        budget: &Arc<Budget>,
        turn: Turn,
        user: Option<User>,
        until: Instant,
    ) -> Result<(), Duration> {
        let ticket = Ticket { turn, user, until };
        budget.turn(ticket).await.map(drop)
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
            self::turn(&budget, turn, None, until).await.unwrap();
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
            turn(&budget, caller("a"), None, started + FAR)
                .await
                .unwrap();
            turns.push(started.elapsed());
        }
        assert_eq!(turns[99], Duration::ZERO, "the burst");
        // Calls take a while to arrive, some longer than others.
        let five_minutes = Duration::from_secs(303);
        for (index, start) in turns.iter().enumerate() {
            let within = turns[index..]
                .iter()
                .take_while(|turn| **turn < *start + five_minutes);
            assert!(within.count() <= 500);
        }
        assert!(
            turns[699] <= Duration::from_secs(600 * 61 / 80),
            "{:?}",
            turns[699]
        );
    }

    /// The most that any five minutes see while the rate is changed again and again.
    #[tokio::test(start_paused = true)]
    async fn c43_no_change_of_the_rate_exceeds_the_tenant_s_window() {
        let rates = [(10, 450), (99, 5), (80, 100), (10, 450)].map(|(per_minute, burst)| Rate {
            per_minute: NonZeroU32::new(per_minute).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        });
        let budget = Budget::new(rates[0], Replicas::ONE);
        let (started, mut turns) = (Instant::now(), Vec::new());
        let mut changes = [(5, 1), (401, 0), (700, 2), (2500, 3), (3500, 1)].into_iter();
        let mut change = changes.next();
        while started.elapsed() < Duration::from_secs(5400) {
            if let Some((at, index)) = change
                && started.elapsed() >= Duration::from_secs(at)
            {
                budget.set_rate(rates[index], NonZeroU32::MIN);
                budget.set_rate(rates[index], NonZeroU32::MIN);
                change = changes.next();
            }
            let soon = Instant::now() + Duration::from_secs(10);
            if turn(&budget, caller("a"), None, soon).await.is_ok() {
                turns.push(started.elapsed());
            }
            // A quiet time, after which there is a burst.
            if turns.len() == 900 {
                tokio::time::sleep(Duration::from_secs(1500)).await;
            }
        }
        assert_eq!(change, None, "all were made");
        for (index, start) in turns.iter().enumerate() {
            let within = turns[index..].iter();
            let count = within.take_while(|turn| **turn < *start + WINDOW).count();
            assert!(count <= 500, "{count} from {start:?} on");
        }
        let end = Duration::from_secs(5400);
        let last = turns.iter().filter(|turn| **turn + WINDOW > end).count();
        assert!(last > 480, "the new rate came into force: {last}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_first_goes_first_and_sources_take_turns() {
        let (budget, served) = (budget(60, 1), Arc::default());
        turn(&budget, caller("x"), None, Instant::now() + FAR)
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
            turn(&budget, caller("a"), None, started + FAR)
                .await
                .unwrap();
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
        turn(&budget, caller("x"), None, Instant::now() + FAR)
            .await
            .unwrap();
        let key = |name: &str| {
            let mut user = [0; 32];
            user[..name.len()].copy_from_slice(name.as_bytes());
            user
        };
        let soon = Instant::now() + Duration::from_secs(2);
        let turns = ["one", "two", "three", "four", "five"].map(|name| {
            let (budget, user) = (Arc::clone(&budget), key(name));
            tokio::spawn(async move { turn(&budget, caller("a"), Some(user), soon).await })
        });
        tokio::task::yield_now().await;
        let source: Arc<str> = "a".into();
        assert_eq!(budget.keep(key("nobody"), &source, soon), None);
        let wait = budget
            .keep(key("five"), &source, Instant::now() + FAR)
            .unwrap();
        assert_eq!(wait, Duration::from_millis(5050));
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
        budget.throttled(Duration::from_secs(13));
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
