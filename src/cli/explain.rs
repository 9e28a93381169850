//! `explain`: what a session's claims lead to, without a session and without a tenant.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::{Map, Value, json};

use super::ConfigFiles;
use crate::admission::{AdmissionError, Decided, decide};
use crate::config::{Config, SessionTable};
use crate::identity::Claims;
use crate::mapping::{MappedUser, MappingError};
use crate::session::Users;

/// More than any session holds.
const MAX_INPUT: u64 = 1024 * 1024;

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    files: ConfigFiles,
    /// The session table: its name, or its type where it has none
    #[arg(long, value_name = "NAME")]
    session: String,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let config = options.files.load()?;
    let (table, users) = find_table(&config, &options.session)?;
    let claims = read_claims()?;
    let tenants: BTreeMap<_, _> = config
        .tenants
        .iter()
        .map(|(id, config)| (id.clone(), Arc::clone(&config.tenant)))
        .collect();
    let decided = decide(&claims, users, &tenants);
    let facts = facts(table, users, &decided);
    if options.json {
        let facts = facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        println!("{:#}", Value::Object(facts.collect()));
    } else {
        for (name, value) in &facts {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            println!("{name:9} {text}");
        }
    }
    ensure!(decided.is_ok(), "such a session gets no token");
    Ok(())
}

fn find_table<'a>(config: &'a Config, name: &str) -> anyhow::Result<(&'a SessionTable, &'a Users)> {
    let found = config.sessions.iter().find(|table| &*table.name == name);
    let table = found.with_context(|| {
        let names = config.sessions.iter().map(|table| &*table.name);
        let names = names.collect::<Vec<_>>().join(", ");
        format!("--session: there is no such table; configured are {names}")
    })?;
    match &table.users {
        Some(users) => Ok((table, users)),
        None => bail!("--session: its callers name the user themselves, there is nothing to map"),
    }
}

fn read_claims() -> anyhow::Result<Claims> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(MAX_INPUT + 1);
    input
        .read_to_string(&mut text)
        .context("the claims on standard input cannot be read")?;
    ensure!(
        text.len() as u64 <= MAX_INPUT,
        "the claims are longer than 1 MiB"
    );
    // The message of the library may quote the claims, which are personal data.
    let claims = serde_json::from_str::<Map<String, Value>>(&text);
    let claims = claims.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow::anyhow!(
            "standard input is not a JSON object of claims, near line {line} column {column}; \
             write it like {{\"sub\": \"ann\"}}"
        )
    })?;
    // As if they were verified: nothing comes of it but what is printed.
    Ok(Claims::verified(claims))
}

/// What is printed, in this order.
fn facts(
    table: &SessionTable,
    users: &Users,
    decided: &Result<Decided, AdmissionError>,
) -> Vec<(&'static str, Value)> {
    let mut facts = Vec::new();
    let mut tell = |name, value| facts.push((name, value));
    tell("session", json!(&*table.name));
    let rule = match decided {
        Ok(decided) => Some(decided.rule),
        Err(AdmissionError::Mapping(MappingError::Refused { rule, .. })) => Some(*rule),
        Err(_) => None,
    };
    if let Some((index, rule)) =
        rule.and_then(|index| Some((index, users.mapping.rules.get(index)?)))
    {
        tell(
            "rule",
            json!(format!("user[{index}], by {}", rule.field.as_str())),
        );
    }
    match decided {
        Err(error) => tell("decision", json!(format!("{}: {error}", code(error)))),
        Ok(decided) => {
            tell("tenant", json!(decided.tenant.id.as_str()));
            match &decided.user {
                MappedUser::Lookup(user) => tell(
                    "lookup",
                    json!(format!("{} {}", user.field().as_str(), user.value())),
                ),
                MappedUser::Email(email) => {
                    let email = email.as_str();
                    tell(
                        "lookup",
                        json!(format!("email {email}, which the tenant is asked about")),
                    );
                }
            }
            tell("scopes", json!(decided.scopes.as_str()));
            if let Some(profile) = &decided.profile {
                let subject = &profile.subject;
                tell(
                    "created",
                    json!(format!("as {subject}, if the tenant has no such user")),
                );
            }
            let checked = if decided.refuse_admins {
                "a token is asked for, unless the tenant says that the user is an administrator"
            } else {
                "a token is asked for"
            };
            tell("decision", json!(checked));
        }
    }
    facts
}

/// The code that the API answers with.
fn code(error: &AdmissionError) -> &'static str {
    crate::http::Problem::from(error.clone()).code.as_str()
}
