//! What a session may have: a tenant, a user, scopes. Decided from verified claims and the
//! configuration alone, so that the `explain` command decides the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identity::Claims;
use crate::mapping::{DenyList, MappedUser, MappingError, Profile};
use crate::session::handle::HandleGrant;
use crate::session::{SessionError, Users};
use crate::tenant::{ScopeSet, Tenant, TenantId};

/// Why nobody was let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The session is not proven.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// No user came of it.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A claim names a tenant that does not exist, or none where there are several.
    #[error("the session belongs to no configured tenant")]
    NoTenant,
    /// The table's scopes are none that this tenant offers.
    #[error("the session's scopes are not among the tenant's")]
    NoScope,
}

/// What was decided.
#[derive(Debug)]
pub struct Decided {
    /// The tenant.
    pub tenant: Arc<Tenant>,
    /// The user; one found by e-mail has yet to be looked up.
    pub user: MappedUser,
    /// Which rule it was, counted from 0.
    pub rule: usize,
    /// The scopes.
    pub scopes: ScopeSet,
    /// Whether a page may not ask for others.
    pub scope_is_fixed: bool,
    /// What is told of the user if the tenant creates it.
    pub profile: Option<Arc<Profile>>,
    /// Whether the user must not be an administrator.
    pub refuse_admins: bool,
}

/// Decides by a table's rules.
pub fn decide(
    claims: &Claims,
    users: &Users,
    tenants: &BTreeMap<TenantId, Arc<Tenant>>,
) -> Result<Decided, AdmissionError> {
    let mapped = users.mapping.map(claims)?;
    let tenant = match &mapped.tenant {
        Some(name) => TenantId::parse(name).and_then(|id| tenants.get(&id)),
        None => only(tenants),
    };
    let tenant = Arc::clone(tenant.ok_or(AdmissionError::NoTenant)?);
    let scopes = offered(&tenant, users.scope.as_ref())?;
    let profile = match &tenant.provision {
        None => None,
        Some(rules) => rules.profile(claims).map_err(|why| MappingError::Refused {
            rule: mapped.rule,
            why,
        })?,
    };
    let profile = profile.map(Arc::new);
    if let Some(profile) = &profile
        && users.mapping.deny.refuses(&profile.subject)
    {
        return Err(MappingError::Denied.into());
    }
    Ok(Decided {
        tenant,
        user: mapped.user,
        rule: mapped.rule,
        scopes,
        scope_is_fixed: users.scope.is_some(),
        profile,
        refuse_admins: users.refuse_admins,
    })
}

/// A handle says it all by itself; only the configuration may have changed since.
pub(super) fn of_handle(
    handle: &HandleGrant,
    tenants: &BTreeMap<TenantId, Arc<Tenant>>,
) -> Result<Decided, AdmissionError> {
    if DenyList::default().refuses(handle.user.value()) {
        return Err(MappingError::Denied.into());
    }
    let tenant = tenants
        .get(&handle.tenant)
        .ok_or(AdmissionError::NoTenant)?;
    Ok(Decided {
        tenant: Arc::clone(tenant),
        user: MappedUser::Lookup(handle.user.clone()),
        rule: 0,
        scopes: offered(tenant, handle.scopes.as_ref())?,
        scope_is_fixed: handle.scopes.is_some(),
        profile: None,
        refuse_admins: false,
    })
}

fn offered(tenant: &Tenant, wanted: Option<&ScopeSet>) -> Result<ScopeSet, AdmissionError> {
    match wanted {
        None => Ok(tenant.scopes.clone()),
        Some(wanted) => tenant
            .scope_set(wanted)
            .cloned()
            .ok_or(AdmissionError::NoScope),
    }
}

/// The tenant, where there is only one.
pub(super) fn only(tenants: &BTreeMap<TenantId, Arc<Tenant>>) -> Option<&Arc<Tenant>> {
    let mut tenants = tenants.values();
    tenants.next().filter(|_| tenants.next().is_none())
}
