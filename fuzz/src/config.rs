//! Configuration files: whatever they hold, a problem is told, and no value with it.
//!
//! An input is a file. A line `#env NAME=value` sets a variable.

use qlik_token_broker::config::{Config, Problems, Sources};
use qlik_token_broker::fuzzing::loader;
use toml::{Table, Value};

use super::front::Scratch;

/// Stands for a secret, wherever in the file it is.
const MARKER: &str = "c4nary-s3cret";

type Load = Box<dyn Fn(&Sources) -> Result<Config, Problems>>;

thread_local! {
    static LOAD: Load = Box::new(loader());
    static FILE: Scratch = Scratch::new("toml");
}

pub fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let variables = text.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("#env ")?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let env: Vec<_> = variables.collect();
    let named = env
        .iter()
        .any(|(name, value)| is_name(name) || may_be_told(name, value));
    let may_be_told = named || text.parse().is_ok_and(|table| tells_in_table(&table));
    let files = FILE.with(|file| {
        file.write(text);
        vec![file.path.clone()]
    });
    let (told, is_good) = match LOAD.with(|load| load(&Sources { files, env })) {
        Ok(config) => (config.warnings, true),
        Err(problems) => (problems.0, false),
    };
    for problem in told {
        let shown = format!("{problem} {problem:?}");
        assert!(may_be_told || !shown.contains(MARKER), "{shown}");
        assert!(!problem.message.is_empty() && !problem.remedy.is_empty());
    }
    is_good
}

/// Names are told. A value is only if it is the name of a file or of a variable.
fn tells_in_table(table: &Table) -> bool {
    table
        .iter()
        .any(|(name, value)| is_name(name) || tells_in_value(name, value))
}

fn tells_in_value(name: &str, value: &Value) -> bool {
    match value {
        Value::Table(table) => tells_in_table(table),
        Value::Array(values) => values.iter().any(|value| tells_in_value(name, value)),
        Value::String(text) => may_be_told(name, text),
        _ => false,
    }
}

fn is_name(name: &str) -> bool {
    name.contains(MARKER)
}

fn may_be_told(name: &str, value: &str) -> bool {
    let name = name.to_lowercase();
    (name.ends_with("file") || name.ends_with("env")) && value.contains(MARKER)
}
