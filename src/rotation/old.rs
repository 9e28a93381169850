//! Which of the client's secrets or keys is the old one.

use super::{Kind, Rotation, Wishes, pair, shown};
use crate::provision::Failure;
use crate::qlik::QlikError;
use crate::qlik::admin::OauthClient;

/// Shorter hints would be found in many secrets.
const SHORTEST_HINT: usize = 4;

/// Which of the client's secrets or keys is in the file.
pub(super) enum Old {
    Named(String),
    /// None of them.
    None,
    /// One of several.
    Untold,
}

impl Rotation<'_> {
    pub(super) async fn old(&self, known: &[String], wishes: &Wishes) -> Result<Old, Failure> {
        let told = match self.target.kind {
            Kind::Key(algorithm) => {
                let kid = pair(&self.files.current, algorithm)?.kid().to_owned();
                return Ok(if known.contains(&kid) {
                    Old::Named(kid)
                } else {
                    Old::None
                });
            }
            Kind::Secret => self.told_by_text(known)?,
        };
        if let Some(old) = &wishes.old {
            self.check_old(known, told.as_deref(), old)?;
            return Ok(Old::Named(old.clone()));
        }
        if let Some(told) = told {
            return Ok(Old::Named(told));
        }
        if known.is_empty() {
            return Ok(Old::None);
        }
        match (self.trial(&self.files.current)?.accepts().await, known) {
            (Ok(()), [only]) => Ok(Old::Named(only.clone())),
            (Ok(()), _) if wishes.keep_old => Ok(Old::Untold),
            (Ok(()), _) => {
                let message = format!(
                    "which of the client's secrets is in {} cannot be told: {}",
                    self.files.current.display(),
                    shown(known)
                );
                Err(Failure::new(
                    message,
                    "name it with --old, or keep it with --keep-old",
                ))
            }
            // It is dead already.
            (Err(QlikError::ClientRefused { .. }), _) => Ok(Old::None),
            (Err(error), _) => Err(Failure::new(
                error.to_string(),
                "run the command again later",
            )),
        }
    }

    /// A hint is a part of its secret; which one is not documented.
    fn told_by_text(&self, known: &[String]) -> Result<Option<String>, Failure> {
        let secret = self.files.current()?;
        let text = secret.expose();
        let mut fits = known.iter().filter(|hint| {
            hint.len() >= SHORTEST_HINT && (text.starts_with(*hint) || text.ends_with(*hint))
        });
        let first = fits.next();
        Ok(first.filter(|_| fits.next().is_none()).cloned())
    }

    pub(super) fn check_old(
        &self,
        known: &[String],
        told: Option<&str>,
        old: &str,
    ) -> Result<(), Failure> {
        let kind = self.target.kind.as_str();
        if let Some(told) = told.filter(|told| *told != old) {
            let message = format!("--old: the {kind} in the file is {told:?}");
            return Err(Failure::new(message, "leave the option out"));
        }
        if known.iter().any(|name| name == old) {
            return Ok(());
        }
        let message = format!(
            "--old: the client has no {kind} {old:?}, but {}",
            shown(known)
        );
        Err(Failure::new(message, "name one of these"))
    }

    pub(super) fn check_drop(
        &self,
        known: &[String],
        old: &Old,
        hint: &str,
    ) -> Result<(), Failure> {
        let message = match old {
            _ if self.target.kind != Kind::Secret => "--drop: is for secrets".to_owned(),
            _ if !known.iter().any(|name| name == hint) => {
                format!(
                    "--drop: the client has no secret {hint:?}, but {}",
                    shown(known)
                )
            }
            Old::Named(old) if old == hint => {
                format!("--drop: the secret {hint} is the one in use")
            }
            Old::Untold => "--drop: it may be the one in use".to_owned(),
            Old::Named(_) | Old::None => return Ok(()),
        };
        Err(Failure::new(message, "name a secret that nobody uses"))
    }
}

pub(super) fn full(client: &OauthClient, old: &Old) -> Failure {
    let secrets = client.secrets().map(|secret| {
        let made = secret
            .created_at()
            .map_or_else(String::new, |at| format!(" of {at:.0}"));
        format!("{}{made}", secret.hint.escape_default())
    });
    let secrets: Vec<_> = secrets.collect();
    let in_use = match old {
        Old::Named(hint) => format!("{} is in the file", hint.escape_default()),
        Old::None | Old::Untold => "none is known to be in the file".to_owned(),
    };
    let message = format!(
        "the client has {} secrets, which is the most there can be: {}; {in_use}",
        secrets.len(),
        secrets.join(", ")
    );
    Failure::new(
        message,
        "name one that nobody uses with --drop, and it is dropped first",
    )
}
