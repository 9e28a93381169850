//! A client's secret on its way from the tenant, which shows it once, to its file.

use jiff::Timestamp;

use super::Failure;
use super::files::unwritten;
use super::plan::Aim;
use crate::qlik::admin::lost::{self, TRIES};
use crate::qlik::admin::{Admin, NewSecret, OauthClient};
use crate::secret::{NewFile, Secret};

/// A lost secret was made within this time. The tenant's clock and ours may differ.
const AROUND: i64 = 300;

/// The secrets of a client before another was added, by which a lost one is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before<'a> {
    /// What names them.
    pub known: &'a [String],
    /// When that was, where it may be long ago.
    pub at: Option<Timestamp>,
}

impl Before<'_> {
    /// What names the secret that was made since and nobody has: the only one that is new, but for `ours`,
    /// and where that is long ago, made about then. Where one is gone meanwhile, somebody else is at work, and nothing is told.
    pub fn lost(&self, client: &OauthClient, ours: Option<&str>) -> Option<String> {
        let hints = client.hints();
        if !self.known.iter().all(|known| hints.contains(known)) {
            return None;
        }
        let is_new = |hint: &String| !self.known.contains(hint) && Some(hint.as_str()) != ours;
        let mut new = client.secrets().filter(|secret| is_new(&secret.hint));
        let (secret, None) = (new.next()?, new.next()) else {
            return None;
        };
        if let Some(at) = self.at {
            let age = secret.created_at()?.as_second() - at.as_second();
            if age.abs() >= AROUND {
                return None;
            }
        }
        Some(secret.hint.clone())
    }
}

/// Adds a secret and has it kept. One whose answer got lost is dropped, before the next try and after the
/// last: the tenant may have been at work on it for long.
pub(crate) async fn add_secret(
    admin: &Admin,
    id: &str,
    before: &Before<'_>,
    keep: impl AsyncFnOnce(&NewSecret) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut tries = 1;
    let made = loop {
        let error = match admin.add_secret(id).await {
            Ok(made) => break made,
            Err(error) if !error.may_have_worked() => return Err(error.into()),
            Err(error) => error,
        };
        let look = async || Ok::<_, Failure>(before.lost(&admin.client(id).await?, None));
        if let Some(hint) = lost::found(&error, look).await? {
            admin.drop_secret(id, &hint).await?;
        }
        if tries == TRIES {
            return Err(error.into());
        }
        tries += 1;
    };
    keep(&made).await?;
    if tries > 1 && !made.hint.is_empty() {
        let client = admin.client(id).await?;
        if let Some(hint) = before.lost(&client, Some(&made.hint)) {
            admin.drop_secret(id, &hint).await?;
        }
    }
    Ok(())
}

/// Keeps the secret of one client.
pub(super) struct Keeper<'a> {
    admin: &'a Admin,
    aim: &'a Aim,
    /// Where it goes. `None` when it is there.
    file: Option<NewFile>,
    /// What names the secrets that are not ours to touch.
    pub known: Vec<String>,
    /// Whether the tenant may have made one that nobody saw.
    pub lost_one: bool,
    /// Whether one was written, which is new as well, and may have no hint yet.
    kept: bool,
}

impl<'a> Keeper<'a> {
    pub fn new(admin: &'a Admin, aim: &'a Aim, file: Option<NewFile>) -> Self {
        Self {
            admin,
            aim,
            file,
            known: Vec::new(),
            lost_one: false,
            kept: false,
        }
    }

    /// Writes a secret that was just made, or has it dropped where there is one. One that cannot be written
    /// is dropped again, as far as its hint is known.
    pub async fn keep(
        &mut self,
        id: &str,
        secret: &Secret,
        hint: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(file) = self.file.take() else {
            self.lost_one = true;
            return Ok(());
        };
        let Err(error) = file.fill(secret) else {
            self.kept = true;
            return Ok(());
        };
        let Failure { message, remedy } = unwritten(&self.aim.file, &error);
        let hint = hint.filter(|hint| !hint.is_empty());
        let dropped = match hint {
            Some(hint) => self.admin.drop_secret(id, hint).await.is_ok(),
            None => false,
        };
        let fate = if dropped {
            "the new secret was dropped again"
        } else {
            "the new secret of the client is lost; the next run adds another, and the lost one can be dropped in the tenant's console"
        };
        Err(Failure::new(format!("{message}; {fate}"), remedy))
    }

    /// Adds a secret and writes it, unless there is one.
    pub async fn add(&mut self, id: &str) -> Result<(), Failure> {
        if self.file.is_none() {
            return Ok(());
        }
        self.drop_lost(id).await?;
        let (admin, known) = (self.admin, std::mem::take(&mut self.known));
        let before = Before {
            known: &known,
            at: None,
        };
        let keep = async |made: &NewSecret| self.keep(id, &made.secret, Some(&made.hint)).await;
        add_secret(admin, id, &before, keep).await
    }

    /// Drops the secret that nobody saw.
    pub async fn drop_lost(&mut self, id: &str) -> Result<(), Failure> {
        if !std::mem::take(&mut self.lost_one) || self.kept {
            return Ok(());
        }
        let before = Before {
            known: &self.known,
            at: None,
        };
        if let Some(hint) = before.lost(&self.admin.client(id).await?, None) {
            self.admin.drop_secret(id, &hint).await?;
        }
        Ok(())
    }
}
