//! `[shared]`: the store of several replicas.

use super::fault::Fault;
use super::finding::Findings;
use crate::shared::{self, SharedSettings, StoreFault};

/// Older ones lack commands that are needed.
const OLDEST: u32 = 5;

/// Writes and reads something in the store, and asks what it is.
pub(super) async fn check(settings: &SharedSettings, found: &mut Findings) {
    let store = match shared::probe(settings).await {
        Ok(store) => store,
        Err(error) => {
            let (fault, key) = match error {
                StoreFault::Settings(_) => (Fault::FileUnusable, "shared"),
                StoreFault::Unreachable => (Fault::StoreUnreachable, "shared.url"),
                StoreFault::Tls => (Fault::StoreTls, "shared.url"),
                StoreFault::Credentials => (Fault::StoreRefused, "shared.password"),
                StoreFault::Denied(_) | StoreFault::Full | StoreFault::ReadOnly => {
                    (Fault::StoreDenied, "shared.url")
                }
            };
            return found.add(fault, key, error.to_string());
        }
    };
    found.ok("shared.url", "the store is read, written and heard");
    if let Some(version) = store.version.filter(|version| *version < OLDEST) {
        let message = format!("the store is Redis {version}");
        found.add(Fault::StoreOld, "shared.url", message);
    }
    if let Some(policy) = store.evicts_by {
        let message = format!("the store has a bound, and forgets by {policy} when it is full");
        found.add(Fault::StoreEvicts, "shared.url", message);
    }
}
