//! The end of a user's tokens: at once here, and as soon as may be at the tenant.

use std::sync::Arc;

use tracing::Instrument;

use super::Broker;
use super::cells::UserKey;
use super::seat::Seat;
use crate::mapping::UserLookup;
use crate::telemetry::audit::Audit;
use crate::tenant::Tenant;

impl Broker {
    /// Ends the cached tokens of a user, all scopes, and what the seat that ends still holds. They are
    /// gone when this returns; revoking them at the tenant, and what a mint in flight still brings,
    /// follows in the background.
    pub fn logout(
        &self,
        tenant: &Tenant,
        user: &UserLookup,
        seat: Option<&Seat>,
        audit: &Arc<Audit>,
    ) {
        let Some(desk) = self.desks.get(&tenant.id) else {
            return;
        };
        let keys = tenant
            .scope_sets()
            .map(|scopes| UserKey::new(tenant, user, scopes));
        let keys: Vec<_> = keys.collect();
        let ended = self.seats.end(keys.iter().copied(), seat);
        // Ended first: a mint that still waits for its turn then knows why it gets none.
        for key in keys {
            desk.budget.leave(key.digest());
        }
        if !self.settings.revoke_on_logout {
            return;
        }
        let (desk, audit, tenant) = (Arc::clone(desk), Arc::clone(audit), tenant.id.clone());
        let hash = audit.user(tenant.as_str(), user.field().as_str(), user.value());
        let revoking = async move {
            let (cells, held): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
            // What is in a page already goes first; a mint in flight may take its time.
            for token in held.into_iter().flatten() {
                desk.revoke(&token, &audit, &tenant, &hash).await;
            }
            for cell in cells {
                if let Some(token) = cell.orphan().await {
                    desk.revoke(&token, &audit, &tenant, &hash).await;
                }
            }
        };
        self.revocations.spawn(revoking.in_current_span());
    }

    /// Waits for the revocations that follow logouts: a process that ends before would leave those
    /// tokens alive for hours.
    pub async fn settle(&self) {
        self.revocations.close();
        self.revocations.wait().await;
    }
}
