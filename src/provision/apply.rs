//! Does what the plan says, in an order in which every step can be the last one.

use serde_json::{Value, json};

use super::change::{AUTH_METHODS, Change, ORIGINS, PRIVATE_KEY, SECRET, changes};
use super::files::{Folder, make_key, new_file, unwritten};
use super::plan::{Aim, Part, Plan, Purpose, Seen, named, seen};
use super::secrets::Keeper;
use super::{Failure, table};
use crate::qlik::admin::lost::{self, TRIES};
use crate::qlik::admin::{Admin, AdminError, OauthClient};
use crate::qlik::key_pair::KeyPair;
use crate::secret::{Secret, replace_file};
use crate::tenant::Origin;

const DESCRIPTION: &str = "Made by qlik-token-broker provision";

/// A tenant that is set up.
#[derive(Debug)]
pub struct Done {
    /// The clients, and how the broker proves to be them.
    pub clients: Vec<DoneClient>,
    /// The pages that may use the tokens.
    pub origins: Vec<Origin>,
    /// What only a person can do, in the tenant's console.
    pub todo: Vec<String>,
}

/// An OAuth client that is as it should be.
#[derive(Debug)]
pub struct DoneClient {
    /// How it should be, and is.
    pub aim: Aim,
    /// Its id.
    pub client_id: String,
    /// The id of its private key, if it has one.
    pub kid: Option<String>,
}

impl Done {
    /// The client for this purpose.
    pub fn client(&self, purpose: Purpose) -> Option<&DoneClient> {
        self.clients
            .iter()
            .find(|client| client.aim.purpose == purpose)
    }
}

/// Carries a plan out and writes the tenant's table.
pub async fn apply(admin: &Admin, plan: &Plan, folder: &Folder) -> Result<Done, Failure> {
    folder.make()?;
    let _locked = folder.lock()?;
    let (mut clients, mut origins, mut todo) = (Vec::new(), Vec::new(), Vec::new());
    for part in &plan.parts {
        let key = make_key(&part.aim)?;
        let settling = Settling {
            admin,
            aim: &part.aim,
            key: key.as_ref(),
        };
        let client = settling.settle(part, &mut todo).await?;
        if part.aim.purpose == Purpose::Issuing {
            let wanted = part.aim.origins.clone();
            let known = wanted.or(client.allowed_origins).unwrap_or_default();
            origins.extend(known.iter().filter_map(|text| Origin::parse(text).ok()));
        }
        clients.push(DoneClient {
            aim: part.aim.clone(),
            client_id: client.client_id,
            kid: key.map(|key| key.kid().to_owned()),
        });
    }
    for origin in &plan.csp {
        add_csp_origin(admin, origin).await?;
    }
    let done = Done {
        clients,
        origins,
        todo,
    };
    write_table(plan, &done, folder)?;
    Ok(done)
}

/// Left alone where it says the same already.
fn write_table(plan: &Plan, done: &Done, folder: &Folder) -> Result<(), Failure> {
    let path = folder.table(&plan.wish.tenant);
    let text = table::tenant(&plan.wish, done);
    if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    replace_file(&path, &text).map_err(|error| unwritten(&path, &error))
}

async fn add_csp_origin(admin: &Admin, origin: &str) -> Result<(), Failure> {
    let mut tries = 1;
    loop {
        let error = match admin.add_csp_origin("qlik-token-broker", origin).await {
            Ok(()) => return Ok(()),
            Err(error) if tries == TRIES || !error.may_have_worked() => return Err(error.into()),
            Err(error) => error,
        };
        let look = async || {
            let known = admin.csp_origins().await?;
            Ok::<_, Failure>(known.into_iter().find(|known| known == origin))
        };
        if lost::found(&error, look).await?.is_some() {
            return Ok(());
        }
        tries += 1;
    }
}

/// One client on its way.
struct Settling<'a> {
    admin: &'a Admin,
    aim: &'a Aim,
    key: Option<&'a KeyPair>,
}

impl Settling<'_> {
    /// Returns the client as it then is.
    async fn settle(&self, part: &Part, todo: &mut Vec<String>) -> Result<OauthClient, Failure> {
        let mut seen = self.look().await?;
        let mut due = self.due(seen.as_ref())?;
        if due != part.changes {
            let message = format!(
                "the client {:?} changed since it was looked at",
                self.aim.name
            );
            return Err(Failure::new(message, "run the command again"));
        }
        // Known to be writable before the tenant makes a secret.
        let needs_secret = !self.aim.private_key && !self.aim.file.exists();
        let file = needs_secret.then(|| new_file(&self.aim.file)).transpose()?;
        let mut keeper = Keeper::new(self.admin, self.aim, file);
        if let Some(seen) = &seen {
            keeper.known = seen.client.hints();
        } else {
            self.create(&mut keeper).await?;
            seen = self.look().await?;
            due = self.due(seen.as_ref())?;
        }
        let Some(seen) = seen else {
            let message = format!(
                "the tenant does not list the client {:?} yet",
                self.aim.name
            );
            return Err(Failure::new(
                message,
                "wait a minute and run the command again",
            ));
        };
        for change in &due {
            self.change(change, &seen, &mut keeper, todo).await?;
        }
        keeper.drop_lost(&seen.client.client_id).await?;
        Ok(seen.client)
    }

    async fn look(&self) -> Result<Option<Seen>, Failure> {
        let clients = self.admin.clients().await?;
        seen(self.admin, &clients, &self.aim.name).await
    }

    fn due(&self, seen: Option<&Seen>) -> Result<Vec<Change>, Failure> {
        let kid = self.key.map(KeyPair::kid);
        changes(self.aim, seen, self.aim.file.exists(), kid)
    }

    /// Creates the client, or finds the one that a call created whose answer got lost.
    async fn create(&self, keeper: &mut Keeper<'_>) -> Result<(), Failure> {
        let mut body = self.body();
        let mut tries = 1;
        loop {
            let error = match self.admin.create_client(&body).await {
                Ok(created) => {
                    if let Some(secret) = created.secret.filter(|_| !self.aim.private_key) {
                        keeper.keep(&created.client_id, &secret, None).await?;
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.status() == Some(400) && without_extras(&mut body) {
                continue;
            }
            if !error.may_have_worked() {
                return Err(error.into());
            }
            let look = async || named(&self.admin.clients().await?, &self.aim.name);
            if lost::found(&error, look).await?.is_some() {
                keeper.lost_one = true;
                return Ok(());
            }
            if tries == TRIES {
                return Err(error.into());
            }
            tries += 1;
        }
    }

    fn body(&self) -> Value {
        let method = if self.aim.private_key {
            PRIVATE_KEY
        } else {
            SECRET
        };
        let mut body = json!({
            "appType": "web",
            "clientName": self.aim.name,
            "description": DESCRIPTION,
            "allowedScopes": self.aim.scopes,
            "allowedGrantTypes": [self.aim.purpose.grant()],
            "allowedAuthMethods": [method],
            "connectionConfig": {"consentMethod": "trusted"},
        });
        if let Some(origins) = &self.aim.origins {
            body["allowedOrigins"] = json!(origins);
        }
        if let Some(key) = self.key {
            body["publicKeys"] = json!([key.jwk]);
        }
        body
    }

    async fn change(
        &self,
        change: &Change,
        seen: &Seen,
        keeper: &mut Keeper<'_>,
        todo: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let id = &seen.client.client_id;
        match change {
            Change::Create { .. } => {}
            Change::AddKey => {
                let mut keys = seen.client.public_keys.clone().unwrap_or_default();
                keys.extend(self.key.map(|key| key.jwk.clone()));
                self.patch(id, "/publicKeys", &json!(keys)).await?;
            }
            Change::Replace { path, to, .. } => {
                let patched = self.patch(id, path, &json!(to)).await;
                match patched {
                    Err(error) if *path == ORIGINS && error.status() == Some(400) => {
                        todo.push(self.console_step(to));
                    }
                    patched => match patched? {
                        Some(secret) => keeper.keep(id, &secret, None).await?,
                        // The tenant may have made a secret for a try whose answer got lost.
                        None => keeper.lost_one |= *path == AUTH_METHODS,
                    },
                }
            }
            Change::Trust => self.admin.trust(id).await?,
            Change::AddSecret { .. } => keeper.add(id).await?,
        }
        Ok(())
    }

    async fn patch(
        &self,
        id: &str,
        path: &str,
        value: &Value,
    ) -> Result<Option<Secret>, AdminError> {
        self.admin.patch_client(id, path, value).await
    }

    fn console_step(&self, origins: &[String]) -> String {
        format!(
            "the tenant takes no origins by its API: in its console, Administration > OAuth > {:?} > Edit > Allowed origins, add {}",
            self.aim.name,
            origins.join(" ")
        )
    }
}

/// Takes out what not every tenant accepts at creation, one after the other. Whether there was one.
fn without_extras(body: &mut Value) -> bool {
    let Value::Object(body) = body else {
        return false;
    };
    let extras = ["allowedOrigins", "connectionConfig"];
    extras.iter().any(|key| body.remove(*key).is_some())
}
