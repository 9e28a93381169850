//! What cannot change while the process runs: its listeners, its log, where
//! its traces go, what it shares with other replicas, and the size of its memory.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Config, Log};
use crate::shared::SharedSettings;
use crate::telemetry::export::Collector;
use crate::tls::TlsSources;

/// See the module.
#[derive(Clone, Debug)]
pub struct Fixed {
    server_listen: SocketAddr,
    ops_listen: SocketAddr,
    tls: Option<TlsSources>,
    log: Log,
    collector: Option<Collector>,
    shared: Option<SharedSettings>,
    max_users: u64,
    idle: Duration,
}

impl Fixed {
    /// What this configuration says of it.
    pub fn of(config: &Config) -> Self {
        Self {
            server_listen: config.server.listen,
            ops_listen: config.ops.listen,
            tls: config.server.tls.clone(),
            log: config.log.clone(),
            collector: config.telemetry.collector.clone(),
            shared: config.shared.clone(),
            max_users: config.cache.max_users,
            idle: config.cache.idle,
        }
    }

    /// Has a new configuration say the same. Returns the keys that it wanted to change.
    pub fn hold(&self, config: &mut Config) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let (server, cache) = (&mut config.server, &mut config.cache);
        let of = &mut changed;
        hold(of, "server.listen", &self.server_listen, &mut server.listen);
        hold(of, "server.tls", &self.tls, &mut server.tls);
        hold(of, "ops.listen", &self.ops_listen, &mut config.ops.listen);
        hold(of, "log", &self.log, &mut config.log);
        let collector = &mut config.telemetry.collector;
        hold(of, "telemetry.otlp_endpoint", &self.collector, collector);
        hold(of, "shared", &self.shared, &mut config.shared);
        hold(of, "cache.max_users", &self.max_users, &mut cache.max_users);
        hold(of, "cache.idle", &self.idle, &mut cache.idle);
        changed
    }
}

fn hold<T: Clone + PartialEq>(
    changed: &mut Vec<&'static str>,
    key: &'static str,
    running: &T,
    wanted: &mut T,
) {
    if wanted != running {
        wanted.clone_from(running);
        changed.push(key);
    }
}
