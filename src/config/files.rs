//! The files that a configuration names.

use std::path::PathBuf;

use serde_json::Value;

/// All files that this part of the configuration names: `{ file = "…" }`, and keys like `ca_file`.
pub fn named(value: &Value) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(value, &mut files);
    files
}

fn collect(value: &Value, files: &mut Vec<PathBuf>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, files)),
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(file) if key == "file" || key.ends_with("_file") => {
                        files.push(file.into());
                    }
                    value => collect(value, files),
                }
            }
        }
        _ => {}
    }
}
