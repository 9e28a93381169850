//! What `check` prints: a line per finding, or an object.

use std::fmt;

use serde_json::{Value, json};

use super::fault::Fault;
use crate::config::Problem;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Level {
    Ok,
    Warning,
    Error,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One line. Holds words of our own, numbers, and texts of others only in a form that was checked.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Finding {
    pub level: Level,
    code: &'static str,
    path: String,
    message: String,
    remedy: String,
}

impl Finding {
    /// Nothing is wrong there.
    pub fn ok(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            code: "ok",
            path: path.into(),
            message: message.into(),
            remedy: String::new(),
        }
    }

    /// What a look at the world found.
    pub fn of(fault: Fault, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level: fault.level(),
            code: fault.code(),
            path: path.into(),
            message: message.into(),
            remedy: fault.remedy().into(),
        }
    }

    /// What is wrong with the configuration itself.
    pub fn of_config(level: Level, problem: &Problem) -> Self {
        let place = problem.place.as_ref();
        let place = place.map_or_else(String::new, |place| format!(" ({place})"));
        Self {
            level,
            code: "configuration",
            path: format!("{}{place}", problem.path),
            message: problem.message.clone(),
            remedy: problem.remedy.clone(),
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "level": self.level.as_str(), "code": self.code, "path": self.path,
            "message": self.message, "remedy": self.remedy,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, path) = (self.level.as_str(), &self.path);
        write!(f, "{level:7} {path}: {}", self.message)?;
        match self.remedy.as_str() {
            "" => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

/// The findings of one look, in their order.
#[derive(Default)]
pub(in crate::cli) struct Findings(pub Vec<Finding>);

impl Findings {
    pub fn ok(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Finding::ok(path, message));
    }

    pub fn add(&mut self, fault: Fault, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Finding::of(fault, path, message));
    }

    pub fn errors(&self) -> usize {
        let is_error = |finding: &&Finding| finding.level == Level::Error;
        self.0.iter().filter(is_error).count()
    }
}
