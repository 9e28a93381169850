//! How the broker is, for those who operate it.

use super::Broker;
use crate::telemetry::metrics;
use crate::tenant::TenantId;

impl Broker {
    /// Users with a cached token.
    pub fn cached_users(&self) -> u64 {
        self.seats.cells.len()
    }

    /// Notes how the budgets stand.
    pub fn measure(&self) {
        for (tenant, desk) in &self.desks {
            let (waiting, available) = desk.clients.budget.level();
            metrics::budget(tenant.as_str(), waiting, available);
        }
    }

    /// The tenants that cannot mint at the moment, and why.
    pub fn troubles(&self) -> Vec<(TenantId, &'static str)> {
        let desks = self.desks.iter();
        let troubles = desks.filter_map(|(id, desk)| Some((id.clone(), desk.trouble()?)));
        let mut troubles: Vec<_> = troubles.collect();
        troubles.sort();
        troubles
    }
}
