//! Where the configuration is read from: files, directories and the environment, merged in order.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use config::{Map, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Places, Problem, join};
use super::{Sources, env, schema};
use crate::secret::read_file;

/// The merged configuration, and where its keys come from.
pub struct Merged {
    /// All layers as one.
    pub value: serde_json::Value,
    /// Where each key was set last.
    pub places: Places,
    /// Faults of the environment. Those of files are final.
    pub problems: Vec<Problem>,
}

/// Reads and merges all layers; later ones win. Tables merge, lists and secrets replace.
pub fn merge(sources: &Sources, published: &serde_json::Value) -> Result<Merged, Vec<Problem>> {
    let mut places = Places::default();
    let mut broken = Vec::new();
    let mut builder = config::Config::builder();
    for file in files(&sources.files, &mut broken) {
        match parse(&file, &mut places) {
            Ok(layer) => builder = builder.add_source(layer.clearing()).add_source(layer),
            Err(problem) => broken.push(problem),
        }
    }
    let mut problems = Vec::new();
    let root = schema::Node::root(published);
    let layer = Layer(env::layer(&sources.env, root, &mut places, &mut problems));
    builder = builder.add_source(layer.clearing()).add_source(layer);
    if !broken.is_empty() {
        broken.extend(problems);
        return Err(broken);
    }
    // The crate's own error would quote the value, and cannot happen: the target takes any value.
    let merged = builder.build().and_then(config::Config::try_deserialize);
    let value = merged.map_err(|_| {
        vec![Problem::new(
            "configuration",
            "cannot be merged",
            "write one file",
        )]
    })?;
    Ok(Merged {
        value,
        places,
        problems,
    })
}

/// The files in order; a directory stands for its `*.toml`, sorted by name.
pub fn files(paths: &[PathBuf], broken: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        match toml_files(path) {
            Ok(files) if files.is_empty() => {
                broken.push(Problem::new(
                    path.display().to_string(),
                    "holds no *.toml",
                    "name a file, or add one",
                ));
            }
            Ok(files) => all.extend(files),
            Err(error) => broken.push(unreadable(path, &error)),
        }
    }
    all
}

fn toml_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
            && path.is_file()
    });
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let message = format!("cannot be read: {error}");
    Problem::new(
        path.display().to_string(),
        message,
        "check that it exists and that the broker may read it",
    )
}

fn parse(file: &Path, places: &mut Places) -> Result<Layer, Problem> {
    let bytes = read_file(file).map_err(|error| unreadable(file, &error))?;
    let text = str::from_utf8(&bytes);
    let text = text.map_err(|_| unreadable(file, &ErrorKind::InvalidData.into()))?;
    // Only the message: the crate's Display quotes the line, and with it what may be a secret.
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        let at = lines.position(error.span().map_or(0, |span| span.start));
        syntax(file, at, error.message())
    })?;
    let mut reader = Reader {
        file,
        lines,
        places,
    };
    reader.table("", table.into_inner()).map(Layer)
}

fn syntax(file: &Path, (line, column): (usize, usize), message: &str) -> Problem {
    let path = format!("{}:{line}:{column}", file.display());
    Problem::new(path, format!("is not TOML: {message}"), "correct it there")
}

/// Where the lines of a text begin. Looked for once: a file with thousands of tenants has a position
/// for each of its keys.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self { text, starts }
    }

    /// Line and column, both counted from 1, of a byte offset.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

/// Turns a parsed file into what the merge takes, noting the line of each key.
struct Reader<'a> {
    file: &'a Path,
    lines: Lines<'a>,
    places: &'a mut Places,
}

impl Reader<'_> {
    fn table(&mut self, path: &str, table: DeTable<'_>) -> Result<Map<String, Value>, Problem> {
        let mut entries = Map::new();
        for (key, value) in table {
            let at = self.lines.position(key.span().start);
            let name = key.into_inner().into_owned();
            // The merge would read such a name as a path.
            if path.is_empty() && name.contains(['.', '[', ']']) {
                return Err(syntax(
                    self.file,
                    at,
                    "a name of a table holds a dot or a bracket",
                ));
            }
            let path = join(path, &name);
            self.note(&path, at.0, value.get_ref().is_table());
            entries.insert(name, self.value(&path, value)?);
        }
        Ok(entries)
    }

    fn note(&mut self, path: &str, line: usize, is_table: bool) {
        self.places.set(
            path,
            Place::File {
                path: self.file.into(),
                line,
            },
            is_table,
        );
    }

    fn value(&mut self, path: &str, value: Spanned<DeValue<'_>>) -> Result<Value, Problem> {
        let at = self.lines.position(value.span().start);
        let too_large = || syntax(self.file, at, "the number is too large");
        let kind = match value.into_inner() {
            DeValue::String(text) => ValueKind::String(text.into_owned()),
            DeValue::Boolean(value) => ValueKind::Boolean(value),
            // A time may be written bare or in quotes.
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Integer(number) => ValueKind::I64(
                i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| too_large())?,
            ),
            DeValue::Float(number) => {
                ValueKind::Float(number.as_str().parse().map_err(|_| too_large())?)
            }
            DeValue::Table(table) => ValueKind::Table(self.table(path, table)?),
            DeValue::Array(items) => {
                let mut values = Vec::new();
                for (index, item) in items.into_iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.note(
                        &path,
                        self.lines.position(item.span().start).0,
                        item.get_ref().is_table(),
                    );
                    values.push(self.value(&path, item)?);
                }
                ValueKind::Array(values)
            }
        };
        Ok(Value::new(None, kind))
    }
}

/// One layer, in the form that the merge takes.
#[derive(Clone)]
struct Layer(Map<String, Value>);

impl Layer {
    /// A layer that takes away what stood at the place of this layer's `{ file }` and `{ env }`
    /// tables: merged into a table of the other form they would make one with both keys.
    fn clearing(&self) -> Self {
        Self(secret_tables(&self.0))
    }
}

fn secret_tables(table: &Map<String, Value>) -> Map<String, Value> {
    let cleared = table.iter().filter_map(|(name, value)| match &value.kind {
        ValueKind::Table(inner) if is_secret(inner) => {
            Some((name.clone(), Value::new(None, ValueKind::Nil)))
        }
        ValueKind::Table(inner) => {
            let inner = secret_tables(inner);
            (!inner.is_empty()).then(|| (name.clone(), Value::new(None, inner)))
        }
        _ => None,
    });
    cleared.collect()
}

/// Whether this is `{ file = "…" }` or `{ env = "…" }`. A tenant of such a name is a table instead.
fn is_secret(table: &Map<String, Value>) -> bool {
    let is_reference = |(name, value): (&String, &Value)| {
        matches!(name.as_str(), "file" | "env") && matches!(value.kind, ValueKind::String(_))
    };
    table.len() == 1 && table.iter().all(is_reference)
}

/// The merge wants a `Debug`; the values stay out of it.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer(…)")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}
