//! Environment variables: `QTB__SECTION__KEY` sets `section.key`.
//!
//! A variable is text. What it becomes is decided by what the schema wants at its path, never by
//! what it looks like: a client secret of digits stays a string.

use config::{Map, Value, ValueKind};

use super::problem::{Place, Places, Problem, join};
use super::schema::Node;

/// What the broker's own variables start with.
pub const PREFIX: &str = "QTB__";

/// Makes one layer of all variables, reporting each that sets nothing.
pub fn layer(
    variables: &[(String, String)],
    root: Node<'_>,
    places: &mut Places,
    problems: &mut Vec<Problem>,
) -> Map<String, Value> {
    let mut ours: Vec<_> = variables
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    let mut layer = Map::new();
    for (name, text) in ours {
        let path: Vec<String> = name[PREFIX.len()..]
            .split("__")
            .map(str::to_lowercase)
            .collect();
        let set = scalar(&path, text, root).and_then(|kind| insert(&mut layer, &path, kind));
        match set {
            Ok(()) => {
                let path = path
                    .iter()
                    .fold(String::new(), |path, key| join(&path, key));
                places.set(&path, Place::Variable(name.clone()), false);
            }
            Err((message, remedy)) => problems.push(Problem::new(name, message, remedy)),
        }
    }
    layer
}

type Fault = (&'static str, &'static str);

/// The value that the schema wants at this path.
fn scalar(path: &[String], text: &str, root: Node<'_>) -> Result<ValueKind, Fault> {
    let mut node = root;
    for key in path {
        node = match (node.kind(), node.key(key)) {
            ("array", _) => return Err(("is a path into a list", "set the whole list in a file")),
            (_, Some(next)) if !key.is_empty() => next,
            _ => return Err(("names no key", "correct the name, or remove the variable")),
        };
    }
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(("is not UTF-8", "set it to UTF-8 text"));
    }
    match node.kind() {
        _ if node.takes_text() => Ok(ValueKind::String(text.to_owned())),
        "integer" => text
            .parse()
            .map(ValueKind::I64)
            .map_err(|_| ("is not a whole number", "write digits only")),
        "number" => text
            .parse()
            .map(ValueKind::Float)
            .map_err(|_| ("is not a number", "write it like 0.5")),
        "boolean" => text
            .parse()
            .map(ValueKind::Boolean)
            .map_err(|_| ("is not a boolean", "write true or false")),
        "array" => Err(("names a list", "set the list in a file")),
        _ => Err(("names a table", "name one of its keys")),
    }
}

fn insert(table: &mut Map<String, Value>, path: &[String], kind: ValueKind) -> Result<(), Fault> {
    const TWICE: Fault = (
        "sets what another variable sets already",
        "keep one of the two",
    );
    let Some((key, rest)) = path.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        let before = table.entry(key.clone()).or_default();
        if before.kind != ValueKind::Nil {
            return Err(TWICE);
        }
        *before = Value::new(None, kind);
        return Ok(());
    }
    let inner = table
        .entry(key.clone())
        .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
    match &mut inner.kind {
        ValueKind::Table(inner) => insert(inner, rest, kind),
        _ => Err(TWICE),
    }
}
