//! The merged configuration against the schema. Finds all faults at once, and words them itself:
//! the validator's own messages quote the values.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use super::problem::{Problem, Report, join};
use super::schema::{Node, Schema};

/// Reports every fault and mends the value: unknown keys are taken out, wrong values replaced by
/// stand-ins. So one fault hides no other; what is found about a
/// stand-in later is not to be reported.
pub fn against(schema: &Schema, value: &mut Value, report: &mut Report) {
    let published = &schema.published;
    let Some(validator) = &schema.validator else {
        report.refuse(
            "configuration",
            "cannot be checked",
            "this is a bug; please report it",
        );
        return;
    };
    let mut repairs = Vec::new();
    for error in validator.iter_errors(&*value) {
        let spot = Spot::of(&error, published, value);
        repairs.push((
            error.instance_path().as_str().to_owned(),
            spot.repair(&error),
        ));
        for problem in spot.problems(&error) {
            // A value of the wrong type fails its other rules as well.
            if !report
                .problems
                .iter()
                .any(|known| known.path == problem.path)
            {
                report.problems.push(problem);
            }
        }
    }
    for (pointer, repair) in repairs {
        if let Some(value) = value.pointer_mut(&pointer) {
            repair.apply(value);
        }
    }
}

/// What makes a faulty value one that can be read on.
enum Repair {
    None,
    Remove(Vec<String>),
    Insert(String, Value),
    Replace(Value),
}

impl Repair {
    fn apply(self, value: &mut Value) {
        match (self, value) {
            (Self::Remove(names), Value::Object(entries)) => {
                entries.retain(|name, _| !names.contains(name));
            }
            (Self::Insert(name, stand_in), Value::Object(entries)) => {
                entries.entry(name).or_insert(stand_in);
            }
            (Self::Replace(stand_in), value) => *value = stand_in,
            _ => {}
        }
    }
}

/// Where an error is, in our notation and in the schema.
struct Spot<'a> {
    path: String,
    node: Option<Node<'a>>,
}

impl<'a> Spot<'a> {
    fn of(error: &ValidationError<'_>, published: &'a Value, mut value: &Value) -> Self {
        let mut spot = Self {
            path: String::new(),
            node: Some(Node::root(published)),
        };
        for segment in error.instance_path().segments() {
            match segment {
                LocationSegment::Property(name) => {
                    spot.path = join(&spot.path, &name);
                    spot.node = spot.node.and_then(|node| node.key(&name));
                    value = &value[&*name];
                }
                LocationSegment::Index(index) => {
                    spot.path = format!("{}[{index}]", spot.path);
                    spot.node = spot.node.and_then(Node::items);
                    value = &value[index];
                }
            }
            spot.node = spot.node.map(|node| node.chosen(value));
        }
        spot
    }

    fn repair(&self, error: &ValidationError<'_>) -> Repair {
        let stand_in = |node: Option<Node<'_>>| node.map(Node::stand_in).unwrap_or_default();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                Repair::Remove(unexpected.clone())
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                Repair::Insert(
                    name.to_owned(),
                    stand_in(self.node.and_then(|node| node.key(name))),
                )
            }
            ValidationErrorKind::PropertyNames { .. } => Repair::None,
            _ => Repair::Replace(stand_in(self.node)),
        }
    }

    fn problems(&self, error: &ValidationError<'_>) -> Vec<Problem> {
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.iter().map(|name| self.unknown(name)).collect()
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![Problem::new(
                    join(&self.path, name),
                    "is required",
                    self.add(name),
                )]
            }
            ValidationErrorKind::PropertyNames { error } => {
                let path = join(&self.path, error.instance().as_str().unwrap_or_default());
                let remedy = "use a-z, 0-9, _ and -, up to 64 of them";
                vec![Problem::new(
                    path,
                    "is not a name that a tenant can have",
                    remedy,
                )]
            }
            kind => {
                let (message, remedy) = self.words(kind);
                vec![Problem::new(&self.path, message, remedy)]
            }
        }
    }

    fn unknown(&self, name: &str) -> Problem {
        let known: Vec<_> = self
            .node
            .into_iter()
            .flat_map(Node::keys)
            .map(String::as_str)
            .collect();
        let remedy = format!("remove it, or use one of: {}", known.join(", "));
        Problem::new(join(&self.path, name), "is not a known key", remedy)
    }

    fn words(&self, kind: &ValidationErrorKind) -> (String, String) {
        let told = |message: &str, remedy: &str| (message.to_owned(), remedy.to_owned());
        match kind {
            ValidationErrorKind::Type { kind } => wrong_type(kind),
            ValidationErrorKind::Enum { options } => (
                "is not a value that is possible here".into(),
                format!("use one of: {}", list(options)),
            ),
            ValidationErrorKind::OneOfNotValid { .. }
            | ValidationErrorKind::OneOfMultipleValid { .. } => {
                let forms = r#"write exactly one of a string, { file = "…" } or { env = "NAME" }"#;
                told("is not a secret", forms)
            }
            ValidationErrorKind::Minimum { limit } => {
                ("is too small".into(), format!("write {limit} or more"))
            }
            ValidationErrorKind::Maximum { limit } => {
                ("is too large".into(), format!("write {limit} or less"))
            }
            ValidationErrorKind::MinLength { .. } => ("is empty".into(), self.write()),
            ValidationErrorKind::MaxLength { limit } => (
                "is too long".into(),
                format!("use at most {limit} characters"),
            ),
            ValidationErrorKind::MinItems { .. } => ("is an empty list".into(), self.write()),
            _ => ("is not in the form that is needed".into(), self.write()),
        }
    }

    fn add(&self, name: &str) -> String {
        let kinds: Vec<_> = self.node.into_iter().flat_map(Node::kinds).collect();
        if name == "type" && !kinds.is_empty() {
            return format!("add it, and use one of: {}", kinds.join(", "));
        }
        match self
            .node
            .and_then(|node| node.key(name))
            .map(Node::sentence)
        {
            Some(sentence) if !sentence.is_empty() => format!("add it: {sentence}"),
            _ => "add it".into(),
        }
    }

    fn write(&self) -> String {
        match self.node.map(Node::sentence) {
            Some(sentence) if !sentence.is_empty() => format!("fill it in: {sentence}"),
            _ => "compare it with the schema".into(),
        }
    }
}

fn wrong_type(kind: &TypeKind) -> (String, String) {
    let (name, remedy) = match kind {
        TypeKind::Single(JsonType::String) => ("a string", "write it in quotes"),
        TypeKind::Single(JsonType::Integer) => ("a whole number", "write digits without quotes"),
        TypeKind::Single(JsonType::Number) => ("a number", "write it without quotes"),
        TypeKind::Single(JsonType::Boolean) => ("a boolean", "write true or false, without quotes"),
        TypeKind::Single(JsonType::Array) => {
            ("a list", "write it in [ ], or as tables under [[ ]]")
        }
        TypeKind::Single(JsonType::Object) => ("a table", "write it in { }, or under a [header]"),
        _ => ("of another type", "compare it with the schema"),
    };
    (format!("must be {name}"), remedy.to_owned())
}

/// The options of the schema; none of them is a configured value.
fn list(options: &Value) -> String {
    let options = options
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    options.collect::<Vec<_>>().join(", ")
}
