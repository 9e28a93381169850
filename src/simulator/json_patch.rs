//! JSON Patch, as far as a tenant takes it: a list of operations on top-level paths.

use serde::Deserialize;
use serde_json::Value;

use super::asked::Asked;

/// One operation.
#[derive(Deserialize)]
pub(super) struct Operation {
    pub op: String,
    pub path: String,
    #[serde(default)]
    pub value: Value,
}

impl Operation {
    /// The operations of the body; the error says what is wrong.
    pub(super) fn list(asked: &Asked, ops: &[&str]) -> Result<Vec<Self>, String> {
        let operations: Vec<Self> = Vec::deserialize(asked.json()?)
            .map_err(|error| format!("not a JSON Patch: {error}"))?;
        if operations.is_empty() {
            return Err("the patch has no operation".to_owned());
        }
        if let Some(other) = operations
            .iter()
            .find(|operation| !ops.contains(&operation.op.as_str()))
        {
            return Err(format!(
                "op {:?} is not one of {}",
                other.op,
                ops.join(", ")
            ));
        }
        Ok(operations)
    }

    /// The value as text.
    pub(super) fn text(&self) -> Result<String, String> {
        let text = self.value.as_str().map(str::to_owned);
        text.ok_or_else(|| format!("the value of {} must be a string", self.path))
    }

    /// The value as a list of texts; nothing for `remove`.
    pub(super) fn texts(&self) -> Result<Vec<String>, String> {
        if self.op == "remove" {
            return Ok(Vec::new());
        }
        Vec::deserialize(&self.value)
            .map_err(|_| format!("the value of {} must be a list of strings", self.path))
    }

    /// The value as a boolean.
    pub(super) fn flag(&self) -> Result<bool, String> {
        let flag = self.value.as_bool();
        flag.ok_or_else(|| format!("the value of {} must be true or false", self.path))
    }
}
