//! The keys of back ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

use super::super::problem::Report;
use super::super::{SessionKind, raw};
use super::back_end::{self, Claimed};
use super::known::Known;
use super::tenant::all_of;
use crate::session::api_key::ApiKey;

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
    let claimed = Claimed {
        id: &raw.id,
        tenants: raw.tenants.as_deref(),
        allow: &raw.allow,
        ambient: false,
        requests_per_minute: raw.requests_per_minute,
    };
    let back_end = back_end::one(report, path, &claimed, known);
    let expires = match &raw.expires {
        Some(text) => expires(report, &format!("{path}.expires"), text).map(Some),
        None => Some(None),
    };
    if first.is_some() {
        return None;
    }
    Some(ApiKey {
        back_end: Arc::new(back_end?),
        digest: digest?,
        expires: expires?,
    })
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
