//! Every metric there is, by name. None carries a user.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const REQUESTS: &str = "qtb_requests_total";
const REQUEST_SECONDS: &str = "qtb_request_seconds";
const TOKENS_ISSUED: &str = "qtb_tokens_issued_total";
const TOKEN_LIFE: &str = "qtb_token_life_seconds";
const UPSTREAM_CALLS: &str = "qtb_upstream_calls_total";
const UPSTREAM_SECONDS: &str = "qtb_upstream_seconds";
const REFRESHES: &str = "qtb_refreshes_total";
const SESSION_QUESTIONS: &str = "qtb_session_questions_total";
const IDENTITY_HEADERS_REFUSED: &str = "qtb_identity_headers_refused_total";
const SHARED_UP: &str = "qtb_shared_up";
const SHARED_OPERATIONS: &str = "qtb_shared_operations_total";
const BUDGET_AVAILABLE: &str = "qtb_budget_available";
const WAITING: &str = "qtb_waiting";
const LIMITED: &str = "qtb_limited_total";
const CACHED_USERS: &str = "qtb_cached_users";
const SECRET_IN_USE: &str = "qtb_client_secret_in_use";
const CONFIG_GENERATION: &str = "qtb_config_generation";
const CONFIG_RELOADS: &str = "qtb_config_reloads_total";
const CONFIG_LAST_RELOAD_OK: &str = "qtb_config_last_reload_ok";
const BUILD_INFO: &str = "qtb_build_info";

const SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];
const LIFE_SECONDS: [f64; 7] = [60.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0, 21_600.0];

/// The recorder of this process: installed once, shared by every broker in it.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the recorder, if that has not happened yet. `None` if another one is in place.
pub fn install() -> Option<PrometheusHandle> {
    RECORDER.get_or_init(recorder).clone()
}

fn recorder() -> Option<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_life_seconds".into()), &LIFE_SECONDS)
        .and_then(|builder| builder.set_buckets(&SECONDS))
        .ok()?
        .install_recorder()
        .ok()?;
    describe_counter!(
        REQUESTS,
        "Requests answered, by route and outcome (ok or the problem's code)"
    );
    describe_histogram!(
        REQUEST_SECONDS,
        "Time from a request's head to its answer, by route"
    );
    describe_counter!(TOKENS_ISSUED, "Tokens handed out, by tenant and source");
    describe_histogram!(
        TOKEN_LIFE,
        "Remaining life of the tokens handed out, by tenant"
    );
    describe_counter!(
        UPSTREAM_CALLS,
        "Calls to a tenant, by call and outcome; every try counts"
    );
    describe_histogram!(UPSTREAM_SECONDS, "Time a tenant took, by call");
    describe_counter!(
        REFRESHES,
        "Tokens renewed ahead of their end, by tenant and outcome"
    );
    describe_counter!(
        IDENTITY_HEADERS_REFUSED,
        "Identity headers that were not believed, by reason"
    );
    describe_counter!(
        SESSION_QUESTIONS,
        "Questions to issuers and portals about sessions, by session table and outcome"
    );
    describe_gauge!(
        BUDGET_AVAILABLE,
        "Calls that a tenant could be sent at once, by tenant"
    );
    describe_gauge!(
        WAITING,
        "Callers who wait for a turn at a tenant, by tenant"
    );
    describe_gauge!(SHARED_UP, "Whether the shared tier is in reach");
    describe_counter!(
        SHARED_OPERATIONS,
        "Operations of the shared tier, by operation and outcome (ok or failed)"
    );
    describe_counter!(
        LIMITED,
        "Requests refused because their caller asks too often, by limit"
    );
    describe_gauge!(
        SECRET_IN_USE,
        "Place of the secret or key in use in its list, by tenant and client; 0 when it is no longer listed"
    );
    describe_gauge!(CONFIG_GENERATION, "1 at the start, 1 more per reload");
    describe_counter!(CONFIG_RELOADS, "Reloads, by outcome (ok or refused)");
    describe_gauge!(CONFIG_LAST_RELOAD_OK, "0 while the last was refused");
    describe_gauge!(CACHED_USERS, "Users with a cached token");
    describe_gauge!(BUILD_INFO, "1, with the version as label");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Some(handle)
}

/// The calls made to a tenant.
#[derive(Clone, Copy, Debug)]
pub enum UpstreamCall {
    /// `POST /oauth/token`.
    Token,
    /// `POST /oauth/revoke`.
    Revoke,
    /// `GET /api/v1/users/me`.
    UserMe,
    /// `GET /api/v1/users`.
    Users,
    /// `POST /api/v1/users`.
    UserCreate,
    /// `PATCH /api/v1/users/{id}`.
    UserPatch,
    /// `GET /api/v1/oauth-clients/{id}`.
    OauthClient,
}

/// Counts a call to a tenant and how long it took.
pub fn upstream(tenant: &str, call: UpstreamCall, outcome: &'static str, took: Duration) {
    let call = match call {
        UpstreamCall::Token => "token",
        UpstreamCall::Revoke => "revoke",
        UpstreamCall::UserMe => "users_me",
        UpstreamCall::Users => "users",
        UpstreamCall::UserCreate => "user_create",
        UpstreamCall::UserPatch => "user_patch",
        UpstreamCall::OauthClient => "oauth_client",
    };
    let tenant = tenant.to_owned();
    counter!(UPSTREAM_CALLS, "tenant" => tenant.clone(), "call" => call, "outcome" => outcome)
        .increment(1);
    histogram!(UPSTREAM_SECONDS, "tenant" => tenant, "call" => call).record(took);
}

/// Counts an identity header that was not believed: from a `peer` that is not listed, `doubled`, with
/// a `look_alike`, or without the proxy's `secret`.
pub fn identity_header_refused(reason: &'static str) {
    counter!(IDENTITY_HEADERS_REFUSED, "reason" => reason).increment(1);
}

/// Counts a request beyond a limit: of a `session`, of an address's `failures`, of a `key`.
pub fn limited(limit: &'static str) {
    counter!(LIMITED, "limit" => limit).increment(1);
}

/// Counts a question to whoever keeps a table's sessions: answered `yes` or `no`, `failed` (an answer
/// that made no sense) or `unanswered`.
pub fn session_question(table: &str, outcome: &'static str) {
    counter!(SESSION_QUESTIONS, "session" => table.to_owned(), "outcome" => outcome).increment(1);
}

/// How a tenant's budget stands.
pub fn budget(tenant: &str, waiting: usize, available: u32) {
    gauge!(BUDGET_AVAILABLE, "tenant" => tenant.to_owned()).set(f64::from(available));
    gauge!(WAITING, "tenant" => tenant.to_owned()).set(waiting as f64);
}

/// The shared tier came into reach, or went out of it.
pub fn shared_up(is_up: bool) {
    gauge!(SHARED_UP).set(f64::from(u8::from(is_up)));
}

/// Counts an operation of the shared tier.
pub fn shared_operation(operation: &'static str, done: bool) {
    let outcome = if done { "ok" } else { "failed" };
    counter!(SHARED_OPERATIONS, "operation" => operation, "outcome" => outcome).increment(1);
}

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// This replica's memory.
    Local,
    /// Another replica, through the shared tier.
    Shared,
    /// The tenant, while the caller waited.
    Minted,
}

impl TokenSource {
    /// As it is written in headers, metrics and audit lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Shared => "shared",
            Self::Minted => "minted",
        }
    }
}

/// What is counted for every token handed out: resolved once per tenant, since a hit has no time
/// to look metrics up.
pub struct Issuing {
    local: Counter,
    shared: Counter,
    minted: Counter,
    life: Histogram,
    refreshed: Counter,
    refresh_failed: Counter,
}

impl Issuing {
    /// The handles of one tenant.
    pub fn of(tenant: &str) -> Self {
        let issued = |source: TokenSource| counter!(TOKENS_ISSUED, "tenant" => tenant.to_owned(), "source" => source.as_str());
        let refreshes = |outcome: &'static str| counter!(REFRESHES, "tenant" => tenant.to_owned(), "outcome" => outcome);
        Self {
            local: issued(TokenSource::Local),
            shared: issued(TokenSource::Shared),
            minted: issued(TokenSource::Minted),
            life: histogram!(TOKEN_LIFE, "tenant" => tenant.to_owned()),
            refreshed: refreshes("ok"),
            refresh_failed: refreshes("failed"),
        }
    }

    /// A token was handed out that came from there, with this much life left.
    pub fn issued(&self, source: TokenSource, life: Duration) {
        let counter = match source {
            TokenSource::Local => &self.local,
            TokenSource::Shared => &self.shared,
            TokenSource::Minted => &self.minted,
        };
        counter.increment(1);
        self.life.record(life);
    }

    /// A token was renewed ahead of its end, or should have been.
    pub fn refreshed(&self, done: bool) {
        let counter = if done {
            &self.refreshed
        } else {
            &self.refresh_failed
        };
        counter.increment(1);
    }
}

impl std::fmt::Debug for Issuing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuing")
    }
}

/// What is counted of every request, resolved once per route.
#[derive(Clone)]
pub struct Requests {
    route: &'static str,
    ok: Counter,
    seconds: Histogram,
}

impl Requests {
    /// The handles of one route.
    pub fn of(route: &'static str) -> Self {
        Self {
            route,
            ok: counter!(REQUESTS, "route" => route, "outcome" => "ok"),
            seconds: histogram!(REQUEST_SECONDS, "route" => route),
        }
    }

    /// The route, as it is labelled.
    pub fn route(&self) -> &'static str {
        self.route
    }

    /// A request was answered: well, or with a problem of this code.
    pub fn answered(&self, problem: Option<&'static str>, took: Duration) {
        match problem {
            None => self.ok.increment(1),
            Some(code) => {
                counter!(REQUESTS, "route" => self.route, "outcome" => code).increment(1);
            }
        }
        self.seconds.record(took);
    }
}

/// The gauge of cached users.
pub fn cached_users() -> Gauge {
    gauge!(CACHED_USERS)
}

/// Notes which of a client's secrets or keys is in use.
pub fn client_secret_in_use(tenant: &str, client: &'static str, place: usize) {
    let tenant = tenant.to_owned();
    gauge!(SECRET_IN_USE, "tenant" => tenant, "client" => client).set(place as f64);
}

/// Notes which configuration is in use, and that no newer one was refused.
pub fn config_in_use(generation: u64) {
    gauge!(CONFIG_GENERATION).set(generation as f64);
    gauge!(CONFIG_LAST_RELOAD_OK).set(1.0);
}

/// Counts a reload.
pub fn config_reloaded(ok: bool) {
    let outcome = if ok { "ok" } else { "refused" };
    counter!(CONFIG_RELOADS, "outcome" => outcome).increment(1);
    if !ok {
        gauge!(CONFIG_LAST_RELOAD_OK).set(0.0);
    }
}
