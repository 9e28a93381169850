//! What proves the clients: every secret and every key, one by one.

use std::sync::Arc;

use super::fault::Fault;
use super::finding::Findings;
use super::tenant::Look;
use crate::config::OtherClient;
use crate::mapping::{LookupField, UserLookup};
use crate::qlik::key_pair::KeyPair;
use crate::qlik::{AccessToken, Credential, Proof, QlikClient, QlikError, Role};
use crate::secret::{Secret, SecretSource};
use crate::tenant::ScopeSet;

/// A subject that no tenant has: being told so shows that the proof is accepted.
const NOBODY: &str = "qlik-token-broker-check-nobody";

/// A client that acts for itself, and its token.
pub(super) struct Bot {
    pub client: QlikClient,
    pub token: Arc<AccessToken>,
}

/// One proof of a client: where it stands, and what the tenant said of it.
struct Tried {
    path: String,
    outcome: Result<(), QlikError>,
}

/// Has a client that acts for itself get a token by each of its proofs. The first one is kept.
pub(super) async fn bot(
    look: &Look<'_>,
    role: Role,
    other: &OtherClient,
    found: &mut Findings,
) -> Option<Bot> {
    let path = format!("{}.{}", look.path, role.as_str());
    let mut kept: Option<Bot> = None;
    let mut tried = Vec::new();
    for (path, credential) in each(&path, &other.credential) {
        let Some(client) = look.client(role, &path, &credential, found) else {
            continue;
        };
        let asked = async {
            let (turn, deadline) = look.turn().await?;
            client
                .client_credentials(&other.scopes, turn, deadline)
                .await
        };
        let outcome = match asked.await {
            Err(error) => Err(error),
            Ok(token) if kept.is_none() => {
                let token = Arc::new(token);
                kept = Some(Bot { client, token });
                Ok(())
            }
            Ok(token) => {
                if let Ok((turn, deadline)) = look.turn().await {
                    drop(client.revoke(&token, turn, deadline).await);
                }
                Ok(())
            }
        };
        tried.push(Tried { path, outcome });
    }
    tell(&path, &other.credential, &tried, found);
    let bot = kept?;
    granted(&format!("{path}.scopes"), &other.scopes, &bot.token, found);
    Some(bot)
}

/// Has the issuing client prove itself by each of its proofs, for `user` or for one that no tenant has.
/// Whether any is accepted.
pub(super) async fn issuing(
    look: &Look<'_>,
    user: Option<&UserLookup>,
    found: &mut Findings,
) -> bool {
    let credential = &look.config.credential;
    let Ok(nobody) = UserLookup::new(LookupField::Subject, NOBODY) else {
        return false;
    };
    let user = user.unwrap_or(&nobody);
    let mut tried = Vec::new();
    let mut is_by_user = false;
    for (path, credential) in each(&look.path, credential) {
        let Some(client) = look.client(Role::Issuing, &path, &credential, found) else {
            continue;
        };
        let outcome = match mint(look, &client, user).await {
            Err(error) if error.is_about_the_user() => {
                is_by_user = true;
                Ok(())
            }
            outcome => outcome,
        };
        tried.push(Tried { path, outcome });
    }
    if is_by_user && !is_telling(look, user, found).await {
        return false;
    }
    tell(&look.path, credential, &tried, found)
}

/// Whether what the tenant says of a user shows that it accepts the proof.
async fn is_telling(look: &Look<'_>, user: &UserLookup, found: &mut Findings) -> bool {
    let (fault, message) = match refuses_wrong_ones(look, user).await {
        Ok(true) => return true,
        Ok(false) => (
            Fault::Unproven,
            "the tenant says the same to a wrong proof as of a user that it does not know"
                .to_owned(),
        ),
        Err(error) => (Fault::TenantFailed, error.to_string()),
    };
    found.add(fault, format!("{}.client_id", look.path), message);
    false
}

/// What a tenant says of a user shows something only where it refuses a wrong proof otherwise: which answer
/// an unknown user gets is not documented.
async fn refuses_wrong_ones(look: &Look<'_>, user: &UserLookup) -> Result<bool, QlikError> {
    let credential = &look.config.credential;
    let proof = match &credential.proof {
        Proof::Secrets(_) => {
            let wrong = Secret::new("no-secret-of-this-client");
            Proof::Secrets(vec![SecretSource::Value(wrong)])
        }
        Proof::PrivateKey { kid, algorithm, .. } => {
            let Ok(pair) = KeyPair::generate(*algorithm) else {
                return Ok(false);
            };
            Proof::PrivateKey {
                kid: kid.clone(),
                algorithm: *algorithm,
                pem: SecretSource::Value(pair.pem),
            }
        }
    };
    let client_id = credential.client_id.clone();
    let wrong = Credential { client_id, proof };
    let Ok(client) = look.clients.client(Role::Issuing, "", &wrong) else {
        return Ok(false);
    };
    match mint(look, &client, user).await {
        Err(QlikError::ClientRefused { .. }) => Ok(true),
        Err(error) if !error.is_about_the_user() => Err(error),
        _ => Ok(false),
    }
}

/// Mints a token to try, which nobody is to have.
async fn mint(look: &Look<'_>, client: &QlikClient, user: &UserLookup) -> Result<(), QlikError> {
    let (turn, deadline) = look.turn().await?;
    let scopes = &look.config.tenant.scopes;
    let token = client.impersonate(user, scopes, turn, deadline).await?;
    if let Ok((turn, deadline)) = look.turn().await {
        drop(client.revoke(&token, turn, deadline).await);
    }
    Ok(())
}

/// The proofs of a client, each as a credential of its own, with the keys under which they stand.
fn each(path: &str, credential: &Credential) -> Vec<(String, Credential)> {
    let Proof::Secrets(sources) = &credential.proof else {
        return vec![(format!("{path}.private_key"), credential.clone())];
    };
    let is_list = sources.len() > 1;
    let alone = |(index, source): (usize, &SecretSource)| {
        let key = if is_list {
            format!("{path}.client_secrets[{index}]")
        } else {
            format!("{path}.client_secret")
        };
        let alone = Credential {
            client_id: credential.client_id.clone(),
            proof: Proof::Secrets(vec![source.clone()]),
        };
        (key, alone)
    };
    sources.iter().enumerate().map(alone).collect()
}

/// Where the first proof of a client stands.
pub(super) fn place(path: &str, credential: &Credential) -> String {
    let first = each(path, credential).into_iter().next();
    first.map_or_else(|| path.to_owned(), |(place, _)| place)
}

/// A line for each proof; where none is accepted, one for the client. Whether any is.
fn tell(path: &str, credential: &Credential, tried: &[Tried], found: &mut Findings) -> bool {
    if tried.iter().all(|tried| tried.outcome.is_err()) {
        if let Some(Tried {
            path: at,
            outcome: Err(error),
        }) = tried.first()
        {
            refused(path, at, credential, error, found);
        }
        return false;
    }
    for Tried { path, outcome } in tried {
        match outcome {
            Ok(()) => found.ok(path, "the tenant accepts it"),
            Err(error @ QlikError::ClientRefused { .. }) => {
                found.add(Fault::SecretDead, path, error.to_string());
            }
            Err(error) => found.add(Fault::TenantFailed, path, error.to_string()),
        }
    }
    true
}

/// Why a client gets no token, as far as the tenant's code tells. `at` is where its proof stands.
pub(super) fn refused(
    path: &str,
    at: &str,
    credential: &Credential,
    error: &QlikError,
    found: &mut Findings,
) {
    let client = format!("{path}.client_id");
    let QlikError::ClientRefused { code, status, .. } = error else {
        return found.add(Fault::TenantFailed, client, error.to_string());
    };
    let is_key = matches!(credential.proof, Proof::PrivateKey { .. });
    let (fault, place) = match code.as_deref() {
        Some("OAUTH-14" | "unauthorized_client") => (Fault::ConsentRequired, client),
        Some("OAUTH-5") => (Fault::ClientUnknown, client),
        Some("invalid_scope") => (Fault::ScopeMissing, format!("{path}.scopes")),
        Some("unsupported_grant_type") => (Fault::GrantMissing, client),
        Some("OAUTH-22" | "invalid_client") if !is_key => (Fault::SecretRefused, at.to_owned()),
        _ if is_key && *status == 401 => (Fault::KeyRefused, at.to_owned()),
        _ => (Fault::ClientRefused, client),
    };
    found.add(fault, place, error.to_string());
}

/// Whether a token has what it was asked for with. Whether it does.
pub(super) fn granted(
    path: &str,
    asked: &ScopeSet,
    token: &AccessToken,
    found: &mut Findings,
) -> bool {
    let has = |scope: &&str| token.scope.split(' ').any(|granted| granted == *scope);
    let mut missing = asked
        .as_str()
        .split(' ')
        .filter(|scope| !has(scope))
        .peekable();
    let is_whole = missing.peek().is_none();
    for scope in missing {
        let message = format!("the tenant gives a token without the scope {scope}");
        found.add(Fault::ScopeMissing, path, message);
    }
    is_whole
}
