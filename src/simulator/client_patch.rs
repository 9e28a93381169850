//! The patch of an OAuth client: 204, or 202 with a new secret when secrets become allowed (doc).

use serde_json::{Value, json};

use super::answer::Answer;
use super::asked::Asked;
use super::client::Client;
use super::json_patch::Operation;
use super::new_client::{check_auth, check_grants};
use super::oauth_clients::{ADMIN, invalid, named, named_mut, new_secret};
use super::permission::Caller;
use super::state::State;

pub(super) fn patch(state: &mut State, asked: &Asked) -> Result<Answer, Answer> {
    Caller::admin(state, asked, &ADMIN)?;
    let mut client = named(state, asked)?.clone();
    let had_secrets = client.allows("client_secret");
    for operation in Operation::list(asked, &["add", "remove", "replace"]).map_err(invalid)? {
        apply(&mut client, &operation).map_err(invalid)?;
    }
    check_grants(&client.app_type, &client.grants).map_err(invalid)?;
    check_auth(&client.auth_methods, &client.public_keys).map_err(invalid)?;
    client.updated_at = state.now();
    let mut answer = Answer::empty(204);
    if client.allows("client_secret") && !had_secrets {
        let secret = new_secret(state, &client);
        answer = Answer::json(202, json!({ "clientSecret": secret.value }));
        client.secrets.push(secret);
    }
    *named_mut(state, asked)? = client;
    Ok(answer)
}

/// Lists are replaced as a whole (doc); `appType` cannot be changed.
fn apply(client: &mut Client, operation: &Operation) -> Result<(), String> {
    match operation.path.as_str() {
        "/clientName" => client.name = operation.text()?,
        "/description" => client.description = text(operation)?,
        "/clientUri" => client.client_uri = text(operation)?,
        "/logoUri" => client.logo_uri = text(operation)?,
        "/jwksUri" => client.jwks_uri = text(operation)?,
        "/redirectUris" => client.redirect_uris = operation.texts()?,
        "/allowedScopes" => client.scopes = operation.texts()?,
        "/allowedGrantTypes" => client.grants = operation.texts()?,
        "/allowedOrigins" => client.origins = operation.texts()?,
        "/allowedAuthMethods" => client.auth_methods = operation.texts()?,
        "/publicKeys" => client.public_keys = keys(operation)?,
        other => return Err(format!("path {other:?} cannot be patched")),
    }
    Ok(())
}

fn text(operation: &Operation) -> Result<String, String> {
    if operation.op == "remove" {
        return Ok(String::new());
    }
    operation.text()
}

fn keys(operation: &Operation) -> Result<Vec<Value>, String> {
    match &operation.value {
        _ if operation.op == "remove" => Ok(Vec::new()),
        Value::Array(keys) => Ok(keys.clone()),
        _ => Err("the value of /publicKeys must be a list of JWKs".to_owned()),
    }
}
