//! What one `[[session]]` table makes of what is presented.

use std::time::SystemTime;

use super::presented::{Doubled, Token, is_ours};
use super::{Authenticator, Authorization, Outcome, Presented, SessionError, Table};

impl Table {
    pub(super) async fn authenticate(
        &self,
        index: u16,
        presented: &Presented<'_>,
        now: SystemTime,
        logout: Option<SystemTime>,
    ) -> Outcome {
        let token = match self.token(presented) {
            Ok(token) => token,
            Err(outcome) => return outcome,
        };
        match (&self.authenticator, token) {
            (Authenticator::ApiKey(keys), Some(token)) => keys.authenticate(token.text, now),
            // In boxes: what is judged once and remembered then shall not make the future of a hit large.
            (Authenticator::Handle(handles), Some(token)) => {
                Box::pin(handles.authenticate(index, token)).await
            }
            // A bearer of ours decides alone.
            _ if presented.is_ours() => Outcome::NotMine(""),
            (Authenticator::Jwt(jwt), Some(token)) => {
                Box::pin(jwt.authenticate(index, token, now)).await
            }
            (Authenticator::Introspection(introspection), Some(token)) => {
                Box::pin(introspection.authenticate(index, token, logout)).await
            }
            (Authenticator::PortalCheck(check), _) => {
                Box::pin(check.authenticate(index, presented, logout)).await
            }
            (Authenticator::TrustedHeader(trusted), _) => {
                trusted.authenticate(index, presented, now)
            }
            (Authenticator::ClientCertificate(clients), _) => {
                clients.authenticate(presented.certificate)
            }
            (_, None) => match presented.authorization {
                Authorization::Other => Outcome::NotMine("its scheme is not Bearer"),
                _ => Outcome::NotMine(""),
            },
        }
    }

    /// Whether there is something that it judges at a cost: a signature, or a question to somebody.
    pub(super) fn costs(&self, presented: &Presented<'_>) -> bool {
        match &self.authenticator {
            Authenticator::Jwt(_) | Authenticator::Introspection(_) => {
                matches!(self.token(presented), Ok(Some(_)))
            }
            Authenticator::PortalCheck(check) => check.would_ask(presented),
            _ => false,
        }
    }

    /// The token that this table judges, if it judges one and there is one.
    fn token<'a>(&self, presented: &Presented<'a>) -> Result<Option<Token<'a>>, Outcome> {
        let cookie = match &self.authenticator {
            Authenticator::ApiKey(_) => None,
            Authenticator::Jwt(jwt) => jwt.cookie(),
            Authenticator::Handle(handles) => handles.cookie(),
            Authenticator::Introspection(introspection) => introspection.cookie(),
            _ => return Ok(None),
        };
        let token = presented.token(cookie).map_err(|Doubled| {
            Outcome::Refused(SessionError::Invalid("the session cookie is there twice"))
        })?;
        let takes_ours = matches!(
            self.authenticator,
            Authenticator::ApiKey(_) | Authenticator::Handle(_)
        );
        match token {
            // In a cookie, too: it would be sent to somebody else.
            Some(token) if is_ours(token.text) && !takes_ours => {
                Err(Outcome::NotMine("it is a key or a handle of the broker's"))
            }
            token => Ok(token),
        }
    }
}
