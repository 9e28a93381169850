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

/// See the module.
#[derive(Debug)]
pub(super) struct Pacer {
    rate: Rate,
    replicas: Replicas,
    clock: TokioClock,
    /// This replica's part.
    limiter: Limiter,
    /// What was left of the burst, and when.
    left: Mutex<(u32, Instant)>,
    is_alone: AtomicBool,
    /// The outages of the shared tier when a turn was taken there last; the count itself is never so
    /// large.
    outages: AtomicU64,
}

/// The time in which a turn comes up. A hundredth longer than configured: calls take a while to
/// arrive, some longer than others, and what left in one window of the tenant's must not come in
/// another that is full.
fn interval(rate: Rate) -> Duration {
    Duration::from_millis(60_600) / rate.per_minute.get()
}

impl Pacer {
    pub fn new(rate: Rate, replicas: Replicas) -> Self {
        let clock = TokioClock::start();
        let part = NonZeroU32::new(rate.burst.get() / replicas.count).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(interval(rate) * replicas.count.get())
            .unwrap_or_else(|| Quota::per_minute(rate.per_minute))
            .allow_burst(part);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Self {
            rate,
            replicas,
            clock,
            limiter: limiter.with_middleware(),
            left: Mutex::new((part.get(), Instant::now())),
            is_alone: AtomicBool::new(false),
            outages: AtomicU64::new(u64::MAX),
        }
    }

    /// The time in which a turn comes up here when every replica wants one.
    pub fn interval(&self) -> Duration {
        interval(self.rate) * self.replicas.count.get()
    }

    fn pace(&self) -> Pace {
        Pace {
            interval: interval(self.rate),
            burst: self.rate.burst.get(),
        }
    }

    /// A turn, if there is one now. One that nobody waits for leaves half of the burst.
    pub async fn take(&self, somebody_waits: bool) -> Taken {
        let Some((shared, tenant)) = &self.replicas.shared else {
            return self.take_alone(somebody_waits);
        };
        let outages = shared.outages();
        let seen = self.outages.load(Ordering::Acquire);
        // What the replicas asked for alone was not counted there.
        let was_alone = self.is_alone.load(Ordering::Acquire);
        let careful = was_alone || (seen != u64::MAX && seen != outages);
        let spare = if somebody_waits {
            0
        } else {
            self.rate.burst.get() / 2
        };
        let taking = shared.take(tenant, self.pace(), spare, careful);
        if let Ok(taken) = taking.await {
            self.outages.store(outages, Ordering::Release);
            self.is_alone.store(false, Ordering::Release);
            if let Taken::Now(left) = taken {
                *self.left_at() = (left, Instant::now());
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
        if !somebody_waits && self.left(now) <= self.limiter_burst() / 2 {
            return Taken::In(self.interval());
        }
        match self.limiter.check() {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                *self.left_at() = (left, now);
                Taken::Now(left)
            }
            Err(not_yet) => Taken::In(not_yet.wait_time_from(self.clock.now())),
        }
    }

    fn limiter_burst(&self) -> u32 {
        (self.rate.burst.get() / self.replicas.count).max(1)
    }

    fn left_at(&self) -> MutexGuard<'_, (u32, Instant)> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self, now: Instant) -> u32 {
        let (left, at) = *self.left_at();
        let refilled =
            now.saturating_duration_since(at).as_millis() / self.interval().as_millis().max(1);
        left.saturating_add(u32::try_from(refilled).unwrap_or(u32::MAX))
            .min(self.limiter_burst())
    }

    /// Turns that could be taken at once.
    pub fn available(&self) -> u32 {
        self.left(Instant::now())
    }

    /// From now on one turn after the other.
    pub fn forgo_burst(&self) {
        while self.limiter.check().is_ok() {}
        *self.left_at() = (0, Instant::now());
    }

    /// The other replicas shall leave the tenant alone as well.
    pub fn close(&self, pause: Duration) {
        let Some((shared, tenant)) = self.replicas.shared.clone() else {
            return;
        };
        let pace = self.pace();
        tokio::spawn(async move { shared.close(&tenant, pace, pause).await });
    }
}
