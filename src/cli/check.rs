//! `check`: one line per finding, each with what to do.

mod address;
mod collector;
mod fault;
mod finding;
mod live;
mod pages;
mod person;
mod proofs;
mod registered;
mod sessions;
mod store;
mod tenant;

use anyhow::{Context, anyhow, ensure};
use clap::Args;

use super::ConfigFiles;
use crate::config::{self, Config, Sources};
use crate::mapping::{Email, LookupField};
use crate::tenant::TenantId;

pub(super) use fault::Fault;
pub(super) use finding::{Finding, Findings, Level};
pub(super) use person::Person;
pub(super) use tenant::{Scene, check_tenant};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    files: ConfigFiles,
    /// Also ask the tenants, whoever keeps sessions and their keys, and the shared tier
    #[arg(long)]
    live: bool,
    /// With --live: of the tenants, only this one; may be repeated
    #[arg(long, value_name = "TENANT", requires = "live")]
    tenant: Vec<String>,
    #[command(flatten)]
    person: PersonOptions,
    /// Also print the effective configuration, every secret redacted
    #[arg(long)]
    print: bool,
    /// Findings as JSON, an object per line
    #[arg(long)]
    json: bool,
}

/// A user of the tenants, by one of three.
#[derive(Args)]
#[group(multiple = false, requires = "live")]
struct PersonOptions {
    /// With --live: look this subject up in every tenant, and mint a token for it
    #[arg(long)]
    subject: Option<String>,
    /// The same by the user's Qlik id
    #[arg(long)]
    user_id: Option<String>,
    /// The same by the user's address, which takes a management client
    #[arg(long)]
    email: Option<String>,
}

impl PersonOptions {
    fn person(&self) -> anyhow::Result<Option<Person>> {
        let person = match (&self.subject, &self.user_id, &self.email) {
            (Some(subject), ..) => Person::by(LookupField::Subject, subject),
            (_, Some(id), _) => Person::by(LookupField::UserId, id),
            (.., Some(email)) => Email::parse(email).map(Person::Email),
            (None, None, None) => return Ok(None),
        };
        person.map(Some).map_err(|why| anyhow!("the user: {why}"))
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let person = options.person.person()?;
    let mut errors = 0;
    let mut tell = |finding: Finding| {
        errors += usize::from(finding.level == Level::Error);
        if options.json {
            println!("{}", finding.json());
        } else {
            println!("{finding}");
        }
    };
    let sources = Sources::from_process(options.files.files.clone());
    match config::load(&sources) {
        Err(problems) => {
            let problems = problems.0.iter();
            problems.for_each(|found| tell(Finding::of_config(Level::Error, found)));
        }
        Ok(config) => {
            let tenants = tenants(&config, &options.tenant)?;
            let message = "every key is known and every value fits";
            tell(Finding::ok("configuration", message));
            let warnings = config.warnings.iter();
            warnings.for_each(|found| tell(Finding::of_config(Level::Warning, found)));
            if options.print {
                println!("{:#}", config.redacted());
            }
            if options.live {
                let asked = live::Asked {
                    tenants: &tenants,
                    person: person.as_ref(),
                };
                let runtime = super::runtime()?;
                runtime.block_on(live::look(&config, &asked, tell));
                // A name that is still being resolved holds nobody up.
                runtime.shutdown_background();
            }
        }
    }
    ensure!(
        errors == 0,
        "{errors} error{}",
        if errors == 1 { "" } else { "s" }
    );
    Ok(())
}

fn tenants(config: &Config, names: &[String]) -> anyhow::Result<Vec<TenantId>> {
    let known = |name: &String| {
        let id = TenantId::parse(name).filter(|id| config.tenants.contains_key(id));
        id.with_context(|| format!("--tenant: there is no tenant {name:?}"))
    };
    names.iter().map(known).collect()
}
