//! What came of each tenant, for people and for programs.

use serde_json::json;

use super::Options;
use super::input::Job;
use crate::cli::check::{Finding, Level};
use crate::provision::{Failure, Folder};
use crate::tenant::TenantId;

/// What happened to a tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Planned,
    Unchanged,
    Changed,
    Failed,
}

/// What came of one tenant.
pub(super) struct Outcome {
    pub tenant: TenantId,
    url: String,
    pub state: State,
    pub changes: Vec<String>,
    pub findings: Vec<Finding>,
    pub todo: Vec<String>,
    failure: Option<Failure>,
}

impl Outcome {
    pub fn of(job: &Job) -> Self {
        Self {
            tenant: job.wish.tenant.clone(),
            url: job.wish.url.clone(),
            state: State::Unchanged,
            changes: Vec::new(),
            findings: Vec::new(),
            todo: Vec::new(),
            failure: None,
        }
    }

    pub fn failed(self, failure: Failure) -> Self {
        Self {
            state: State::Failed,
            failure: Some(failure),
            ..self
        }
    }

    fn is_well(&self) -> bool {
        let mut findings = self.findings.iter();
        let has_error = findings.any(|finding| finding.level == Level::Error);
        self.state != State::Failed && self.todo.is_empty() && !has_error
    }

    fn word(&self) -> &'static str {
        match self.state {
            State::Failed => "failed",
            State::Planned => "planned",
            _ if !self.todo.is_empty() => "to do",
            _ if !self.is_well() => "not working",
            State::Unchanged => "unchanged",
            State::Changed => "provisioned",
        }
    }

    fn print(&self) {
        for finding in &self.findings {
            println!("{finding}");
        }
        for step in &self.todo {
            println!("to do   {}: {step}", self.tenant);
        }
        if let Some(failure) = &self.failure {
            println!("error   tenants.{}: {failure}", self.tenant);
        }
    }

    fn print_json(&self) {
        let findings: Vec<_> = self.findings.iter().map(Finding::json).collect();
        let failure = self.failure.as_ref();
        let failure = failure.map(|f| json!({"message": f.message, "remedy": f.remedy}));
        let line = json!({
            "tenant": self.tenant.as_str(),
            "url": self.url,
            "outcome": self.word(),
            "changes": self.changes,
            "findings": findings,
            "to_do": self.todo,
            "error": failure,
        });
        println!("{line}");
    }
}

/// Prints all of them, and returns how many are not well.
pub(super) fn print(outcomes: &[Outcome], options: &Options, folder: &Folder) -> usize {
    for outcome in outcomes {
        if options.json {
            outcome.print_json();
        } else {
            outcome.print();
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.is_well()).count();
    if options.json {
        return failed;
    }
    if outcomes.len() > 1 {
        println!();
        for outcome in outcomes {
            println!(
                "{:24} {:12} {}",
                outcome.tenant.as_str(),
                outcome.word(),
                outcome.url
            );
        }
    }
    if !options.dry_run && failed < outcomes.len() {
        print_next(options, folder);
    }
    failed
}

fn print_next(options: &Options, folder: &Folder) {
    let path = folder.path().display();
    if options.api_key.is_none() {
        println!(
            "\nA [[session]] table has to say who may call: see docs/sessions.md, or add --api-key portal."
        );
    }
    println!("\nNext:\n");
    println!("    qlik-token-broker check --live --config {path}");
    println!("    qlik-token-broker serve --config {path}");
}
