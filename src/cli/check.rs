//! `check`: one line per finding, each with what to do.

mod live;

use std::fmt;

use clap::Args;
use serde_json::{Value, json};

use super::ConfigFiles;
use crate::config::{self, Sources};

pub(super) use live::check_tenant;

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    files: ConfigFiles,
    /// Also call the tenants and the issuers of session tokens
    #[arg(long)]
    live: bool,
    /// With --live: mint for this subject in every tenant
    #[arg(long, requires = "live")]
    subject: Option<String>,
    /// Also print the effective configuration, every secret redacted
    #[arg(long)]
    print: bool,
    /// Findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Ok,
    Warning,
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

pub(super) struct Finding {
    pub level: Level,
    subject: String,
    message: String,
    remedy: String,
}

impl Finding {
    fn new(
        level: Level,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level,
            subject: subject.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let (level, subject) = (self.level.as_str(), &self.subject);
        let (message, remedy) = (&self.message, &self.remedy);
        json!({"level": level, "subject": subject, "message": message, "remedy": remedy})
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, subject) = (self.level.as_str(), &self.subject);
        write!(f, "{level:7} {subject}: {}", self.message)?;
        match self.remedy.as_str() {
            "" => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    let problem = |level, problem: &config::Problem| {
        let place = problem
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!(" ({place})"));
        let subject = format!("{}{place}", problem.path);
        Finding::new(level, subject, &problem.message, &problem.remedy)
    };
    let sources = Sources::from_process(options.files.files.clone());
    match config::load(&sources) {
        Err(problems) => {
            findings.extend(problems.0.iter().map(|found| problem(Level::Error, found)));
        }
        Ok(config) => {
            findings.push(Finding::new(
                Level::Ok,
                "configuration",
                "every key is known and every value fits",
                "",
            ));
            findings.extend(
                config
                    .warnings
                    .iter()
                    .map(|found| problem(Level::Warning, found)),
            );
            if options.print {
                println!("{:#}", config.redacted());
            }
            if options.live {
                findings.extend(
                    super::runtime()?.block_on(live::findings(&config, options.subject.as_deref())),
                );
            }
        }
    }
    print(&findings, options.json);
    let errors = findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .count();
    anyhow::ensure!(
        errors == 0,
        "{errors} error{}",
        if errors == 1 { "" } else { "s" }
    );
    Ok(())
}

fn print(findings: &[Finding], as_json: bool) {
    for finding in findings {
        if as_json {
            println!("{}", finding.json());
        } else {
            println!("{finding}");
        }
    }
}
