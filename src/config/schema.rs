//! The JSON Schema of the configuration: as it is published, and as the broker checks with it.

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::raw::Root;

/// The schema in both forms.
pub struct Schema {
    /// For editors.
    pub published: Value,
    /// To check with. There is always one, unless there is a bug.
    pub validator: Option<Validator>,
}

impl Schema {
    /// Makes both.
    pub fn new() -> Self {
        let published = published();
        let validator = jsonschema::validator_for(&checking(&published)).ok();
        Self {
            published,
            validator,
        }
    }
}

/// The schema for editors, and for `config-schema` to print.
pub fn published() -> Value {
    let mut schema = schemars::schema_for!(Root).to_value();
    tidy(&mut schema);
    schema
}

/// TOML has no null, so the one that optional keys are given is left out; and the lines of our
/// sources mean nothing in a description.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(keys) => {
            if let Some(Value::Array(types)) = keys.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    keys.insert("type".into(), only);
                }
            }
            if keys.get("default").is_some_and(Value::is_null) {
                keys.remove("default");
            }
            if let Some(inner) = optional(keys) {
                keys.remove("anyOf");
                for (key, value) in inner {
                    keys.entry(key).or_insert(value);
                }
            }
            if let Some(Value::String(text)) = keys.get_mut("description") {
                let paragraphs: Vec<_> = text
                    .split("\n\n")
                    .map(|lines| lines.replace('\n', " "))
                    .collect();
                *text = paragraphs.join("\n\n");
            }
            keys.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

/// The schema in `anyOf: [schema, null]`.
fn optional(keys: &Map<String, Value>) -> Option<Map<String, Value>> {
    match keys.get("anyOf")?.as_array()?.as_slice() {
        [inner, null] if *null == json!({"type": "null"}) => inner.as_object().cloned(),
        _ => None,
    }
}

/// The schema to check with. It accepts what the published one accepts, but a session table is
/// judged by the kind that its `type` names: `oneOf` could only say that it is none of them.
fn checking(published: &Value) -> Value {
    let mut schema = published.clone();
    if let Some(Value::Object(session)) = schema.pointer_mut("/$defs/Session")
        && let Some(Value::Array(kinds)) = session.remove("oneOf")
    {
        let names: Vec<Value> = kinds
            .iter()
            .map(|kind| kind["properties"]["type"]["const"].clone())
            .collect();
        let branches = names.iter().zip(kinds).map(|(name, kind)| {
            json!({"if": {"type": "object", "properties": {"type": {"const": name}}, "required": ["type"]}, "then": kind})
        });
        let branches: Vec<Value> = branches.collect();
        session.insert("type".into(), json!("object"));
        session.insert(
            "properties".into(),
            json!({"type": {"type": "string", "enum": names}}),
        );
        session.insert("required".into(), json!(["type"]));
        session.insert("allOf".into(), Value::Array(branches));
    }
    schema
}

/// No scope, name, URL or path. What depends on the text that it stands for is then not judged.
const UNREADABLE: &str = "\0";

/// A part of the published schema, with the references followed.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    root: &'a Value,
    here: &'a Value,
    description: &'a str,
}

impl<'a> Node<'a> {
    /// The whole configuration.
    pub fn root(published: &'a Value) -> Self {
        Self {
            root: published,
            here: published,
            description: "",
        }
    }

    fn at(self, here: &'a Value) -> Self {
        let target = here["$ref"]
            .as_str()
            .and_then(|reference| self.root.pointer(reference.strip_prefix('#')?));
        let described = |schema: &'a Value| schema["description"].as_str();
        let description = described(here)
            .or_else(|| target.and_then(described))
            .unwrap_or_default();
        Self {
            root: self.root,
            here: target.unwrap_or(here),
            description,
        }
    }

    /// A key of this table, whether it is known by name or any name will do.
    pub fn key(self, name: &str) -> Option<Self> {
        self.property(name).map(|here| self.at(here))
    }

    fn property(self, name: &str) -> Option<&'a Value> {
        let named = |schema: &'a Value| schema["properties"].get(name);
        let any_name = || {
            self.here
                .get("additionalProperties")
                .filter(|schema| schema.is_object())
        };
        let one_of = || self.here["oneOf"].as_array()?.iter().find_map(named);
        named(self.here).or_else(any_name).or_else(one_of)
    }

    /// The items of this list.
    pub fn items(self) -> Option<Self> {
        self.here.get("items").map(|here| self.at(here))
    }

    /// Whether this text must not be shown. What the schema itself names is no secret.
    pub fn hides(self, text: &str) -> bool {
        let named = |examples: &Vec<Value>| examples.iter().any(|example| example == text);
        self.here["writeOnly"] == true
            && !text.is_empty()
            && !self.here["examples"].as_array().is_some_and(named)
    }

    /// The first sentence on this key.
    pub fn sentence(self) -> String {
        let first = self.description.split(". ").next().unwrap_or_default();
        first.trim_end_matches('.').to_owned()
    }

    /// The keys of this table.
    pub fn keys(self) -> impl Iterator<Item = &'a String> {
        self.here["properties"]
            .as_object()
            .into_iter()
            .flat_map(|properties| properties.keys())
    }

    /// Whether a string is accepted.
    pub fn takes_text(self) -> bool {
        let is_text = |schema: &Value| schema["type"] == "string" || schema["enum"].is_array();
        is_text(self.here)
            || self.here["oneOf"]
                .as_array()
                .is_some_and(|forms| forms.iter().any(is_text))
    }

    /// The JSON type, where there is exactly one.
    pub fn kind(self) -> &'a str {
        self.here["type"].as_str().unwrap_or_default()
    }

    /// For a table of several kinds, their names.
    pub fn kinds(self) -> impl Iterator<Item = &'a str> {
        let kinds = self.here["oneOf"].as_array().into_iter().flatten();
        kinds.filter_map(|kind| kind["properties"]["type"]["const"].as_str())
    }

    /// For a table of several kinds, the kind that its `type` names.
    pub fn chosen(self, value: &Value) -> Self {
        let is_kind = |kind: &&Value| kind["properties"]["type"]["const"] == value["type"];
        match self.here["oneOf"]
            .as_array()
            .and_then(|kinds| kinds.iter().find(is_kind))
        {
            Some(kind) if value["type"].is_string() => self.at(kind),
            _ => self,
        }
    }

    /// A value of the right form, to stand where a wrong one stood; text is such that nothing takes it.
    pub fn stand_in(self) -> Value {
        let fixed = ["const", "minimum"]
            .iter()
            .find_map(|name| self.here.get(name));
        let fixed = fixed.or_else(|| self.here["enum"].as_array()?.first());
        match (fixed, self.kind()) {
            (Some(value), _) => value.clone(),
            (None, "boolean") => json!(false),
            (None, "integer" | "number") => json!(1),
            (None, "array") => match self.items() {
                Some(items) if items.kind() == "string" && items.here.get("enum").is_none() => {
                    json!([UNREADABLE])
                }
                _ => json!([]),
            },
            (None, "object") => self
                .required()
                .map(|(name, node)| (name.to_owned(), node.stand_in()))
                .collect(),
            (None, _) if self.takes_text() => json!(UNREADABLE),
            (None, _) => Value::Null,
        }
    }

    fn required(self) -> impl Iterator<Item = (&'a str, Self)> {
        let names = self.here["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        names.filter_map(move |name| Some((name, self.key(name)?)))
    }

    /// The defaults of the keys of this table that have one.
    pub fn defaults(self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let properties = self.here["properties"].as_object().into_iter().flatten();
        properties.filter_map(|(name, schema)| Some((name, schema.get("default")?)))
    }
}
