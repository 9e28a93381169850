//! Every way in which a tenant can fail a mint, met in every state of a user: what is answered, how
//! many calls the tenant gets, what that means to other users, and how it ends.
//!
//! The table is in docs/reliability.md for those who run this. `QTB_WRITE_DOCS=1` writes it anew.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use qlik_token_broker::simulator::{AssertionFlaw, Call, Fault, Simulator};
use qlik_token_broker::tenant::Rate;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{
    Broker, header, jump, key_table, refused, subject, tenant, tenant_table, token,
};
use super::redis::{Redis, available};
use super::shared::{ENCRYPTION_KEY, shared_table, until};

/// Most of the time of a row it waits.
const ROWS_AT_A_TIME: usize = 8;
/// The life of a token, and how long before its end it is in its refresh window for certain.
const LIFE: u64 = 6 * 3600;
const WINDOW: u64 = 180;
const DOCS: &str = "docs/reliability.md";

/// Where tokens are kept: the same is promised with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    /// The memory of this replica.
    Local,
    /// A store that is shared with others as well.
    Shared,
    /// The same, while the store is away.
    Away,
}

/// What the broker holds for the user when the tenant fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// No token yet.
    Cold,
    /// A fresh token.
    Warm,
    /// A live token in its refresh window.
    Stale,
    /// A token that has ended.
    Expired,
}

impl State {
    const ALL: [Self; 4] = [Self::Cold, Self::Warm, Self::Stale, Self::Expired];

    /// How old the token is that is held, in seconds.
    fn age(self) -> u64 {
        match self {
            Self::Cold | Self::Warm => 0,
            Self::Stale => LIFE - WINDOW,
            Self::Expired => LIFE + 1,
        }
    }
}

/// Status with the code or the source of the token, and how many calls it took.
type Expected = (&'static str, usize);

/// What is expected, by hand from the failure classes of the contract.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Class {
    /// By state. Calls in the background count.
    answers: [Expected; 4],
    /// The `Retry-After` of a refusal, in seconds; 0 is none.
    retry_after: u64,
    /// What another user gets whom the tenant would serve again by now.
    others: Expected,
    /// How long the failure is remembered, in seconds; 0 is a success.
    pause: u64,
}

/// Connect errors, timeouts, 5xx and what is cut off: three tries, then a second of pause.
const UNAVAILABLE: Class = Class {
    answers: [
        ("503 tenant_unavailable", 3),
        ("200 local", 0),
        ("200 local", 3),
        ("503 tenant_unavailable", 3),
    ],
    retry_after: 1,
    others: ("200 minted", 1),
    pause: 1,
};
/// A whole answer that makes no sense: the same, told apart.
const MALFORMED: Class = Class {
    answers: [
        ("502 tenant_malformed", 3),
        ("200 local", 0),
        ("200 local", 3),
        ("502 tenant_malformed", 3),
    ],
    ..UNAVAILABLE
};
/// The caller's deadline comes first: there is no time for another try.
const HANGING: Class = Class {
    answers: [
        ("503 tenant_unavailable", 1),
        ("200 local", 0),
        ("200 local", 1),
        ("503 tenant_unavailable", 1),
    ],
    ..UNAVAILABLE
};
/// A 429 stops the calls to this tenant for everybody, for as long as it says.
const THROTTLED: Class = Class {
    answers: [
        ("503 tenant_throttled", 1),
        ("200 local", 0),
        ("200 local", 1),
        ("503 tenant_throttled", 1),
    ],
    retry_after: 13,
    others: ("503 tenant_throttled", 0),
    pause: 13,
};
/// A refusal that may be one odd user's: nobody else is stopped.
const MAYBE_REFUSED: Class = Class {
    answers: [
        ("502 tenant_refused_client", 1),
        ("200 local", 0),
        ("200 local", 1),
        ("502 tenant_refused_client", 1),
    ],
    retry_after: 30,
    others: ("200 minted", 1),
    pause: 30,
};
/// A code that can only mean our client: the tenant is left alone for 10 s.
const REFUSED: Class = Class {
    others: ("502 tenant_refused_client", 0),
    ..MAYBE_REFUSED
};
const UNKNOWN_USER: Class = Class {
    answers: [
        ("403 user_unknown", 1),
        ("200 local", 0),
        ("200 local", 1),
        ("403 user_unknown", 1),
    ],
    retry_after: 0,
    others: ("200 minted", 1),
    pause: 30,
};
const DISABLED_USER: Class = Class {
    answers: [
        ("403 user_disabled", 1),
        ("200 local", 0),
        ("200 local", 1),
        ("403 user_disabled", 1),
    ],
    ..UNKNOWN_USER
};
/// Odd, but good enough.
const SERVED: Class = Class {
    answers: [
        ("200 minted", 1),
        ("200 local", 0),
        ("200 local", 1),
        ("200 minted", 1),
    ],
    retry_after: 0,
    others: ("200 minted", 1),
    pause: 0,
};

fn status(status: u16, code: Option<&str>) -> Fault {
    Fault::Status {
        status,
        code: code.map(str::to_owned),
        title: None,
    }
}

fn rfc6749(error: &str) -> Fault {
    Fault::Rfc6749 {
        error: error.into(),
    }
}

/// The tenant …, as a fault, and its class.
fn table() -> Vec<(&'static str, Fault, Class)> {
    let bad_key = Fault::AssertionRefused {
        reason: AssertionFlaw::UnknownKey,
    };
    let narrow = Fault::NarrowScope {
        scope: "apps:read".into(),
    };
    let soon = Fault::ExpiresAt {
        value: "soon".into(),
    };
    let past = Fault::ExpiresAt {
        value: "2020-01-01T00:00:00.000Z".into(),
    };
    vec![
        ("answers 500", status(500, None), UNAVAILABLE),
        (
            "answers 502 with a proxy's HTML",
            Fault::Html5xx,
            UNAVAILABLE,
        ),
        (
            "answers 503, naming a client's code",
            status(503, Some("OAUTH-22")),
            UNAVAILABLE,
        ),
        (
            "breaks the connection before it answers",
            Fault::Disconnect,
            UNAVAILABLE,
        ),
        (
            "breaks it, and does the work later",
            Fault::WorksLater { millis: 50 },
            UNAVAILABLE,
        ),
        (
            "breaks it in the middle of the answer",
            Fault::CutMidAnswer,
            UNAVAILABLE,
        ),
        (
            "never answers (`request_timeout` of 1 s)",
            Fault::Hang,
            HANGING,
        ),
        (
            "answers 429, `Retry-After: 13`",
            Fault::Throttle { retry_after: 13 },
            THROTTLED,
        ),
        ("answers 200 with text", Fault::NotJson, MALFORMED),
        ("answers 200 with errors", Fault::OkWithErrors, MALFORMED),
        ("answers 204", Fault::NoContent, MALFORMED),
        ("answers 207", Fault::MultiStatus, MALFORMED),
        ("answers 307", Fault::Redirect, MALFORMED),
        ("answers 409", Fault::Conflict, MALFORMED),
        (
            "answers 409, but has made a token",
            Fault::CreatedMeanwhile,
            MALFORMED,
        ),
        ("answers 418", status(418, None), MALFORMED),
        ("answers with more than 64 KiB", Fault::HugeBody, MALFORMED),
        ("leaves `access_token` out", Fault::MissingToken, MALFORMED),
        (
            "gives an empty `access_token`",
            Fault::EmptyToken,
            MALFORMED,
        ),
        (
            "gives another `token_type`",
            Fault::WrongTokenType,
            MALFORMED,
        ),
        ("gives `expires_in: 0`", Fault::ExpiresIn(0), MALFORMED),
        (
            "gives a negative `expires_in`",
            Fault::ExpiresIn(-5),
            MALFORMED,
        ),
        ("gives an `expires_at` that is no time", soon, MALFORMED),
        ("gives an `expires_at` in the past", past, MALFORMED),
        (
            "answers 401 `OAUTH-22` (wrong secret)",
            Fault::WrongSecret,
            REFUSED,
        ),
        (
            "answers 401 `OAUTH-14` (no consent)",
            Fault::Untrusted,
            REFUSED,
        ),
        (
            "answers 400 `OAUTH-22`",
            status(400, Some("OAUTH-22")),
            REFUSED,
        ),
        (
            "answers 401 `invalid_client`",
            rfc6749("invalid_client"),
            REFUSED,
        ),
        (
            "answers 400 `unauthorized_client`",
            rfc6749("unauthorized_client"),
            REFUSED,
        ),
        (
            "answers 400 `unsupported_grant_type`",
            rfc6749("unsupported_grant_type"),
            REFUSED,
        ),
        (
            "answers 400 `invalid_scope`",
            rfc6749("invalid_scope"),
            REFUSED,
        ),
        (
            "answers 401 with another code",
            Fault::UnknownClient,
            MAYBE_REFUSED,
        ),
        ("answers 401 to an assertion", bad_key, MAYBE_REFUSED),
        (
            "answers 401 as to a dead token",
            Fault::Revoked,
            MAYBE_REFUSED,
        ),
        (
            "answers 400 for an unknown user",
            Fault::UnknownUser,
            UNKNOWN_USER,
        ),
        (
            "answers 404 with errors",
            status(404, Some("USERS-7")),
            UNKNOWN_USER,
        ),
        ("answers 400 for a scope", Fault::BadScope, UNKNOWN_USER),
        (
            "answers 400 for a grant",
            Fault::GrantNotAllowed,
            UNKNOWN_USER,
        ),
        (
            "answers 400 for an origin",
            Fault::ForeignOrigin,
            UNKNOWN_USER,
        ),
        (
            "answers 403 for a disabled user",
            Fault::Disabled,
            DISABLED_USER,
        ),
        (
            "answers 403 for too many tokens",
            Fault::TooManyTokens,
            DISABLED_USER,
        ),
        ("answers after 300 ms", Fault::Slow { millis: 300 }, SERVED),
        ("leaves `expires_in` out", Fault::MissingExpiresIn, SERVED),
        (
            "leaves `expires_in` and `expires_at` out",
            Fault::MissingExpiresAndAt,
            SERVED,
        ),
        ("leaves `scope` out", Fault::MissingScope, SERVED),
        ("grants fewer scopes", narrow, SERVED),
        ("gives a shorter `expires_in`", Fault::ExpiresIn(60), SERVED),
    ]
}

/// The rows for a tier. With a store, one of each class: what is wrong with an answer is found before
/// anything is stored.
fn rows(tier: Tier) -> Vec<(&'static str, Fault, Class)> {
    let mut rows = table();
    if tier != Tier::Local {
        rows.dedup_by(|later, earlier| later.2 == earlier.2);
    }
    rows
}

/// A budget that comes back in a moment after a 429, which takes away what is left of it.
const QUICK: Rate = Rate {
    per_minute: NonZeroU32::new(6000).unwrap(),
    burst: NonZeroU32::new(100).unwrap(),
};

/// What came of one request.
struct Answer {
    /// Status, and the code or the source of the token.
    text: String,
    retry_after: Option<u64>,
    token: String,
}

async fn ask(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, timing) = (response.status(), header(&response, "server-timing"));
    let retry_after = header(&response, "retry-after").parse().ok();
    let body: Value = response.json().await.unwrap();
    let word = match body["code"].as_str() {
        Some(code) => code,
        None => timing.split('"').nth(1).unwrap(),
    };
    Answer {
        text: format!("{} {word}", status.as_u16()),
        retry_after,
        token: body["token_id"].as_str().unwrap_or_default().to_owned(),
    }
}

/// What was seen in one state: words and calls, as in [`Expected`].
struct Seen {
    answer: (String, usize),
    others: (String, usize),
    afterwards: (String, usize),
}

struct Row {
    tenant: Simulator,
    broker: Broker,
    store: Option<Redis>,
}

/// A broker with this tier, and its store if that is there.
async fn start(tier: Tier, config: &str) -> (Broker, Option<Redis>) {
    if tier == Tier::Local {
        return (Broker::start_paced(config, QUICK), None);
    }
    let store = Redis::start().await;
    let table = shared_table(&store.url(), &[("k1", ENCRYPTION_KEY)]);
    let broker = Broker::start_shared_paced(&(table + config), QUICK).await;
    if tier == Tier::Shared {
        return (broker, Some(store));
    }
    drop(store);
    until(&broker, false).await;
    (broker, None)
}

impl Row {
    /// A user `ann` in this state.
    async fn set_up(tier: Tier, state: State, fault: &Fault) -> (Self, String) {
        let tenant = tenant().await;
        let patience = if *fault == Fault::Hang { 1 } else { 10 };
        let server = format!("[server]\nrequest_timeout = '{patience}s'\n");
        let tables = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
        let (broker, store) = start(tier, &(server + &tables)).await;
        let row = Self {
            tenant,
            broker: broker.forgetting_connections(),
            store,
        };
        let held = match state {
            State::Cold => String::new(),
            _ => row.broker.token_of("ann").await.id,
        };
        row.pass(state.age(), state == State::Expired).await;
        (row, held)
    }

    /// The calls since then. Waits for those in the background, but not for ever.
    async fn calls_since(&self, before: usize, expected: usize) -> usize {
        for _ in 0..150 {
            if self.tenant.calls(Call::Any) - before >= expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.tenant.calls(Call::Any) - before
    }

    async fn ask_for(&self, user: &str) -> Answer {
        ask(self.broker.ask_for(user)).await
    }

    /// Asks again for a user who was refused: nothing may have changed, and nobody is called.
    async fn is_remembered(&self, first: &Answer, retry_after: u64, what: &str) {
        let calls = self.tenant.calls(Call::Any);
        let again = self.ask_for("ann").await;
        assert_eq!(again.text, first.text, "{what}");
        let left = again.retry_after.unwrap_or_default();
        // The clock of a busy machine goes on between two requests.
        let is_left = left <= retry_after && left + 3 > retry_after;
        assert!(is_left, "{what}: {left} s of {retry_after}");
        assert_eq!(self.tenant.calls(Call::Any), calls, "{what}");
    }

    /// Lets time pass for the broker, and the store forget what would have ended by then.
    async fn pass(&self, seconds: u64, is_over: bool) {
        // What is under way to the store ends first: its deadline is on the clock that runs.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(store) = &self.store {
            store.keys();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        jump(seconds).await;
        if let Some(store) = self.store.as_ref().filter(|_| is_over) {
            store.flush();
        }
    }

    async fn run(tier: Tier, state: State, fault: &Fault, class: Class) -> Seen {
        let (row, held) = Self::set_up(tier, state, fault).await;
        let what = format!("{fault:?} {state:?}");
        let calls = || row.tenant.calls(Call::Any);
        let before = calls();
        row.tenant.on_until_cleared(Call::Token, fault.clone());
        let first = row.ask_for("ann").await;
        let expected = class.answers[state as usize].1;
        let spent = row.calls_since(before, expected).await;
        let is_refused = !first.text.starts_with("200");
        let wait = (is_refused && class.retry_after > 0).then_some(class.retry_after);
        assert_eq!(first.retry_after, wait, "{what}");
        if state == State::Expired {
            assert_ne!(first.token, held, "{what}: never after its end");
        }
        if is_refused {
            row.is_remembered(&first, class.retry_after, &what).await;
        }

        row.tenant.clear_faults();
        let others = row.ask_for("bob").await;
        let total = calls();

        // A token that lived on through the failure has ended by then.
        let pause = match state {
            _ if class.pause == 0 => 0,
            State::Stale => class.pause.max(WINDOW + 1),
            _ => class.pause,
        };
        row.pass(pause / 2, false).await;
        if is_refused && pause > 1 {
            let left = class.retry_after.saturating_sub(pause / 2);
            row.is_remembered(&first, left, &what).await;
        }
        row.pass(pause - pause / 2, pause > 0).await;
        let afterwards = row.ask_for("ann").await;
        assert_eq!(row.tenant.calls(Call::Other), 0, "no redirect is followed");
        Seen {
            answer: (first.text, spent),
            others: (others.text, total - before - spent),
            afterwards: (afterwards.text, calls() - total),
        }
    }
}

/// Runs them all, each on a runtime of its own, so that each has a clock to itself.
fn run_all(tier: Tier) -> BTreeMap<(usize, State), Seen> {
    let table = rows(tier);
    let rows = 0..table.len();
    let jobs = State::ALL
        .into_iter()
        .flat_map(|state| rows.clone().map(move |row| (row, state)));
    let jobs = Mutex::new(jobs);
    let seen = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..ROWS_AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some((row, state)) = jobs.lock().unwrap().next() else {
                        return;
                    };
                    let (_, fault, class) = &table[row];
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build();
                    let one = runtime
                        .unwrap()
                        .block_on(Row::run(tier, state, fault, *class));
                    seen.lock().unwrap().insert((row, state), one);
                }
            });
        }
    });
    seen.into_inner().unwrap()
}

fn in_words((answer, calls): &(String, usize)) -> String {
    let plural = if *calls == 1 { "" } else { "s" };
    format!("{answer}, {calls} call{plural}")
}

/// What differs from the table, and the table as Markdown.
fn compare(tier: Tier, seen: &BTreeMap<(usize, State), Seen>) -> (Vec<String>, String) {
    let mut faults = Vec::new();
    let mut lines = vec![
        "| The tenant … | no token yet | fresh token | refresh window | ended token | `Retry-After` | another user | the first request after |".to_owned(),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for (row, (words, _, class)) in rows(tier).into_iter().enumerate() {
        for state in State::ALL {
            let one = &seen[&(row, state)];
            let (others, afterwards) = match state {
                State::Warm => (("200 minted", 1), ("200 local", 0)),
                _ if class.pause == 0 => (class.others, ("200 local", 0)),
                _ => (class.others, ("200 minted", 1)),
            };
            let expected = class.answers[state as usize];
            for (what, is, should) in [
                ("answer", &one.answer, expected),
                ("others", &one.others, others),
                ("afterwards", &one.afterwards, afterwards),
            ] {
                if (is.0.as_str(), is.1) != should {
                    faults.push(format!(
                        "{words}, {state:?}, {what}: {is:?}, not {should:?}"
                    ));
                }
            }
        }
        let states = State::ALL.map(|state| &seen[&(row, state)]);
        let answers = states.map(|one| in_words(&one.answer)).join(" | ");
        let wait = match class.retry_after {
            0 => "–".to_owned(),
            seconds => format!("{seconds} s"),
        };
        let (others, afterwards) = (in_words(&states[0].others), in_words(&states[0].afterwards));
        let after = match class.pause {
            0 => afterwards,
            pause => format!("after {pause} s: {afterwards}"),
        };
        lines.push(format!(
            "| {words} | {answers} | {wait} | {others} | {after} |"
        ));
    }
    (faults, lines.join("\n"))
}

/// The text between the markers in the docs: held against `table`, or replaced by it.
fn document(table: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCS);
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once("<!-- begin -->\n").unwrap();
    let (written, tail) = rest.split_once("<!-- end -->\n").unwrap();
    if std::env::var_os("QTB_WRITE_DOCS").is_some() {
        let text = format!("{head}<!-- begin -->\n\n{table}\n\n<!-- end -->\n{tail}");
        return std::fs::write(&path, text).unwrap();
    }
    assert_eq!(
        written.trim(),
        table,
        "{DOCS} is not what was seen: QTB_WRITE_DOCS=1 writes it"
    );
}

/// Runs all rows, and returns the table.
fn holds(tier: Tier) -> String {
    let (faults, table) = compare(tier, &run_all(tier));
    assert!(faults.is_empty(), "{tier:?}:\n{}", faults.join("\n"));
    table
}

#[test]
fn every_fault_in_every_state_has_its_answer_its_calls_and_its_end() {
    document(&holds(Tier::Local));
}

#[test]
fn the_same_holds_with_a_shared_tier() {
    if available() {
        holds(Tier::Shared);
    }
}

#[test]
fn the_same_holds_with_a_shared_tier_that_is_away() {
    if available() {
        holds(Tier::Away);
    }
}

/// Read from the source, so that no new fault is forgotten.
#[test]
fn every_fault_that_can_hit_a_mint_is_in_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulator/fault.rs");
    let source = std::fs::read_to_string(path).unwrap();
    let body = source.split("pub enum Fault {").nth(1).unwrap();
    let body = body.split("\n}").next().unwrap();
    let name = |text: &str| -> String {
        text.chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect()
    };
    let kinds = body.lines().filter_map(|line| line.strip_prefix("    "));
    let kinds = kinds
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(name);
    let listed: Vec<_> = table()
        .iter()
        .map(|(_, fault, _)| name(&format!("{fault:?}")))
        .collect();
    let missing: Vec<_> = kinds.filter(|kind| !listed.contains(kind)).collect();
    assert_eq!(missing, ["TwoUsers"], "which is a fault of lists");
}

/// Two tenants, and a broker that keeps nobody waiting for longer than three seconds.
async fn two_tenants() -> (Simulator, Simulator, Broker) {
    let (acme, globex) = (tenant().await, tenant().await);
    for tenant in [&acme, &globex] {
        tenant.with_world(|world| {
            for user in 0..40 {
                let new = std::mem::take(world);
                *world = new.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
            }
        });
    }
    let config = "[server]\nrequest_timeout = '3s'\n".to_owned()
        + &key_table(&["acme", "globex"])
        + &tenant_table("acme", &acme.url())
        + &tenant_table("globex", &globex.url());
    let broker = Broker::start_paced(&config, QUICK).forgetting_connections();
    (acme, globex, broker)
}

fn ask_in(broker: &Broker, tenant: &str, user: &str) -> RequestBuilder {
    broker.ask(&json!({"tenant": tenant, "user_lookup": subject(user)}))
}

#[tokio::test]
async fn c43_a_throttled_tenant_is_not_called_until_it_says_and_no_other_notices() {
    let (acme, globex, broker) = two_tenants().await;
    acme.on(Call::Token, Fault::Throttle { retry_after: 13 });
    let started = tokio::time::Instant::now();
    let wait = refused(ask_in(&broker, "acme", "ann"), 503, "tenant_throttled").await;
    assert_eq!(wait, Some(13));
    for second in 0..8 {
        let user = format!("u{second}");
        let wait = refused(ask_in(&broker, "acme", &user), 503, "tenant_throttled").await;
        let wait = wait.unwrap();
        assert!(
            (11..=13).contains(&(wait + second)),
            "{wait} s after {second}"
        );
        token(ask_in(&broker, "globex", &user)).await;
        jump(1).await;
    }
    assert_eq!((acme.calls(Call::Any), globex.calls(Call::Any)), (1, 8));
    jump(3).await;
    // What is left of the pause is less than the deadline: these wait for its end.
    let crowd = join_all((8..28).map(|user| {
        let user = format!("u{user}");
        token(ask_in(&broker, "acme", &user))
    }));
    let next_call = async {
        while acme.calls(Call::Any) == 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        started.elapsed()
    };
    let (_, next_call) = tokio::join!(crowd, next_call);
    assert!(next_call >= Duration::from_secs(13), "{next_call:?}");
    assert_eq!(acme.calls(Call::Any), 21, "one call each");
}

/// Each row: a refusal, and how many users it takes until the whole tenant is left alone.
#[tokio::test]
async fn a_refused_client_stops_its_tenant_for_ten_seconds_once_it_cannot_be_an_odd_user() {
    for (fault, users) in [(Fault::WrongSecret, 1), (Fault::UnknownClient, 2)] {
        let (acme, globex, broker) = two_tenants().await;
        let is_refused = async |user: &str| {
            let request = ask_in(&broker, "acme", user);
            refused(request, 502, "tenant_refused_client")
                .await
                .unwrap()
        };
        acme.on_until_cleared(Call::Token, fault);
        for user in &["ann", "bob"][..users] {
            assert_eq!(is_refused(user).await, 30);
        }
        acme.clear_faults();
        let left = is_refused("eve").await;
        assert!((8..=10).contains(&left), "{left}");
        jump(7).await;
        is_refused("u1").await;
        assert_eq!(acme.calls(Call::Any), users);
        let ready: Value = broker.ops("/readyz").await.json().await.unwrap();
        let reason = json!([{"tenant": "acme", "reason": "client_refused"}]);
        assert_eq!(ready["reasons"], reason);
        token(ask_in(&broker, "globex", "eve")).await;

        jump(3).await;
        token(ask_in(&broker, "acme", "eve")).await;
        token(ask_in(&broker, "acme", "u2")).await;
        is_refused("ann").await;
        jump(20).await;
        token(ask_in(&broker, "acme", "ann")).await;
        assert_eq!(
            (acme.calls(Call::Any), globex.calls(Call::Any)),
            (users + 3, 1)
        );
    }
}
