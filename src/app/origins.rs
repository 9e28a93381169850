//! Which pages may ask at all, and those of them that a tenant's OAuth client allows: read at the start
//! and again every few minutes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::App;
use super::served::Served;
use crate::directory::Directory;
use crate::tenant::{ClientOrigins, Origin, Tenant};

/// How often the list is read.
pub const EVERY: Duration = Duration::from_secs(300);
/// A list that was not read for so long could not be.
pub(super) const OVERDUE: Duration = Duration::from_secs(600);
/// How soon it is tried again when it could not be.
const AGAIN: Duration = Duration::from_secs(15);
/// The start waits this long for the first list.
const AT_START: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(15);

/// So many times a list of any OAuth client has changed in this process.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// The pages that any tenant allows. A preflight names no tenant, and among thousands of them nobody
/// looks one by one.
#[derive(Debug)]
pub struct PageOrigins {
    configured: HashSet<Origin>,
    followed: Vec<Arc<Tenant>>,
    /// Those of the followed tenants, gathered anew after a change.
    gathered: ArcSwap<Gathered>,
    gathering: Mutex<()>,
}

#[derive(Debug)]
struct Gathered {
    /// The changes before it was gathered.
    changes: u64,
    origins: HashSet<Origin>,
}

impl Gathered {
    fn of(tenants: &[Arc<Tenant>]) -> Self {
        let changes = CHANGES.load(Ordering::Acquire);
        let lists = tenants.iter();
        let lists = lists.filter_map(|tenant| tenant.client_origins.load_full());
        let origins = lists.flat_map(|listed| listed.list.clone());
        Self {
            changes,
            origins: origins.collect(),
        }
    }
}

impl PageOrigins {
    pub(super) fn of<'a>(served: impl Iterator<Item = &'a Arc<Served>>) -> Self {
        let (mut configured, mut followed) = (HashSet::new(), Vec::new());
        for served in served {
            let tenant = &served.clients.tenant;
            configured.extend(tenant.allowed_origins.iter().cloned());
            if served.origins_from_client {
                followed.push(Arc::clone(tenant));
            }
        }
        Self {
            gathered: ArcSwap::from_pointee(Gathered::of(&followed)),
            configured,
            followed,
            gathering: Mutex::default(),
        }
    }

    /// Whether any tenant allows this page.
    pub fn lists(&self, origin: &str) -> bool {
        self.configured.contains(origin) || self.gathered().origins.contains(origin)
    }

    fn gathered(&self) -> arc_swap::Guard<Arc<Gathered>> {
        let gathered = self.gathered.load();
        if gathered.changes == CHANGES.load(Ordering::Acquire) {
            return gathered;
        }
        // One gathers; who comes meanwhile sees what was.
        if let Ok(_gathering) = self.gathering.try_lock() {
            self.gathered.store(Arc::new(Gathered::of(&self.followed)));
        }
        self.gathered.load()
    }
}

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
    let known = tenant.client_origins.load_full();
    let is_new = known.is_none_or(|known| known.list != exact);
    let (list, read) = (exact, Instant::now());
    let listed = Arc::new(ClientOrigins { list, read });
    tenant.client_origins.store(Some(listed));
    if is_new {
        CHANGES.fetch_add(1, Ordering::Release);
    }
    true
}
