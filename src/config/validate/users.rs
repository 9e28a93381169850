//! From an identity to a user: the mapping of a session table, and what it needs of the tenants.

use super::super::problem::Report;
use super::super::raw;
use super::Reported;
use super::known::{Known, is_known, list, unknown};
use super::tenant::all_of;
use crate::mapping::{
    DenyList, Email, LookupField, Mapping, Rule, RuleField, Template, UserLookup,
};
use crate::session::Users;
use crate::tenant::{ScopeSet, TenantId};

/// How the sessions of a table become users.
pub fn users(report: &mut Report, path: &str, raw: &raw::Mapping, known: &Known) -> Option<Users> {
    let scope = scope(report, path, raw, known);
    let mapping = mapping(report, path, raw, known);
    pages(report, known);
    Some(Users {
        mapping: mapping?,
        scope: scope.ok()?,
        refuse_admins: raw.refuse_admins,
    })
}

/// A page needs an origin: said once per tenant, however many tables serve pages.
fn pages(report: &mut Report, known: &Known) {
    for (id, tenant) in &known.sound {
        let path = format!("tenants.{id}.allowed_origins");
        if tenant.allowed_origins.is_empty()
            && !known.origins_from_client.contains(id)
            && !report.warnings.iter().any(|warning| warning.path == path)
        {
            report.warn(
                path,
                "is empty, so that no page can use this tenant",
                "list your portal",
            );
        }
    }
}

/// The tenants that the mapping can lead to.
fn reached<'a>(raw: &'a raw::Mapping, known: &'a Known) -> impl Iterator<Item = &'a TenantId> {
    let constant = raw.tenant.as_deref().filter(|name| is_known(known, name));
    let ids = known.ids.iter();
    ids.filter(move |id| constant.is_none_or(|name| id.as_str() == name))
}

/// E-mail addresses and roles are known to the tenant only.
fn needs_management(
    report: &mut Report,
    path: &str,
    raw: &raw::Mapping,
    known: &Known,
) -> Option<()> {
    let by_email = raw
        .user
        .iter()
        .position(|rule| matches!(rule.field, raw::Field::Email));
    let needs = [
        by_email.map(|index| format!("{path}.user[{index}].field")),
        raw.refuse_admins.then(|| format!("{path}.refuse_admins")),
    ];
    let mut is_sound = true;
    for path in needs.into_iter().flatten() {
        for id in reached(raw, known).filter(|id| !known.with_management.contains(id)) {
            let message =
                format!("needs to look users up, and the tenant {id} has no `management`");
            report.refuse(&path, message, "add the management client to the tenant");
            is_sound = false;
        }
    }
    is_sound.then_some(())
}

fn mapping(report: &mut Report, path: &str, raw: &raw::Mapping, known: &Known) -> Option<Mapping> {
    let tenant = tenant(
        report,
        &format!("{path}.tenant"),
        raw.tenant.as_deref(),
        known,
    );
    if raw
        .user
        .iter()
        .all(|rule| matches!(rule.field, raw::Field::Email))
    {
        let message = "finds users by e-mail only, and addresses change hands";
        report.warn(
            format!("{path}.user"),
            message,
            "add a rule by subject or userId before it",
        );
    }
    let rules = all_of(&raw.user, |index, raw| {
        rule(report, &format!("{path}.user[{index}].value"), raw)
    });
    let deny = all_of(&raw.deny, |index, text| match text.as_str() {
        "" | "*" => {
            let remedy = "write the text of a user, or the beginning of it and a *";
            report.refuse(
                format!("{path}.deny[{index}]"),
                "denies nobody in particular",
                remedy,
            );
            None
        }
        _ => Some(()),
    });
    deny?;
    needs_management(report, path, raw, known)?;
    Some(Mapping {
        tenant: tenant.ok()?,
        rules: rules?,
        deny: DenyList::new(raw.deny.iter().map(String::as_str)),
    })
}

fn rule(report: &mut Report, path: &str, raw: &raw::Rule) -> Option<Rule> {
    let refuse = |error: String| {
        report.refuse(
            path,
            error,
            "write it like auth0|{sub}, {org.id} or {email|lower}",
        );
    };
    let template = Template::parse(&raw.value).map_err(refuse).ok()?;
    let field = match raw.field {
        raw::Field::Subject => RuleField::Lookup(LookupField::Subject),
        raw::Field::UserId => RuleField::Lookup(LookupField::UserId),
        raw::Field::Email => RuleField::Email,
    };
    if !template.names_a_claim() {
        let constant = match field {
            RuleField::Lookup(field) => UserLookup::new(field, &raw.value).map(drop),
            RuleField::Email => Email::parse(&raw.value).map(drop),
        };
        if let Err(error) = constant {
            report.refuse(path, error, "write a user that the tenant can have");
            return None;
        }
        let remedy = "name a claim, such as {sub}, unless a shared account is meant";
        report.warn(
            path,
            "names no claim, so that everybody becomes the same user",
            remedy,
        );
    }
    Some(Rule {
        field,
        value: template,
    })
}

fn tenant(
    report: &mut Report,
    path: &str,
    raw: Option<&str>,
    known: &Known,
) -> Result<Option<Template>, Reported> {
    let Some(text) = raw else {
        if known.ids.len() > 1 {
            let remedy = format!(
                "name one of {}, or a template such as {{org}}",
                list(&known.ids)
            );
            report.refuse(path, "is required when there are several tenants", remedy);
            return Err(Reported);
        }
        return Ok(None);
    };
    let refuse = |error: String| {
        report.refuse(
            path,
            error,
            "name a tenant, or write a template such as {org}",
        );
        Reported
    };
    let template = Template::parse(text).map_err(refuse)?;
    if !template.names_a_claim() && !is_known(known, text) {
        unknown(report, path, known);
        return Err(Reported);
    }
    Ok(Some(template))
}

/// The scope must be a set of every tenant that the mapping can reach.
fn scope(
    report: &mut Report,
    path: &str,
    raw: &raw::Mapping,
    known: &Known,
) -> Result<Option<ScopeSet>, Reported> {
    let Some(text) = &raw.scope else {
        return Ok(None);
    };
    let path = format!("{path}.scope");
    let refuse = |error| {
        report.refuse(
            &path,
            error,
            "name the scopes, separated by spaces, such as user_default",
        );
        Reported
    };
    let scope = ScopeSet::parse(text).map_err(refuse)?;
    let lacking: Vec<_> = reached(raw, known)
        .filter_map(|id| known.sound.get(id))
        .filter(|tenant| tenant.scope_set(&scope).is_none())
        .collect();
    for tenant in &lacking {
        let message = format!("is not a set of scopes of the tenant {}", tenant.id);
        report.refuse(
            &path,
            message,
            "use the tenant's scopes, or add the set to its optional_scopes",
        );
    }
    if lacking.is_empty() {
        Ok(Some(scope))
    } else {
        Err(Reported)
    }
}
