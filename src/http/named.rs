//! What a back end names in its request: a tenant, a user, scopes.

use std::sync::Arc;

use compact_str::CompactString;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa::openapi::{Object, ObjectBuilder, Type};

use super::caller::Facts;
use super::problem::{Code, Problem};
use crate::app::App;
use crate::mapping::{LookupField, UserLookup};
use crate::session::back_end::BackEnd;
use crate::tenant::{ScopeSet, Tenant, TenantId};

/// A user as a back end names it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lookup {
    #[schema(schema_with = fields)]
    field: String,
    /// No control characters.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    value: String,
}

fn fields() -> Object {
    let all = [LookupField::Subject, LookupField::UserId];
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What the tenant knows the user by."))
        .enum_values(Some(all.map(LookupField::as_str)))
        .build()
}

/// The tenant that a back end names, or the only one its key has.
pub(super) fn named_tenant<'a>(
    app: &'a App,
    back_end: &BackEnd,
    name: Option<&str>,
) -> Result<&'a Arc<Tenant>, Problem> {
    let id = match (name, back_end.tenants.as_slice()) {
        (Some(name), allowed) => TenantId::parse(name).filter(|id| allowed.contains(id)),
        (None, [only]) => Some(only.clone()),
        (None, _) => {
            return Err(Problem::new(
                Code::RequestInvalid,
                "The caller has several tenants: name one in `tenant`.",
            ));
        }
    };
    let tenant = id.and_then(|id| app.admissions.tenants().get(&id));
    tenant.ok_or(Problem::new(
        Code::TenantNotAllowed,
        "The caller does not hold this tenant.",
    ))
}

/// The user that a back end names, and its audit hash.
pub(super) fn named_user(
    app: &App,
    tenant: &Arc<Tenant>,
    lookup: &Lookup,
    facts: &mut Facts,
) -> Result<(UserLookup, CompactString), Problem> {
    let field = LookupField::parse(&lookup.field).ok_or(Problem::new(
        Code::RequestInvalid,
        "user_lookup.field is `subject` or `userId`.",
    ))?;
    let user = UserLookup::new(field, &lookup.value)
        .map_err(|why| Problem::new(Code::RequestInvalid, format!("user_lookup.value: {why}.")))?;
    let hash = app.admissions.user_hash(tenant, &user);
    facts.named = Some((Arc::clone(tenant), hash.clone()));
    if app.admissions.is_denied(&user) {
        return Err(Problem::new(
            Code::UserNotAllowed,
            "This user is never impersonated.",
        ));
    }
    Ok((user, hash))
}

/// The scopes asked for, if any are: only whole sets that the tenant offers.
pub(super) fn offered_scopes(
    tenant: &Tenant,
    asked: Option<&str>,
) -> Result<Option<ScopeSet>, Problem> {
    let Some(scope) = asked else {
        return Ok(None);
    };
    let wanted = ScopeSet::parse(scope)
        .map_err(|why| Problem::new(Code::RequestInvalid, format!("scope: {why}.")))?;
    match tenant.scope_set(&wanted) {
        Some(offered) => Ok(Some(offered.clone())),
        None => Err(Problem::new(
            Code::ScopeNotAllowed,
            "The tenant's configuration does not offer this set of scopes.",
        )),
    }
}
