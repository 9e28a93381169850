//! The composition root: everything that a request needs, built once from the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use crate::admission::Admissions;
use crate::broker::{Broker, CacheSettings};
use crate::config::{self, Config, SessionKind, TenantConfig};
use crate::expiring::Margins;
use crate::outbound::{self, Proxy};
use crate::qlik::QlikClient;
use crate::session::api_key::ApiKeys;
use crate::session::jwt::Jwt;
use crate::session::{Authenticator, Sessions, Table};
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics;

/// A running broker without its listeners.
#[derive(Debug)]
pub struct App {
    /// From a credential to a user's place in the cache.
    pub admissions: Admissions,
    /// From there to a token.
    pub broker: Arc<Broker>,
    /// The audit trail.
    pub audit: Arc<Audit>,
    /// The `[server]` table.
    pub server: config::Server,
    /// Requests that may still come in before they are shed.
    pub places: Semaphore,
    /// The metrics of this process; `None` if another recorder is installed.
    pub metrics: Option<PrometheusHandle>,
    stopping: AtomicBool,
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
        let mut clients = Vec::new();
        let mut tenants = BTreeMap::new();
        for (id, tenant) in config.tenants {
            clients.push((id.clone(), qlik_client(&tenant, &config.proxy)?));
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
        };
        let broker = Arc::new(Broker::new(clients, settings));
        let tables = config
            .sessions
            .into_iter()
            .map(|table| session_table(table, &config.proxy));
        let sessions = Sessions::new(tables.collect::<Result<_, _>>()?);
        let admissions = Admissions::new(
            sessions,
            tenants,
            Arc::clone(&broker),
            Arc::clone(&audit),
            cache.max_users,
            cache.idle,
        );
        let places = Semaphore::new(config.server.max_in_flight);
        let stopping = AtomicBool::new(false);
        Ok(Arc::new(Self {
            admissions,
            broker,
            audit,
            server: config.server,
            places,
            metrics,
            stopping,
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

/// The client of one configured tenant, as the broker and the commands use it.
pub fn qlik_client(config: &TenantConfig, proxy: &Proxy) -> Result<QlikClient, BuildError> {
    let TenantConfig {
        tenant,
        credential,
        ca_pem,
        ..
    } = config;
    let place = |key: &str| format!("tenants.{}.{key}", tenant.id);
    let http = outbound::client(proxy, ca_pem.as_deref()).map_err(|error| BuildError {
        place: place("ca_file"),
        reason: error.to_string(),
    })?;
    QlikClient::new(http, tenant.id.as_str(), &tenant.url, credential.clone()).map_err(|error| {
        BuildError {
            place: place("client_secret"),
            reason: error.to_string(),
        }
    })
}

fn session_table(table: config::SessionTable, proxy: &Proxy) -> Result<Table, BuildError> {
    let failed = |reason: String| BuildError {
        place: format!("session {}", table.name),
        reason,
    };
    let authenticator = match table.kind {
        SessionKind::ApiKey(keys) => Authenticator::ApiKey(ApiKeys::new(keys)),
        SessionKind::Jwt {
            rules,
            mapping,
            scope,
        } => {
            let http = outbound::client(proxy, None).map_err(|error| failed(error.to_string()))?;
            let jwt = Jwt::new(rules, http).map_err(|error| failed(error.to_owned()))?;
            Authenticator::Jwt {
                jwt: Box::new(jwt),
                mapping,
                scope,
            }
        }
    };
    Ok(Table {
        name: table.name,
        authenticator,
    })
}
