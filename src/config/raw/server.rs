//! The tables that are there once: listeners, logs, cache, limits, shared tier.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// The listener that browsers and back ends call.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port: an IP address, not a name.
    pub listen: String,
    /// How long a request may take in all, waiting for a mint included. At least 1s.
    pub request_timeout: String,
    /// Requests served at a time; one more is answered `overloaded`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: usize,
    /// Requests that wait for a mint at a time, per tenant; they do not count as being served.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub max_waiting: usize,
    /// After SIGTERM: how long to keep serving while readiness says no. 5s behind a load balancer.
    pub shutdown_delay: String,
    /// After that: how long requests in flight may take to finish.
    pub shutdown_grace: String,
    /// How many brokers serve these tenants. Each mints within `budget / replicas` when there is no
    /// `[shared]`, or while it is away.
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u32,
    /// The address under which callers reach the broker, such as `https://portal.example.com/broker`
    /// when a path prefix is in front. Error types are links below it.
    pub public_url: String,
    /// Allows `public_url` to be plain http.
    pub allow_http: bool,
    /// Networks whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// Serves https itself. Off when absent.
    pub tls: Option<Tls>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            request_timeout: "10s".into(),
            max_in_flight: 4096,
            max_waiting: 10_000,
            shutdown_delay: "0s".into(),
            shutdown_grace: "25s".into(),
            replicas: 1,
            public_url: String::new(),
            allow_http: false,
            trusted_proxies: Vec::new(),
            tls: None,
        }
    }
}

/// The certificate of the listener, and of its clients.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub certificate: Secret,
    /// Its private key, PEM.
    pub key: Secret,
    /// The authority whose client certificates are accepted, PEM.
    pub client_ca: Option<Secret>,
}

/// The listener for health, readiness, metrics and the status page. Never exposed to browsers.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ops {
    /// Address and port.
    pub listen: String,
    /// The bearer for `POST /reload`, at least 16 bytes. Without it reload answers on a loopback
    /// listener only.
    pub token: Option<Secret>,
}

impl Default for Ops {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9090".into(),
            token: None,
        }
    }
}

/// One JSON object per line, or lines for people.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Pretty,
}

/// What is logged, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How much is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`. Rooms of the broker may
    /// have another level: `info,session=debug,broker::cells=trace`.
    #[schemars(extend("examples" = ["info,session=debug"]))]
    pub level: String,
    /// `json` for machines, `pretty` for people. When absent, `pretty` at a terminal and `json`
    /// elsewhere.
    pub format: Option<Format>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: None,
        }
    }
}

/// The audit lines, one per decision.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Keys the hash that stands for a user: at least 16 random characters, the same on all
    /// replicas. Random at every start when absent, so that lines cannot be compared across starts.
    pub key: Option<Secret>,
}

/// Traces: where they are sent to, and of which requests.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// The collector's OTLP endpoint over HTTP, such as `http://collector:4318`. No traces when absent.
    pub otlp_endpoint: Option<String>,
    /// Headers that the collector wants, such as `authorization`, by name.
    pub headers: BTreeMap<String, Secret>,
    /// The share of requests that is traced, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
    /// Networks of peers whose trace context (`traceparent`) is continued, and whose decision holds.
    /// That of others is not looked at.
    pub trusted_peers: Vec<String>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            headers: BTreeMap::new(),
            sample: 0.1,
            trusted_peers: Vec::new(),
        }
    }
}

/// The way to the tenants.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// The proxy for calls to the tenants: empty for none, `env` for what the environment says
    /// (`HTTPS_PROXY`, `NO_PROXY`), or the proxy's URL.
    #[schemars(extend("writeOnly" = true, "examples" = ["env"]))]
    pub proxy: String,
}

/// The tokens that are kept.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Users whose tokens are kept; one more displaces the one that was not asked for longest.
    /// About 2 kB each.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_users: u64,
    /// A user that nobody asks for is forgotten after this time.
    pub idle: String,
    /// A token is refreshed ahead in the last part of its life: this long, or the last half of a
    /// short life; jittered.
    pub refresh_margin: String,
    /// With less than this left (or a tenth of a short life) a token counts as expired, unless
    /// nothing better can be had.
    pub min_life: String,
    /// A token younger than this is not renewed when a caller says it was rejected.
    pub renewal_pause: String,
    /// Whether a logout revokes the user's tokens at the tenant.
    pub revoke_on_logout: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_users: 200_000,
            idle: "6h".into(),
            refresh_margin: "10m".into(),
            min_life: "60s".into(),
            renewal_pause: "30s".into(),
            revoke_on_logout: true,
        }
    }
}

/// How often a caller may ask. 0 turns a limit off.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls per browser session and minute; bursts up to a fifth of it.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub session_per_minute: u32,
    /// Refused credentials per client address (IPv6: /64) and minute; bursts up to a fifth of it.
    /// Off while the peer's address is private and `trusted_proxies` is empty.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub failures_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_per_minute: 600,
            failures_per_minute: 120,
        }
    }
}

/// The second tier for several replicas: Redis or Valkey.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// `redis://`, `rediss://`, `redis-cluster://` or `redis-sentinel://`.
    #[schemars(extend("writeOnly" = true))]
    pub url: String,
    /// The user to log in as.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The authority of a private CA, a PEM file.
    pub ca_file: Option<String>,
    /// The keys that seal what is stored: the first is used for what is new, all open.
    #[schemars(length(min = 1))]
    pub encryption_keys: Vec<EncryptionKey>,
}

/// A key that seals what is stored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncryptionKey {
    /// Names the key, so that an older one still opens.
    pub id: String,
    /// 32 random bytes, base64.
    pub key: Secret,
}
