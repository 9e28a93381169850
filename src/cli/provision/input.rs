//! What was asked for: by options for one tenant, by a file for several.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use url::{Host, Url};

use super::Options;
use crate::cli::power::Power;
use crate::provision::Wish;
use crate::secret::{SecretSource, read_file};
use crate::session::api_key;
use crate::tenant::{Origin, ScopeSet, TenantId};

/// One tenant to set up.
pub(super) struct Job {
    pub wish: Wish,
    pub ca_pem: Option<Vec<u8>>,
    pub power: Power,
    pub subject: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantsFile {
    #[serde(default)]
    defaults: Entry,
    tenants: BTreeMap<String, Entry>,
}

/// What may be said of one tenant, or of all.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    url: Option<String>,
    origins: Option<Vec<String>>,
    token: Option<Source>,
    client_id: Option<String>,
    client_secret: Option<Source>,
    ca_file: Option<String>,
    subject: Option<String>,
}

/// `{ file = "…" }` or `{ env = "NAME" }`: a file of many tenants is no place for a secret.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    File(PathBuf),
    Env(String),
}

impl From<Source> for SecretSource {
    fn from(source: Source) -> Self {
        match source {
            Source::File(path) => Self::File(path),
            Source::Env(name) => Self::Env(name),
        }
    }
}

impl Entry {
    fn of(options: &Options) -> Self {
        let power = &options.power;
        let source = |file: &Option<PathBuf>, env: &Option<String>| {
            let file = file.clone().map(Source::File);
            file.or_else(|| env.clone().map(Source::Env))
        };
        Self {
            url: options.url.clone(),
            origins: (!options.origins.is_empty()).then(|| options.origins.clone()),
            token: source(&power.token_file, &power.token_env),
            client_id: power.client_id.clone(),
            client_secret: source(&power.client_secret_file, &power.client_secret_env),
            ca_file: options.ca_file.clone(),
            subject: options.subject.clone(),
        }
    }

    /// What is not said here is taken from there. Who manages the tenant is one matter.
    fn or(self, other: Self) -> Self {
        let manages = self.token.is_some() || self.client_id.is_some();
        let power = if manages { &self } else { &other }.clone();
        Self {
            url: self.url.or(other.url),
            origins: self.origins.or(other.origins),
            token: power.token,
            client_id: power.client_id,
            client_secret: power.client_secret,
            ca_file: self.ca_file.or(other.ca_file),
            subject: self.subject.or(other.subject),
        }
    }

    fn power(&self) -> anyhow::Result<Power> {
        const REMEDY: &str = "give a token (--token-file, --token-env; in the file: token), or a client (--client-id with --client-secret-file; in the file: client_id, client_secret)";
        let source = |source: &Option<Source>| source.clone().map(SecretSource::from);
        let (token, secret) = (source(&self.token), source(&self.client_secret));
        let power = Power::of(token, self.client_id.clone(), secret)?;
        power.with_context(|| format!("nobody is named who may manage the OAuth clients; {REMEDY}"))
    }
}

/// All tenants that were asked for.
pub(super) fn jobs(options: &Options) -> anyhow::Result<Vec<Job>> {
    ensure!(
        options.issuing_name != options.management_name,
        "--issuing-name and --management-name: are the same; what issues tokens must not manage users"
    );
    ensure!(
        options.api_key.as_deref().is_none_or(api_key::is_id),
        "--api-key: not an id; write 1 to 32 of a-z, 0-9 and -, such as portal-1"
    );
    let given = Entry::of(options);
    let Some(path) = &options.file else {
        let url = address(given.url.as_deref())?;
        let id = match &options.tenant {
            Some(id) => id.clone(),
            None => id_of(&url),
        };
        return Ok(vec![job(options, &id, &given)?]);
    };
    let shown = path.display();
    let text = read_file(path).with_context(|| format!("cannot read {shown}"))?;
    let text = str::from_utf8(&text).with_context(|| format!("{shown} is not UTF-8"))?;
    let file: TenantsFile = toml::from_str(text).map_err(|error| {
        // Only the message: what it quotes may be a secret in the wrong place.
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
        anyhow!("{shown}:{line}: {}", error.message())
    })?;
    ensure!(
        !file.tenants.is_empty(),
        "{shown}: names no tenant; add a table [tenants.ID]"
    );
    let mut jobs = Vec::new();
    for (id, entry) in file.tenants {
        let entry = entry.or(file.defaults.clone()).or(given.clone());
        let job = job(options, &id, &entry);
        jobs.push(job.with_context(|| format!("{shown}: tenants.{id}"))?);
    }
    Ok(jobs)
}

fn job(options: &Options, id: &str, entry: &Entry) -> anyhow::Result<Job> {
    let tenant = TenantId::parse(id);
    let tenant = tenant.with_context(|| {
        format!("{id:?} is no name of a tenant: write 1 to 64 of a-z, 0-9, _ and -")
    })?;
    let url = address(entry.url.as_deref())?;
    let scopes = |name: &str, text: &str| {
        ScopeSet::parse(text).map_err(|error| anyhow!("--{name}: {error}"))
    };
    let origin = |text: &String| Origin::parse(text).map_err(|error| anyhow!("origin: {error}"));
    let origins = entry.origins.iter().flatten().map(origin);
    let ca_pem = entry.ca_file.as_ref().map(|file| {
        let pem = read_file(file.as_ref());
        pem.map(|pem| pem.to_vec())
            .with_context(|| format!("cannot read {file}"))
    });
    let absolute = |file: &String| std::path::absolute(file).map(|path| path.display().to_string());
    Ok(Job {
        power: entry.power()?,
        subject: entry.subject.clone(),
        ca_pem: ca_pem.transpose()?,
        wish: Wish {
            tenant,
            url: url.origin().ascii_serialization(),
            ca_file: entry.ca_file.as_ref().map(absolute).transpose()?,
            issuing: options.issuing_name.clone(),
            management: options.management_name.clone(),
            scopes: scopes("scopes", &options.scopes)?,
            management_scopes: scopes("management-scopes", &options.management_scopes)?,
            origins: origins.collect::<anyhow::Result<_>>()?,
            private_key: options.private_key,
            csp: options.csp,
        },
    })
}

/// https, or http on this machine: a management token goes there.
pub(in crate::cli) fn address(text: Option<&str>) -> anyhow::Result<Url> {
    const REMEDY: &str = "write it like https://acme.eu.qlikcloud.com";
    let text = text.with_context(|| format!("the tenant's url is missing; {REMEDY}"))?;
    let url = Url::parse(text).map_err(|_| anyhow!("url: is not a URL; {REMEDY}"))?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    ensure!(is_safe && url.has_host(), "url: must be https; {REMEDY}");
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_bare = is_bare && url.username().is_empty() && url.password().is_none();
    ensure!(is_bare, "url: is more than an address; {REMEDY}");
    Ok(url)
}

/// The first part of its host, which is what a tenant is called by.
pub(in crate::cli) fn id_of(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => name.split('.').next().unwrap_or(name).to_lowercase(),
        _ => "tenant".to_owned(),
    }
}
