//! What is there, and what there is to do. Looks, and changes nothing.

use std::fmt;
use std::path::PathBuf;

use super::change::{Change, changes};
use super::files::{Folder, key_of};
use super::{Failure, Wish};
use crate::qlik::admin::{Admin, OauthClient, safe};
use crate::qlik::{CLIENT_CREDENTIALS, IMPERSONATION};

/// What an OAuth client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Issues the users' tokens, and does nothing else.
    Issuing,
    /// Looks users up and creates them, and issues nothing.
    Management,
}

impl Purpose {
    /// As files are named.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issuing => "issuing",
            Self::Management => "management",
        }
    }

    /// The one grant it has.
    pub(super) fn grant(self) -> &'static str {
        match self {
            Self::Issuing => IMPERSONATION,
            Self::Management => CLIENT_CREDENTIALS,
        }
    }
}

/// An OAuth client as it should be.
#[derive(Clone, Debug)]
pub struct Aim {
    /// What it is for.
    pub purpose: Purpose,
    /// What it is called.
    pub name: String,
    /// Its scopes, all of them.
    pub scopes: Vec<String>,
    /// Its origins, all of them; `None` leaves them alone.
    pub origins: Option<Vec<String>>,
    /// Whether a private key proves it.
    pub private_key: bool,
    /// Where its secret or key is.
    pub file: PathBuf,
}

/// An OAuth client as it is.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The client.
    pub client: OauthClient,
    /// Whether it asks nobody for consent.
    pub trusted: bool,
}

/// What there is to do about one client.
#[derive(Clone, Debug)]
pub struct Part {
    /// How it should be.
    pub aim: Aim,
    /// How it is, if it is there.
    pub seen: Option<Seen>,
    /// What to do. Empty: nothing.
    pub changes: Vec<Change>,
}

/// What there is to do in one tenant.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What was asked for.
    pub wish: Wish,
    /// Its clients.
    pub parts: Vec<Part>,
    /// The origins that its content security policy lacks.
    pub csp: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_done(&self) -> bool {
        self.csp.is_empty() && self.parts.iter().all(|part| part.changes.is_empty())
    }

    /// What will be done, one line each.
    pub fn changes(&self) -> impl Iterator<Item = String> {
        let clients = self.parts.iter().flat_map(|part| {
            let (purpose, name) = (part.aim.purpose.as_str(), &part.aim.name);
            let line = move |change: &Change| format!("{purpose} client {name:?}: {change}");
            part.changes.iter().map(line)
        });
        let csp = self.csp.iter();
        clients.chain(
            csp.map(|origin| format!("content security policy: add {origin} (frame-ancestors)")),
        )
    }
}

/// With what is kept as well.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.wish.tenant, self.wish.url)?;
        for Part { aim, seen, changes } in &self.parts {
            let mark = match (seen, changes.as_slice()) {
                (None, _) => '+',
                (_, []) => '=',
                _ => '~',
            };
            let id = seen
                .as_ref()
                .map_or("new".into(), |seen| safe(&seen.client.client_id));
            let (purpose, name) = (aim.purpose.as_str(), &aim.name);
            writeln!(f, "  {mark} {purpose} client {name:?} ({id})")?;
            for change in changes {
                writeln!(f, "      {change}")?;
            }
        }
        for origin in &self.csp {
            writeln!(f, "  + content security policy: {origin} (frame-ancestors)")?;
        }
        Ok(())
    }
}

/// Looks at a tenant, and at the files that are there.
pub async fn look(admin: &Admin, wish: Wish, folder: &Folder) -> Result<Plan, Failure> {
    let clients = admin.clients().await?;
    let mut parts = Vec::new();
    for aim in aims(&wish, folder) {
        let seen = seen(admin, &clients, &aim.name).await?;
        let kid = key_of(&aim)?.map(|key| key.kid().to_owned());
        let changes = changes(&aim, seen.as_ref(), aim.file.exists(), kid.as_deref())?;
        parts.push(Part { aim, seen, changes });
    }
    let mut csp = Vec::new();
    if wish.csp {
        let known = admin.csp_origins().await?;
        let origins = wish.origins.iter().map(|origin| origin.as_str().to_owned());
        csp.extend(origins.filter(|origin| !known.contains(origin)));
    }
    Ok(Plan { wish, parts, csp })
}

fn aims(wish: &Wish, folder: &Folder) -> [Aim; 2] {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let origins: Vec<_> = wish.origins.iter().map(|o| o.as_str().to_owned()).collect();
    let aim = |purpose, name: &str, scopes, origins| Aim {
        purpose,
        name: name.into(),
        scopes,
        origins,
        private_key: wish.private_key,
        file: folder.proof(&wish.tenant, purpose, wish.private_key),
    };
    let scopes = words(wish.scopes.as_str());
    let origins = (!origins.is_empty()).then_some(origins);
    let management = words(wish.management_scopes.as_str());
    [
        aim(Purpose::Issuing, &wish.issuing, scopes, origins),
        aim(Purpose::Management, &wish.management, management, None),
    ]
}

/// The client of this name, of which there is one or none.
pub(super) async fn seen(
    admin: &Admin,
    clients: &[OauthClient],
    name: &str,
) -> Result<Option<Seen>, Failure> {
    let Some(id) = named(clients, name)? else {
        return Ok(None);
    };
    let client = admin.client(&id).await?;
    if client.allowed_scopes.is_none() && client.allowed_grant_types.is_none() {
        let message = format!("the tenant shows neither scopes nor grants of the client {name:?}");
        let remedy =
            "use the token of a tenant administrator, or of a client with the scope admin_classic";
        return Err(Failure::new(message, remedy));
    }
    let trusted = admin.is_trusted(&id).await?;
    Ok(Some(Seen { client, trusted }))
}

/// The id of the client of this name.
pub(super) fn named(clients: &[OauthClient], name: &str) -> Result<Option<String>, Failure> {
    let mut ids = clients
        .iter()
        .filter(|client| client.client_name == name)
        .map(|client| client.client_id.clone());
    let first = ids.next();
    let others: Vec<_> = ids.collect();
    if others.is_empty() {
        return Ok(first);
    }
    let message = format!(
        "the tenant has several clients {name:?}: {}, {}",
        safe(&first.unwrap_or_default()),
        safe(&others.join(", "))
    );
    let remedy = "delete or rename all but the one that is in use, or choose another name here";
    Err(Failure::new(message, remedy))
}
