//! A client's secret on its way from the tenant, which shows it once, to its file.

use tokio::time::sleep;

use super::Failure;
use super::apply::SECOND_LOOK;
use super::files::unwritten;
use super::plan::Aim;
use crate::qlik::admin::Admin;
use crate::secret::{NewFile, Secret};

const TRIES: usize = 3;

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
}

impl<'a> Keeper<'a> {
    pub fn new(admin: &'a Admin, aim: &'a Aim, file: Option<NewFile>) -> Self {
        Self {
            admin,
            aim,
            file,
            known: Vec::new(),
            lost_one: false,
        }
    }

    /// Writes a secret that was just made. One that cannot be written is dropped again, as far as its
    /// hint is known.
    pub async fn keep(
        &mut self,
        id: &str,
        secret: &Secret,
        hint: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let Err(error) = file.fill(secret) else {
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

    /// Adds a secret and writes it. One whose answer got lost is dropped before the next try.
    pub async fn add(&mut self, id: &str) -> Result<(), Failure> {
        if self.file.is_none() {
            return Ok(());
        }
        let mut tries = 1;
        loop {
            if self.lost_one {
                self.drop_lost(id).await?;
            }
            match self.admin.add_secret(id).await {
                Ok(made) => return self.keep(id, &made.secret, Some(&made.hint)).await,
                Err(error) if tries == TRIES || !error.may_have_worked() => {
                    return Err(error.into());
                }
                Err(_) => self.lost_one = true,
            }
            tries += 1;
            sleep(SECOND_LOOK).await;
        }
    }

    /// Drops the secret that is new since we looked, if it is one: of several, some are not ours.
    async fn drop_lost(&mut self, id: &str) -> Result<(), Failure> {
        self.lost_one = false;
        let mut hints = self.admin.client(id).await?.hints();
        hints.retain(|hint| !self.known.contains(hint));
        if let [hint] = hints.as_slice() {
            self.admin.drop_secret(id, hint).await?;
        }
        Ok(())
    }
}
