//! The keys of back ends.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

use super::super::problem::Report;
use super::super::{SessionKind, raw};
use super::session::{is_known, unknown};
use super::tenant::{Known, all_of};
use crate::session::api_key::{ApiKey, Permission};
use crate::tenant::TenantId;

/// All keys of a table. `seen` holds the ids of all tables.
pub fn all(
    report: &mut Report,
    path: &str,
    raw: &raw::ApiKeySession,
    known: &Known,
    seen: &mut BTreeMap<String, String>,
) -> Option<SessionKind> {
    let keys = all_of(&raw.keys, |index, raw| {
        key(report, &format!("{path}.keys[{index}]"), raw, known, seen)
    });
    Some(SessionKind::ApiKey(keys?))
}

fn key(
    report: &mut Report,
    path: &str,
    raw: &raw::ApiKeyEntry,
    known: &Known,
    seen: &mut BTreeMap<String, String>,
) -> Option<ApiKey> {
    let first = seen.insert(raw.id.clone(), path.to_owned());
    if let Some(first) = &first {
        report.refuse(
            format!("{path}.id"),
            format!("is the id of {first}, too"),
            "give each key an id of its own",
        );
    }
    let digest = digest(&raw.sha256);
    if digest.is_none() {
        report.refuse(
            format!("{path}.sha256"),
            "is not a SHA-256",
            "write the 64 hex digits that `api-key new` prints",
        );
    }
    let tenants = tenants(
        report,
        &format!("{path}.tenants"),
        raw.tenants.as_deref(),
        known,
    );
    let expires = match &raw.expires {
        Some(text) => expires(report, &format!("{path}.expires"), text).map(Some),
        None => Some(None),
    };
    if first.is_some() {
        return None;
    }
    let allow = raw.allow.iter().copied().map(permission).collect();
    Some(ApiKey {
        id: raw.id.clone(),
        digest: digest?,
        tenants: tenants?,
        allow,
        expires: expires?,
    })
}

fn permission(raw: raw::Allow) -> Permission {
    match raw {
        raw::Allow::Token => Permission::Token,
        raw::Allow::Sessions => Permission::Sessions,
        raw::Allow::Logout => Permission::Logout,
        raw::Allow::ServiceToken => Permission::ServiceToken,
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

fn tenants(
    report: &mut Report,
    path: &str,
    raw: Option<&[String]>,
    known: &Known,
) -> Option<Vec<TenantId>> {
    let Some(names) = raw else {
        return match known.ids.as_slice() {
            [] => None,
            [only] => Some(vec![only.clone()]),
            _ => {
                report.refuse(
                    path,
                    "is required when there are several tenants",
                    "list those that the key may name",
                );
                None
            }
        };
    };
    all_of(names, |index, name| {
        let known_id = TenantId::parse(name).filter(|_| is_known(known, name));
        if known_id.is_none() {
            unknown(report, &format!("{path}[{index}]"), known);
        }
        known_id
    })
}

/// A time with its offset, or a date: the first moment of it, in UTC.
fn expires(report: &mut Report, path: &str, text: &str) -> Option<SystemTime> {
    // A `Date` would also take a time without its offset, and drop the time.
    let date = || {
        text.parse::<Date>()
            .ok()
            .filter(|_| text.len() == "2027-01-31".len())
    };
    let midnight = || Some(date()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let moment = text.parse::<Timestamp>().ok().or_else(midnight);
    if moment.is_none() {
        let remedy = r#"write it like "2027-01-31" or "2027-01-31T12:00:00Z""#;
        report.refuse(path, "is neither a date nor a time with its offset", remedy);
    }
    moment.map(SystemTime::from)
}
