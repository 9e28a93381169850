//! Which client, and whether its secret is kept where it can be replaced.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::Options;
use crate::cli::power::clients_of;
use crate::config::{Config, TenantConfig};
use crate::mapping::{LookupField, UserLookup};
use crate::qlik::{Asks, Credential, Proof, Role};
use crate::rotation::{Kind, Target};
use crate::secret::SecretSource;

/// A subject that no tenant has.
const NOBODY: &str = "qlik-token-broker-rotate-nobody";

/// The client, and the file of its secret or key.
pub(super) fn find(
    config: &Config,
    tenant: &TenantConfig,
    options: &Options,
) -> anyhow::Result<(Target, PathBuf)> {
    let id = &tenant.tenant.id;
    let role = Role::from(options.client);
    let mut clients = clients_of(tenant);
    let found = clients.find(|(known, _)| *known == role);
    let (_, credential) =
        found.with_context(|| format!("tenants.{id}: has no `{}` client", role.as_str()))?;
    let place = match role {
        Role::Issuing => format!("tenants.{id}"),
        role => format!("tenants.{id}.{}", role.as_str()),
    };
    let (kind, file) = kept(credential, &place)?;
    alone(config, credential, &file)?;
    let asks = match (role, options.subject.as_deref()) {
        (Role::Issuing, Some(subject)) => Asks::For(user(subject)?),
        (Role::Issuing, None) => Asks::ForNobody(user(NOBODY)?),
        _ => Asks::Own,
    };
    let scopes = match role {
        Role::Issuing => Some(tenant.tenant.scopes.clone()),
        Role::Management => tenant.management.as_ref().map(|it| it.scopes.clone()),
        Role::Service => tenant.service.as_ref().map(|it| it.scopes.clone()),
    };
    let target = Target {
        tenant: id.clone(),
        url: tenant.tenant.url.clone(),
        role,
        client_id: credential.client_id.clone(),
        kind,
        scopes: scopes.context("the client asks for nothing")?,
        asks,
    };
    Ok((target, file))
}

fn user(subject: &str) -> anyhow::Result<UserLookup> {
    let user = UserLookup::new(LookupField::Subject, subject);
    user.map_err(|why| anyhow!("--subject: {why}"))
}

/// The one file of its secret or key.
fn kept(credential: &Credential, place: &str) -> anyhow::Result<(Kind, PathBuf)> {
    const REMEDY: &str = "put it into a file of its own and name that: { file = \"…\" }";
    let file = |source: &SecretSource| match source {
        SecretSource::File(path) => Ok(path.clone()),
        SecretSource::Value(_) => bail!(
            "{place}: the secret is written in the configuration itself, which the command does not change; {REMEDY}"
        ),
        SecretSource::Env(_) => bail!(
            "{place}: the secret comes from the environment, which changes with a restart only; {REMEDY}"
        ),
    };
    match &credential.proof {
        Proof::Secrets(sources) => match sources.as_slice() {
            [one] => Ok((Kind::Secret, file(one)?)),
            _ => bail!(
                "{place}.client_secrets: names several, as in a rotation by hand; finish that, so that one client_secret is left"
            ),
        },
        Proof::PrivateKey {
            kid: None,
            algorithm,
            pem,
        } => Ok((Kind::Key(*algorithm), file(pem)?)),
        Proof::PrivateKey { kid: Some(_), .. } => bail!(
            "{place}.private_key.kid: a new key has another id, and the command does not change the configuration; take `kid` out, which then is the key's thumbprint and follows the file (or replace the key by hand, see docs/operations.md)"
        ),
    }
}

/// Nothing else may prove itself by what is dropped, or read what is put in place.
fn alone(config: &Config, credential: &Credential, file: &Path) -> anyhow::Result<()> {
    let id = &credential.client_id;
    for tenant in config.tenants.values() {
        for (role, other) in clients_of(tenant) {
            let place = format!("tenants.{} ({})", tenant.tenant.id, role.as_str());
            let sources = match &other.proof {
                Proof::Secrets(sources) => sources.as_slice(),
                Proof::PrivateKey { pem, .. } => std::slice::from_ref(pem),
            };
            let is_same = other.client_id == *id;
            let reads = |source: &SecretSource| *source == SecretSource::File(file.to_path_buf());
            ensure!(
                is_same || !sources.iter().any(reads),
                "{place}: another client reads {}, too; give each a file of its own",
                file.display()
            );
            ensure!(
                !is_same || sources.iter().all(reads),
                "{place}: the same client has its secret in another place there, which would be dead; let both name {}",
                file.display()
            );
        }
    }
    Ok(())
}
