//! One value that expires, loaded once for everybody who wants it.
//!
//! An [`ExpiringCell`] promises three things: it respects expiry, it lets one load run at a time,
//! and it never trades a live value for an error. It serves a user's token as well as an issuer's
//! key set. How many cells exist is the worry of whoever owns them.
//!
//! A load runs in its own task with the caller's span and trace, so a caller who leaves takes nothing
//! with it. A failure is remembered for a pause, shared by all who ask meanwhile, and then forgotten.

mod error;
mod flight;
mod lease;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::telemetry::traces::carried;

use flight::{Flight, Flying, Runway};

pub use error::{CellError, NotRenewed};
pub use flight::Pause;
pub use lease::{Got, Lease, Margins};

/// See the module.
#[derive(Debug)]
pub struct ExpiringCell<T, E> {
    /// A std mutex: it is held for a few instructions and never across an await.
    held: Mutex<Held<T, E>>,
}

/// Small: there is one for each of a million users.
#[derive(Debug)]
struct Held<T, E> {
    lease: Option<Lease<T>>,
    /// There while a load runs or is waited for, or something of the last one is to be remembered.
    runway: Option<Arc<Runway<E>>>,
    /// How many loads ended, and how many of them were renewals: who waited compares.
    loads: u32,
    renewals: u16,
    retired: bool,
}

enum Look<T> {
    Fresh(Arc<T>),
    Stale(Arc<T>),
    /// Nothing, or a value so near its end that a load is worth waiting for.
    Wanting,
    Retired,
}

impl<T, E> Default for ExpiringCell<T, E> {
    fn default() -> Self {
        Self {
            held: Mutex::new(Held {
                lease: None,
                runway: None,
                loads: 0,
                renewals: 0,
                retired: false,
            }),
        }
    }
}

impl<T, E> ExpiringCell<T, E> {
    fn held(&self) -> MutexGuard<'_, Held<T, E>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Look<T> {
        let now = Instant::now();
        let held = self.held();
        match &held.lease {
            _ if held.retired => Look::Retired,
            Some(lease) if lease.is_live(now) && now < lease.refresh_at => {
                Look::Fresh(Arc::clone(&lease.value))
            }
            Some(lease) if lease.is_live(now) && now < lease.spare_from => {
                Look::Stale(Arc::clone(&lease.value))
            }
            _ => Look::Wanting,
        }
    }

    /// The value if it needs nothing done: the whole of a hit.
    pub fn fresh(&self) -> Option<Arc<T>> {
        match self.look() {
            Look::Fresh(value) => Some(value),
            _ => None,
        }
    }

    /// What is held, however little life it has left, but never after its end.
    pub fn live(&self) -> Option<Lease<T>> {
        let held = self.held();
        held.lease
            .clone()
            .filter(|lease| !held.retired && lease.is_live(Instant::now()))
    }

    /// Whether [`ExpiringCell::retire`] was called.
    pub fn is_retired(&self) -> bool {
        self.held().retired
    }

    /// Ends the cell: it never hands out a value again. Returns what it held.
    /// A load in flight still lands; [`ExpiringCell::orphan`] waits for it.
    pub fn retire(&self) -> Option<Arc<T>> {
        let mut held = self.held();
        held.retired = true;
        held.lease.take().map(|lease| lease.value)
    }

    /// Waits for a load in flight and takes what it brought to a retired cell, for revocation.
    pub async fn orphan(&self) -> Option<Arc<T>> {
        let runway = self.held().runway.clone();
        if let Some(runway) = runway {
            drop(runway.lock().await);
        }
        self.retire()
    }

    /// Drops `value` if it is what the cell holds, which it returns: it is dead, and no later failure
    /// brings it back.
    pub fn discard(&self, value: &Arc<T>) -> bool {
        let mut held = self.held();
        let dead = held.lease.take_if(|it| Arc::ptr_eq(&it.value, value));
        dead.is_some()
    }
}

impl<T, E> ExpiringCell<T, E> {
    /// Where loads wait for each other, and how many loads and renewals have ended.
    fn runway(&self) -> (Arc<Runway<E>>, u32, u16) {
        let mut held = self.held();
        let runway = Arc::clone(held.runway.get_or_insert_default());
        (runway, held.loads, held.renewals)
    }
}

impl<T, E> ExpiringCell<T, E>
where
    T: Send + Sync + 'static,
    E: Pause + Clone + Send + 'static,
{
    /// The value; loaded first if there is none, refreshed in the background when it nears its end.
    /// `load` is called at most once, and only if this caller is the one to load.
    pub async fn get<F, Fut>(self: &Arc<Self>, load: F) -> Result<Got<T>, CellError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Lease<T>, E>> + Send + 'static,
    {
        match self.look() {
            Look::Fresh(value) => {
                return Ok(Got::held(value));
            }
            Look::Stale(value) => {
                self.refresh(load);
                return Ok(Got::held(value));
            }
            Look::Retired => return Err(CellError::Retired),
            Look::Wanting => {}
        }
        let (runway, loads, _) = self.runway();
        let flight = Flying::after_others(self, runway).await;
        match self.look() {
            Look::Fresh(value) | Look::Stale(value) => {
                return Ok(Got::awaited(value));
            }
            Look::Retired => return Err(CellError::Retired),
            Look::Wanting => {}
        }
        let one_ended = self.held().loads != loads;
        let brought = one_ended.then(|| self.brought(&flight)).flatten();
        let outcome = match brought.or_else(|| flight.paused().map(Err)) {
            Some(outcome) => outcome,
            None => Self::spawn_load(flight, load()).await,
        };
        match outcome {
            Ok(value) => Ok(Got::awaited(value)),
            Err(CellError::Retired) => Err(CellError::Retired),
            Err(error) => self.spare().ok_or(error),
        }
    }

    /// What is left of a value that should have been replaced.
    fn spare(&self) -> Option<Got<T>> {
        Some(Got::held(self.live()?.value))
    }

    /// Loads again although a value is held, unless it is younger than `min_age` or was renewed
    /// within that time. Callers who wait for a renewal share its outcome.
    pub async fn renew<F, Fut>(
        self: &Arc<Self>,
        min_age: Duration,
        load: F,
    ) -> Result<Arc<T>, NotRenewed<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Lease<T>, E>> + Send + 'static,
    {
        let (runway, _, seen) = self.runway();
        let mut flight = Flying::after_others(self, runway).await;
        let lease = self.live();
        if self.is_retired() {
            return Err(NotRenewed::Cell(CellError::Retired));
        }
        let one_ended = self.held().renewals != seen;
        if let Some(outcome) = one_ended.then(|| self.brought(&flight)).flatten() {
            return outcome.map_err(NotRenewed::Cell);
        }
        if let Some(error) = flight.paused() {
            return Err(NotRenewed::Cell(error));
        }
        let last = lease
            .map(|lease| lease.obtained_at)
            .max(flight.last_renewal);
        let age = last.map_or(Duration::MAX, |last| last.elapsed());
        if age < min_age {
            return Err(NotRenewed::TooSoon(min_age.saturating_sub(age)));
        }
        flight.last_renewal = Some(Instant::now());
        let (cell, loading) = (Arc::clone(self), load());
        let counted = async move {
            let outcome = loading.await;
            let mut held = cell.held();
            held.renewals = held.renewals.wrapping_add(1);
            drop(held);
            outcome
        };
        Self::spawn_load(flight, counted)
            .await
            .map_err(NotRenewed::Cell)
    }

    /// What a load brought that ended while this caller waited, however short-lived: nobody who
    /// waited loads again.
    fn brought(&self, flight: &Flight<E>) -> Option<Result<Arc<T>, CellError<E>>> {
        if let Some(error) = flight.last_failure() {
            return Some(Err(error));
        }
        let (now, held) = (Instant::now(), self.held());
        let lease = held.lease.as_ref();
        let lease = lease.filter(|lease| lease.is_momentary() || lease.is_live(now))?;
        Some(Ok(Arc::clone(&lease.value)))
    }

    fn refresh<F, Fut>(self: &Arc<Self>, load: F)
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Lease<T>, E>> + Send + 'static,
    {
        let Some(flight) = Flying::alone(self, self.runway().0) else {
            return;
        };
        if flight.paused().is_none() {
            let refreshing = Self::load(flight, load());
            tokio::spawn(carried(async move { drop(refreshing.await) }));
        }
    }

    async fn spawn_load<Fut>(flight: Flying<T, E>, loading: Fut) -> Result<Arc<T>, CellError<E>>
    where
        Fut: Future<Output = Result<Lease<T>, E>> + Send + 'static,
    {
        let task = tokio::spawn(carried(Self::load(flight, loading)));
        task.await.unwrap_or(Err(CellError::Panicked))
    }

    async fn load<Fut>(mut flight: Flying<T, E>, loading: Fut) -> Result<Arc<T>, CellError<E>>
    where
        Fut: Future<Output = Result<Lease<T>, E>> + Send + 'static,
    {
        let loaded = AssertUnwindSafe(loading).catch_unwind().await;
        let cell = Arc::clone(flight.cell());
        let mut held = cell.held();
        held.loads = held.loads.wrapping_add(1);
        match loaded {
            Ok(Ok(lease)) => {
                flight.forget();
                let value = Arc::clone(&lease.value);
                // A retired cell keeps what landed for `orphan` to take; nobody else can see it.
                held.lease = Some(lease);
                if held.retired {
                    Err(CellError::Retired)
                } else {
                    Ok(value)
                }
            }
            _ if held.retired => Err(CellError::Retired),
            Ok(Err(error)) => Err(flight.remember(Some(error))),
            Err(_) => Err(flight.remember(None)),
        }
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::flight::{FIRST_PAUSE, LONGEST_PAUSE};
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{advance, sleep, timeout};

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Down(Option<Duration>);

    impl Pause for Down {
        fn pause(&self) -> Option<Duration> {
            self.0
        }
    }

    type Cell = Arc<ExpiringCell<usize, Down>>;

    const MARGINS: Margins = Margins {
        refresh: Duration::from_secs(600),
        min_life: Duration::from_secs(60),
    };
    const LIFE: Duration = Duration::from_secs(21_600);

    #[derive(Default)]
    struct Upstream {
        calls: AtomicUsize,
        down: std::sync::atomic::AtomicBool,
    }

    impl Upstream {
        /// Takes 100 ms and answers with the number of the call.
        fn load(
            self: &Arc<Self>,
        ) -> impl Future<Output = Result<Lease<usize>, Down>> + Send + 'static {
            let upstream = Arc::clone(self);
            async move {
                let call = upstream.calls.fetch_add(1, Ordering::SeqCst) + 1;
                sleep(Duration::from_millis(100)).await;
                if upstream.down.load(Ordering::SeqCst) {
                    Err(Down(None))
                } else {
                    Ok(Lease::new(Arc::new(call), LIFE, MARGINS, 0.0))
                }
            }
        }

        fn calls(&self) -> usize {
            self.calls.load(Ordering::SeqCst)
        }

        fn go_down(&self, down: bool) {
            self.down.store(down, Ordering::SeqCst);
        }
    }

    async fn value(cell: &Cell, upstream: &Arc<Upstream>) -> Result<usize, CellError<Down>> {
        cell.get(|| upstream.load()).await.map(|got| *got.value)
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_callers_share_one_load() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        let callers = (0..50).map(|_| value(&cell, &upstream));
        let values = futures_util::future::join_all(callers).await;
        assert!(values.iter().all(|value| *value == Ok(1)));
        assert_eq!(upstream.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_caller_leaves_and_the_load_still_lands() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        assert!(
            timeout(Duration::from_millis(50), value(&cell, &upstream))
                .await
                .is_err()
        );
        assert_eq!(value(&cell, &upstream).await, Ok(1));
        assert_eq!(upstream.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_value_is_served_while_one_refresh_runs() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        value(&cell, &upstream).await.unwrap();
        advance(LIFE.checked_sub(Duration::from_secs(599)).unwrap()).await;
        for _ in 0..20 {
            assert_eq!(value(&cell, &upstream).await, Ok(1));
        }
        sleep(Duration::from_millis(200)).await;
        assert_eq!(
            (value(&cell, &upstream).await, upstream.calls()),
            (Ok(2), 2)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_refresh_never_displaces_a_live_value() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        value(&cell, &upstream).await.unwrap();
        upstream.go_down(true);
        advance(LIFE.checked_sub(Duration::from_secs(300)).unwrap()).await;
        for _ in 0..5 {
            assert_eq!(value(&cell, &upstream).await, Ok(1));
            sleep(Duration::from_millis(150)).await;
        }
        assert_eq!(upstream.calls(), 2, "one refresh, then the pause");
        advance(Duration::from_secs(270)).await;
        assert_eq!(
            value(&cell, &upstream).await,
            Ok(1),
            "29 s of life are better than an error"
        );
        advance(Duration::from_secs(30)).await;
        assert!(
            value(&cell, &upstream).await.is_err(),
            "but not after its end"
        );
        upstream.go_down(false);
        advance(LONGEST_PAUSE).await;
        assert!(value(&cell, &upstream).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_without_life_is_for_those_who_wait_and_for_nobody_after_them() {
        let (cell, calls) = (Cell::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let calls = Arc::clone(&calls);
            cell.get(move || async move {
                sleep(Duration::from_millis(100)).await;
                let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
                Ok(Lease::fixed(Arc::new(number), Duration::ZERO))
            })
        };
        for round in 1..4 {
            let all = futures_util::future::join_all((0..50).map(|_| ask())).await;
            assert!(all.into_iter().all(|got| *got.unwrap().value == round));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_with_little_life_left_is_for_all_who_waited() {
        let (cell, calls) = (Cell::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let calls = Arc::clone(&calls);
            cell.get(move || async move {
                sleep(Duration::from_millis(100)).await;
                let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
                let left = MARGINS.min_life / 2;
                Ok(Lease::resumed(Arc::new(number), left, LIFE, MARGINS, 0.0))
            })
        };
        let all = futures_util::future::join_all((0..50).map(|_| ask())).await;
        assert!(all.into_iter().all(|got| *got.unwrap().value == 1));
        assert_eq!(
            *ask().await.unwrap().value,
            2,
            "who comes later gets a better one"
        );
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_without_a_pause_is_for_those_who_wait_and_for_nobody_after_them() {
        let (cell, calls) = (Cell::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let calls = Arc::clone(&calls);
            cell.get(move || async move {
                sleep(Duration::from_millis(100)).await;
                calls.fetch_add(1, Ordering::SeqCst);
                Err(Down(Some(Duration::ZERO)))
            })
        };
        for round in 1..4 {
            let all = futures_util::future::join_all((0..50).map(|_| ask())).await;
            assert!(all.into_iter().all(|got| got.is_err()));
            assert_eq!(calls.load(Ordering::SeqCst), round);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_during_its_pause_and_then_forgotten() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        upstream.go_down(true);
        let callers = (0..50).map(|_| value(&cell, &upstream));
        let errors = futures_util::future::join_all(callers).await;
        assert!(errors.iter().all(Result::is_err));
        assert_eq!(upstream.calls(), 1);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let calls = upstream.calls();
            advance(
                Duration::from_secs(pause)
                    .checked_sub(Duration::from_millis(10))
                    .unwrap(),
            )
            .await;
            assert!(value(&cell, &upstream).await.is_err());
            assert_eq!(
                upstream.calls(),
                calls,
                "still within the pause of {pause} s"
            );
            advance(Duration::from_millis(10)).await;
            assert!(value(&cell, &upstream).await.is_err());
            assert_eq!(upstream.calls(), calls + 1);
        }
        upstream.go_down(false);
        advance(LONGEST_PAUSE).await;
        assert!(value(&cell, &upstream).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_may_name_its_own_pause() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        let throttled = || async { Err(Down(Some(Duration::from_secs(13)))) };
        assert!(cell.get(throttled).await.is_err());
        advance(Duration::from_millis(12_900)).await;
        assert!(value(&cell, &upstream).await.is_err());
        assert_eq!(upstream.calls(), 0);
        advance(Duration::from_millis(100)).await;
        assert!(value(&cell, &upstream).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retired_cell_keeps_a_load_in_flight_to_itself() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        let waiter = tokio::spawn({
            let (cell, upstream) = (Arc::clone(&cell), Arc::clone(&upstream));
            async move { value(&cell, &upstream).await }
        });
        sleep(Duration::from_millis(50)).await;
        assert_eq!(cell.retire(), None);
        assert_eq!(cell.orphan().await.as_deref(), Some(&1));
        assert_eq!(waiter.await.unwrap(), Err(CellError::Retired));
        assert_eq!(value(&cell, &upstream).await, Err(CellError::Retired));
        assert_eq!(upstream.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_an_error_with_a_pause_and_nobody_is_stuck() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        let bug = || async { panic!("a bug") };
        assert!(matches!(cell.get(bug).await, Err(CellError::Panicked)));
        assert_eq!(value(&cell, &upstream).await, Err(CellError::Panicked));
        advance(FIRST_PAUSE).await;
        assert_eq!(value(&cell, &upstream).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn renewals_are_shared_and_no_oftener_than_asked() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        let minute = Duration::from_secs(60);
        value(&cell, &upstream).await.unwrap();
        let early = cell.renew(minute, || upstream.load()).await;
        assert!(matches!(early, Err(NotRenewed::TooSoon(left)) if left == minute));
        advance(minute).await;
        let callers = (0..50).map(|_| cell.renew(minute, || upstream.load()));
        let values = futures_util::future::join_all(callers).await;
        assert!(values.iter().all(|value| value.as_deref() == Ok(&2)));
        assert_eq!(upstream.calls(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_failure_of_a_renewal_is_shared_as_well() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        value(&cell, &upstream).await.unwrap();
        upstream.go_down(true);
        let callers = (0..50).map(|_| cell.renew(Duration::ZERO, || upstream.load()));
        let renewed = futures_util::future::join_all(callers).await;
        assert!(renewed.iter().all(Result::is_err), "{renewed:?}");
        assert_eq!(upstream.calls(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_renewal_keeps_the_value_unless_it_was_discarded() {
        let (cell, upstream) = (Cell::default(), Arc::new(Upstream::default()));
        value(&cell, &upstream).await.unwrap();
        advance(Duration::from_secs(60)).await;
        upstream.go_down(true);
        assert!(
            cell.renew(Duration::from_secs(1), || upstream.load())
                .await
                .is_err()
        );
        assert_eq!(value(&cell, &upstream).await, Ok(1));
        advance(Duration::from_secs(60)).await;
        let dead = Arc::clone(cell.live().unwrap().value());
        cell.discard(&dead);
        assert!(
            value(&cell, &upstream).await.is_err(),
            "a dead value never comes back"
        );
    }

    proptest::proptest! {
        #[test]
        fn refresh_falls_between_the_margin_and_its_half(life in 1u64..100_000, margin in 1u64..10_000, jitter in 0.0f64..1.0) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (life, refresh) = (Duration::from_secs(life), Duration::from_secs(margin));
                let margins = Margins { refresh, min_life: Duration::from_secs(60) };
                let lease = Lease::new(Arc::new(()), life, margins, jitter);
                let (ahead, margin) = (lease.expires_at - lease.refresh_at, refresh.min(life / 2));
                assert!(ahead <= margin && ahead >= margin / 2);
                assert!(lease.spare_from >= lease.obtained_at && lease.spare_from < lease.expires_at);
            });
        }
    }
}
