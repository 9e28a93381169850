//! Every metric there is, by name. None carries a user.

mod handles;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::build;

pub use handles::{Issuing, Requests, TokenSource};

pub(crate) const REQUESTS: &str = "qtb_requests_total";
pub(crate) const REQUEST_SECONDS: &str = "qtb_request_seconds";
pub(crate) const TOKENS_ISSUED: &str = "qtb_tokens_issued_total";
pub(crate) const TOKEN_LIFE: &str = "qtb_token_life_seconds";
const UPSTREAM_CALLS: &str = "qtb_upstream_calls_total";
const UPSTREAM_SECONDS: &str = "qtb_upstream_seconds";
const SPANS: &str = "qtb_spans_total";
const REFRESHES: &str = "qtb_refreshes_total";
const SESSION_QUESTIONS: &str = "qtb_session_questions_total";
const IDENTITY_HEADERS_REFUSED: &str = "qtb_identity_headers_refused_total";
const SHARED_UP: &str = "qtb_shared_up";
pub(crate) const SHARED_OPERATIONS: &str = "qtb_shared_operations_total";
pub(crate) const BUDGET_AVAILABLE: &str = "qtb_budget_available";
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
    describe_histogram!(
        UPSTREAM_SECONDS,
        "Time a tenant took, by tenant, call and outcome"
    );
    describe_counter!(
        SPANS,
        "Spans of traces, by outcome (sent, or dropped because the collector did not take them)"
    );
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
    describe_gauge!(BUILD_INFO, "1, with version and commit as labels");
    gauge!(BUILD_INFO, "version" => build::VERSION, "commit" => build::COMMIT).set(1.0);
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

impl UpstreamCall {
    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::UserMe => "users_me",
            Self::Users => "users",
            Self::UserCreate => "user_create",
            Self::UserPatch => "user_patch",
            Self::OauthClient => "oauth_client",
        }
    }

    /// Method and pattern of the path.
    pub fn route(self) -> &'static str {
        match self {
            Self::Token => "POST /oauth/token",
            Self::Revoke => "POST /oauth/revoke",
            Self::UserMe => "GET /api/v1/users/me",
            Self::Users => "GET /api/v1/users",
            Self::UserCreate => "POST /api/v1/users",
            Self::UserPatch => "PATCH /api/v1/users/{id}",
            Self::OauthClient => "GET /api/v1/oauth-clients/{id}",
        }
    }
}

/// Counts a call to a tenant and how long it took.
pub fn upstream(tenant: &str, call: UpstreamCall, outcome: &'static str, took: Duration) {
    let (tenant, call) = (tenant.to_owned(), call.as_str());
    counter!(UPSTREAM_CALLS, "tenant" => tenant.clone(), "call" => call, "outcome" => outcome)
        .increment(1);
    histogram!(UPSTREAM_SECONDS, "tenant" => tenant, "call" => call, "outcome" => outcome)
        .record(took);
}

/// From the start on these calls to a tenant have a counter of those that it throttled: what begins with
/// its first event is seen by no `increase`, and no alert.
pub fn may_throttle(tenant: &str, calls: &[UpstreamCall]) {
    for call in calls {
        let (tenant, call) = (tenant.to_owned(), call.as_str());
        let throttled =
            counter!(UPSTREAM_CALLS, "tenant" => tenant, "call" => call, "outcome" => "throttled");
        throttled.increment(0);
    }
}

/// Counts spans that the collector took, or did not.
pub fn spans(count: usize, is_sent: bool) {
    let outcome = if is_sent { "sent" } else { "dropped" };
    counter!(SPANS, "outcome" => outcome).increment(count as u64);
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

/// A tenant is not served any more: its gauges would stand still, and alert for ever.
pub fn forget_tenant(tenant: &str) {
    for gauge in [BUDGET_AVAILABLE, WAITING] {
        gauge!(gauge, "tenant" => tenant.to_owned()).set(f64::NAN);
    }
}

/// A tenant has no such client any more.
pub fn forget_client(tenant: &str, client: &'static str) {
    gauge!(SECRET_IN_USE, "tenant" => tenant.to_owned(), "client" => client).set(f64::NAN);
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

/// The gauge of cached users.
pub fn cached_users() -> Gauge {
    gauge!(CACHED_USERS)
}

/// Notes which of a client's secrets or keys is in use: its place in the list.
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
