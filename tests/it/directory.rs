//! Users that the tenant has to be asked for: by their address, and by what they may do.

mod addresses;
mod lookups;

use std::sync::Arc;

use qlik_token_broker::simulator::{Call, Fault, Simulator, User, UserStatus, World};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{Broker, managed_table, managed_world, refused, token, who_is};
use super::portal::{Key, Portal};

pub const BY_EMAIL: &str = "{ field = 'email', value = '{email}' }";
pub const BY_SUBJECT: &str = "{ field = 'subject', value = 'auth0|{sub}' }";

/// A portal's session table with these rules and further lines.
pub fn mapped(portal: &Portal, rules: &str, lines: &str) -> String {
    let keys = format!("jwks_url = '{}/jwks'\n{lines}", portal.url);
    portal.table_with(&keys).replace(BY_SUBJECT, rules)
}

/// A tenant, a portal, and a broker between them.
pub struct Setup {
    pub tenant: Simulator,
    pub portal: Portal,
    pub broker: Broker,
}

impl Setup {
    /// Finds users by their address.
    pub async fn by_email() -> Self {
        Self::of(managed_world(), BY_EMAIL, "").await
    }

    /// With these rules, and further lines of the session table.
    pub async fn of(world: World, rules: &str, lines: &str) -> Self {
        let tenant = Simulator::start(world).await.unwrap();
        let portal = Portal::start(Key::p256()).await;
        let config = mapped(&portal, rules, lines) + &managed_table("acme", &tenant.url());
        let broker = Broker::start(&config);
        Self {
            tenant,
            portal,
            broker,
        }
    }

    /// A session of somebody with this address.
    pub fn session(&self, email: &str) -> String {
        self.portal.session_with("ann", &json!({"email": email}))
    }

    pub fn ask(&self, email: &str) -> RequestBuilder {
        self.broker.ask_as(&self.session(email))
    }

    /// Asks with these claims.
    pub fn ask_with(&self, claims: &Value) -> RequestBuilder {
        let session = self.portal.session_with("ann", claims);
        self.broker.ask_as(&session)
    }

    /// How often the tenant was asked for users, for tokens of the management client, and for
    /// tokens of users.
    pub fn calls(&self) -> [usize; 3] {
        calls(&self.tenant)
    }
}

/// See [`Setup::calls`].
pub fn calls(tenant: &Simulator) -> [usize; 3] {
    [
        Call::Users,
        Call::TokenClientCredentials,
        Call::TokenImpersonation,
    ]
    .map(|call| tenant.calls(call))
}

fn with(mut world: World, user: User) -> World {
    world.users.push(user);
    world
}

#[tokio::test]
async fn the_user_of_an_address_gets_a_token_of_its_own() {
    let setup = Setup::by_email().await;
    let ann = token(setup.ask("ann@acme.test")).await;
    assert_eq!(who_is(&setup.tenant, &ann.text).await, "auth0|ann");
    assert_eq!(setup.calls(), [1, 1, 1]);
    let bob = token(setup.ask("bob@acme.test")).await;
    assert_eq!(who_is(&setup.tenant, &bob.text).await, "auth0|bob");
    assert_eq!(setup.calls(), [2, 1, 2], "one management token for both");
}

#[tokio::test]
async fn letter_case_of_an_address_does_not_matter() {
    let setup = Setup::by_email().await;
    let loud = token(setup.ask("ANN@Acme.Test")).await;
    assert_eq!(who_is(&setup.tenant, &loud.text).await, "auth0|ann");
    let quiet = token(setup.ask("ann@acme.test")).await;
    assert_eq!((quiet.id, quiet.source), (loud.id, "local".into()));
    assert_eq!(setup.calls(), [1, 1, 1]);
}

#[tokio::test]
async fn two_users_of_one_address_are_refused() {
    let faulted = Setup::by_email().await;
    faulted.tenant.on(Call::Users, Fault::TwoUsers);
    let world = managed_world().with_user("saml|ann", "Ann@ACME.test");
    let real = Setup::of(world, BY_EMAIL, "").await;
    for setup in [faulted, real] {
        for _ in 0..2 {
            refused(setup.ask("ann@acme.test"), 403, "user_ambiguous").await;
            assert_eq!(setup.calls(), [1, 1, 0], "and that is remembered");
        }
        token(setup.ask("bob@acme.test")).await;
    }
}

#[tokio::test]
async fn a_namesake_who_is_not_active_does_not_count() {
    for status in [UserStatus::Disabled, UserStatus::Invited] {
        let mut namesake = User::new("saml|ann", "ann@acme.test");
        namesake.status = status;
        let setup = Setup::of(with(managed_world(), namesake), BY_EMAIL, "").await;
        let ann = token(setup.ask("ann@acme.test")).await;
        assert_eq!(who_is(&setup.tenant, &ann.text).await, "auth0|ann");
    }
}

#[tokio::test]
async fn only_active_users_are_found_by_an_address() {
    for status in [
        UserStatus::Disabled,
        UserStatus::Invited,
        UserStatus::Deleted,
    ] {
        let mut user = User::new("auth0|new", "new@acme.test");
        user.status = status;
        let setup = Setup::of(with(managed_world(), user), BY_EMAIL, "").await;
        refused(setup.ask("new@acme.test"), 403, "user_unknown").await;
        assert_eq!(setup.calls(), [1, 1, 0], "{status:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_verified_is_not_looked_up() {
    let setup = Setup::by_email().await;
    let claims = |verified: Value| json!({"email": "ann@acme.test", "email_verified": verified});
    for no in [
        json!(false),
        json!("false"),
        json!("no"),
        json!(""),
        json!(0),
        json!(1),
        json!([true]),
        json!({"value": true}),
    ] {
        let asking = setup.ask_with(&claims(no.clone()));
        refused(asking, 403, "user_not_mapped").await;
        assert_eq!(setup.tenant.calls(Call::Any), 0, "{no}");
    }
    for yes in [json!(true), json!("true"), json!("TRUE"), Value::Null] {
        token(setup.ask_with(&claims(yes))).await;
    }
    assert_eq!(setup.calls(), [1, 1, 1]);
}

#[tokio::test]
async fn a_bot_with_an_address_is_never_impersonated() {
    let mut of_client = User::new("auth0|robot", "robot@acme.test");
    of_client.client_id = Some("management".into());
    let by_subject = User::new(r"QlikBot\robot", "robot@acme.test");
    for bot in [of_client, by_subject] {
        let setup = Setup::of(with(managed_world(), bot), BY_EMAIL, "").await;
        for _ in 0..2 {
            refused(setup.ask("robot@acme.test"), 403, "user_not_allowed").await;
            assert_eq!(setup.calls(), [1, 1, 0]);
        }
    }
}

#[tokio::test]
async fn the_deny_list_holds_for_the_user_that_was_found() {
    let eve = User::new("auth0|eve", "");
    let by_subject = "deny = ['AUTH0|ev*']".to_owned();
    for deny in [by_subject, format!("deny = ['{}']", eve.id)] {
        let setup = Setup::of(managed_world(), BY_EMAIL, &deny).await;
        refused(setup.ask("eve@acme.test"), 403, "user_not_allowed").await;
        assert_eq!(setup.calls(), [1, 1, 0], "{deny}");
        token(setup.ask("ann@acme.test")).await;
    }
    let setup = Setup::of(managed_world(), BY_EMAIL, "deny = ['eve@*']").await;
    refused(setup.ask("EVE@acme.test"), 403, "user_not_allowed").await;
    assert_eq!(
        setup.tenant.calls(Call::Any),
        0,
        "the address itself is denied"
    );
}

#[tokio::test]
async fn administrators_are_refused_where_the_table_says_so() {
    let world = || {
        let admin = User::new("auth0|ann", "ann@acme.test").with_role("TenantAdmin");
        let mut world = managed_world();
        world.users.retain(|user| user.subject != "auth0|ann");
        let auditor = User::new("auth0|eva", "eva@acme.test").with_role("AuditAdmin");
        let steward = User::new("auth0|stu", "stu@acme.test").with_role("Steward");
        with(with(with(world, admin), auditor), steward)
    };
    let claims = |user: &str| json!({"sub": user, "email": format!("{user}@acme.test")});
    for rules in [BY_SUBJECT, BY_EMAIL] {
        let setup = Setup::of(world(), rules, "refuse_admins = true").await;
        for admin in ["ann", "eva"] {
            refused(setup.ask_with(&claims(admin)), 403, "user_not_allowed").await;
        }
        assert_eq!(setup.calls(), [2, 1, 0], "{rules}");
        for user in ["bob", "stu"] {
            let theirs = token(setup.ask_with(&claims(user))).await;
            let subject = format!("auth0|{user}");
            assert_eq!(who_is(&setup.tenant, &theirs.text).await, subject);
        }
        let lax = Setup::of(world(), rules, "").await;
        token(lax.ask_with(&claims("ann"))).await;
    }
}

#[tokio::test]
async fn subjects_that_differ_in_letter_case_are_two_users() {
    // The tenant's filter ignores case: the administrator is among the hits of the other.
    let admin = User::new("AUTH0|ANN", "boss@acme.test").with_role("TenantAdmin");
    let world = with(managed_world(), admin);
    let setup = Setup::of(world, BY_SUBJECT, "refuse_admins = true").await;
    let ann = token(setup.ask_with(&json!({}))).await;
    assert_eq!(who_is(&setup.tenant, &ann.text).await, "auth0|ann");
    refused(setup.ask_with(&json!({"sub": "Ann"})), 403, "user_unknown").await;
    assert_eq!(setup.calls(), [2, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_first_logins_by_address_are_one_look_up_and_one_mint() {
    let setup = Arc::new(Setup::by_email().await);
    for call in [Call::Users, Call::TokenClientCredentials] {
        setup.tenant.on(call, Fault::Slow { millis: 100 });
    }
    let asking = (0..50).map(|number| {
        let claims = json!({"email": "ann@acme.test", "jti": number});
        let asking = setup.ask_with(&claims);
        tokio::spawn(async move { token(asking).await.id })
    });
    let ids = futures_util::future::join_all(asking).await;
    let ids: std::collections::HashSet<_> = ids.into_iter().map(Result::unwrap).collect();
    assert_eq!((ids.len(), setup.calls()), (1, [1, 1, 1]));
}

/// Eight sessions of each of many users, all new to the broker at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn first_logins_of_many_users_at_once_are_one_look_up_and_one_mint_each() {
    const USERS: usize = 150;
    let mut world = managed_world();
    for user in 0..USERS {
        world = world.with_user(format!("many|{user}"), format!("user{user}@acme.test"));
    }
    let setup = Setup::of(world, BY_EMAIL, "").await;
    let requests: Vec<_> = (0..USERS * 8)
        .map(|number| {
            let email = format!("user{}@acme.test", number / 8);
            setup.ask_with(&json!({"email": email, "jti": number}))
        })
        .collect();
    let asking = requests
        .into_iter()
        .map(|request| tokio::spawn(async move { token(request).await.id }));
    let ids = futures_util::future::join_all(asking).await;
    let ids: std::collections::HashSet<_> = ids.into_iter().map(Result::unwrap).collect();
    assert_eq!((ids.len(), setup.calls()), (USERS, [USERS, 1, USERS]));
}
