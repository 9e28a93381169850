//! What of an OAuth client is not as it should be.

use std::collections::BTreeSet;
use std::fmt;

use super::Failure;
use super::plan::{Aim, Seen};
use crate::qlik::admin::safe;

/// A client may hold this many secrets.
const MAX_SECRETS: usize = 5;
pub(super) const ORIGINS: &str = "/allowedOrigins";
pub(super) const AUTH_METHODS: &str = "/allowedAuthMethods";
pub(super) const SECRET: &str = "client_secret";
pub(super) const PRIVATE_KEY: &str = "private_key_jwt";

/// One thing to do about a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not there.
    Create {
        /// What it may ask for.
        scopes: Vec<String>,
        /// The pages that use its tokens.
        origins: Vec<String>,
    },
    /// Another key of a private key JWT has to be known to it.
    AddKey,
    /// A list that is replaced as a whole.
    Replace {
        /// Which one, as in a JSON Patch.
        path: &'static str,
        /// What it is.
        from: Vec<String>,
        /// What it should be.
        to: Vec<String>,
    },
    /// It asks for consent, which nobody is there to give.
    Trust,
    /// Its secret is not at hand.
    AddSecret {
        /// How many it has.
        others: usize,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &[String]| match items {
            [] => "none".to_owned(),
            // What a tenant says may hold what a terminal obeys.
            items => items.join(" ").escape_default().to_string(),
        };
        match self {
            Self::Create { scopes, origins } => {
                let (scopes, origins) = (list(scopes), list(origins));
                write!(
                    f,
                    "create: scopes {scopes}; origins {origins}; consent trusted"
                )
            }
            Self::AddKey => f.write_str("publicKeys: add the key of the private key file"),
            Self::Replace { path, from, to } => {
                let name = path.trim_start_matches('/');
                write!(f, "{name}: {} -> {}", list(from), list(to))
            }
            Self::Trust => f.write_str("consentMethod: required -> trusted"),
            Self::AddSecret { others } => {
                write!(f, "client secrets: {others} -> {}", others + 1)
            }
        }
    }
}

/// What there is to do about a client. `kid` names the private key at hand, if there is one.
pub(super) fn changes(
    aim: &Aim,
    seen: Option<&Seen>,
    has_file: bool,
    kid: Option<&str>,
) -> Result<Vec<Change>, Failure> {
    let Some(Seen { client, trusted }) = seen else {
        if has_file && !aim.private_key {
            let message = format!(
                "{} is there, but the tenant has no client {:?} that it could be a secret of",
                aim.file.display(),
                aim.name
            );
            let remedy = "give the client's name as it is in the tenant, or move the file away";
            return Err(Failure::new(message, remedy));
        }
        return Ok(vec![Change::Create {
            scopes: aim.scopes.clone(),
            origins: aim.origins.clone().unwrap_or_default(),
        }]);
    };
    if client.app_type != "web" {
        let message = format!(
            "the client {:?} ({}) is of the type {:?}, which cannot be changed and has no such grants",
            aim.name,
            safe(&client.client_id),
            client.app_type
        );
        let remedy = "rename it in the tenant, or choose another name here";
        return Err(Failure::new(message, remedy));
    }
    let mut changes = Vec::new();
    let mut replace = |path, from: &Option<Vec<String>>, to: &[String]| {
        let from = from.clone().unwrap_or_default();
        let set = |items: &[String]| items.iter().cloned().collect::<BTreeSet<_>>();
        if set(&from) != set(to) {
            let to = to.to_vec();
            changes.push(Change::Replace { path, from, to });
        }
    };
    replace("/allowedScopes", &client.allowed_scopes, &aim.scopes);
    let grant = [aim.purpose.grant().to_owned()];
    replace("/allowedGrantTypes", &client.allowed_grant_types, &grant);
    if let Some(origins) = &aim.origins {
        replace(ORIGINS, &client.allowed_origins, origins);
    }
    proof(aim, seen, has_file, kid, &mut changes)?;
    if !trusted {
        changes.push(Change::Trust);
    }
    Ok(changes)
}

fn proof(
    aim: &Aim,
    seen: Option<&Seen>,
    has_file: bool,
    kid: Option<&str>,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    let Some(Seen { client, .. }) = seen else {
        return Ok(());
    };
    if aim.private_key {
        let mut known = client.public_keys.iter().flatten();
        let is_known = kid.is_some_and(|kid| known.any(|key| key["kid"] == kid));
        changes.extend((!is_known).then_some(Change::AddKey));
    }
    // The other method stays: a broker that uses it must not fall silent by this.
    let method = if aim.private_key { PRIVATE_KEY } else { SECRET };
    if !client.authenticates_by(method) {
        let from = match client.allowed_auth_methods.as_deref() {
            None | Some([]) => vec![SECRET.to_owned()],
            Some(methods) => methods.to_vec(),
        };
        let to = from.iter().cloned().chain([method.to_owned()]).collect();
        let path = AUTH_METHODS;
        changes.push(Change::Replace { path, from, to });
    }
    if aim.private_key || has_file {
        return Ok(());
    }
    let others = client.hints().len();
    if others >= MAX_SECRETS {
        let message = format!(
            "the client {:?} ({}) has {others} secrets, which is the most there can be, and none is in {}",
            aim.name,
            safe(&client.client_id),
            aim.file.display()
        );
        let remedy = "put the secret that is in use into that file (mode 0600), or drop one that is not in the tenant's console";
        return Err(Failure::new(message, remedy));
    }
    changes.push(Change::AddSecret { others });
    Ok(())
}
