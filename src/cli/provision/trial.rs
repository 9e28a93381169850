//! The proof of it: what `check --live` says of the tenant.

use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::time::{Duration, sleep};

use super::input::Job;
use crate::cli::check::{Fault, Finding, Findings, Person, Scene, check_tenant};
use crate::config::{Fingerprint, OtherClient, TenantConfig};
use crate::mapping::LookupField;
use crate::outbound::Proxy;
use crate::provision::{Done, DoneClient, Purpose, Wish};
use crate::qlik::{AssertionAlgorithm, Credential, Proof};
use crate::secret::SecretSource;
use crate::tenant::{Origin, Rate, Tenant};

/// How long a new secret takes to work is not documented.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// What the tenant says to the broker's clients. What was just changed may need a moment.
pub(super) async fn findings(job: &Job, done: &Done, is_fresh: bool) -> Vec<Finding> {
    let Some(issuing) = done.client(Purpose::Issuing) else {
        return Vec::new();
    };
    let management = done.client(Purpose::Management).map(|client| OtherClient {
        credential: credential(client),
        scopes: job.wish.management_scopes.clone(),
    });
    let config = config(
        &job.wish,
        job.ca_pem.clone(),
        credential(issuing),
        management,
        done.origins.clone(),
    );
    let subject = job.subject.as_deref();
    let person = subject.map(|subject| Person::by(LookupField::Subject, subject));
    let person = match person.transpose() {
        Ok(person) => person,
        Err(why) => return vec![Finding::of(Fault::UserNotAskable, "--subject", why)],
    };
    let scene = Scene {
        proxy: &Proxy::None,
        person: person.as_ref(),
        leeway: None,
        cache: None,
    };
    let tries = if is_fresh { TRIES } else { 1 };
    let mut round = 1;
    loop {
        let mut found = Findings::default();
        check_tenant(&config, &scene, &mut found).await;
        if found.errors() == 0 || round == tries {
            return found.0;
        }
        round += 1;
        sleep(PAUSE).await;
    }
}

fn credential(client: &DoneClient) -> Credential {
    let source = SecretSource::File(client.aim.file.clone());
    Credential {
        client_id: client.client_id.clone(),
        proof: match &client.kid {
            None => Proof::Secrets(vec![source]),
            Some(kid) => Proof::PrivateKey {
                kid: Some(kid.clone()),
                algorithm: AssertionAlgorithm::Es384,
                pem: source,
            },
        },
    }
}

/// The tenant as its table says it.
pub(super) fn config(
    wish: &Wish,
    ca_pem: Option<Vec<u8>>,
    credential: Credential,
    management: Option<OtherClient>,
    allowed_origins: Vec<Origin>,
) -> TenantConfig {
    let tenant = Tenant {
        id: wish.tenant.clone(),
        url: wish.url.clone(),
        client_id: credential.client_id.clone(),
        scopes: wish.scopes.clone(),
        optional_scopes: Vec::new(),
        allowed_origins,
        client_origins: ArcSwapOption::empty(),
        provision: None,
    };
    TenantConfig {
        tenant: Arc::new(tenant),
        credential,
        ca_pem,
        budget: Rate {
            per_minute: NonZeroU32::MIN.saturating_add(79),
            burst: NonZeroU32::MIN.saturating_add(99),
        },
        management,
        service: None,
        origins_from_client: false,
        fingerprint: Fingerprint::default(),
    }
}
