//! `provision`: sets tenants up for the broker, and shows first what that changes.

mod input;
mod outcome;
mod trial;

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use indicatif::ProgressBar;

use crate::outbound::{self, Proxy};
use crate::provision::{Failure, Folder, Plan, apply, look, write_key};
use crate::qlik::admin::Admin;

use super::power::PowerOptions;
use input::Job;

pub(super) use input::{address, id_of};
use outcome::{Outcome, State};

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of a command line")]
pub(super) struct Options {
    /// The tenant's address, such as `https://acme.eu.qlikcloud.com`
    #[arg(long, required_unless_present = "file")]
    url: Option<String>,
    /// Its name in the configuration and in the names of files; the first part of its host otherwise
    #[arg(long, requires = "url", value_name = "ID")]
    tenant: Option<String>,
    /// Several tenants: a TOML file with a table [tenants.ID] for each
    #[arg(long, conflicts_with = "url")]
    file: Option<PathBuf>,
    #[command(flatten)]
    power: PowerOptions,
    /// A page that will use the tokens: scheme, host and port. May be repeated. Without it, the origins
    /// of a client that is there are left as they are
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// What the users' tokens may do
    #[arg(long, default_value = "user_default")]
    scopes: String,
    /// What the managing client may do. To follow the origins of the OAuth client
    /// (`origins_from_client`) it needs `admin_classic`
    #[arg(long, default_value = "admin.users")]
    management_scopes: String,
    /// The name of the OAuth client that issues tokens
    #[arg(long, value_name = "NAME", default_value = "qlik-token-broker issuing")]
    issuing_name: String,
    /// The name of the OAuth client that manages users
    #[arg(
        long,
        value_name = "NAME",
        default_value = "qlik-token-broker management"
    )]
    management_name: String,
    /// Private keys (ES384) prove the clients, instead of secrets
    #[arg(long)]
    private_key: bool,
    /// Also let the pages frame the tenant: its content security policy
    #[arg(long)]
    csp: bool,
    /// Trust this authority as well (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Mint for this subject in the end; without one, the proof of the clients is tried alone
    #[arg(long)]
    subject: Option<String>,
    /// Where secrets, keys and tables are written
    #[arg(long, value_name = "DIR", default_value = "qlik-token-broker.d")]
    out: PathBuf,
    /// Also make an API key of this id for a back end, with the table that accepts it
    #[arg(long, value_name = "ID")]
    api_key: Option<String>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// One JSON object per tenant
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let jobs = input::jobs(options)?;
    let folder = Folder::at(&options.out)?;
    let outcomes = super::runtime()?.block_on(provision(options, jobs, &folder))?;
    let wants_key = options.api_key.as_deref().filter(|_| !options.dry_run);
    let key = wants_key.map(|id| write_key(&folder, id)).transpose();
    let failed = outcome::print(&outcomes, options, &folder);
    if let Some(path) = key?.flatten() {
        eprintln!("\nThe API key of the back end is in {}", path.display());
    }
    let s = if failed == 1 { " is" } else { "s are" };
    ensure!(failed == 0, "{failed} tenant{s} not ready");
    Ok(())
}

type Planned = (Job, Result<(Admin, Plan), Failure>);

async fn provision(
    options: &Options,
    jobs: Vec<Job>,
    folder: &Folder,
) -> anyhow::Result<Vec<Outcome>> {
    let planned = plan_all(jobs, folder).await;
    let mut has_work = false;
    for (job, plan) in &planned {
        let shown = match plan {
            Ok((_, plan)) => plan.to_string(),
            Err(failure) => format!("{} ({})\n  ! {failure}\n", job.wish.tenant, job.wish.url),
        };
        if options.json {
            eprint!("{shown}");
        } else {
            print!("{shown}");
        }
        has_work |= plan.as_ref().is_ok_and(|(_, plan)| !plan.is_done());
    }
    if has_work && !options.yes && !options.dry_run {
        super::confirm("Do this?")?;
    }
    let bar = bar(planned.len());
    let mut outcomes = Vec::new();
    for (job, plan) in planned {
        bar.set_message(job.wish.tenant.to_string());
        outcomes.push(carry_out(&job, plan, options.dry_run, folder).await);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(outcomes)
}

async fn plan_all(jobs: Vec<Job>, folder: &Folder) -> Vec<Planned> {
    let bar = bar(jobs.len());
    let mut planned = Vec::new();
    for job in jobs {
        bar.set_message(job.wish.tenant.to_string());
        let plan = plan(&job, folder).await;
        planned.push((job, plan));
        bar.inc(1);
    }
    bar.finish_and_clear();
    planned
}

async fn plan(job: &Job, folder: &Folder) -> Result<(Admin, Plan), Failure> {
    let http = outbound::client(&Proxy::None, job.ca_pem.as_deref());
    let http = http.map_err(|error| Failure::new(error.to_string(), "correct --ca-file"))?;
    let (tenant, url) = (&job.wish.tenant, &job.wish.url);
    let admin = job.power.admin(http, tenant, url).await?;
    let plan = look(&admin, job.wish.clone(), folder).await?;
    Ok((admin, plan))
}

async fn carry_out(
    job: &Job,
    plan: Result<(Admin, Plan), Failure>,
    dry_run: bool,
    folder: &Folder,
) -> Outcome {
    let mut outcome = Outcome::of(job);
    let (admin, plan) = match plan {
        Ok(planned) => planned,
        Err(failure) => return outcome.failed(failure),
    };
    outcome.changes = plan.changes().collect();
    outcome.state = match (dry_run, plan.is_done()) {
        (_, true) => State::Unchanged,
        (true, _) => State::Planned,
        (false, _) => State::Changed,
    };
    if dry_run {
        return outcome;
    }
    match apply(&admin, &plan, folder).await {
        Err(failure) => outcome.failed(failure),
        Ok(done) => {
            outcome.findings = trial::findings(job, &done, !plan.is_done()).await;
            outcome.todo = done.todo;
            outcome
        }
    }
}

/// One line on a terminal, where there are several tenants.
fn bar(tenants: usize) -> ProgressBar {
    if tenants < 2 {
        return ProgressBar::hidden();
    }
    // It hides by itself where standard error is no terminal.
    ProgressBar::new(tenants as u64).with_style(
        indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
    )
}
