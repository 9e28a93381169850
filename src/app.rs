//! The composition root: everything that a request needs, built from one configuration. A reload
//! builds another one, which goes on with what the one before knew.

mod around;
mod clients;
mod heed;
pub mod live;
pub mod origins;
mod served;
pub mod standing;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::{Admissions, Parts};
use crate::broker::{Broker, CacheSettings};
use crate::config::{self, Config, Fingerprint, Fixed};
use crate::expiring::Margins;
use crate::limits::Limits;
use crate::outbound::Outgoing;
use crate::session::ended::Ended;
use crate::session::{Sessions, Table};
use crate::shared::Shared;
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics;
use crate::telemetry::recent::Recent;
use crate::telemetry::traces::Sampling;
use crate::tenant::TenantId;

use around::Around;
use origins::PageOrigins;
use served::Served;

pub use clients::Clients;

/// A running broker without its listeners.
#[derive(Debug)]
pub struct App {
    /// Which configuration it is made of, counted from 1.
    pub generation: u64,
    /// From a credential to a user's place in the cache.
    pub admissions: Admissions,
    /// From there to a token.
    pub broker: Arc<Broker>,
    /// When it was made of it.
    pub loaded: Instant,
    /// The audit trail.
    pub audit: Arc<Audit>,
    /// The last requests that failed.
    pub recent: Arc<Recent>,
    /// What the replicas share, where they do.
    pub shared: Option<Arc<Shared>>,
    /// The `[server]` table.
    pub server: config::Server,
    /// How often callers may ask.
    pub limits: Limits,
    /// The `[ops]` table.
    pub ops: config::Ops,
    /// The pages that any tenant allows.
    pub origins: PageOrigins,
    /// Which requests are traced.
    pub sampling: Sampling,
    /// Requests that may still come in before they are shed.
    pub places: Arc<Semaphore>,
    /// The metrics of this process; `None` if another recorder is installed.
    pub metrics: Option<PrometheusHandle>,
    fixed: Fixed,
    tenants: BTreeMap<TenantId, Arc<Served>>,
    tables: HashMap<Fingerprint, Arc<Table>>,
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
    /// Builds everything. Reads key files; the network is `check`'s job. What the `previous` one knows
    /// stays known as far as the configuration is still the same: cached tokens, sessions, budgets.
    pub fn build(config: Config, previous: Option<&Self>) -> Result<Arc<Self>, BuildError> {
        let metrics = metrics::install();
        let before = previous.map(|previous| &*previous.audit);
        let audit = Audit::new(config.audit.key.as_ref(), before).map_err(|_| BuildError {
            place: "audit.key".into(),
            reason: "this machine gives no randomness".into(),
        })?;
        let audit = Arc::new(audit);
        let shared = match previous {
            Some(previous) => previous.shared.clone(),
            None => connect(&config)?,
        };
        let fixed = Fixed::of(&config);
        let around = Around {
            outgoing: Outgoing::by(&config.proxy),
            max_users: config.cache.max_users,
            replicas: config.server.replicas,
            shared: shared.as_ref(),
            previous,
        };
        let mut tenants = BTreeMap::new();
        for (id, tenant) in &config.tenants {
            tenants.insert(id.clone(), around.tenant(id, tenant)?);
        }
        let mut tables = HashMap::new();
        let mut chain = Vec::new();
        for table in config.sessions {
            let fingerprint = table.fingerprint;
            let table = around.table(table)?;
            tables.insert(fingerprint, Arc::clone(&table));
            chain.push(table);
        }
        // Nothing fails from here on, and what is shared with the previous one may change.
        let settings = settings(&config.cache, &config.server);
        let clients = tenants.values().map(|served| served.clients.clone());
        let before = previous.map(|previous| &*previous.broker);
        let broker = Broker::new(
            clients,
            settings,
            shared.clone(),
            Arc::clone(&audit),
            before,
        );
        let broker = Arc::new(broker);
        for (id, tenant) in &config.tenants {
            let served = tenants.get(id);
            if served.is_some_and(|served| served.renew(tenant, config.server.replicas)) {
                broker.forgive(id);
            }
        }
        let ended = previous.map_or_else(
            || Arc::new(Ended::new(shared.clone())),
            |previous| Arc::clone(previous.admissions.ended()),
        );
        let heeding = shared
            .as_ref()
            .map(|shared| heed::heed(shared, &broker, &ended));
        let parts = Parts {
            sessions: Sessions::new(chain),
            tenants: each(&tenants, |served| Some(Arc::clone(&served.clients.tenant))).collect(),
            directories: each(&tenants, |served| served.clients.directory.clone()).collect(),
            broker: Arc::clone(&broker),
            audit: Arc::clone(&audit),
            ended: Arc::clone(&ended),
        };
        let admissions = Admissions::new(
            parts,
            settings.max_users,
            settings.idle,
            previous.map(|previous| &previous.admissions),
        );
        let max_in_flight = config.server.max_in_flight;
        let same_bound = previous.filter(|app| app.server.max_in_flight == max_in_flight);
        let knows_clients = !config.server.trusted_proxies.is_empty();
        let limits = Limits::new(config.limits, settings.max_users, knows_clients);
        Ok(Arc::new(Self {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            loaded: Instant::now(),
            admissions,
            broker,
            audit,
            recent: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.recent)),
            shared,
            server: config.server,
            limits: match previous {
                Some(previous) => limits.after(&previous.limits),
                None => limits,
            },
            ops: config.ops,
            sampling: config.telemetry.sampling,
            places: same_bound.map_or_else(
                || Arc::new(Semaphore::new(max_in_flight)),
                |previous| Arc::clone(&previous.places),
            ),
            metrics,
            fixed,
            origins: PageOrigins::of(tenants.values()),
            tenants,
            tables,
            _heeding: heeding,
        }))
    }

    /// How long a request may take in all.
    pub fn request_timeout(&self) -> Duration {
        self.server.request_timeout
    }
}

/// Starts to connect to what the replicas share.
fn connect(config: &Config) -> Result<Option<Arc<Shared>>, BuildError> {
    let shared = config.shared.as_ref().map(Shared::connect).transpose();
    shared.map_err(|error| BuildError {
        place: "shared.url".into(),
        reason: error.to_string(),
    })
}

fn settings(cache: &config::Cache, server: &config::Server) -> CacheSettings {
    CacheSettings {
        max_users: cache.max_users,
        idle: cache.idle,
        margins: Margins {
            refresh: cache.refresh_margin,
            min_life: cache.min_life,
        },
        renewal_pause: cache.renewal_pause,
        revoke_on_logout: cache.revoke_on_logout,
        refresh_timeout: server.request_timeout,
        max_waiting: server.max_waiting,
    }
}

/// A part of every tenant that has it.
fn each<T>(
    tenants: &BTreeMap<TenantId, Arc<Served>>,
    part: impl Fn(&Served) -> Option<T>,
) -> impl Iterator<Item = (TenantId, T)> {
    let tenants = tenants.iter();
    tenants.filter_map(move |(id, served)| Some((id.clone(), part(served)?)))
}
