//! One tenant: its address, its clients, its pages, its users.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::fault::Fault;
use super::finding::Findings;
use super::person::{self, Person};
use super::proofs::{self, Bot};
use super::registered::{self, Seen};
use super::{address, pages};
use crate::app::Clients;
use crate::budget::{Granted, Replicas};
use crate::config::{Cache, OtherClient, TenantConfig};
use crate::outbound::{Outgoing, Proxy};
use crate::qlik::{Credential, Management, Proof, QlikClient, QlikError, Role};

/// For one call, with its tries.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a tenant is looked at with.
pub(in crate::cli) struct Scene<'a> {
    pub proxy: &'a Proxy,
    /// For whom a token is minted to try.
    pub person: Option<&'a Person>,
    /// How far clocks may be apart, where session tokens are dated.
    pub leeway: Option<Duration>,
    /// What tokens have to live for, where they are kept.
    pub cache: Option<&'a Cache>,
}

/// A tenant that is looked at.
pub(super) struct Look<'a> {
    pub config: &'a TenantConfig,
    pub scene: &'a Scene<'a>,
    pub clients: &'a Clients<'a>,
    /// Of its table.
    pub path: String,
    /// Whether dated proofs can be right.
    is_clock_right: bool,
}

/// The management client at work.
pub(super) struct Desk {
    pub bot: Bot,
    pub management: Arc<Management>,
}

/// Looks at one tenant, by a few calls: of those that its budget counts, two for each of its clients,
/// one or two for each further secret, one that shows what a wrong proof gets, and without a management client
/// one for each of a few pages.
pub(in crate::cli) async fn check_tenant(
    config: &TenantConfig,
    scene: &Scene<'_>,
    found: &mut Findings,
) {
    let path = format!("tenants.{}", config.tenant.id);
    let clients = match Clients::of(config, &Outgoing::by(scene.proxy), Replicas::ONE) {
        Ok(clients) => clients,
        Err(error) => return found.add(Fault::FileUnusable, error.place, error.reason),
    };
    let Some(is_clock_right) = address::check(config, scene, &path, found).await else {
        return;
    };
    let look = Look {
        config,
        scene,
        clients: &clients,
        path,
        is_clock_right,
    };
    let desk = look.desk(found).await;
    let seen = match &desk {
        None => Seen::default(),
        Some(desk) => registered::check(&look, desk, found).await,
    };
    if let Some(service) = config
        .service
        .as_ref()
        .filter(|_| seen.is_sound(Role::Service))
        && let Some(bot) = look.bot(Role::Service, service, found).await
    {
        look.revoke(&bot).await;
    }
    look.issuing(desk.as_ref(), &seen, found).await;
    if let Some(desk) = desk {
        look.revoke(&desk.bot).await;
    }
}

impl Look<'_> {
    /// A turn for a call, and when it has to be done.
    pub async fn turn(&self) -> Result<(Granted, Instant), QlikError> {
        Ok((self.clients.turn().await?, Instant::now() + PATIENCE))
    }

    /// A client by a credential, or what is wrong with its file.
    pub fn client(
        &self,
        role: Role,
        path: &str,
        credential: &Credential,
        found: &mut Findings,
    ) -> Option<QlikClient> {
        let made = self.clients.client(role, "", credential);
        made.map_err(|error| found.add(Fault::FileUnusable, path, error.reason))
            .ok()
    }

    async fn desk(&self, found: &mut Findings) -> Option<Desk> {
        let other = self.config.management.as_ref()?;
        let bot = self.bot(Role::Management, other, found).await?;
        let management = self.clients.management().ok()??;
        management.start_with(Arc::clone(&bot.token)).await;
        Some(Desk { bot, management })
    }

    async fn bot(&self, role: Role, other: &OtherClient, found: &mut Findings) -> Option<Bot> {
        if self.is_misdated(&other.credential) {
            return None;
        }
        proofs::bot(self, role, other, found).await
    }

    /// The issuing client, as far as its users and its pages go.
    async fn issuing(&self, desk: Option<&Desk>, seen: &Seen, found: &mut Findings) {
        if self.is_misdated(&self.config.credential) {
            return;
        }
        let user = match self.scene.person {
            None => None,
            Some(person) => person::find(self, person, desk, found).await,
        };
        let is_seen = seen.issuing.is_some();
        let is_proven = seen.is_sound(Role::Issuing)
            && person::prove(self, user.as_ref(), is_seen, found).await;
        pages::check(self, desk, seen.issuing.as_ref(), is_proven, found).await;
    }

    /// Whether the clock makes every proof of this credential useless, which was said already.
    fn is_misdated(&self, credential: &Credential) -> bool {
        !self.is_clock_right && matches!(credential.proof, Proof::PrivateKey { .. })
    }

    /// Nobody is to have what was got to try. If it fails, the token ends by itself.
    async fn revoke(&self, bot: &Bot) {
        if let Ok((turn, deadline)) = self.turn().await {
            drop(bot.client.revoke(&bot.token, turn, deadline).await);
        }
    }
}
