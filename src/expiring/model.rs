//! The cell beside a model of it: both take the same steps and must give the same answers.

use std::time::Duration;

use tokio::time::Instant;

use super::{CellError, Margins, NotRenewed, Pause};

/// How long a load takes. What happens meanwhile happens half way.
const LOAD: Duration = Duration::from_millis(100);
const MOMENT: Duration = Duration::from_millis(1);
const MARGINS: Margins = Margins {
    refresh: Duration::from_secs(600),
    min_life: Duration::from_secs(60),
};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Down(Option<Duration>);

impl Pause for Down {
    fn pause(&self) -> Option<Duration> {
        self.0
    }
}

/// Values are numbers: that of the load that brought them.
type Got = Result<usize, CellError<Down>>;
type Renewed = Result<usize, NotRenewed<Down>>;

#[derive(Clone, Copy, Debug)]
enum Load {
    /// Without any life left the value is for those who wait, and for nobody after them.
    Brings {
        left: Duration,
        life: Duration,
    },
    Fails(Option<Duration>),
    Panics,
}

#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    FirstCallerLeaves,
    Discard,
    Retire,
}

#[derive(Clone, Copy, Debug)]
enum Edge {
    Refresh,
    Spare,
    End,
    Pause,
}

#[derive(Clone, Debug)]
enum Step {
    /// So many callers at once, and what a load would come to.
    Get(usize, Load, Meanwhile),
    Renew(usize, Duration, Load, Meanwhile),
    Discard,
    /// Something that the cell does not hold.
    DiscardAnother,
    Retire,
    Orphan,
    Wait(Duration),
    /// Until a millisecond before something changes, or that moment, or a millisecond later.
    WaitFor(Edge, u32),
}

/// What a cell is meant to be.
#[derive(Default)]
struct Model {
    loads: usize,
    lease: Option<Term>,
    failure: Option<Failure>,
    failures_in_a_row: u32,
    renewed_at: Option<Instant>,
    retired: bool,
}

#[derive(Clone, Copy)]
struct Term {
    value: usize,
    from: Instant,
    refresh_at: Instant,
    spare_from: Instant,
    ends: Instant,
}

#[derive(Clone)]
struct Failure {
    /// None for a panic.
    error: Option<Down>,
    until: Instant,
}

impl Failure {
    fn told(&self, now: Instant) -> CellError<Down> {
        let retry_after = self.until - now;
        let told = |error| CellError::Failed { error, retry_after };
        self.error.clone().map_or(CellError::Panicked, told)
    }
}

impl Model {
    fn live(&self, now: Instant) -> Option<Term> {
        self.lease.filter(|term| !self.retired && now < term.ends)
    }

    fn paused(&self, now: Instant) -> Option<CellError<Down>> {
        let failure = self.failure.as_ref().filter(|failure| now < failure.until);
        failure.map(|failure| failure.told(now))
    }

    /// The answer to everybody who asks now.
    fn get(&mut self, now: Instant, load: Load, meanwhile: Meanwhile) -> Got {
        if self.retired {
            return Err(CellError::Retired);
        }
        let paused = self.paused(now);
        if let Some(term) = self.live(now).filter(|term| now < term.spare_from) {
            if now >= term.refresh_at && paused.is_none() {
                let _in_the_background = self.load(now, load, meanwhile);
            }
            return Ok(term.value);
        }
        let (outcome, answered) = match paused {
            Some(error) => (Err(error), now),
            None => (self.load(now, load, meanwhile), now + LOAD),
        };
        // What still lives is better than an error.
        outcome.or_else(|error| self.live(answered).map(|term| term.value).ok_or(error))
    }

    /// The answer to everybody who wants another value now.
    fn renew(
        &mut self,
        now: Instant,
        min_age: Duration,
        load: Load,
        meanwhile: Meanwhile,
    ) -> Renewed {
        let last = self.live(now).map(|term| term.from).max(self.renewed_at);
        let too_soon = last.map_or(Duration::ZERO, |last| min_age.saturating_sub(now - last));
        if self.retired {
            return Err(NotRenewed::Cell(CellError::Retired));
        }
        if let Some(error) = self.paused(now) {
            return Err(NotRenewed::Cell(error));
        }
        if !too_soon.is_zero() {
            return Err(NotRenewed::TooSoon(too_soon));
        }
        self.renewed_at = Some(now);
        self.load(now, load, meanwhile).map_err(NotRenewed::Cell)
    }

    fn load(&mut self, now: Instant, load: Load, meanwhile: Meanwhile) -> Got {
        self.happens(now + LOAD / 2, meanwhile);
        let now = now + LOAD;
        self.loads += 1;
        let (error, pause) = match load {
            Load::Brings { left, life } => {
                self.lease = Some(Term {
                    value: self.loads,
                    from: now,
                    refresh_at: now + left.saturating_sub(MARGINS.refresh.min(life / 2)),
                    spare_from: now + left.saturating_sub(MARGINS.min_life.min(life / 10)),
                    ends: now + left,
                });
                (self.failure, self.failures_in_a_row) = (None, 0);
                return if self.retired {
                    Err(CellError::Retired)
                } else {
                    Ok(self.loads)
                };
            }
            _ if self.retired => return Err(CellError::Retired),
            Load::Fails(pause) => (Some(Down(pause)), pause),
            Load::Panics => (None, None),
        };
        let doubled = Duration::from_secs(2_u64.pow(self.failures_in_a_row.min(5)).min(30));
        self.failures_in_a_row += 1;
        let until = now + pause.unwrap_or(doubled);
        Err(self.failure.insert(Failure { error, until }).told(now))
    }

    /// What happened half way although nothing was loaded.
    fn happened(&mut self, loads: usize, now: Instant, meanwhile: Meanwhile) {
        if self.loads == loads {
            self.happens(now + LOAD / 2, meanwhile);
        }
    }

    fn happens(&mut self, now: Instant, meanwhile: Meanwhile) {
        match meanwhile {
            Meanwhile::Nothing | Meanwhile::FirstCallerLeaves => {}
            Meanwhile::Discard => self.discard(now),
            Meanwhile::Retire => drop(self.retire()),
        }
    }

    fn discard(&mut self, now: Instant) {
        if self.live(now).is_some() {
            self.lease = None;
        }
    }

    fn retire(&mut self) -> Option<usize> {
        self.retired = true;
        self.lease.take().map(|term| term.value)
    }

    fn edge(&self, edge: Edge) -> Option<Instant> {
        match edge {
            Edge::Refresh => self.lease.map(|term| term.refresh_at),
            Edge::Spare => self.lease.map(|term| term.spare_from),
            Edge::End => self.lease.map(|term| term.ends),
            Edge::Pause => self.failure.as_ref().map(|failure| failure.until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiring::{ExpiringCell, Lease};
    use futures_util::future::join_all;
    use proptest::prelude::*;
    use std::panic::resume_unwind;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::runtime::Builder;
    use tokio::task::JoinHandle;
    use tokio::time::{advance, sleep, sleep_until};

    type Cell = Arc<ExpiringCell<usize, Down>>;

    /// The cell, and what it loads from.
    #[derive(Clone, Default)]
    struct Real {
        cell: Cell,
        loads: Arc<AtomicUsize>,
    }

    impl Real {
        async fn load(self, load: Load) -> Result<Lease<usize>, Down> {
            let number = self.loads.fetch_add(1, Ordering::SeqCst) + 1;
            sleep(LOAD).await;
            match load {
                Load::Brings { left, life } => {
                    let value = Arc::new(number);
                    Ok(Lease::resumed(value, left, life, MARGINS, 0.0))
                }
                Load::Fails(pause) => Err(Down(pause)),
                // Without the message that a panic prints.
                Load::Panics => resume_unwind(Box::new("a bug")),
            }
        }

        async fn get(self, load: Load) -> Got {
            let got = self.cell.get(|| self.clone().load(load)).await;
            got.map(|got| *got.value)
        }

        async fn renew(self, min_age: Duration, load: Load) -> Renewed {
            let loading = || self.clone().load(load);
            self.cell.renew(min_age, loading).await.map(|value| *value)
        }

        fn discard(&self) {
            if let Some(lease) = self.cell.live() {
                assert!(self.cell.discard(lease.value()));
            }
        }

        /// The answers to so many callers who ask at once; to those who wait for them.
        async fn ask<Fut>(
            &self,
            callers: usize,
            meanwhile: Meanwhile,
            asking: impl Fn(Self) -> Fut,
        ) -> Vec<Fut::Output>
        where
            Fut: Future<Output: Send> + Send + 'static,
        {
            let started = Instant::now();
            let callers = (0..callers).map(|_| tokio::spawn(asking(self.clone())));
            let mut callers: Vec<_> = callers.collect();
            sleep_until(started + LOAD / 2).await;
            match meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::FirstCallerLeaves => callers.remove(0).abort(),
                Meanwhile::Discard => self.discard(),
                Meanwhile::Retire => drop(self.cell.retire()),
            }
            // For whatever loads in the background as well.
            sleep_until(started + LOAD + MOMENT).await;
            assert!(callers.iter().all(JoinHandle::is_finished), "one is stuck");
            join_all(callers)
                .await
                .into_iter()
                .map(Result::unwrap)
                .collect()
        }
    }

    async fn play(steps: Vec<Step>) {
        let (real, mut model) = (Real::default(), Model::default());
        for step in steps {
            let (now, loads) = (Instant::now(), model.loads);
            match step {
                Step::Get(callers, load, meanwhile) => {
                    let expected = model.get(now, load, meanwhile);
                    model.happened(loads, now, meanwhile);
                    let answers = real.ask(callers, meanwhile, |real| real.get(load)).await;
                    assert!(
                        answers.iter().all(|answer| *answer == expected),
                        "{answers:?} instead of {expected:?}"
                    );
                }
                Step::Renew(callers, min_age, load, meanwhile) => {
                    let expected = model.renew(now, min_age, load, meanwhile);
                    model.happened(loads, now, meanwhile);
                    let answers = real
                        .ask(callers, meanwhile, |real| real.renew(min_age, load))
                        .await;
                    assert!(
                        answers.iter().all(|answer| *answer == expected),
                        "{answers:?} instead of {expected:?}"
                    );
                }
                Step::Discard => {
                    model.discard(now);
                    real.discard();
                }
                Step::DiscardAnother => assert!(!real.cell.discard(&Arc::new(loads))),
                Step::Retire => assert_eq!(real.cell.retire().as_deref(), model.retire().as_ref()),
                Step::Orphan => {
                    assert_eq!(real.cell.orphan().await.as_deref(), model.retire().as_ref());
                }
                Step::Wait(time) => advance(time).await,
                Step::WaitFor(edge, offset) => {
                    let until = model.edge(edge).map(|edge| edge + offset * MOMENT - MOMENT);
                    advance(until.unwrap_or(now).saturating_duration_since(now)).await;
                }
            }
            let now = Instant::now();
            let live = model.live(now);
            let fresh = live.filter(|term| now < term.refresh_at.min(term.spare_from));
            assert_eq!(
                real.cell.live().map(|lease| **lease.value()),
                live.map(|term| term.value)
            );
            assert_eq!(
                real.cell.fresh().as_deref(),
                fresh.as_ref().map(|term| &term.value)
            );
            assert_eq!(real.cell.is_retired(), model.retired);
            assert_eq!(real.loads.load(Ordering::SeqCst), model.loads);
        }
    }

    fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
        range.prop_map(Duration::from_secs)
    }

    fn load() -> impl Strategy<Value = Load> {
        prop_oneof![
            4 => seconds(20..40_000).prop_map(|life| Load::Brings { left: life, life }),
            // The time of the machine runs as well, and must not end what lives.
            2 => (seconds(20..2_000), seconds(2_000..40_000)).prop_map(|(left, life)| Load::Brings { left, life }),
            1 => seconds(20..40_000).prop_map(|life| Load::Brings { left: Duration::ZERO, life }),
            3 => proptest::option::of(seconds(0..120)).prop_map(Load::Fails),
            1 => Just(Load::Panics),
        ]
    }

    fn asked() -> impl Strategy<Value = (usize, Load, Meanwhile)> {
        let meanwhile = prop_oneof![
            12 => Just(Meanwhile::Nothing),
            3 => Just(Meanwhile::FirstCallerLeaves),
            3 => Just(Meanwhile::Discard),
            1 => Just(Meanwhile::Retire),
        ];
        (1usize..6, load(), meanwhile)
    }

    fn step() -> impl Strategy<Value = Step> {
        let get =
            asked().prop_map(|(callers, load, meanwhile)| Step::Get(callers, load, meanwhile));
        let renew = (seconds(0..90), asked()).prop_map(|(min_age, (callers, load, meanwhile))| {
            Step::Renew(callers, min_age, load, meanwhile)
        });
        let edge = prop_oneof![
            Just(Edge::Refresh),
            Just(Edge::Spare),
            Just(Edge::End),
            Just(Edge::Pause)
        ];
        prop_oneof![
            120 => get,
            50 => renew,
            10 => Just(Step::Discard),
            10 => Just(Step::DiscardAnother),
            1 => Just(Step::Retire),
            1 => Just(Step::Orphan),
            30 => (0u64..40_000).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
            20 => seconds(60..40_000).prop_map(Step::Wait),
            80 => (edge, 0u32..3).prop_map(|(edge, offset)| Step::WaitFor(edge, offset)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_cell_does_what_its_model_does(steps in proptest::collection::vec(step(), 1..30)) {
            let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(play(steps));
        }
    }
}
