//! The tenant's contents and habits: all a test or a demo may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{CLIENT_CREDENTIALS, Client, ClientSetup, IMPERSONATION};
use super::refusal::Refusals;
use super::user::{ADMIN_ROLE, Group, User, UserStatus};

/// The window over which a tenant judges rates (doc).
const WINDOW: Duration = Duration::from_secs(5 * 60);

/// So many calls in a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The calls the window may hold.
    pub calls: usize,
    /// The length of the window.
    pub window: Duration,
}

/// Whose budget an impersonation call is charged to: unknown, so it can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateIdentity {
    /// The client's: the tightest reading, and the default.
    Client,
    /// The impersonated user's.
    User,
    /// One budget for the whole tenant.
    Tenant,
}

/// How groups come to be (doc).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Whether an assigned identity provider group that is unknown is created; else it is refused (inferred).
    pub auto_create: bool,
    /// `syncIdpGroups`, kept without effect.
    pub sync_idp: bool,
}

/// A tenant. The default is an empty one with documented limits.
#[derive(Clone, Debug)]
pub struct World {
    /// The tenant's id.
    pub tenant_id: String,
    /// The tenant's name.
    pub tenant_name: String,
    /// The base URL under which clients reach the tenant, when it is not the address it listens on.
    pub public_url: Option<String>,
    /// Further host names (with port) of the tenant (doc); assertions may name them as audience.
    pub aliases: Vec<String>,
    /// Its users, bots included.
    pub users: Vec<User>,
    /// Its OAuth clients.
    pub clients: Vec<Client>,
    /// Its groups.
    pub groups: Vec<Group>,
    /// How groups come to be.
    pub group_settings: GroupSettings,
    /// Its content security policy entries.
    pub csp_origins: Vec<Value>,
    /// Its spaces, as the API shows them.
    pub spaces: Vec<Value>,
    /// The life of access tokens: six hours (doc).
    pub token_life: Duration,
    /// The life of exchanged tokens: unknown, presumably minutes.
    pub exchange_token_life: Duration,
    /// The budget of reads: 1000 a minute, judged over five minutes (doc). `None` switches it off.
    pub tier1: Option<RateLimit>,
    /// The budget of writes and of the OAuth endpoints: 100 a minute, judged over five minutes (doc).
    pub tier2: Option<RateLimit>,
    /// The budget of the users filter action: 200 a minute (doc).
    pub special: Option<RateLimit>,
    /// Whose budget an impersonation call is charged to.
    pub rate_identity: RateIdentity,
    /// The live tokens a user may have: that there is a maximum is documented, which one is not.
    pub max_tokens_per_user: Option<usize>,
    /// The answers of the OAuth endpoints that can be set.
    pub refusals: Refusals,
    /// The states in which a user may be impersonated: active ones may, disabled ones may not (doc), the
    /// others are unknown.
    pub impersonable: Vec<UserStatus>,
    /// Whether a lookup by subject ignores case: unknown.
    pub subject_ignores_case: bool,
    /// Whether `users/me` redirects to the user (with 307; which status is unknown) or answers directly.
    pub users_me_redirects: bool,
    /// Whether a web client may be created with `allowedOrigins`: sources disagree.
    pub origins_at_creation: bool,
    /// How far the tenant's clock is ahead.
    pub clock_skew_seconds: i64,
    /// How far an assertion's clock may be off: unknown.
    pub assertion_leeway: Duration,
    /// How long a new client secret takes to work: unknown.
    pub secret_delay: Duration,
}

impl Default for World {
    fn default() -> Self {
        let over_window = |calls| {
            Some(RateLimit {
                calls,
                window: WINDOW,
            })
        };
        Self {
            tenant_id: "xqFQ0k66vSR8f9G7J-vZtHZQkiYrCpct".to_owned(),
            tenant_name: "simulated".to_owned(),
            public_url: None,
            aliases: Vec::new(),
            users: Vec::new(),
            clients: Vec::new(),
            groups: Vec::new(),
            group_settings: GroupSettings {
                auto_create: false,
                sync_idp: true,
            },
            csp_origins: Vec::new(),
            spaces: Vec::new(),
            token_life: Duration::from_secs(6 * 60 * 60),
            exchange_token_life: Duration::from_secs(5 * 60),
            tier1: over_window(5000),
            tier2: over_window(500),
            special: Some(RateLimit {
                calls: 200,
                window: Duration::from_secs(60),
            }),
            rate_identity: RateIdentity::Client,
            max_tokens_per_user: None,
            refusals: Refusals::default(),
            impersonable: vec![UserStatus::Active, UserStatus::Provisioned],
            subject_ignores_case: false,
            users_me_redirects: true,
            origins_at_creation: true,
            clock_skew_seconds: 0,
            assertion_leeway: Duration::from_secs(30),
            secret_delay: Duration::ZERO,
        }
    }
}

impl World {
    /// The secret of the demo's issuing client.
    pub const DEMO_BROKER_SECRET: &str = "demo-broker-secret";
    /// The secret of the demo's management client.
    pub const DEMO_MANAGEMENT_SECRET: &str = "demo-management-secret";

    /// A tenant with two users, an administrator, an issuing client and a management client.
    pub fn demo() -> Self {
        let user = |id: &str, name: &str| {
            let mut user = User::new(format!("auth0|{id}"), format!("{id}@example.com"));
            name.clone_into(&mut user.name);
            user
        };
        let mut world = Self::default()
            .with_client(
                ClientSetup::new("demo-broker")
                    .secret(Self::DEMO_BROKER_SECRET)
                    .grant(IMPERSONATION)
                    .scopes("user_default apps:read spaces:read")
                    .origin("http://localhost:3000")
                    .origin("http://127.0.0.1:3000")
                    .trusted(),
            )
            .with_client(
                ClientSetup::new("demo-management")
                    .secret(Self::DEMO_MANAGEMENT_SECRET)
                    .grant(CLIENT_CREDENTIALS)
                    .scopes("admin_classic user_default")
                    .trusted(),
            );
        world.users = vec![
            user("ann", "Ann Archer"),
            user("bob", "Bob Baker"),
            user("admin", "Tenant Admin").with_role(ADMIN_ROLE),
        ];
        world
    }

    /// The same world with one more active user.
    #[must_use]
    pub fn with_user(mut self, subject: impl Into<String>, email: impl Into<String>) -> Self {
        self.users.push(User::new(subject, email));
        self
    }

    /// The same world with one more client.
    #[must_use]
    pub fn with_client(mut self, client: ClientSetup) -> Self {
        self.clients.push(client.build());
        self
    }

    /// The user of this id.
    pub fn user(&self, id: &str) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    /// The user of this id, to change.
    pub fn user_mut(&mut self, id: &str) -> Option<&mut User> {
        self.users.iter_mut().find(|user| user.id == id)
    }

    /// The user of this id or subject.
    pub fn find_user(&self, id_or_subject: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|user| user.id == id_or_subject || user.subject == id_or_subject)
    }

    /// The client of this id.
    pub fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// The client of this id, to change.
    pub fn client_mut(&mut self, id: &str) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }
}
