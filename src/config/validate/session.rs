//! The session tables: their names, their mappings, and what they need of the tenants.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::problem::Report;
use super::super::{SessionKind, SessionTable, raw};
use super::tenant::{Known, all_of};
use super::{Reported, Tables, api_key, jwt};
use crate::mapping::{DenyList, LookupField, Mapping, Rule, Template, UserLookup};
use crate::tenant::{ScopeSet, TenantId};

/// All tables, when every one is sound.
pub fn all(report: &mut Report, tables: &Tables<'_>, known: &Known) -> Option<Vec<SessionTable>> {
    let raw = tables.sessions(report);
    if raw.is_empty() {
        report.refuse(
            "session",
            "is empty",
            "add a [[session]] table that says who may call",
        );
    }
    let mut names = BTreeMap::new();
    let mut keys = BTreeMap::new();
    let mut sound = Vec::new();
    let count = raw.len();
    for (path, raw) in raw {
        let Some(raw) = raw else { continue };
        let name = name(report, &path, &raw, &mut names);
        let kind = match raw {
            raw::Session::ApiKey(raw) => api_key::all(report, &path, &raw, known, &mut keys),
            raw::Session::Jwt(raw) => {
                let scope = scope(report, &path, &raw.mapping, known);
                let mapping = mapping(report, &path, &raw.mapping, known);
                let rules = jwt::rules(report, &path, raw);
                pages(report, known);
                kind(rules, mapping, scope)
            }
            // Refused already.
            _ => None,
        };
        sound.extend(
            name.zip(kind)
                .map(|(name, kind)| SessionTable { name, kind }),
        );
    }
    (count > 0 && sound.len() == count).then_some(sound)
}

fn kind(
    rules: Option<crate::session::jwt::JwtRules>,
    mapping: Option<Mapping>,
    scope: Result<Option<ScopeSet>, Reported>,
) -> Option<SessionKind> {
    Some(SessionKind::Jwt {
        rules: rules?,
        mapping: mapping?,
        scope: scope.ok()?,
    })
}

fn name(
    report: &mut Report,
    path: &str,
    raw: &raw::Session,
    names: &mut BTreeMap<String, String>,
) -> Option<Arc<str>> {
    let (given, kind) = raw.name();
    let name = given.unwrap_or(kind);
    if name.chars().any(char::is_control) {
        report.refuse(
            format!("{path}.name"),
            "holds a control character",
            "use letters and digits",
        );
        return None;
    }
    if let Some(first) = names.insert(name.to_owned(), path.to_owned()) {
        let message = format!("is the name of {first}, too, and logs could not tell them apart");
        report.refuse(
            format!("{path}.name"),
            message,
            "give each table a name of its own",
        );
        return None;
    }
    Some(name.into())
}

/// A page needs an origin: said once per tenant, however many tables serve pages.
fn pages(report: &mut Report, known: &Known) {
    for (id, tenant) in &known.sound {
        let path = format!("tenants.{id}.allowed_origins");
        if tenant.allowed_origins.is_empty()
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
        raw::Field::Subject => LookupField::Subject,
        raw::Field::UserId => LookupField::UserId,
        // Refused already.
        raw::Field::Email => return None,
    };
    if !template.names_a_claim() {
        if let Err(error) = UserLookup::new(field, &raw.value) {
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

fn list(ids: &[TenantId]) -> String {
    ids.iter()
        .map(TenantId::as_str)
        .collect::<Vec<_>>()
        .join(", ")
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
    let constant = raw.tenant.as_deref().filter(|name| is_known(known, name));
    let reached = known
        .sound
        .values()
        .filter(|tenant| constant.is_none_or(|name| tenant.id.as_str() == name));
    let lacking: Vec<_> = reached
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
