//! The tables for the broker's configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;

use toml::Value;

use super::apply::{Done, DoneClient};
use super::files::{Folder, new_file, unwritten};
use super::plan::Purpose;
use super::{Failure, Wish};
use crate::secret::{SecretSource, replace_file};
use crate::session::api_key;
use crate::tenant::TenantId;

const HEAD: &str = "# Written by `qlik-token-broker provision`, which writes it again when something changes. Keep changes of\n\
                    # your own in another file: of several, later ones win.\n";

/// `[tenants.NAME]`.
pub(super) fn tenant(wish: &Wish, done: &Done) -> String {
    let origins = done
        .origins
        .iter()
        .map(|origin| Value::from(origin.as_str()));
    let mut lines = vec![
        format!("[tenants.{}]", wish.tenant),
        format!("url = {}", quoted(&wish.url)),
    ];
    if let Some(client) = done.client(Purpose::Issuing) {
        lines.push(format!("client_id = {}", quoted(&client.client_id)));
        lines.push(proof(client));
    }
    lines.push(format!("scopes = {}", quoted(wish.scopes.as_str())));
    if wish.scopes.risky().next().is_some() {
        lines.push("allow_admin_scopes = true".into());
    }
    lines.push(format!(
        "allowed_origins = {}",
        Value::Array(origins.collect())
    ));
    if let Some(file) = &wish.ca_file {
        lines.push(format!("ca_file = {}", quoted(file)));
    }
    if let Some(client) = done.client(Purpose::Management) {
        lines.push(format!(
            "management = {{ client_id = {}, {}, scopes = {} }}",
            quoted(&client.client_id),
            proof(client),
            quoted(wish.management_scopes.as_str())
        ));
    }
    format!("{HEAD}\n{}\n", lines.join("\n"))
}

fn proof(client: &DoneClient) -> String {
    let file = quoted(&client.aim.file.to_string_lossy());
    match &client.kid {
        None => format!("client_secret = {{ file = {file} }}"),
        // Without a `kid`: it is the key's thumbprint, and follows the key when that is replaced.
        Some(_) => {
            format!("private_key = {{ algorithm = \"ES384\", pem = {{ file = {file} }} }}")
        }
    }
}

fn quoted(text: &str) -> Value {
    Value::from(text)
}

/// Writes a session table with an API key of this id, which has been checked, for the tenants whose tables are in the folder,
/// and the key itself beside it. A key that is there stays. Returns the path of the key, if there is a
/// tenant.
pub fn write_key(folder: &Folder, id: &str) -> Result<Option<PathBuf>, Failure> {
    let tenants = tenants(folder);
    if tenants.is_empty() {
        return Ok(None);
    }
    let path = folder.path().join(format!("{id}.key"));
    let digest = if path.exists() {
        let remedy = "move it away: the next run makes a new key";
        let key = SecretSource::File(path.clone()).read();
        let key = key.map_err(|error| Failure::new(error.to_string(), remedy))?;
        api_key::digest_of(&key)
    } else {
        let unmade = || Failure::new("no API key could be made", "run the command again");
        let made = api_key::make(id).ok_or_else(unmade)?;
        let file = new_file(&path)?;
        file.fill(&made.key)
            .map_err(|error| unwritten(&path, &error))?;
        made.sha256
    };
    let text = format!(
        "{HEAD}\n[[session]]\ntype = \"api_key\"\nkeys = [{{ id = \"{id}\", sha256 = \"{digest}\", tenants = {} }}]\n",
        Value::from(tenants)
    );
    let table = folder.path().join(format!("api-key-{id}.toml"));
    replace_file(&table, &text).map_err(|error| unwritten(&table, &error))?;
    Ok(Some(path))
}

/// The tenants whose tables are in the folder, sorted.
fn tenants(folder: &Folder) -> Vec<String> {
    let files = std::fs::read_dir(folder.path()).into_iter().flatten();
    let ids = files.filter_map(|file| {
        let path = file.ok()?.path();
        let id = TenantId::parse(path.file_stem()?.to_str()?)?;
        let text = std::fs::read_to_string(folder.table(&id)).ok()?;
        let has_table = text.lines().any(|line| line == format!("[tenants.{id}]"));
        has_table.then(|| id.to_string())
    });
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}
