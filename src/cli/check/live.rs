//! `check --live`: what the tenants, the keepers of sessions, the store and the collector say. All are
//! asked at the same time, a few of them at once, and what they say is told in the order of the
//! configuration.

use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{Duration, timeout};

use super::fault::Fault;
use super::finding::{Finding, Findings};
use super::tenant::{Scene, check_tenant};
use super::{collector, sessions, store};
use crate::config::{Config, SessionKind, TenantConfig};
use crate::tenant::TenantId;

/// So many tenants, tables and others at a time: each has a few calls under way at most.
const AT_ONCE: usize = 8;
/// For all that is asked of one of them. What is out of reach says so within a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

type Look<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

/// Which tenants are looked at, and for whom.
pub(super) struct Asked<'a> {
    /// All of them where none is named.
    pub tenants: &'a [TenantId],
    pub person: Option<&'a super::person::Person>,
}

/// Looks at everything, and tells what was found as soon as it is its turn.
pub(super) async fn look(config: &Config, asked: &Asked<'_>, tell: impl FnMut(Finding)) {
    let scene = Scene {
        proxy: &config.proxy,
        person: asked.person,
        leeway: leeway(config),
        cache: Some(&config.cache),
    };
    let is_asked = |tenant: &&TenantConfig| {
        asked.tenants.is_empty() || asked.tenants.contains(&tenant.tenant.id)
    };
    let mut looks: Vec<Look<'_>> = Vec::new();
    for tenant in config.tenants.values().filter(is_asked) {
        let path = format!("tenants.{}", tenant.tenant.id);
        looks.push(Box::pin(bounded(path, async |found: &mut Findings| {
            check_tenant(tenant, &scene, found).await;
        })));
    }
    for (index, table) in config.sessions.iter().enumerate() {
        let path = format!("session[{index}]");
        let at = path.clone();
        looks.push(Box::pin(bounded(
            path,
            async move |found: &mut Findings| {
                sessions::check(table, &at, &config.proxy, found).await;
            },
        )));
    }
    if let Some(settings) = &config.shared {
        looks.push(Box::pin(bounded("shared", async |found: &mut Findings| {
            store::check(settings, found).await;
        })));
    }
    if let Some(settings) = &config.telemetry.collector {
        looks.push(Box::pin(bounded(
            "telemetry",
            async |found: &mut Findings| {
                collector::check(settings, found).await;
            },
        )));
    }
    let found = stream::iter(looks).buffered(AT_ONCE);
    found
        .flat_map(stream::iter)
        .for_each({
            let mut tell = tell;
            move |finding| {
                tell(finding);
                std::future::ready(())
            }
        })
        .await;
}

/// What was found until the time was over.
async fn bounded(path: impl Into<String>, look: impl AsyncFnOnce(&mut Findings)) -> Vec<Finding> {
    let mut found = Findings::default();
    if timeout(PATIENCE, look(&mut found)).await.is_err() {
        let message = format!(
            "was not looked at to the end within {} s",
            PATIENCE.as_secs()
        );
        found.add(Fault::Late, path, message);
    }
    found.0
}

/// How far this machine's clock may be off for the JWTs of all tables.
fn leeway(config: &Config) -> Option<Duration> {
    let leeways = config
        .sessions
        .iter()
        .filter_map(|table| match &table.kind {
            SessionKind::Jwt(rules) => Some(rules.leeway),
            _ => None,
        });
    leeways.min()
}
