//! Pages that a tenant's OAuth client allows: read at the start and again every few minutes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::App;
use crate::directory::Directory;
use crate::tenant::{Origin, Tenant};

/// How often the list is read.
pub const EVERY: Duration = Duration::from_secs(300);
/// How soon it is tried again when it could not be.
const AGAIN: Duration = Duration::from_secs(15);
/// The start waits this long for the first list.
const AT_START: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(15);

/// Reads the lists once, so that pages are served from the first request on, and goes on to keep
/// them fresh `every` so often. Those that are followed already are left alone.
pub async fn follow(app: &App, every: Duration) {
    let mut first_looks = Vec::new();
    for served in app.tenants.values() {
        let clients = &served.clients;
        let directory = clients.directory.as_ref();
        let Some(directory) = directory.filter(|_| served.origins_from_client) else {
            continue;
        };
        served.following.get_or_init(|| {
            let (tenant, directory) = (Arc::clone(&clients.tenant), Arc::clone(directory));
            let (looked, first_look) = tokio::sync::oneshot::channel();
            first_looks.push(first_look);
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut read = look(&tenant, &directory).await;
                // Nobody waits any more if it took long.
                let _ = looked.send(());
                loop {
                    sleep(if read { every } else { AGAIN.min(every) }).await;
                    read = look(&tenant, &directory).await;
                }
            }))
        });
    }
    let all = futures_util::future::join_all(first_looks);
    drop(timeout(AT_START, all).await);
}

/// Whether the list was read. The last good one stays where it was not.
async fn look(tenant: &Tenant, directory: &Directory) -> bool {
    let asking = directory
        .management()
        .allowed_origins(&tenant.client_id, Instant::now() + PATIENCE);
    let listed = match asking.await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(tenant = %tenant.id, %error, "the client's origins could not be read");
            return false;
        }
    };
    let count = listed.len();
    let exact: Vec<_> = listed
        .iter()
        .filter_map(|text| Origin::parse(text).ok())
        .collect();
    if exact.len() < count {
        let ignored = count - exact.len();
        tracing::warn!(tenant = %tenant.id, ignored, "origins that browsers never send are ignored");
    }
    tenant.client_origins.store(Arc::new(exact));
    true
}
