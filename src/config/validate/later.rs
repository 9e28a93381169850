//! What has its place in the schema but is not served by this version: refused in plain words.

use serde_json::Value;

use super::super::problem::{Report, join};

/// Tables and keys that must be absent, or `false`. A `*` stands for any name or index.
const KEYS: &[&str] = &["telemetry"];

/// Reports what is used and returns its paths. Keys are taken out, so that the tables around them can be judged.
pub fn refuse(value: &mut Value, report: &mut Report) -> Vec<String> {
    let mut refused = Vec::new();
    for key in KEYS {
        each(value, "", &names(key), &mut |path, value| {
            let is_used = *value != Value::Bool(false);
            if is_used {
                tell(report, path);
                refused.push(path.to_owned());
            }
            is_used
        });
    }
    refused
}

fn tell(report: &mut Report, path: &str) {
    report.refuse(path, "is not part of this version yet", "remove it");
}

fn names(key: &str) -> Vec<&str> {
    key.split('.').collect()
}

/// Visits every value that the names lead to. A visitor that answers `true` takes the value out of
/// its table.
fn each(
    value: &mut Value,
    path: &str,
    names: &[&str],
    visit: &mut impl FnMut(&str, &Value) -> bool,
) {
    let Some((name, rest)) = names.split_first() else {
        return;
    };
    match value {
        Value::Object(entries) => entries.retain(|key, value| {
            if *name != "*" && key != name {
                return true;
            }
            let path = join(path, key);
            if rest.is_empty() {
                return !visit(&path, value);
            }
            each(value, &path, rest, visit);
            true
        }),
        Value::Array(items) if *name == "*" => {
            for (index, item) in items.iter_mut().enumerate() {
                let path = format!("{path}[{index}]");
                if rest.is_empty() {
                    visit(&path, item);
                } else {
                    each(item, &path, rest, visit);
                }
            }
        }
        _ => {}
    }
}
