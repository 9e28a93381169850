//! The effective configuration, in a form that may be shown.

use serde_json::Value;

use super::schema::Node;

/// What stands for a secret.
const HIDDEN: &str = "(secret)";

/// Fills in the defaults and hides the secrets.
pub fn effective(published: &Value, mut value: Value) -> Value {
    show(Node::root(published), &mut value);
    value
}

fn show(node: Node<'_>, value: &mut Value) {
    match value {
        Value::String(text) if node.hides(text) => HIDDEN.clone_into(text),
        Value::Array(items) => {
            if let Some(node) = node.items() {
                for item in items {
                    show(node, item);
                }
            }
        }
        Value::Object(_) => {
            let node = node.chosen(value);
            let Value::Object(entries) = value else {
                return;
            };
            for (name, default) in node.defaults() {
                entries.entry(name).or_insert_with(|| default.clone());
            }
            for (name, value) in entries {
                if let Some(node) = node.key(name) {
                    show(node, value);
                }
            }
        }
        _ => {}
    }
}
