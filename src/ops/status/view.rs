//! All that the page shows, as it stands at one moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::history::History;
use crate::app::App;
use crate::app::live::Live;
use crate::app::standing::Standing;
use crate::clock;
use crate::telemetry::recent::Failures;

/// See the module.
pub struct View<'a> {
    /// What survives reloads.
    pub live: &'a Live,
    /// The broker of the configuration in use.
    pub app: Arc<App>,
    /// The samples of the last hour.
    pub history: &'a History,
    /// All tenants: those that need attention first, then the busiest.
    pub tenants: Vec<Standing>,
    /// The last requests that failed.
    pub recent: Vec<Failures>,
    /// The moment.
    pub now: SystemTime,
}

impl<'a> View<'a> {
    /// The broker as it is now.
    pub fn of(live: &'a Live, history: &'a History) -> Self {
        let app = live.app();
        let busiest = history.latest().map(|sample| &sample.tenants);
        let busiest = busiest.into_iter().flatten().enumerate();
        let places: HashMap<_, _> = busiest
            .map(|(place, tenant)| (tenant.id.as_str(), place))
            .collect();
        let place = |tenant: &Standing| places.get(tenant.id()).copied().unwrap_or(usize::MAX);
        let mut tenants = app.standings();
        tenants
            .sort_by_cached_key(|tenant| (tenant.rank(), place(tenant), tenant.tenant.id.clone()));
        Self {
            live,
            history,
            tenants,
            recent: app.recent.list(),
            now: clock::now(),
            app,
        }
    }
}
