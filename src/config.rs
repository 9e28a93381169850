//! The configuration: read in layers, checked as a whole, typed.
//!
//! After [`load`] invalid states do not exist: whoever holds a [`Config`] need not check it again.
//! Knows how each room's values are made, and nothing of what the rooms do with them. A configured
//! value never appears in a [`Problem`], since any value may be a secret in the wrong place.

mod check;
mod env;
mod files;
mod fingerprint;
mod fixed;
mod problem;
mod raw;
mod redact;
mod schema;
mod source;
mod validate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use crate::limits::Rates;
use crate::outbound::Proxy;
use crate::qlik::credential::Credential;
use crate::secret::Secret;
use crate::session::Users;
use crate::session::api_key::ApiKey;
use crate::session::back_end::BackEnd;
use crate::session::handle::HandleRules;
use crate::session::introspection::IntrospectionRules;
use crate::session::jwt::JwtRules;
use crate::session::portal_check::PortalCheckRules;
use crate::session::trusted_header::TrustedHeaderRules;
use crate::shared::SharedSettings;
use crate::telemetry::export::Collector;
use crate::telemetry::traces::Sampling;
use crate::telemetry::{Levels, LogFormat};
use crate::tenant::{Rate, ScopeSet, Tenant, TenantId};
use crate::tls::TlsSources;

use fingerprint::Fingerprints;

pub use fingerprint::Fingerprint;
pub use fixed::Fixed;
pub use problem::{Place, Problem, Problems};
pub(crate) use schema::Schema;

/// Where the configuration comes from: files first, then the environment on top.
#[derive(Clone, Default)]
pub struct Sources {
    /// Files, and directories of `*.toml`; later ones win.
    pub files: Vec<PathBuf>,
    /// Variables by name. Those that start with `QTB__` are read, all others are ignored.
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// These files, and the environment of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the configuration's variables"
    )]
    pub fn from_process(files: Vec<PathBuf>) -> Self {
        let all =
            std::env::vars_os().map(|(name, text)| (name.to_string_lossy().into_owned(), text));
        let ours = all.filter(|(name, _)| name.starts_with(env::PREFIX));
        Self {
            files,
            env: ours
                .map(|(name, text)| (name, text.to_string_lossy().into_owned()))
                .collect(),
        }
    }
}

/// A configuration that can be served.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener that browsers and back ends call.
    pub server: Server,
    /// The listener for health, readiness and metrics.
    pub ops: Ops,
    /// What is logged, and how.
    pub log: Log,
    /// The audit lines.
    pub audit: Audit,
    /// Where traces go.
    pub telemetry: Telemetry,
    /// The way to the tenants.
    pub proxy: Proxy,
    /// The tokens that are kept.
    pub cache: Cache,
    /// The second tier for several replicas.
    pub shared: Option<SharedSettings>,
    /// How often callers may ask.
    pub limits: Rates,
    /// The authenticators, in the order in which they are tried. Never empty.
    pub sessions: Vec<SessionTable>,
    /// The tenants by name. Never empty.
    pub tenants: BTreeMap<TenantId, TenantConfig>,
    /// What the operator should know, though it keeps nothing from starting.
    pub warnings: Vec<Problem>,
    redacted: Value,
}

impl Config {
    /// The effective configuration: all layers merged, defaults filled in, every secret replaced by
    /// `(secret)`. The names of files and variables that hold secrets are shown.
    pub fn redacted(&self) -> &Value {
        &self.redacted
    }
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// Requests served at a time.
    pub max_in_flight: usize,
    /// Requests parked for a mint, per tenant.
    pub max_waiting: usize,
    /// How long to keep serving while readiness says no.
    pub shutdown_delay: Duration,
    /// How long requests in flight may take to finish.
    pub shutdown_grace: Duration,
    /// How many brokers serve these tenants.
    pub replicas: NonZeroU32,
    /// The address under which callers reach the broker, without a slash at the end; may be empty.
    pub public_url: String,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Serves https itself.
    pub tls: Option<TlsSources>,
}

/// `[ops]`.
#[derive(Clone, Debug)]
pub struct Ops {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What a caller of `POST /reload` has to show.
    pub token: Option<Secret>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: Levels,
    /// For whom; where that is not said, it depends on where the lines go.
    pub format: Option<LogFormat>,
}

/// `[audit]`.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Keys the hash that stands for a user; random when absent.
    pub key: Option<Secret>,
}

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Takes the traces; without one there are none.
    pub collector: Option<Collector>,
    /// Which requests are traced.
    pub sampling: Sampling,
}

/// `[cache]`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Users whose tokens are kept.
    pub max_users: u64,
    /// A user that nobody asks for is forgotten after this time.
    pub idle: Duration,
    /// How long before its end a token is refreshed ahead.
    pub refresh_margin: Duration,
    /// With less than this left a token counts as expired.
    pub min_life: Duration,
    /// A token younger than this is not renewed on `rejected`.
    pub renewal_pause: Duration,
    /// Whether a logout revokes upstream.
    pub revoke_on_logout: bool,
}

/// A `[[session]]` table.
#[derive(Clone, Debug)]
pub struct SessionTable {
    /// Names it in logs; unique.
    pub name: Arc<str>,
    /// What it accepts.
    pub kind: SessionKind,
    /// How its sessions become users: there for every kind that does not name one. The scope is a
    /// set of every tenant that the mapping can reach.
    pub users: Option<Users>,
    /// Tells whether it is still the same.
    pub fingerprint: Fingerprint,
}

/// What a session table accepts.
#[derive(Clone, Debug)]
pub enum SessionKind {
    /// Back ends with a key. Never empty; ids are unique over all tables.
    ApiKey(Vec<ApiKey>),
    /// Signed JWTs.
    Jwt(JwtRules),
    /// Handles that back ends register. At most one table.
    Handle(HandleRules),
    /// Opaque tokens, by asking their issuer.
    Introspection(IntrospectionRules),
    /// Portal cookies, by asking the portal.
    PortalCheck(PortalCheckRules),
    /// Identity headers of a proxy.
    TrustedHeader(TrustedHeaderRules),
    /// Back ends with a certificate. Never empty.
    ClientCertificate(Vec<Arc<BackEnd>>),
}

/// A `[tenants.NAME]` table.
#[derive(Clone, Debug)]
pub struct TenantConfig {
    /// The tenant, as the broker sees it.
    pub tenant: Arc<Tenant>,
    /// How the broker proves itself to it.
    pub credential: Credential,
    /// The authority of a private CA: the content of the PEM file.
    pub ca_pem: Option<Vec<u8>>,
    /// How often it may be asked for tokens.
    pub budget: Rate,
    /// The client that looks users up.
    pub management: Option<OtherClient>,
    /// The client that has tokens of its own.
    pub service: Option<OtherClient>,
    /// Whether the pages that the OAuth client allows count as well. Only with `management`.
    pub origins_from_client: bool,
    /// Tells whether it is still the same, the clients' secrets and keys aside.
    pub fingerprint: Fingerprint,
}

/// An OAuth client that acts for itself.
#[derive(Clone, Debug)]
pub struct OtherClient {
    /// How it proves itself.
    pub credential: Credential,
    /// What it asks for.
    pub scopes: ScopeSet,
}

/// The JSON Schema of the configuration files.
pub fn schema() -> Value {
    schema::published()
}

/// All files that decide what the configuration is: the sources, with their directories, and what they
/// name. Those of `[server.tls]` are none of them: they are read again without a reload.
pub fn files(sources: &Sources) -> Vec<PathBuf> {
    let mut files = sources.files.clone();
    // What is wrong is for `load` to say.
    files.extend(source::files(&sources.files, &mut Vec::new()));
    if let Ok(mut merged) = source::merge(sources, &schema::published()) {
        if let Some(Value::Object(server)) = merged.value.get_mut("server") {
            server.remove("tls");
        }
        files.extend(files::named(&merged.value));
    }
    files.sort();
    files.dedup();
    files
}

/// Reads all sources. Either a configuration that can be served, or all that is wrong with it.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    load_by(&Schema::new(), sources)
}

/// The same, by a schema that is at hand: to make it takes longer than all the rest.
pub(crate) fn load_by(schema: &Schema, sources: &Sources) -> Result<Config, Problems> {
    let published = &schema.published;
    let source::Merged {
        mut value,
        places,
        problems,
    } = source::merge(sources, published).map_err(Problems)?;
    let mut report = problem::Report {
        problems,
        warnings: Vec::new(),
    };
    check::against(schema, &mut value, &mut report);
    let fingerprints = Fingerprints::of(&value);
    let config = validate::typed(&value, &mut report);

    let problem::Report {
        mut problems,
        mut warnings,
    } = report;
    for problem in problems.iter_mut().chain(&mut warnings) {
        problem.place = places.find(&problem.path).cloned();
    }
    problems.sort_by(|one, other| one.path.cmp(&other.path));
    match config {
        Some(mut config) if problems.is_empty() => {
            fingerprints.note(&mut config);
            config.warnings = warnings;
            config.redacted = redact::effective(published, value);
            Ok(config)
        }
        _ => Err(Problems(problems)),
    }
}
