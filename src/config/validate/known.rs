//! What tables can refer to in others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::problem::Report;
use crate::tenant::{Tenant, TenantId};

/// What is written elsewhere, sound or not.
#[derive(Default)]
pub struct Known {
    /// All tenants that are written, even those with faults.
    pub ids: Vec<TenantId>,
    /// Those without.
    pub sound: BTreeMap<TenantId, Arc<Tenant>>,
    /// Those with a management client.
    pub with_management: Vec<TenantId>,
    /// Those that take the origins of their OAuth client as well.
    pub origins_from_client: Vec<TenantId>,
    /// Those with a service client.
    pub with_service: Vec<TenantId>,
    /// Whether a session table keeps handles.
    pub handles: bool,
    /// Whether the listener asks for client certificates.
    pub client_ca: bool,
}

/// Whether a tenant of this name is written.
pub fn is_known(known: &Known, name: &str) -> bool {
    known.ids.iter().any(|id| id.as_str() == name)
}

/// Reports a name that no tenant has.
pub fn unknown(report: &mut Report, path: &str, known: &Known) {
    let remedy = format!(
        "name one of the tenants that are configured: {}",
        list(&known.ids)
    );
    report.refuse(path, "names a tenant that is not configured", remedy);
}

pub fn list(ids: &[TenantId]) -> String {
    ids.iter()
        .map(TenantId::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
