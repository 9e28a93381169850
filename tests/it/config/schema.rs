//! The published schema, the example, and what they owe to each other.

use std::collections::BTreeSet;

use qlik_token_broker::config::schema;
use serde_json::Value;

use super::repository_file;

#[test]
fn the_schema_file_has_no_drift() {
    let generated = format!("{:#}\n", schema());
    let stored = repository_file("config/schema.json");
    assert!(
        stored == generated,
        "write it anew: qlik-token-broker config-schema > config/schema.json"
    );
}

#[test]
fn the_published_schema_accepts_the_example_and_knows_the_kinds_of_sessions() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let example: Value = toml::from_str(&repository_file("config/example.toml")).unwrap();
    assert!(validator.is_valid(&example));
    let mut wrong = example.clone();
    wrong["session"][1]["keys"] = serde_json::json!([]);
    assert!(!validator.is_valid(&wrong));
    assert!(!schema().to_string().contains("null"));
}

#[test]
fn the_example_and_the_schema_have_the_same_keys() {
    let example = repository_file("config/example.toml");
    let (now, later) = example.split_once("# Several replicas").unwrap();
    let mut written = BTreeSet::new();
    for part in [now, later] {
        let document: Value = toml::from_str(&uncommented(part)).unwrap();
        keys_of_document("", &document, &mut written);
    }
    let schema = schema();
    let mut known = BTreeSet::new();
    keys_of_schema("", &schema, &schema, &mut known);
    let shared =
        |keys: BTreeSet<String>| keys.iter().map(|key| shared(key)).collect::<BTreeSet<_>>();
    let (known, written) = (shared(known), shared(written));
    let missing: Vec<_> = known.symmetric_difference(&written).collect();
    assert!(missing.is_empty(), "only in one of the two: {missing:?}");
}

/// Keys that several tables share need showing only once.
fn shared(key: &str) -> String {
    if let Some((_, name)) = key
        .strip_prefix("session(")
        .and_then(|key| key.split_once(")."))
        && ["name", "tenant", "user", "scope", "deny", "refuse_admins"].contains(&name)
    {
        return format!("session.{name}");
    }
    let is_proof = key.contains(".client_secrets") || key.contains(".private_key");
    if is_proof {
        key.replace(".management.", ".").replace(".service.", ".")
    } else {
        key.to_owned()
    }
}

/// Lines such as `# key = value` and `# [table]` without the `#`.
fn uncommented(text: &str) -> String {
    let is_key = |line: &str| {
        let name = line.split_once(" = ").map_or("", |(name, _)| name);
        line.starts_with('[')
            || (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let line = |line| match str::strip_prefix(line, "# ") {
        Some(rest) if is_key(rest) => rest,
        _ => line,
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn keys_of_document(path: &str, value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| keys_of_document(path, item, keys)),
        Value::Object(entries) if !entries.contains_key("file") && !entries.contains_key("env") => {
            let kind = entries
                .get("type")
                .and_then(Value::as_str)
                .map(|kind| format!("{path}({kind})"));
            let path = kind.as_deref().unwrap_or(path);
            for (name, value) in entries {
                let name = if path == "tenants" || path.ends_with("headers") {
                    "*"
                } else {
                    name
                };
                let path = format!("{path}.{name}");
                keys_of_document(path.trim_start_matches('.'), value, keys);
                keys.insert(path.trim_start_matches('.').to_owned());
            }
        }
        _ => {}
    }
}

fn keys_of_schema(path: &str, root: &Value, here: &Value, keys: &mut BTreeSet<String>) {
    if let Some(reference) = here["$ref"].as_str() {
        return keys_of_schema(path, root, root.pointer(&reference[1..]).unwrap(), keys);
    }
    if here["writeOnly"] == true {
        return;
    }
    for kind in here["oneOf"].as_array().into_iter().flatten() {
        let name = kind["properties"]["type"]["const"].as_str().unwrap();
        keys_of_schema(&format!("{path}({name})"), root, kind, keys);
    }
    if here["items"].is_object() {
        keys_of_schema(path, root, &here["items"], keys);
    }
    let any_name = here["additionalProperties"]
        .is_object()
        .then(|| ("*", &here["additionalProperties"]));
    let named = here["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.as_str(), schema));
    for (name, schema) in named.chain(any_name) {
        let path = format!("{path}.{name}");
        keys_of_schema(path.trim_start_matches('.'), root, schema, keys);
        keys.insert(path.trim_start_matches('.').to_owned());
    }
}
