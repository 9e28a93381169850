//! The composition root: everything that a request needs, built once from the configuration.

mod clients;
mod heed;
pub mod origins;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::{Admissions, Parts};
use crate::broker::{Broker, CacheSettings, TenantClients};
use crate::budget::Replicas;
use crate::config::{self, Config, SessionKind};
use crate::digest;
use crate::expiring::Margins;
use crate::limits::Limits;
use crate::outbound::{self, Proxy};
use crate::session::api_key::ApiKeys;
use crate::session::client_certificate::ClientCertificates;
use crate::session::ended::Ended;
use crate::session::handle::Handles;
use crate::session::introspection::Introspection;
use crate::session::jwt::Jwt;
use crate::session::portal_check::PortalCheck;
use crate::session::trusted_header::TrustedHeader;
use crate::session::{Authenticator, Sessions, Table};
use crate::shared::Shared;
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics;
use crate::tenant::TenantId;

pub use clients::Clients;

/// A running broker without its listeners.
#[derive(Debug)]
pub struct App {
    /// From a credential to a user's place in the cache.
    pub admissions: Admissions,
    /// From there to a token.
    pub broker: Arc<Broker>,
    /// The audit trail.
    pub audit: Arc<Audit>,
    /// What the replicas share, where they do.
    pub shared: Option<Arc<Shared>>,
    /// The `[server]` table.
    pub server: config::Server,
    /// How often callers may ask.
    pub limits: Limits,
    /// Requests that may still come in before they are shed.
    pub places: Arc<Semaphore>,
    /// The metrics of this process; `None` if another recorder is installed.
    pub metrics: Option<PrometheusHandle>,
    origins_from_client: Vec<TenantId>,
    stopping: AtomicBool,
    _heeding: Option<AbortOnDropHandle<()>>,
}

/// Why no broker could be built from a configuration that is right in itself.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct BuildError {
    /// The table it is about.
    pub place: String,
    /// What went wrong. Never shows a secret.
    pub reason: String,
}

impl App {
    /// Builds everything. Reads key files; the network is `check`'s job.
    pub fn build(config: Config) -> Result<Arc<Self>, BuildError> {
        let metrics = metrics::install();
        let audit = Audit::new(config.audit.key.as_ref()).map_err(|_| BuildError {
            place: "audit.key".into(),
            reason: "this machine gives no randomness".into(),
        })?;
        let audit = Arc::new(audit);
        let shared = config.shared.as_ref().map(Shared::connect).transpose();
        let shared = shared.map_err(|error| BuildError {
            place: "shared.url".into(),
            reason: error.to_string(),
        })?;
        let replicas = |tenant: &TenantId| Replicas {
            count: config.server.replicas,
            shared: shared
                .clone()
                .map(|shared| (shared, digest::of("pace", [tenant.as_str()]))),
        };
        let mut clients = Vec::new();
        let mut tenants = BTreeMap::new();
        let mut directories = HashMap::new();
        let mut origins_from_client = Vec::new();
        for (id, tenant) in config.tenants {
            let made = Clients::of(&tenant, &config.proxy, replicas(&id))?;
            let directory = made.directory()?;
            directories.extend(directory.clone().map(|directory| (id.clone(), directory)));
            let made = TenantClients {
                budget: Arc::clone(&made.budget),
                issuing: made.issuing()?,
                directory,
                service: made.service()?,
            };
            clients.push((id.clone(), made));
            origins_from_client.extend(tenant.origins_from_client.then(|| id.clone()));
            tenants.insert(id, tenant.tenant);
        }
        let cache = &config.cache;
        let settings = CacheSettings {
            max_users: cache.max_users,
            idle: cache.idle,
            margins: Margins {
                refresh: cache.refresh_margin,
                min_life: cache.min_life,
            },
            renewal_pause: cache.renewal_pause,
            revoke_on_logout: cache.revoke_on_logout,
            refresh_timeout: config.server.request_timeout,
            max_waiting: config.server.max_waiting,
        };
        let broker = Broker::new(clients, settings, shared.clone(), Arc::clone(&audit));
        let broker = Arc::new(broker);
        let tables = config
            .sessions
            .into_iter()
            .map(|table| session_table(table, &config.proxy, cache.max_users, shared.as_ref()));
        let ended = Arc::new(Ended::new(shared.clone()));
        let heeding = shared
            .as_ref()
            .map(|shared| heed::heed(shared, &broker, &ended));
        let parts = Parts {
            sessions: Sessions::new(tables.collect::<Result<_, _>>()?),
            tenants,
            directories,
            broker: Arc::clone(&broker),
            audit: Arc::clone(&audit),
            ended,
        };
        let admissions = Admissions::new(parts, cache.max_users, cache.idle);
        let knows_clients = !config.server.trusted_proxies.is_empty();
        let limits = Limits::new(config.limits, cache.max_users, knows_clients);
        let places = Arc::new(Semaphore::new(config.server.max_in_flight));
        let stopping = AtomicBool::new(false);
        Ok(Arc::new(Self {
            admissions,
            broker,
            audit,
            shared,
            server: config.server,
            limits,
            places,
            metrics,
            origins_from_client,
            stopping,
            _heeding: heeding,
        }))
    }

    /// From now on readiness says no; requests are still served.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether [`App::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// How long a request may take in all.
    pub fn request_timeout(&self) -> Duration {
        self.server.request_timeout
    }
}

/// Somebody who is logged in with several browsers has as many handles.
const HANDLES_PER_USER: u64 = 4;

fn session_table(
    table: config::SessionTable,
    proxy: &Proxy,
    max_users: u64,
    shared: Option<&Arc<Shared>>,
) -> Result<Table, BuildError> {
    let failed = |reason: String| BuildError {
        place: format!("session {}", table.name),
        reason,
    };
    let http = || outbound::client(proxy, None).map_err(|error| failed(error.to_string()));
    let authenticator = match table.kind {
        SessionKind::ApiKey(keys) => Authenticator::ApiKey(ApiKeys::new(keys)),
        SessionKind::Jwt(rules) => {
            let jwt = Jwt::new(rules, http()?).map_err(|error| failed(error.to_owned()))?;
            Authenticator::Jwt(Box::new(jwt))
        }
        SessionKind::Handle(rules) => {
            let capacity = max_users.saturating_mul(HANDLES_PER_USER);
            Authenticator::Handle(Handles::new(rules, capacity, shared.cloned()))
        }
        SessionKind::Introspection(rules) => {
            Authenticator::Introspection(Introspection::new(&table.name, rules, http()?))
        }
        SessionKind::PortalCheck(rules) => {
            Authenticator::PortalCheck(PortalCheck::new(&table.name, rules, http()?))
        }
        SessionKind::TrustedHeader(rules) => {
            Authenticator::TrustedHeader(TrustedHeader::new(rules))
        }
        SessionKind::ClientCertificate(clients) => {
            Authenticator::ClientCertificate(ClientCertificates::new(clients))
        }
    };
    Ok(Table {
        name: table.name,
        authenticator,
        users: table.users,
    })
}
