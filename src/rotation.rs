//! Replaces the secret or the private key of an OAuth client while brokers use it.
//!
//! First it looks ([`Rotation::look`]) and says what it would do, then it does that
//! ([`Rotation::apply`]). The new one is added beside the old one, proven, and put in the old one's
//! place before the old one is dropped: at every moment the file holds one that the tenant accepts. A
//! rotation that was interrupted is found by what it left, and finished.

mod apply;
mod files;
mod old;
mod plan;

use std::path::Path;
use std::time::Duration;

use crate::outbound::HttpClient;
use crate::provision::Failure;
use crate::qlik::admin::{Admin, OauthClient};
use crate::qlik::key_pair::KeyPair;
use crate::qlik::{Asks, AssertionAlgorithm, Credential, Proof, Role, Trial};
use crate::secret::SecretSource;
use crate::tenant::{ScopeSet, TenantId};

pub use apply::Done;
pub use files::Files;
pub use plan::{Plan, Stage};

/// What is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client secret, which the tenant makes. It is named by its hint.
    Secret,
    /// A private key, which is made here. It is named by the `kid` of its public key, its thumbprint.
    Key(AssertionAlgorithm),
}

impl Kind {
    /// As it is spoken of.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Key(_) => "key",
        }
    }
}

/// The client whose secret or key is replaced.
#[derive(Clone, Debug)]
pub struct Target {
    /// The tenant as it is configured.
    pub tenant: TenantId,
    /// Its address, without a slash at its end.
    pub url: String,
    /// What the client is for.
    pub role: Role,
    /// The client.
    pub client_id: String,
    /// What is replaced.
    pub kind: Kind,
    /// What a trial asks for.
    pub scopes: ScopeSet,
    /// For whom.
    pub asks: Asks,
}

/// How it is to be done.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// A secret that nobody uses, to be dropped first.
    pub drop: Option<String>,
    /// What names the old one, where that cannot be told.
    pub old: Option<String>,
    /// Whether the old one stays until the command is run again.
    pub keep_old: bool,
    /// How long running brokers may take to read the file before the old one is dropped.
    pub wait: Duration,
    /// How long the tenant may take to accept the new one.
    pub patience: Duration,
}

/// One rotation on its way.
pub struct Rotation<'a> {
    /// Who changes the client.
    pub admin: &'a Admin,
    /// For trials.
    pub http: HttpClient,
    /// The client.
    pub target: &'a Target,
    /// Where its secret or key is.
    pub files: &'a Files,
}

impl Rotation<'_> {
    /// With everything an administrator sees.
    async fn client(&self) -> Result<OauthClient, Failure> {
        let client = self.admin.client(&self.target.client_id).await?;
        if client.allowed_scopes.is_none() && client.allowed_grant_types.is_none() {
            return Err(Failure::new(
                "the tenant does not show all of the client",
                "use the token of a tenant administrator, or of a client with the scope admin_classic",
            ));
        }
        Ok(client)
    }

    /// What names its secrets or keys.
    fn names(&self, client: &OauthClient) -> Vec<String> {
        let mut names = match self.target.kind {
            Kind::Secret => client.hints(),
            Kind::Key(_) => client.kids().map(str::to_owned).collect(),
        };
        names.sort();
        names
    }

    /// A trial of what a file holds now, and of nothing else.
    fn trial(&self, file: &Path) -> Result<Trial, Failure> {
        self.trial_of(SecretSource::File(file.into()))
    }

    fn trial_of(&self, source: SecretSource) -> Result<Trial, Failure> {
        let target = self.target;
        let proof = match target.kind {
            Kind::Secret => Proof::Secrets(vec![source]),
            Kind::Key(algorithm) => Proof::PrivateKey {
                kid: None,
                algorithm,
                pem: source,
            },
        };
        let credential = Credential {
            client_id: target.client_id.clone(),
            proof,
        };
        let place = (&target.tenant, target.url.as_str());
        let (http, scopes) = (self.http.clone(), target.scopes.clone());
        let trial = Trial::new(http, place, credential, scopes, target.asks.clone());
        trial.map_err(|error| unusable(&error.to_string()))
    }
}

fn pair(file: &Path, algorithm: AssertionAlgorithm) -> Result<KeyPair, Failure> {
    let pem = SecretSource::File(file.into()).read();
    let pem = pem.map_err(|error| unusable(&error.to_string()))?;
    let pair = KeyPair::read(algorithm, pem);
    pair.map_err(|error| unusable(&format!("{}: {error}", file.display())))
}

/// What a tenant says may hold what a terminal obeys.
fn shown(names: &[String]) -> String {
    names.join(" ").escape_default().to_string()
}

fn generated(algorithm: AssertionAlgorithm) -> Result<KeyPair, Failure> {
    let pair = KeyPair::generate(algorithm);
    pair.map_err(|error| Failure::new(error.to_string(), "run the command again"))
}

fn unusable(why: &str) -> Failure {
    Failure::new(why, "correct the file, then run the command again")
}
