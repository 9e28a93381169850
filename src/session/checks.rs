//! Asking somebody else about a session: once for all who show the same one, few questions at a
//! time, and none while the service that answers is down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::registered::numeric_date;
use super::{Outcome, SessionError};
use crate::clock;
use crate::expiring::{CellError, ExpiringCell, Lease, Pause};
use crate::identity::Claims;
use crate::kept::Kept;
use crate::telemetry::metrics;
use crate::telemetry::traces::Outgoing;

/// Sessions that are asked about at a time, or were a moment ago. One that has to leave is only
/// asked about once more: proven sessions are remembered elsewhere.
const ASKED: u64 = 16_384;
const ASKED_IDLE: Duration = Duration::from_secs(60);
/// A question waits this long for its turn, and then its session is left alone for a moment. The
/// fault is not the session's, so the moment does not grow.
const TURN: Duration = Duration::from_secs(3);
const BUSY_FOR: Duration = Duration::from_secs(1);
/// So many unanswered questions in a row, whoever's, and the service is left alone.
const DOWN_AFTER: u32 = 3;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// No keeper can know it.
pub(super) const MADE_UP: &str = "qlik-token-broker-check";

/// What the keeper of sessions says to one that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// That it is none.
    Closed,
    /// That it is one: everybody would be let in.
    Open,
    /// That we may not ask.
    RefusesUs,
    /// Something that is no answer.
    Odd(&'static str),
    /// Nothing.
    Silent,
}

/// What is known of a session that its keeper vouches for.
#[derive(Debug)]
pub(super) struct Vouched {
    /// What the keeper says about the person.
    pub claims: Claims,
    /// How long that is believed.
    pub until: SystemTime,
    /// `exp` and `iat`, where the keeper says so.
    pub ends: Option<SystemTime>,
    pub began: Option<SystemTime>,
    /// When the keeper was asked.
    pub asked: SystemTime,
}

impl Vouched {
    /// Believed for `life` from now on; not at all, but by those who wait now, when it is zero.
    pub fn lease(claims: Map<String, Value>, life: Duration, asked: SystemTime) -> Lease<Self> {
        let time = |name| numeric_date(&claims, name).unwrap_or_default();
        let vouched = Self {
            ends: time("exp"),
            began: time("iat"),
            claims: Claims::verified(claims),
            until: clock::now() + life,
            asked,
        };
        Lease::fixed(Arc::new(vouched), life)
    }
}

/// Why nobody vouches for a session.
#[derive(Clone, Debug)]
pub(super) enum No {
    /// The keeper does not know it. Another table may.
    NotMine(&'static str),
    /// It is none, and this is remembered for a while.
    Refused(SessionError, Duration),
    /// The keeper gave no answer that could be understood.
    Failed(&'static str),
    /// The keeper gave no answer at all, and is left alone for this long.
    Silent(&'static str, Option<Duration>),
    /// The keeper cannot be connected to.
    Down(&'static str),
}

impl Pause for No {
    fn pause(&self) -> Option<Duration> {
        match self {
            Self::NotMine(_) => Some(Duration::ZERO),
            Self::Refused(_, remembered) => Some(*remembered),
            Self::Silent(_, rest) => *rest,
            Self::Failed(_) | Self::Down(_) => None,
        }
    }
}

type Cell = ExpiringCell<Vouched, No>;

/// See the module.
#[derive(Debug)]
pub(super) struct Checks {
    table: Arc<str>,
    cells: Kept<[u8; 32], Arc<Cell>>,
    turns: Semaphore,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    unanswered: u32,
    rests: u32,
    until: Option<Instant>,
}

impl Checks {
    /// `table` names the session table; `max_in_flight` bounds the questions at a time.
    pub fn new(table: &Arc<str>, max_in_flight: usize) -> Arc<Self> {
        Arc::new(Self {
            table: Arc::clone(table),
            cells: Kept::new(ASKED, ASKED_IDLE),
            turns: Semaphore::new(max_in_flight),
            health: Mutex::default(),
        })
    }

    /// Whether the service is left alone at the moment.
    pub fn is_resting(&self) -> bool {
        self.health().rest().is_some()
    }

    /// What is known of the session with this digest; asked with `question` if nothing is, or nothing
    /// that was asked after a logout of somebody's sessions.
    pub async fn ask<Fut>(
        self: &Arc<Self>,
        session: [u8; 32],
        logout: Option<SystemTime>,
        question: impl Fn() -> Fut,
    ) -> Result<Arc<Vouched>, Outcome>
    where
        Fut: Future<Output = Result<Lease<Vouched>, No>> + Send + 'static,
    {
        let cell = self.cells.get_or_insert_with(session, Arc::default);
        let asking = || {
            let (checks, question) = (Arc::clone(self), question());
            async move { checks.in_turn(question).await }
        };
        let mut got = cell.get(asking).await;
        if let Ok(old) = &got
            && Some(old.value.asked) <= logout
        {
            cell.discard(&old.value);
            got = cell.get(asking).await;
        }
        got.map(|got| got.value).map_err(outcome)
    }

    async fn in_turn(
        &self,
        question: impl Future<Output = Result<Lease<Vouched>, No>>,
    ) -> Result<Lease<Vouched>, No> {
        let turn = timeout(TURN, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let why = "too many sessions are being verified";
            return Err(No::Silent(why, Some(BUSY_FOR)));
        };
        if let Some(rest) = self.health().rest() {
            return Err(No::Silent("it did not answer a moment ago", Some(rest)));
        }
        let asking = Outgoing::begin("verify session", &[("qtb.session", &self.table)]);
        let answer = question.await;
        let outcome = label(&answer);
        asking.ended(outcome, matches!(outcome, "failed" | "unanswered"));
        metrics::session_question(&self.table, outcome);
        if let Err(No::Failed(why) | No::Silent(why, _) | No::Down(why)) = &answer {
            tracing::warn!(session = %self.table, why, "a session could not be verified");
        }
        match answer {
            Err(No::Down(why)) => Err(self.health().unanswered(why, DOWN_AFTER)),
            Err(No::Silent(why, _)) => Err(self.health().unanswered(why, 1)),
            // An answer that makes no sense may be one odd session's: it says nothing of others.
            Err(No::Failed(why)) => Err(No::Failed(why)),
            answer => {
                *self.health() = Health::default();
                answer
            }
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    fn rest(&self) -> Option<Duration> {
        let left = self.until?.checked_duration_since(Instant::now());
        left.filter(|left| !left.is_zero())
    }

    fn unanswered(&mut self, why: &'static str, weight: u32) -> No {
        // Questions that were in flight together fail together: one rest for all of them.
        if let Some(rest) = self.rest() {
            return No::Silent(why, Some(rest));
        }
        self.unanswered = self.unanswered.saturating_add(weight);
        if self.unanswered < DOWN_AFTER {
            return No::Silent(why, None);
        }
        let rest = FIRST_REST.saturating_mul(1 << self.rests.min(10));
        let rest = rest.min(LONGEST_REST);
        self.rests = self.rests.saturating_add(1);
        self.until = Some(Instant::now() + rest);
        No::Silent(why, Some(rest))
    }
}

fn label(answer: &Result<Lease<Vouched>, No>) -> &'static str {
    match answer {
        Ok(_) => "yes",
        Err(No::NotMine(_) | No::Refused(..)) => "no",
        Err(No::Failed(_)) => "failed",
        Err(No::Silent(..) | No::Down(_)) => "unanswered",
    }
}

fn outcome(error: CellError<No>) -> Outcome {
    let unavailable =
        |why, retry_after| Outcome::Refused(SessionError::Unavailable { why, retry_after });
    match error {
        CellError::Failed { error, retry_after } => match error {
            No::NotMine(why) => Outcome::NotMine(why),
            No::Refused(error, _) => Outcome::Refused(error),
            No::Failed(why) | No::Silent(why, _) | No::Down(why) => unavailable(why, retry_after),
        },
        CellError::Panicked | CellError::Retired => unavailable("verifying failed", FIRST_REST),
    }
}

/// What became of a question that got no answer.
pub(super) fn no_answer(error: &reqwest::Error) -> No {
    if error.is_connect() {
        No::Down("it cannot be connected to")
    } else {
        No::Silent("it did not answer", None)
    }
}

/// What a status means that is neither a yes nor a no.
pub(super) fn odd_status(status: u16) -> No {
    match status {
        502..=504 => No::Silent("it says that it is down", None),
        _ => No::Failed("its answer has an unexpected status"),
    }
}
