//! From text to meaning: typed values, and what they must be to each other. Finds all faults.

mod api_key;
mod back_end;
mod jwt;
mod kinds;
mod known;
mod other_clients;
mod server;
mod session;
mod shared;
mod telemetry;
mod tenant;
mod text;
mod users;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{Report, join, within};
use super::{Config, raw};

/// The typed configuration; `None`, with problems reported, where there is none. What was reported
/// before is not reported again.
pub fn typed(value: &Value, report: &mut Report) -> Option<Config> {
    let mut found = Report::default();
    let config = read(&Tables { value }, &mut found);
    // Whatever is wrong with a key, or with a part of it, follows from what is known of it.
    let known: Vec<String> = report
        .problems
        .iter()
        .map(|problem| problem.path.clone())
        .collect();
    let follows = |path: &str| {
        known
            .iter()
            .any(|known| within(path, known) || within(known, path))
    };
    report.problems.extend(
        found
            .problems
            .into_iter()
            .filter(|problem| !follows(&problem.path)),
    );
    report.warnings.append(&mut found.warnings);
    config
}

fn read(tables: &Tables<'_>, report: &mut Report) -> Option<Config> {
    let server = tables
        .one(report, "server")
        .and_then(|raw| server::server(report, &raw));
    let ops = tables
        .one(report, "ops")
        .and_then(|raw| server::ops(report, &raw));
    let log = tables
        .one(report, "log")
        .and_then(|raw| server::log(report, &raw));
    let audit = tables
        .one(report, "audit")
        .and_then(|raw| server::audit(report, &raw));
    let telemetry = tables
        .one(report, "telemetry")
        .and_then(|raw| telemetry::telemetry(report, &raw));
    let proxy = tables
        .one(report, "upstream")
        .and_then(|raw| server::proxy(report, raw));
    let cache = tables
        .one(report, "cache")
        .and_then(|raw| server::cache(report, &raw));
    let shared = match tables.value.get("shared") {
        Some(_) => tables
            .one(report, "shared")
            .and_then(|raw| shared::shared(report, &raw))
            .map(Some),
        None => Some(None),
    };
    let limits = tables.one(report, "limits").map(|raw| server::limits(&raw));
    if let (Some(server), Some(ops)) = (&server, &ops) {
        server::listeners(report, server, ops);
    }
    let (mut known, tenants) = tenant::all(report, tables);
    known.handles = tables.has_handles();
    known.client_ca = tables.has_client_ca();
    let sessions = session::all(report, tables, &known);
    if let Some(server) = &server {
        shared::warn_of_none(report, server, known.handles, matches!(shared, Some(None)));
    }
    Some(Config {
        server: server?,
        ops: ops?,
        log: log?,
        audit: audit?,
        telemetry: telemetry?,
        proxy: proxy?,
        cache: cache?,
        shared: shared?,
        limits: limits?,
        sessions: sessions?,
        tenants: tenants?,
        warnings: Vec::new(),
        redacted: Value::Null,
    })
}

/// Something is wrong, and the report says what.
struct Reported;

/// The tables of the merged configuration.
struct Tables<'a> {
    value: &'a Value,
}

impl Tables<'_> {
    /// A table that is there once, empty when it is not written.
    fn one<T: DeserializeOwned>(&self, report: &mut Report, name: &str) -> Option<T> {
        let empty = Value::Object(serde_json::Map::new());
        Self::parse(report, name, self.value.get(name).unwrap_or(&empty))
    }

    fn has_handles(&self) -> bool {
        let mut tables = self.value["session"].as_array().into_iter().flatten();
        tables.any(|table| table["type"] == "handle")
    }

    fn has_client_ca(&self) -> bool {
        !self.value["server"]["tls"]["client_ca"].is_null()
    }

    /// The `[[session]]` tables with their paths.
    fn sessions(&self, report: &mut Report) -> Vec<(String, Option<raw::Session>)> {
        let tables = self.value["session"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate();
        let parsed = tables.map(|(index, table)| {
            let path = format!("session[{index}]");
            let parsed = Self::parse(report, &path, table);
            (path, parsed)
        });
        parsed.collect()
    }

    /// The `[tenants.NAME]` tables with their names and paths.
    fn tenants(&self, report: &mut Report) -> Vec<(String, String, Option<raw::Tenant>)> {
        let tables = self.value["tenants"].as_object().into_iter().flatten();
        let parsed = tables.map(|(name, table)| {
            let path = join("tenants", name);
            let parsed = Self::parse(report, &path, table);
            (name.clone(), path, parsed)
        });
        parsed.collect()
    }

    fn parse<T: DeserializeOwned>(report: &mut Report, path: &str, table: &Value) -> Option<T> {
        // What the schema accepts parses; the error, which would quote values, is not needed.
        let parsed = serde_json::from_value(table.clone());
        parsed
            .map_err(|_| {
                report.refuse(
                    path,
                    "is not in the form that is needed",
                    "compare it with the schema",
                );
            })
            .ok()
    }
}
