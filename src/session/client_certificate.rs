//! `client_certificate`: a back end that TLS proved by its certificate. It names the user itself.

use std::sync::Arc;

use super::back_end::BackEnd;
use super::{Caller, Outcome};

/// A table of clients.
#[derive(Debug)]
pub struct ClientCertificates(Vec<Arc<BackEnd>>);

impl ClientCertificates {
    /// The entries of a table, each by the name in its certificate.
    pub fn new(clients: impl IntoIterator<Item = Arc<BackEnd>>) -> Self {
        Self(clients.into_iter().collect())
    }

    /// `names` are those of a certificate whose chain was verified.
    pub(super) fn authenticate(&self, names: &[String]) -> Outcome {
        if names.is_empty() {
            return Outcome::NotMine("");
        }
        let is_named =
            |client: &&Arc<BackEnd>| names.iter().any(|name| is_same_name(name, &client.id));
        match self.0.iter().find(is_named) {
            Some(client) => Outcome::Proven(Caller::BackEnd(Arc::clone(client))),
            None => Outcome::NotMine("the client certificate's names are not listed"),
        }
    }
}

/// DNS names ignore case (RFC 4343); a URI is not the same in another.
pub fn is_same_name(one: &str, other: &str) -> bool {
    one == other || (!one.contains(':') && one.eq_ignore_ascii_case(other))
}
