//! `clients`: the OAuth clients of a tenant, listed, shown and deleted.

mod shown;

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use super::power::{PowerOptions, clients_of, configured_power};
use super::provision::{address, id_of};
use super::token::find_tenant;
use super::{ConfigFiles, confirm};
use crate::clock;
use crate::config::{Config, TenantConfig};
use crate::outbound::{self, Proxy};
use crate::qlik::admin::{Admin, OauthClient, safe};
use crate::secret::read_file;
use crate::tenant::TenantId;

use shown::{Shown, line, table};

#[derive(Subcommand)]
pub(super) enum Command {
    /// List all of them
    List(ListOptions),
    /// Show one
    Show(ShowOptions),
    /// Delete one; tokens that it issued live on until they expire
    Delete(DeleteOptions),
}

#[derive(Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    place: Place,
    /// One JSON object per client
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ShowOptions {
    /// Its id, or its name where only one has it
    client: String,
    #[command(flatten)]
    place: Place,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct DeleteOptions {
    /// Its id, or its name where only one has it
    client: String,
    #[command(flatten)]
    place: Place,
    /// Delete it although the configuration uses it: its full id
    #[arg(long, value_name = "ID")]
    force: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Which tenant, and who may look.
#[derive(Args)]
struct Place {
    /// The tenant's address, such as `https://acme.eu.qlikcloud.com`
    #[arg(long)]
    url: Option<String>,
    /// Trust this authority as well (PEM)
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
    /// Instead of an address, a tenant of the configuration; may be left out when there is one
    #[arg(long, value_name = "ID", conflicts_with = "url")]
    tenant: Option<String>,
    /// What it uses is marked, and not deleted. Without a token or client of its own, the command asks
    /// as the tenant's `management` client, which needs the scope `admin_classic`
    #[command(flatten)]
    files: ConfigFiles,
    #[command(flatten)]
    power: PowerOptions,
}

/// A tenant that can be asked.
struct Tenant {
    id: TenantId,
    admin: Admin,
    /// The clients that the configuration uses, by id, and where it names them.
    used: Vec<(String, String)>,
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        match command {
            Command::List(options) => list(options).await,
            Command::Show(options) => show(options).await,
            Command::Delete(options) => delete(options).await,
        }
    })
}

async fn list(options: &ListOptions) -> anyhow::Result<()> {
    let tenant = options.place.open().await?;
    let mut clients = tenant.clients().await?;
    clients.sort_by(|one, other| one.client_name.cmp(&other.client_name));
    let clients: Vec<_> = clients.iter().map(|client| tenant.shown(client)).collect();
    if options.json {
        for shown in &clients {
            println!("{}", shown.json());
        }
    } else {
        print!("{}", table(&clients));
    }
    Ok(())
}

async fn show(options: &ShowOptions) -> anyhow::Result<()> {
    let tenant = options.place.open().await?;
    let client = tenant.find(&options.client).await?;
    let mut shown = tenant.shown(&client);
    if shown.consent.is_none() && tenant.admin.is_trusted(&client.client_id).await? {
        shown.consent = Some("trusted".to_owned());
    }
    if options.json {
        println!("{}", shown.json());
    } else {
        print!("{}", shown.details());
    }
    Ok(())
}

async fn delete(options: &DeleteOptions) -> anyhow::Result<()> {
    let tenant = options.place.open().await?;
    let client = tenant.find(&options.client).await?;
    let id = &client.client_id;
    let named = format!("{:?} ({})", client.client_name, safe(id));
    let places = tenant.places_of(id);
    if !places.is_empty() && options.force.as_ref() != Some(id) {
        bail!(
            "the client {named} is in use, by {}; take it out of the configuration first, or add --force with its full id",
            places.join(", ")
        );
    }
    if !options.yes {
        print!("{}", tenant.shown(&client).details());
        confirm(&format!("Delete the client {named}? There is no way back."))?;
    }
    tenant.admin.delete_client(id).await?;
    println!("the client {named} of {} is deleted", tenant.id);
    Ok(())
}

impl Place {
    async fn open(&self) -> anyhow::Result<Tenant> {
        let config = match self.files.files.as_slice() {
            [] if self.url.is_none() => bail!("name a tenant: by --url, or by --config"),
            [] => None,
            _ => Some(self.files.load()?),
        };
        let configured = match (&config, &self.url) {
            (Some(config), None) => Some(find_tenant(config, self.tenant.as_deref())?),
            _ => None,
        };
        let power = match self.power.power()? {
            Some(power) => power,
            None => configured_power(configured)?,
        };
        let (id, url, proxy, ca_pem) = if let (Some(tenant), Some(config)) = (configured, &config) {
            let TenantConfig { tenant, ca_pem, .. } = tenant;
            let proxy = config.proxy.clone();
            (tenant.id.clone(), tenant.url.clone(), proxy, ca_pem.clone())
        } else {
            let url = address(self.url.as_deref())?;
            let id = id_of(&url);
            let id = TenantId::parse(&id).or_else(|| TenantId::parse("tenant"));
            let read = |path: &PathBuf| {
                let pem = read_file(path);
                pem.with_context(|| format!("cannot read {}", path.display()))
            };
            let ca_pem = self.ca_file.as_ref().map(read).transpose()?;
            let url = url.origin().ascii_serialization();
            (
                id.context("the tenant has no name")?,
                url,
                Proxy::None,
                ca_pem.map(|pem| pem.to_vec()),
            )
        };
        let http = outbound::client(&proxy, ca_pem.as_deref())?;
        Ok(Tenant {
            admin: power.admin(http, &id, &url).await?,
            used: config.as_ref().map(used).unwrap_or_default(),
            id,
        })
    }
}

/// All clients that a configuration uses. An id may be known to several tenants of a region.
fn used(config: &Config) -> Vec<(String, String)> {
    let tenants = config.tenants.values();
    let clients = tenants.flat_map(|tenant| {
        clients_of(tenant).map(|(role, credential)| {
            let place = format!("tenants.{} ({})", tenant.tenant.id, role.as_str());
            (credential.client_id.clone(), place)
        })
    });
    clients.collect()
}

impl Tenant {
    async fn clients(&self) -> anyhow::Result<Vec<OauthClient>> {
        let clients = self.admin.clients().await;
        clients.map_err(|error| crate::provision::Failure::from(error).into())
    }

    fn shown(&self, client: &OauthClient) -> Shown {
        let now = clock::now().try_into().ok();
        Shown::of(client, self.places_of(&client.client_id), now)
    }

    fn places_of(&self, id: &str) -> Vec<String> {
        let used = self.used.iter().filter(|(known, _)| known == id);
        used.map(|(_, place)| place.clone()).collect()
    }

    /// The client of this id or name, with all that an administrator sees.
    async fn find(&self, named: &str) -> anyhow::Result<OauthClient> {
        let mut clients = self.clients().await?;
        clients.retain(|client| client.client_id == named || client.client_name == named);
        ensure!(
            clients.len() < 2,
            "the tenant has several clients {named:?}; name one by its id:\n{}",
            clients.iter().map(line).collect::<String>()
        );
        let found = clients.pop();
        let found = found.with_context(|| {
            format!("the tenant has no client {named:?}; `clients list` shows those it has")
        })?;
        Ok(self.admin.client(&found.client_id).await?)
    }
}
