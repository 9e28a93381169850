//! `rotate-secret`: another secret or private key for a client that the broker uses.

mod target;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::power::{PowerOptions, configured_power};
use super::token::find_tenant;
use super::{ConfigFiles, confirm};
use crate::config::{Config, TenantConfig};
use crate::outbound;
use crate::provision::Failure;
use crate::qlik::Role;
use crate::rotation::{Done, Files, Plan, Rotation, Target, Wishes};

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of a command line")]
pub(super) struct Options {
    #[command(flatten)]
    files: ConfigFiles,
    /// The tenant; may be left out when there is one
    #[arg(long)]
    tenant: Option<String>,
    /// Which of its clients
    #[arg(long, value_enum, default_value_t = Which::Issuing)]
    client: Which,
    /// Who may change it. Without one, the tenant's `management` client does, which needs the scope
    /// `admin_classic`
    #[command(flatten)]
    power: PowerOptions,
    /// Try the new one by a token for this subject, which is revoked again; without one, for a user that
    /// no tenant has
    #[arg(long)]
    subject: Option<String>,
    /// Drop this secret first, which nobody uses: a client has five at most
    #[arg(long, value_name = "HINT")]
    drop: Option<String>,
    /// The hint of the secret that is in the file, where that cannot be told
    #[arg(long, value_name = "HINT")]
    old: Option<String>,
    /// Keep the old one for now: brokers on other machines do not have the new one yet. Run again
    /// without this to drop it
    #[arg(long)]
    keep_old: bool,
    /// How long running brokers may take to read the file before the old one is dropped
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// How long the tenant may take to accept the new one
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// What came of it as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Issuing,
    Management,
    Service,
}

impl From<Which> for Role {
    fn from(which: Which) -> Self {
        match which {
            Which::Issuing => Self::Issuing,
            Which::Management => Self::Management,
            Which::Service => Self::Service,
        }
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let config = options.files.load()?;
    let tenant = find_tenant(&config, options.tenant.as_deref())?;
    let (target, file) = target::find(&config, tenant, options)?;
    let files = Files::open(&file)?;
    let rotated = super::runtime()?.block_on(rotate(options, &config, tenant, &target, &files));
    if options.json {
        let outcome = match &rotated {
            Ok(Some(Done {
                keeps_old: true, ..
            })) => "old one kept",
            Ok(Some(_)) => "rotated",
            Ok(None) => "planned",
            Err(_) => "failed",
        };
        let dropped = rotated
            .as_ref()
            .ok()
            .and_then(|done| done.as_ref()?.dropped.clone());
        let line = json!({
            "tenant": target.tenant.as_str(),
            "client": target.role.as_str(),
            "client_id": target.client_id,
            "kind": target.kind.as_str(),
            "file": file,
            "outcome": outcome,
            "dropped": dropped,
            "error": rotated.as_ref().err().map(ToString::to_string),
        });
        println!("{line}");
    }
    rotated.map(drop)
}

/// `None` where nothing was to be done.
async fn rotate(
    options: &Options,
    config: &Config,
    tenant: &TenantConfig,
    target: &Target,
    files: &Files,
) -> anyhow::Result<Option<Done>> {
    let power = match options.power.power()? {
        Some(power) => power,
        None => configured_power(Some(tenant))?,
    };
    let http = outbound::client(&config.proxy, tenant.ca_pem.as_deref())?;
    let admin = power
        .admin(http.clone(), &target.tenant, &target.url)
        .await?;
    let rotation = Rotation {
        admin: &admin,
        http,
        target,
        files,
    };
    let wishes = Wishes {
        drop: options.drop.clone(),
        old: options.old.clone(),
        keep_old: options.keep_old,
        wait: options.wait,
        patience: options.patience,
    };
    let plan = rotation.look(&wishes).await?;
    if options.json {
        eprint!("{plan}");
    } else {
        print!("{plan}");
    }
    if options.dry_run {
        return Ok(None);
    }
    if !options.yes {
        confirm("Do this?")?;
    }
    let done: Result<Done, Failure> = rotation.apply(&plan, &wishes).await;
    let done = done?;
    if !options.json {
        say(&plan, target, &done);
    }
    Ok(Some(done))
}

fn say(plan: &Plan, target: &Target, done: &Done) {
    let (kind, role) = (target.kind.as_str(), target.role.as_str());
    let named = format!(
        "the {kind} of the {role} client {:?} is replaced",
        plan.name
    );
    match &done.dropped {
        Some(old) => {
            let old = old.escape_default();
            println!("{named}, and the old one, {old}, is dropped");
        }
        None if done.keeps_old => {
            println!(
                "{named}; bring it to all brokers, then run the command again: it drops the old one"
            );
        }
        None => println!(
            "{named}; nothing is dropped: the old one is not known to be one of the client's"
        ),
    }
}
