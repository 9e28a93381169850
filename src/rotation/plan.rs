//! What is there, and what there is to do. Looks, and changes nothing.

use std::fmt;

use super::files::Journal;
use super::old::{Old, full};
use super::{Kind, Rotation, Target, Wishes, generated, shown};
use crate::clock;
use crate::provision::Failure;
use crate::qlik::admin::OauthClient;
use crate::qlik::{Asks, QlikError};
use crate::secret::{Secret, SecretSource};

/// A client may hold this many secrets.
const MAX_SECRETS: usize = 5;

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is no new one.
    New,
    /// The new one is beside the old one.
    Saved,
    /// The new one is in place, and the old one is still accepted.
    Swapped,
}

/// What there is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How far it is.
    pub stage: Stage,
    /// What the client is called.
    pub name: String,
    /// What names its secrets or keys.
    pub(super) names: Vec<String>,
    /// Secrets that are dropped before another is added.
    pub(super) drop_first: Vec<String>,
    pub(super) journal: Journal,
    target: Target,
    wishes: Wishes,
}

impl Plan {
    /// The steps that are left, one line each.
    pub fn steps(&self) -> Vec<String> {
        let kind = self.target.kind.as_str();
        let mut steps = Vec::new();
        if self.stage == Stage::New {
            let drops = self.drop_first.iter();
            steps.extend(drops.map(|hint| {
                format!(
                    "drop the secret {}, which nobody uses",
                    hint.escape_default()
                )
            }));
            steps.push(match self.target.kind {
                Kind::Secret => "add a secret, and write it beside the old one".to_owned(),
                Kind::Key(_) => "make a key pair, and write it beside the old one".to_owned(),
            });
        }
        if self.stage != Stage::Swapped {
            if self.target.kind != Kind::Secret {
                steps.push("tell the tenant the public key".to_owned());
            }
            let patience = self.wishes.patience.as_secs();
            steps.push(format!(
                "wait until the tenant accepts the new {kind}, for {patience} s at most"
            ));
            steps.push("put it in the old one's place".to_owned());
        }
        let wait = self.wishes.wait.as_secs();
        steps.push(match &self.journal.old {
            _ if self.wishes.keep_old => {
                format!("keep the old {kind} until the command is run again")
            }
            Some(old) => {
                let old = old.escape_default();
                format!("drop the old {kind} {old} after {wait} s")
            }
            None => format!("drop nothing: the old {kind} is not known to be one of the client's"),
        });
        steps
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        writeln!(f, "{} ({})", target.tenant, target.url)?;
        let (role, id, kind) = (
            target.role.as_str(),
            &target.client_id,
            target.kind.as_str(),
        );
        let names = shown(&self.names);
        writeln!(
            f,
            "  ~ {role} client {:?} ({id}), {kind}s: {names}",
            self.name
        )?;
        if self.stage != Stage::New {
            writeln!(f, "      (a rotation of {} goes on)", self.journal.began)?;
        }
        for step in self.steps() {
            writeln!(f, "      {step}")?;
        }
        Ok(())
    }
}

impl Rotation<'_> {
    /// Looks at the client, and at the files that are there.
    pub async fn look(&self, wishes: &Wishes) -> Result<Plan, Failure> {
        let client = self.client().await?;
        self.check_trial().await?;
        let journal = self.files.journal()?;
        let has_next = self.files.next.exists();
        if let Some(journal) = &journal
            && journal.client_id != self.target.client_id
        {
            let message = format!(
                "a rotation of another client, {:?}, is not finished here",
                journal.client_id
            );
            return Err(Failure::new(message, self.files.to_do_by_hand()));
        }
        match journal {
            None if has_next => {
                let message = format!(
                    "{} is there, and nothing says why",
                    self.files.next.display()
                );
                Err(Failure::new(message, self.files.to_do_by_hand()))
            }
            Some(journal) if has_next => self.resume(&client, Stage::Saved, journal, wishes),
            Some(journal) if journal.digest != self.files.digest()? => {
                self.resume(&client, Stage::Swapped, journal, wishes)
            }
            journal => self.begin(&client, journal.as_ref(), wishes).await,
        }
    }

    /// A trial for nobody shows something only where a wrong secret or key is refused: which answer an
    /// unknown user gets is not documented.
    async fn check_trial(&self) -> Result<(), Failure> {
        if !matches!(self.target.asks, Asks::ForNobody(_)) {
            return Ok(());
        }
        let wrong = match self.target.kind {
            Kind::Secret => Secret::new("no-secret-of-this-client"),
            Kind::Key(algorithm) => generated(algorithm)?.pem,
        };
        let trial = self.trial_of(SecretSource::Value(wrong))?;
        match trial.accepts().await {
            Err(QlikError::ClientRefused { .. }) => Ok(()),
            Err(error) => Err(Failure::new(
                error.to_string(),
                "run the command again later",
            )),
            Ok(()) => Err(Failure::new(
                "the tenant says the same to a wrong secret as to a user that it does not know",
                "name a user that it knows with --subject",
            )),
        }
    }

    fn resume(
        &self,
        client: &OauthClient,
        stage: Stage,
        mut journal: Journal,
        wishes: &Wishes,
    ) -> Result<Plan, Failure> {
        if wishes.drop.is_some() {
            return Err(Failure::new(
                "--drop: the new secret is there already",
                "run the command without it, so that this rotation is finished",
            ));
        }
        if let Some(old) = &wishes.old {
            self.check_old(&journal.known, journal.old.as_deref(), old)?;
            journal.old = Some(old.clone());
        }
        Ok(self.plan(client, stage, Vec::new(), journal, wishes))
    }

    fn plan(
        &self,
        client: &OauthClient,
        stage: Stage,
        drop_first: Vec<String>,
        journal: Journal,
        wishes: &Wishes,
    ) -> Plan {
        Plan {
            stage,
            name: client.client_name.clone(),
            names: self.names(client),
            drop_first,
            journal,
            target: self.target.clone(),
            wishes: wishes.clone(),
        }
    }

    /// A new rotation, also where one was interrupted before there was a new secret: then the tenant may
    /// have made one that nobody has.
    async fn begin(
        &self,
        client: &OauthClient,
        interrupted: Option<&Journal>,
        wishes: &Wishes,
    ) -> Result<Plan, Failure> {
        let mut known = self.names(client);
        let mut drop_first = Vec::new();
        if self.target.kind == Kind::Secret {
            drop_first.extend(interrupted.and_then(|journal| journal.before().lost(client, None)));
            known.retain(|name| !drop_first.contains(name));
        }
        let old = self.old(&known, wishes).await?;
        if let Some(hint) = &wishes.drop {
            self.check_drop(&known, &old, hint)?;
            known.retain(|name| name != hint);
            drop_first.push(hint.clone());
        }
        if self.target.kind == Kind::Secret && known.len() >= MAX_SECRETS {
            return Err(full(client, &old));
        }
        let journal = Journal {
            client_id: self.target.client_id.clone(),
            old: match old {
                Old::Named(name) => Some(name),
                Old::None | Old::Untold => None,
            },
            known,
            digest: self.files.digest()?,
            began: now()?,
        };
        Ok(self.plan(client, Stage::New, drop_first, journal, wishes))
    }
}

pub(super) fn now() -> Result<jiff::Timestamp, Failure> {
    let now = clock::now().try_into();
    now.map_err(|_| Failure::new("this machine's clock is out of range", "set it"))
}
