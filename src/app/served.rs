//! A tenant that is served: its clients, and what follows it.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use tokio_util::task::AbortOnDropHandle;

use super::{BuildError, Clients};
use crate::broker::{Service, TenantClients};
use crate::budget::Replicas;
use crate::config::{Fingerprint, TenantConfig};
use crate::outbound::Outgoing;

/// See the module. A reload keeps it as long as its configuration stays the same.
#[derive(Debug)]
pub(super) struct Served {
    pub clients: TenantClients,
    pub origins_from_client: bool,
    /// Reads the origins of its OAuth client, for as long as the tenant is served.
    pub following: OnceLock<AbortOnDropHandle<()>>,
    fingerprint: Fingerprint,
}

impl Served {
    /// What was served before, if it is still the same. Otherwise new clients, which go on with what was
    /// counted and learned at the same place. Calls nobody, and has no effect on what was before.
    pub fn of(
        config: &TenantConfig,
        outgoing: &Outgoing<'_>,
        replicas: Replicas,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, BuildError> {
        if let Some(same) = before.filter(|before| before.fingerprint == config.fingerprint) {
            return Ok(Arc::clone(same));
        }
        let tenant = Arc::clone(&config.tenant);
        let mut made = Clients::of(config, outgoing, replicas)?;
        let before = before.map(|before| &before.clients);
        if let Some(before) = before.filter(|before| before.tenant.url == tenant.url) {
            made = made.after(before);
            // Until they are read again: a change of something else must not shut pages out.
            if config.origins_from_client && before.tenant.client_id == tenant.client_id {
                let known = before.tenant.client_origins.load_full();
                tenant.client_origins.store(known);
            }
        }
        let service = made.service()?.map(|(client, scopes)| {
            let budget = Arc::clone(&made.budget);
            Arc::new(Service::new(client, scopes, budget))
        });
        let clients = TenantClients {
            tenant,
            budget: Arc::clone(&made.budget),
            issuing: Arc::new(made.issuing()?),
            directory: made.directory()?,
            service,
        };
        Ok(Arc::new(Self {
            clients,
            origins_from_client: config.origins_from_client,
            following: OnceLock::new(),
            fingerprint: config.fingerprint,
        }))
    }

    /// Takes over what may change while it stays the same. Whether any client has another secret.
    pub fn renew(&self, config: &TenantConfig, replicas: NonZeroU32) -> bool {
        let TenantClients {
            budget,
            issuing,
            directory,
            service,
            ..
        } = &self.clients;
        budget.set_rate(config.budget, replicas);
        let management = directory.iter().zip(&config.management);
        let service = service.iter().zip(&config.service);
        let mut changed = issuing.renew(&config.credential);
        for (directory, config) in management {
            changed |= directory.management().renew(&config.credential);
        }
        for (service, config) in service {
            changed |= service.renew(&config.credential);
        }
        changed
    }
}
