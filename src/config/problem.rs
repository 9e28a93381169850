//! What is wrong with a configuration, and what to do about it. Never shows a configured value.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;

/// Where a key was set last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line of the key.
        line: usize,
    },
    /// An environment variable, by name.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One fault: where it is, what it is and what to do. Holds no configured value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `session[1].from` or `tenants.acme.url`; a file or a variable where the
    /// fault lies in that.
    pub path: String,
    /// Where the key was set, where that is known.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.message, self.remedy)?;
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with a configuration. One line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects what is found on the way through the configuration.
#[derive(Default)]
pub struct Report {
    /// What keeps the broker from starting.
    pub problems: Vec<Problem>,
    /// What the operator should know.
    pub warnings: Vec<Problem>,
}

impl Report {
    /// Adds a fault that keeps the broker from starting.
    pub fn refuse(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::new(path, message, remedy));
    }

    /// Adds something that the operator should know.
    pub fn warn(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(Problem::new(path, message, remedy));
    }
}

impl Problem {
    /// A fault whose place is not known yet.
    pub fn new(
        path: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            place: None,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// Appends a key to a path. Names that TOML would quote are quoted.
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let key = if bare {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// Whether `path` is `table` or lies in it.
pub fn within(path: &str, table: &str) -> bool {
    path.strip_prefix(table)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Remembers where each key was set last.
#[derive(Default)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// Notes where a key is set. What lay below it before is gone when the value is not a table.
    pub fn set(&mut self, path: &str, place: Place, is_table: bool) {
        if !is_table {
            // Not a look at all of them: that would be the square of thousands of tenants.
            let from = (Bound::Included(path), Bound::Unbounded);
            let near = self.0.range::<str, _>(from).map(|(known, _)| known);
            let near = near.take_while(|known| known.starts_with(path));
            let below: Vec<_> = near.filter(|known| within(known, path)).cloned().collect();
            for known in below {
                self.0.remove(&known);
            }
        }
        self.0.insert(path.to_owned(), place);
    }

    /// The place of the key, or of the nearest table around it.
    pub fn find(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}
