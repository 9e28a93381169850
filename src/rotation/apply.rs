//! Does what the plan says, in an order in which every step can be the last one.

use std::path::Path;

use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::files::{Journal, unwritten};
use super::plan::{Plan, Stage, now};
use super::{Kind, Rotation, Wishes, generated, pair};
use crate::provision::{Failure, add_secret};
use crate::qlik::admin::lost::TRIES;
use crate::qlik::admin::{NewSecret, OauthClient};
use crate::qlik::{Asks, AssertionAlgorithm, QlikError};
use crate::secret::NewFile;

/// Before the tenant is asked again whether it dropped something.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// How long a new secret takes to work is not documented.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A rotation that came as far as was wished.
#[derive(Debug)]
pub struct Done {
    /// What named the old one that was dropped.
    pub dropped: Option<String>,
    /// Whether the old one waits for the command to be run again.
    pub keeps_old: bool,
}

impl Rotation<'_> {
    /// Carries a plan out.
    pub async fn apply(&self, plan: &Plan, wishes: &Wishes) -> Result<Done, Failure> {
        if plan.stage == Stage::New {
            self.obtain(plan).await?;
        }
        if plan.stage != Stage::Swapped {
            if let Kind::Key(algorithm) = self.target.kind {
                self.register(algorithm).await?;
            }
            self.accepted(&self.files.next, wishes.patience).await?;
            self.files.swap()?;
        }
        let mut done = Done {
            dropped: None,
            keeps_old: wishes.keep_old,
        };
        if wishes.keep_old {
            return Ok(done);
        }
        if let Some(old) = &plan.journal.old {
            sleep(wishes.wait).await;
            // Whatever happened meanwhile: what is in the file is good without the old one.
            self.accepted(&self.files.current, wishes.patience).await?;
            if self.files.digest()? == plan.journal.digest {
                let file = self.files.current.display();
                let message =
                    format!("somebody put the old secret back into {file}; it was not dropped");
                let remedy = "stop what writes that file, and run the command again: it gets another new one";
                return Err(Failure::new(message, remedy));
            }
            self.drop_old(old).await?;
            done.dropped = Some(old.clone());
        }
        self.files.end()?;
        Ok(done)
    }

    /// Gets the new one and keeps it beside the old one.
    async fn obtain(&self, plan: &Plan) -> Result<(), Failure> {
        let file = self.files.new_next()?;
        if self.names(&self.client().await?) != plan.names {
            let message = "the client changed since it was looked at";
            return Err(Failure::new(message, "run the command again"));
        }
        for hint in &plan.drop_first {
            self.admin.drop_secret(&self.target.client_id, hint).await?;
        }
        let began = now()?;
        let journal = Journal {
            began,
            ..plan.journal.clone()
        };
        self.files.begin(&journal)?;
        match self.target.kind {
            Kind::Secret => self.add_secret(file, &journal).await,
            Kind::Key(algorithm) => {
                let pair = generated(algorithm)?;
                file.fill(&pair.pem)
                    .map_err(|error| unwritten(&self.files.next, &error))
            }
        }
    }

    async fn add_secret(&self, file: NewFile, journal: &Journal) -> Result<(), Failure> {
        let (admin, id) = (self.admin, self.target.client_id.as_str());
        let keep = async |made: &NewSecret| {
            let Err(error) = file.fill(&made.secret) else {
                return Ok(());
            };
            let Failure { message, remedy } = unwritten(&self.files.next, &error);
            let has_hint = !made.hint.is_empty();
            let dropped = has_hint && admin.drop_secret(id, &made.hint).await.is_ok();
            let fate = if dropped {
                "the new secret was dropped again"
            } else {
                "the new secret is lost; the next run drops it"
            };
            Err(Failure::new(format!("{message}; {fate}"), remedy))
        };
        add_secret(admin, id, &journal.before(), keep).await
    }

    /// Tells the tenant the new public key, unless it knows it.
    async fn register(&self, algorithm: AssertionAlgorithm) -> Result<(), Failure> {
        let pair = pair(&self.files.next, algorithm)?;
        let client = self.client().await?;
        if client.kids().any(|kid| kid == pair.kid()) {
            return Ok(());
        }
        let mut keys = client.public_keys.unwrap_or_default();
        keys.push(pair.jwk);
        self.replace_keys(&json!(keys)).await
    }

    async fn replace_keys(&self, keys: &serde_json::Value) -> Result<(), Failure> {
        let id = &self.target.client_id;
        self.admin.patch_client(id, "/publicKeys", keys).await?;
        Ok(())
    }

    /// Returns when the tenant accepts what is in this file. A new secret may take a moment to work.
    async fn accepted(&self, file: &Path, patience: Duration) -> Result<(), Failure> {
        let until = Instant::now() + patience;
        let trial = self.trial(file)?;
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = trial.accepts().await else {
                return Ok(());
            };
            let wait = match &error {
                QlikError::Throttled { retry_after } => *retry_after,
                _ => pause,
            };
            if Instant::now() + wait > until {
                return Err(self.not_accepted(file, &error));
            }
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn not_accepted(&self, file: &Path, error: &QlikError) -> Failure {
        let message = format!("{} does not work yet: {error}", file.display());
        let remedy = match &self.target.asks {
            Asks::ForNobody(_) => {
                "run the command again, it goes on from here; a tenant that refuses a user it does not know in the same way needs --subject with one that it knows"
            }
            Asks::Own | Asks::For(_) => {
                "run the command again, it goes on from here; until then the old one is in use"
            }
        };
        Failure::new(message, remedy)
    }

    /// Until the tenant does not list it any more.
    async fn drop_old(&self, old: &str) -> Result<(), Failure> {
        let mut tries = 1;
        loop {
            let client = self.client().await?;
            if !self.names(&client).iter().any(|name| name == old) {
                return Ok(());
            }
            if tries > TRIES {
                let kind = self.target.kind.as_str();
                let message = format!("the tenant still lists the old {kind} {old:?}");
                return Err(Failure::new(message, "run the command again"));
            }
            if tries > 1 {
                sleep(SECOND_LOOK).await;
            }
            self.drop_once(client, old).await?;
            tries += 1;
        }
    }

    async fn drop_once(&self, client: OauthClient, old: &str) -> Result<(), Failure> {
        if self.target.kind == Kind::Secret {
            let dropped = self.admin.drop_secret(&client.client_id, old);
            return Ok(dropped.await?);
        }
        let mut keys = client.public_keys.unwrap_or_default();
        keys.retain(|key| key["kid"] != old);
        self.replace_keys(&json!(keys)).await
    }
}
