//! How fast turns come up: for all replicas together, or for this one alone.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Duration, Instant};

use crate::clock::TokioClock;
use crate::shared::{Pace, Shared, Taken};
use crate::tenant::Rate;

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>;

/// The tenant counts the calls of so long a time.
pub(super) const WINDOW: Duration = Duration::from_secs(300);

/// The replicas that ask the same tenant.
#[derive(Clone, Debug)]
pub struct Replicas {
    /// How many there are.
    pub count: NonZeroU32,
    /// Where they count together, and the tenant's digest there.
    pub shared: Option<(Arc<Shared>, [u8; 32])>,
}

impl Replicas {
    /// This one.
    pub const ONE: Self = Self {
        count: NonZeroU32::MIN,
        shared: None,
    };
}

/// What may be asked of a tenant, and among how many it is divided while they are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    rate: Rate,
    replicas: NonZeroU32,
}

impl Share {
    /// The time in which a turn comes up here when every replica wants one.
    fn interval(self) -> Duration {
        interval(self.rate) * self.replicas.get()
    }

    fn burst(self) -> NonZeroU32 {
        let part = self.rate.burst.get() / self.replicas;
        NonZeroU32::new(part).unwrap_or(NonZeroU32::MIN)
    }

    /// What both allow.
    fn lower(self, other: Self) -> Self {
        Self {
            rate: Rate {
                per_minute: self.rate.per_minute.min(other.rate.per_minute),
                burst: self.rate.burst.min(other.rate.burst),
            },
            replicas: self.replicas.max(other.replicas),
        }
    }

    /// Of all replicas together.
    fn pace(self) -> Pace {
        Pace {
            interval: interval(self.rate),
            burst: self.rate.burst.get(),
        }
    }
}

/// The time in which a turn comes up. A hundredth longer than configured: calls take a while to
/// arrive, some longer than others, and what left in one window of the tenant's must not come in
/// another that is full.
fn interval(rate: Rate) -> Duration {
    Duration::from_millis(60_600) / rate.per_minute.get()
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pacer {
    current: Mutex<Current>,
    shared: Option<(Arc<Shared>, [u8; 32])>,
    clock: TokioClock,
    is_alone: AtomicBool,
    /// The outages of the shared tier when a turn was taken there last; the count itself is never so
    /// large.
    outages: AtomicU64,
}

#[derive(Debug)]
struct Current {
    share: Share,
    /// This replica's part.
    limiter: Limiter,
    /// What was left of the burst, and when.
    left: (u32, Instant),
    /// What is to come, and when.
    next: Option<(Share, Instant)>,
    /// No turn was taken since it changed.
    is_changed: bool,
}

impl Current {
    fn new(share: Share, clock: &TokioClock) -> Self {
        let quota = Quota::with_period(share.interval())
            .unwrap_or_else(|| Quota::per_minute(share.rate.per_minute))
            .allow_burst(share.burst());
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Self {
            share,
            limiter: limiter.with_middleware(),
            left: (share.burst().get(), Instant::now()),
            next: None,
            is_changed: false,
        }
    }

    /// Without a burst to begin with.
    fn changed(share: Share, clock: &TokioClock) -> Self {
        let mut current = Self::new(share, clock);
        current.forgo_burst();
        current.is_changed = true;
        current
    }

    fn forgo_burst(&mut self) {
        while self.limiter.check().is_ok() {}
        self.left = (0, Instant::now());
    }

    fn left(&self, now: Instant) -> u32 {
        let (left, at) = self.left;
        let interval = self.share.interval().as_millis().max(1);
        let refilled = now.saturating_duration_since(at).as_millis() / interval;
        left.saturating_add(u32::try_from(refilled).unwrap_or(u32::MAX))
            .min(self.share.burst().get())
    }
}

impl Pacer {
    pub fn new(rate: Rate, replicas: Replicas) -> Self {
        let clock = TokioClock::start();
        let share = Share {
            rate,
            replicas: replicas.count,
        };
        Self {
            current: Mutex::new(Current::new(share, &clock)),
            shared: replicas.shared,
            clock,
            is_alone: AtomicBool::new(false),
            outages: AtomicU64::new(u64::MAX),
        }
    }

    /// Another rate, or another number of replicas, from now on. The tenant still counts the calls that
    /// were made before, so until it has forgotten them only what both allow holds, and there is no
    /// burst: changing the configuration never yields more turns than the tenant allows.
    pub fn change(&self, rate: Rate, replicas: NonZeroU32) {
        let now = Instant::now();
        let wanted = Share { rate, replicas };
        let mut current = self.current(now);
        if current.next.map_or(current.share, |(next, _)| next) == wanted {
            return;
        }
        *current = Current::changed(current.share.lower(wanted), &self.clock);
        current.next = Some((wanted, now + WINDOW));
    }

    fn current(&self, now: Instant) -> MutexGuard<'_, Current> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((share, _)) = current.next.filter(|(_, at)| *at <= now) {
            *current = Current::changed(share, &self.clock);
        }
        current
    }

    /// The time in which a turn comes up here when every replica wants one.
    pub fn interval(&self) -> Duration {
        self.current(Instant::now()).share.interval()
    }

    /// A turn, if there is one now. One that nobody waits for leaves half of the burst.
    pub async fn take(&self, somebody_waits: bool) -> Taken {
        let Some((shared, tenant)) = &self.shared else {
            return self.take_alone(somebody_waits);
        };
        let (part, is_changed) = {
            let current = self.current(Instant::now());
            (current.share, current.is_changed)
        };
        let outages = shared.outages();
        let seen = self.outages.load(Ordering::Acquire);
        // What the replicas asked for alone was not counted there, or at another rate.
        let was_alone = self.is_alone.load(Ordering::Acquire);
        let careful = was_alone || is_changed || (seen != u64::MAX && seen != outages);
        let spare = if somebody_waits {
            0
        } else {
            part.rate.burst.get() / 2
        };
        let taking = shared.take(tenant, part.pace(), spare, careful);
        if let Ok(taken) = taking.await {
            self.outages.store(outages, Ordering::Release);
            self.is_alone.store(false, Ordering::Release);
            let mut current = self.current(Instant::now());
            current.is_changed &= current.share != part;
            if let Taken::Now(left) = taken {
                current.left = (left, Instant::now());
            }
            return taken;
        }
        if !self.is_alone.swap(true, Ordering::AcqRel) {
            self.forgo_burst();
        }
        self.take_alone(somebody_waits)
    }

    fn take_alone(&self, somebody_waits: bool) -> Taken {
        let now = Instant::now();
        let mut current = self.current(now);
        if !somebody_waits && current.left(now) <= current.share.burst().get() / 2 {
            return Taken::In(current.share.interval());
        }
        match current.limiter.check() {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                current.left = (left, now);
                Taken::Now(left)
            }
            Err(not_yet) => Taken::In(not_yet.wait_time_from(self.clock.now())),
        }
    }

    /// Turns that could be taken at once.
    pub fn available(&self) -> u32 {
        let now = Instant::now();
        self.current(now).left(now)
    }

    /// From now on one turn after the other.
    pub fn forgo_burst(&self) {
        self.current(Instant::now()).forgo_burst();
    }

    /// The other replicas shall leave the tenant alone as well.
    pub fn close(&self, pause: Duration) {
        let Some((shared, tenant)) = self.shared.clone() else {
            return;
        };
        let pace = self.current(Instant::now()).share.pace();
        tokio::spawn(async move { shared.close(&tenant, pace, pause).await });
    }
}
