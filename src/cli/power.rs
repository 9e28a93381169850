//! Who may manage a tenant's OAuth clients: a token, or a client with the scope `admin_classic`.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::config::{OtherClient, TenantConfig};
use crate::outbound::HttpClient;
use crate::provision::Failure;
use crate::qlik::admin::Admin;
use crate::qlik::{Asks, Credential, Proof, Role, Trial};
use crate::secret::{Secret, SecretSource};
use crate::tenant::{ScopeSet, TenantId};

const REMEDY: &str = "check the URL, and the managing client's id, secret, grant client_credentials, scope admin_classic and consent";

/// Who may manage the tenant's OAuth clients: a token, or a client with the scope `admin_classic`.
#[derive(Args)]
pub(super) struct PowerOptions {
    /// A file that holds an administrator's access token or API key
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// An environment variable that holds it
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    pub token_env: Option<String>,
    /// Instead of a token, an OAuth client: its id
    #[arg(long, value_name = "ID", conflicts_with_all = ["token_file", "token_env"])]
    pub client_id: Option<String>,
    /// A file that holds its secret
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub client_secret_file: Option<PathBuf>,
    /// An environment variable that holds it
    #[arg(
        long,
        value_name = "NAME",
        requires = "client_id",
        conflicts_with = "client_secret_file"
    )]
    pub client_secret_env: Option<String>,
}

/// The same, made of the options or of a file.
pub(super) enum Power {
    Token(SecretSource),
    Client(OtherClient),
}

impl PowerOptions {
    /// `None` when nobody is named.
    pub fn power(&self) -> anyhow::Result<Option<Power>> {
        let source = |file: &Option<PathBuf>, env: &Option<String>| {
            let file = file.clone().map(SecretSource::File);
            file.or_else(|| env.clone().map(SecretSource::Env))
        };
        let token = source(&self.token_file, &self.token_env);
        let secret = source(&self.client_secret_file, &self.client_secret_env);
        Power::of(token, self.client_id.clone(), secret)
    }
}

impl Power {
    /// `None` when nobody is named.
    pub fn of(
        token: Option<SecretSource>,
        client_id: Option<String>,
        secret: Option<SecretSource>,
    ) -> anyhow::Result<Option<Self>> {
        match (token, client_id, secret) {
            (None, None, None) => Ok(None),
            (Some(token), None, None) => Ok(Some(Self::Token(token))),
            (None, Some(client_id), Some(secret)) => {
                let proof = Proof::Secrets(vec![secret]);
                Ok(Some(Self::Client(OtherClient {
                    credential: Credential { client_id, proof },
                    scopes: ScopeSet::parse("admin_classic").map_err(|why| anyhow!(why))?,
                })))
            }
            _ => bail!(
                "who may manage the OAuth clients is not clear; give a token, or a client with its secret"
            ),
        }
    }

    /// The tenant at `url`, in the hands of whoever this is.
    pub async fn admin(
        &self,
        http: HttpClient,
        tenant: &TenantId,
        url: &str,
    ) -> Result<Admin, Failure> {
        let bearer = match self {
            Self::Token(source) => source.read().map_err(|error| {
                let remedy = "give a token by --token-file or --token-env, or a client by --client-id and --client-secret-file";
                Failure::new(error.to_string(), remedy)
            })?,
            Self::Client(client) => bearer(http.clone(), tenant, url, client.clone()).await?,
        };
        Ok(Admin::new(http, url, bearer))
    }
}

/// The OAuth clients of a configured tenant, and what they are for.
pub(super) fn clients_of(tenant: &TenantConfig) -> impl Iterator<Item = (Role, &Credential)> {
    let management = tenant.management.iter();
    let management = management.map(|other| (Role::Management, &other.credential));
    let service = tenant.service.iter();
    let service = service.map(|other| (Role::Service, &other.credential));
    let issuing = std::iter::once((Role::Issuing, &tenant.credential));
    issuing.chain(management).chain(service)
}

/// The management client of a configured tenant, where nobody else is named.
pub(super) fn configured_power(tenant: Option<&TenantConfig>) -> anyhow::Result<Power> {
    let management = tenant.and_then(|tenant| tenant.management.clone());
    let power = management.map(Power::Client);
    power.context("nobody is named who may manage the OAuth clients; give a token (--token-file, --token-env), or a client (--client-id with --client-secret-file)")
}

async fn bearer(
    http: HttpClient,
    tenant: &TenantId,
    url: &str,
    OtherClient { credential, scopes }: OtherClient,
) -> Result<Secret, Failure> {
    let trial = Trial::new(http, (tenant, url), credential, scopes, Asks::Own);
    let trial = trial.map_err(|error| Failure::new(error.to_string(), REMEDY))?;
    let token = trial.token().await;
    let token =
        token.map_err(|error| Failure::new(format!("no management token: {error}"), REMEDY))?;
    Ok(token.secret)
}
