//! The session tables: their names, and what each kind is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::problem::Report;
use super::super::{Fingerprint, SessionKind, SessionTable, raw};
use super::known::Known;
use super::users::users;
use super::{Tables, api_key, back_end, jwt, kinds};

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
    let is_handles = |raw: &Option<raw::Session>| matches!(raw, Some(raw::Session::Handle(_)));
    for (path, _) in raw.iter().filter(|(_, raw)| is_handles(raw)).skip(1) {
        let message = "is a second table of handles, and sessions could be registered in either";
        report.refuse(format!("{path}.type"), message, "keep one of them");
    }
    for (path, raw) in raw {
        let Some(raw) = raw else { continue };
        let name = name(report, &path, &raw, &mut names);
        let users = match raw.mapping() {
            Some(mapping) => users(report, &path, mapping, known).map(Some),
            None => Some(None),
        };
        let kind = match raw {
            raw::Session::ApiKey(raw) => api_key::all(report, &path, &raw, known, &mut keys),
            raw::Session::Jwt(raw) => jwt::rules(report, &path, *raw).map(SessionKind::Jwt),
            raw::Session::Handle(raw) => kinds::handle(report, &path, raw),
            raw::Session::Introspection(raw) => kinds::introspection(report, &path, *raw),
            raw::Session::PortalCheck(raw) => kinds::portal_check(report, &path, *raw),
            raw::Session::TrustedHeader(raw) => kinds::trusted_header(report, &path, &raw),
            raw::Session::ClientCertificate(raw) => back_end::certified(report, &path, &raw, known),
        };
        if let (Some(name), Some(kind), Some(users)) = (name, kind, users) {
            sound.push(SessionTable {
                name,
                kind,
                users,
                fingerprint: Fingerprint::default(),
            });
        }
    }
    (count > 0 && sound.len() == count).then_some(sound)
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
