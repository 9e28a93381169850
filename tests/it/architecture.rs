//! The arrows between the rooms, and the rooms that own a foreign crate: read from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room by room, the rooms it may use. What [`OPEN_TO_ALL`] names may be used by any.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "fuzzing",
        &["broker", "config", "qlik", "session", "shared", "tenant"],
    ),
    (
        "cli",
        &[
            "admission",
            "app",
            "budget",
            "config",
            "http",
            "identity",
            "mapping",
            "ops",
            "outbound",
            "portal",
            "provision",
            "qlik",
            "rotation",
            "session",
            "shared",
            "simulator",
            "tenant",
            "watch",
        ],
    ),
    ("rotation", &["outbound", "provision", "qlik", "tenant"]),
    ("provision", &["qlik", "session", "tenant"]),
    // It serves the description of both.
    ("ops", &["app", "config", "http"]),
    (
        "http",
        &[
            "admission",
            "app",
            "broker",
            "limits",
            "mapping",
            "qlik",
            "session",
            "tenant",
            "tls",
            "watch",
        ],
    ),
    ("portal", &["outbound"]),
    (
        "app",
        &[
            "admission",
            "broker",
            "budget",
            "config",
            "directory",
            "expiring",
            "limits",
            "outbound",
            "qlik",
            "session",
            "shared",
            "tenant",
            "watch",
        ],
    ),
    (
        "config",
        &[
            "limits", "mapping", "outbound", "qlik", "session", "shared", "tenant", "tls",
        ],
    ),
    (
        "admission",
        &[
            "broker",
            "directory",
            "expiring",
            "identity",
            "mapping",
            "qlik",
            "session",
            "tenant",
        ],
    ),
    (
        "broker",
        &[
            "budget",
            "directory",
            "expiring",
            "mapping",
            "qlik",
            "shared",
            "tenant",
        ],
    ),
    ("directory", &["expiring", "mapping", "qlik"]),
    (
        "session",
        &[
            "expiring", "identity", "limits", "mapping", "outbound", "shared", "tenant",
        ],
    ),
    (
        "qlik",
        &["budget", "expiring", "mapping", "outbound", "tenant"],
    ),
    ("budget", &["shared", "tenant"]),
    ("shared", &["tls"]),
    ("tenant", &["mapping"]),
    ("mapping", &["identity"]),
    ("identity", &[]),
    ("expiring", &[]),
    ("limits", &[]),
    ("telemetry", &["outbound"]),
    ("outbound", &["tls"]),
    ("tls", &[]),
    ("watch", &[]),
    ("secret", &[]),
    ("clock", &[]),
    ("digest", &[]),
    ("json", &[]),
    ("kept", &[]),
    ("simulator", &[]),
];

const OPEN_TO_ALL: [&str; 6] = ["telemetry", "clock", "digest", "json", "kept", "secret"];
/// What may not even use what is open to all: it has to be right without us.
const ALONE: [&str; 6] = ["simulator", "clock", "digest", "json", "kept", "secret"];

/// Foreign crates, and the only files or folders that may name them.
const FOREIGN: &[(&str, &[&str])] = &[
    ("axum", &["http", "ops", "portal", "simulator"]),
    ("axum_server", &["http", "cli/serve"]),
    (
        "reqwest",
        &[
            "outbound",
            "qlik",
            "session/checks",
            "session/introspection",
            "session/issuer",
            "session/jwks",
            "session/jwt",
            "session/portal_check",
        ],
    ),
    (
        "jsonwebtoken",
        &[
            "session/jwt",
            "session/jwks",
            "session/key_set",
            "qlik/credential",
            "portal",
        ],
    ),
    ("hashlink", &["kept"]),
    ("rustls", &["tls"]),
    ("webpki", &["tls"]),
    ("x509_parser", &["tls"]),
    ("tokio_rustls", &["http/tls"]),
    ("clap", &["cli"]),
    ("config", &["config"]),
    ("schemars", &["config"]),
    ("jsonschema", &["config"]),
    ("toml", &["config", "cli/provision", "provision/table"]),
    ("indicatif", &["cli/provision"]),
    ("maud", &["ops/status"]),
    ("metrics", &["telemetry/metrics"]),
    ("metrics_exporter_prometheus", &["telemetry/metrics", "app"]),
    ("backon", &["qlik/admin", "qlik/management", "qlik/tries"]),
    ("fred", &["shared"]),
    ("fastrand", &["telemetry/traces"]),
    ("opentelemetry", &["telemetry/traces", "telemetry/export"]),
    ("opentelemetry_proto", &["telemetry/export"]),
    (
        "opentelemetry_sdk",
        &["telemetry/traces", "telemetry/export"],
    ),
    ("prost", &["telemetry/export"]),
    (
        "governor",
        &["budget", "clock", "limits/limiter", "limits/sessions"],
    ),
    ("anyhow", &["cli"]),
    ("utoipa", &["http", "ops"]),
    ("webpki_root_certs", &["outbound"]),
    ("zeroize", &["secret"]),
];

/// The sources, as path below `src` without `.rs`, and without comments and unit tests.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let read = |path: PathBuf| {
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .with_extension("")
            .to_str()
            .unwrap()
            .to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().map(|line| line.split("//").next().unwrap());
        (name, lines.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(read).collect()
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap()
}

/// The words that follow `prefix` in code, such as room names after `crate::`.
fn words_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_');
    let after = code.match_indices(prefix).filter(|(at, _)| {
        !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
    });
    after
        .map(|(at, _)| &code[at + prefix.len()..])
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group
                .split('}')
                .next()
                .unwrap()
                .split(',')
                .map(|word| word.trim().split(ends).next().unwrap())
                .collect::<Vec<_>>(),
            None => vec![rest.split(ends).next().unwrap()],
        })
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn arrows_point_one_way() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for (file, code) in sources() {
        let room = room(&file);
        if matches!(room, "main" | "lib") {
            continue;
        }
        let Some(allowed) = arrows.get(room) else {
            faults.push(format!(
                "{file}: the room {room} has no arrows; add it to the table"
            ));
            continue;
        };
        for used in words_after(&code, "crate::") {
            let open = OPEN_TO_ALL.contains(&used) && !ALONE.contains(&room);
            if used != room && !open && !allowed.contains(&used) {
                faults.push(format!("{file}: uses crate::{used}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_of_arrows_has_no_cycle_and_no_arrow_without_use() {
    for (index, (room, allowed)) in ARROWS.iter().enumerate() {
        for used in *allowed {
            let below = ARROWS.iter().position(|(name, _)| name == used).unwrap();
            assert!(below > index, "{used} must stand below {room}");
            let is_used = sources().iter().any(|(file, code)| {
                super::architecture::room(file) == *room
                    && words_after(code, "crate::").contains(used)
            });
            assert!(
                is_used,
                "{room} does not use {used} any more: take the arrow out"
            );
        }
    }
}

#[test]
fn foreign_types_stop_in_the_rooms_that_own_them() {
    let mut faults = Vec::new();
    for (file, code) in sources() {
        for (name, rooms) in FOREIGN {
            let prefix = format!("{name}::");
            let ours = words_after(&code, &prefix);
            let derives = *name == "clap" || *name == "schemars";
            let inside = rooms
                .iter()
                .any(|room| file == *room || file.starts_with(&format!("{room}/")));
            if !ours.is_empty()
                && !inside
                && (derives
                    || code.contains(&format!("use {prefix}"))
                    || code.contains(&format!(" {prefix}")))
            {
                let own_module = code.contains(&format!("crate::{name}"))
                    || code.contains(&format!("telemetry::{name}"));
                if !own_module {
                    faults.push(format!("{file}: names {name}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_and_functions_stay_small() {
    const FILE: usize = 320;
    let faults: Vec<_> = sources()
        .iter()
        .map(|(file, code)| (file.clone(), code.lines().count()))
        .filter(|(_, lines)| *lines > FILE)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
