//! `token`: mints one token and prints it, to see with curl what a user would see.

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use tokio::time::{Duration, Instant};

use super::ConfigFiles;
use crate::app::Clients;
use crate::budget::Replicas;
use crate::config::{Config, TenantConfig};
use crate::mapping::{DenyList, LookupField, UserLookup};
use crate::outbound::Outgoing;
use crate::tenant::{ScopeSet, TenantId};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    files: ConfigFiles,
    /// The tenant; may be left out when there is one
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    user: UserOptions,
    /// Other scopes than the tenant's default: one of its optional sets
    #[arg(long)]
    scope: Option<String>,
}

/// The user, by exactly one of the two fields a tenant knows, or nobody.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct UserOptions {
    /// The user's subject
    #[arg(long)]
    subject: Option<String>,
    /// The user's Qlik id
    #[arg(long)]
    user_id: Option<String>,
    /// No user: a token of the tenant's service client itself
    #[arg(long, conflicts_with = "scope")]
    service: bool,
}

impl UserOptions {
    fn lookup(&self) -> anyhow::Result<UserLookup> {
        let (field, value) = match (&self.subject, &self.user_id) {
            (Some(subject), _) => (LookupField::Subject, subject),
            (None, Some(id)) => (LookupField::UserId, id),
            (None, None) => bail!("name a user with --subject or --user-id, or use --service"),
        };
        let user = UserLookup::new(field, value).map_err(|why| anyhow!("{why}"))?;
        ensure!(
            !DenyList::default().refuses(user.value()),
            "this user is never impersonated"
        );
        Ok(user)
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let config = options.files.load()?;
    let tenant = find_tenant(&config, options.tenant.as_deref())?;
    let clients = Clients::of(tenant, &Outgoing::by(&config.proxy), Replicas::ONE)?;
    let runtime = super::runtime()?;
    let token = if options.user.service {
        let (client, scopes) = clients
            .service()?
            .context("the tenant has no `service` client")?;
        runtime.block_on(async {
            let turn = clients.turn().await?;
            let deadline = Instant::now() + PATIENCE;
            client.client_credentials(&scopes, turn, deadline).await
        })?
    } else {
        let user = options.user.lookup()?;
        let scopes = scopes(tenant, options.scope.as_deref())?;
        let client = clients.issuing()?;
        runtime.block_on(async {
            let turn = clients.turn().await?;
            let deadline = Instant::now() + PATIENCE;
            client.impersonate(&user, &scopes, turn, deadline).await
        })?
    };
    println!("{}", token.secret.expose());
    eprintln!(
        "scope {}, valid for {} s, token_id {}",
        token.scope,
        token.life.as_secs(),
        token.id
    );
    Ok(())
}

fn scopes(tenant: &TenantConfig, named: Option<&str>) -> anyhow::Result<ScopeSet> {
    let Some(named) = named else {
        return Ok(tenant.tenant.scopes.clone());
    };
    let wanted = ScopeSet::parse(named).map_err(|why| anyhow!("--scope: {why}"))?;
    let offered = tenant.tenant.scope_set(&wanted).cloned();
    offered.context("--scope: the tenant's configuration does not offer this set")
}

pub(super) fn find_tenant<'a>(
    config: &'a Config,
    name: Option<&str>,
) -> anyhow::Result<&'a TenantConfig> {
    let known = || {
        config
            .tenants
            .keys()
            .map(TenantId::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match name {
        Some(name) => {
            let tenant = TenantId::parse(name).and_then(|id| config.tenants.get(&id));
            tenant.with_context(|| format!("there is no such tenant; configured are {}", known()))
        }
        None if config.tenants.len() == 1 => config
            .tenants
            .values()
            .next()
            .context("no tenant is configured"),
        None => bail!(
            "there are several tenants, name one with --tenant: {}",
            known()
        ),
    }
}
