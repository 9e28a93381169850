//! Who somebody is, once a session has been verified.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The verified claims of a session. Nothing unverified is ever put in here.
#[derive(Clone, Default)]
pub struct Claims(Map<String, Value>);

/// Claims are personal data, values and names alike.
impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claims({})", self.0.len())
    }
}

impl Claims {
    /// Takes claims whose origin has been verified.
    pub fn verified(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// The text of a claim: a string, or a number as it is written. A claim of another type, or an
    /// empty one, counts as absent.
    ///
    /// `path` is tried as a whole name first, since names such as `https://acme.example/org` hold
    /// dots themselves, and then as a dotted path into objects.
    pub fn text(&self, path: &str) -> Option<Cow<'_, str>> {
        let text = match self.find(path)? {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            Value::Number(number) => Cow::Owned(number.to_string()),
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    /// Whether a claim is there and says anything but yes: `false`, `"false"`, `0` or nonsense.
    pub fn denies(&self, path: &str) -> bool {
        match self.find(path) {
            None | Some(Value::Null | Value::Bool(true)) => false,
            Some(Value::String(text)) => !text.eq_ignore_ascii_case("true"),
            Some(_) => true,
        }
    }

    /// Whether a claim is there at all; `null` is not.
    pub fn holds(&self, path: &str) -> bool {
        self.find(path).is_some_and(|value| !value.is_null())
    }

    /// The texts of a claim that is a list of them, or one text. `None` if it is neither.
    pub fn list(&self, path: &str) -> Option<Vec<&str>> {
        match self.find(path)? {
            Value::String(one) => Some(vec![one]),
            Value::Array(many) => many.iter().map(Value::as_str).collect(),
            _ => None,
        }
    }

    fn find(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_object()?.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        match value {
            Value::Object(map) => Claims::verified(map),
            _ => unreachable!(),
        }
    }

    #[test]
    fn paths_reach_into_objects_and_whole_names_win() {
        let claims = claims(
            json!({"org": {"id": 7}, "a.b": "whole", "a": {"b": "nested"}, "no": true, "empty": ""}),
        );
        assert_eq!(claims.text("org.id").as_deref(), Some("7"));
        assert_eq!(claims.text("a.b").as_deref(), Some("whole"));
        assert_eq!(claims.text("no"), None);
        assert_eq!(claims.text("empty"), None);
        assert_eq!(claims.text("org"), None);
        assert_eq!(claims.text("org.id.deeper"), None);
    }
}
