//! `provision_users`: who is created with the first session, who is not, and whose groups are set.

mod groups;
mod outages;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault, Simulator, User, UserStatus, World};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::directory::{BY_EMAIL, BY_SUBJECT, mapped};
use super::harness::{
    Broker, key_table, managed_table, managed_world, refused, subject, token, who_is,
};
use super::portal::{Key, Portal, merge};

pub const PROFILE: &str = "{ subject = 'auth0|{sub}', name = '{name}', email = '{email}' }";

/// A tenant, a portal, and a broker between them that creates users.
pub struct Setup {
    pub tenant: Simulator,
    pub portal: Portal,
    pub broker: Broker,
}

impl Setup {
    pub async fn new() -> Self {
        Self::of(managed_world(), BY_SUBJECT, PROFILE, "").await
    }

    /// With these rules, this profile, and these lines before all tables.
    pub async fn of(world: World, rules: &str, profile: &str, lines: &str) -> Self {
        let tenant = Simulator::start(world).await.unwrap();
        let portal = Portal::start(Key::p256()).await;
        let config = lines.to_owned()
            + &key_table(&["acme"])
            + &mapped(&portal, rules, "")
            + &managed_table("acme", &tenant.url())
            + &format!("provision_users = {profile}\n");
        let broker = Broker::start(&config);
        Self {
            tenant,
            portal,
            broker,
        }
    }

    /// Asks as somebody with a name and an address, and with these further claims.
    pub fn ask(&self, user: &str, claims: &Value) -> RequestBuilder {
        let mut all = json!({"name": user, "email": format!("{user}@acme.test")});
        merge(&mut all, claims);
        self.broker.ask_as(&self.portal.session_with(user, &all))
    }

    /// Users that were asked for, created, changed, and tokens of users.
    pub fn calls(&self) -> [usize; 4] {
        [
            Call::Users,
            Call::UserCreate,
            Call::UserPatch,
            Call::TokenImpersonation,
        ]
        .map(|call| self.tenant.calls(call))
    }

    pub fn user(&self, subject: &str) -> Option<User> {
        self.tenant
            .with_world(|world| world.find_user(subject).cloned())
    }
}

#[tokio::test]
async fn nobody_is_created_unless_that_is_configured() {
    let tenant = Simulator::start(managed_world()).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    for rules in [BY_SUBJECT, BY_EMAIL] {
        let config = mapped(&portal, rules, "") + &managed_table("acme", &tenant.url());
        let broker = Broker::start(&config);
        let claims = json!({"name": "New", "email": "new@acme.test"});
        let session = portal.session_with("new", &claims);
        refused(broker.ask_as(&session), 403, "user_unknown").await;
    }
    assert_eq!(tenant.calls(Call::UserCreate), 0);
}

#[tokio::test]
async fn a_new_user_is_created_active_once_and_gets_a_token() {
    let setup = Setup::new().await;
    let first = token(setup.ask("new", &json!({"name": "New One"}))).await;
    assert_eq!(who_is(&setup.tenant, &first.text).await, "auth0|new");
    assert_eq!(setup.calls(), [1, 1, 0, 1]);
    let user = setup.user("auth0|new").unwrap();
    assert_eq!(
        (user.status, user.name.as_str(), user.email.as_str()),
        (UserStatus::Active, "New One", "new@acme.test")
    );
    let again = token(setup.ask("new", &json!({"jti": "2"}))).await;
    assert_eq!(again.id, first.id);
    assert_eq!(setup.calls(), [1, 1, 0, 1]);
}

#[tokio::test]
async fn a_user_that_is_there_is_not_created() {
    let setup = Setup::new().await;
    let ann = token(setup.ask("ann", &json!({}))).await;
    assert_eq!(who_is(&setup.tenant, &ann.text).await, "auth0|ann");
    assert_eq!(setup.calls(), [1, 0, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_first_logins_of_a_new_user_are_one_creation_and_one_mint() {
    for rules in [BY_SUBJECT, BY_EMAIL] {
        let setup = Setup::of(managed_world(), rules, PROFILE, "").await;
        for call in [Call::Users, Call::UserCreate] {
            setup.tenant.on(call, Fault::Slow { millis: 100 });
        }
        let setup = Arc::new(setup);
        let asking = (0..50).map(|jti| {
            let asking = setup.ask("new", &json!({"jti": jti}));
            tokio::spawn(async move { token(asking).await })
        });
        let tokens: Vec<_> = join_all(asking)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let ids: HashSet<_> = tokens.iter().map(|token| token.id.as_str()).collect();
        let [_, created, _, minted] = setup.calls();
        assert_eq!((ids.len(), created, minted), (1, 1, 1), "{rules}");
        assert_eq!(who_is(&setup.tenant, &tokens[0].text).await, "auth0|new");
    }
}

/// The same person with two sets of scopes is two mints, and still one user.
#[tokio::test]
async fn two_scopes_of_a_new_user_are_one_creation() {
    let setup = Setup::new().await;
    setup
        .tenant
        .on(Call::UserCreate, Fault::Slow { millis: 200 });
    let narrow = json!({"scope": "apps:read spaces:read"});
    let (one, two) = tokio::join!(
        token(setup.ask("new", &json!({}))),
        token(setup.ask("new", &json!({})).json(&narrow))
    );
    assert_ne!(one.id, two.id);
    assert_eq!(setup.calls(), [2, 1, 0, 2]);
}

#[tokio::test]
async fn somebody_else_who_was_faster_is_no_error() {
    for rules in [BY_SUBJECT, BY_EMAIL] {
        let setup = Setup::of(managed_world(), rules, PROFILE, "").await;
        setup.tenant.on(Call::UserCreate, Fault::CreatedMeanwhile);
        let theirs = token(setup.ask("new", &json!({}))).await;
        assert_eq!(who_is(&setup.tenant, &theirs.text).await, "auth0|new");
        let [_, created, _, minted] = setup.calls();
        assert_eq!((created, minted), (1, 1), "{rules}");
    }
}

#[tokio::test]
async fn a_conflict_about_a_user_that_is_not_there_gives_no_token() {
    let setup = Setup::new().await;
    setup
        .tenant
        .on_until_cleared(Call::UserCreate, Fault::Conflict);
    for _ in 0..2 {
        refused(setup.ask("new", &json!({})), 403, "user_unknown").await;
        assert_eq!(setup.calls(), [2, 1, 0, 0], "read again, and remembered");
    }
}

#[tokio::test]
async fn a_user_created_for_its_address_has_it_and_gets_its_own_token() {
    let setup = Setup::of(managed_world(), BY_EMAIL, PROFILE, "").await;
    let theirs = token(setup.ask("new", &json!({}))).await;
    assert_eq!(who_is(&setup.tenant, &theirs.text).await, "auth0|new");
    assert_eq!(setup.user("auth0|new").unwrap().email, "new@acme.test");
    let [_, created, _, minted] = setup.calls();
    assert_eq!((created, minted), (1, 1));
}

/// The subject is taken: whoever has it must not become the owner of the address.
#[tokio::test]
async fn an_address_leads_to_nobody_whose_address_it_is_not() {
    let setup = Setup::of(managed_world(), BY_EMAIL, PROFILE, "").await;
    let other = json!({"email": "other@acme.test"});
    for _ in 0..2 {
        refused(setup.ask("bob", &other), 403, "user_unknown").await;
    }
    assert_eq!(setup.user("auth0|bob").unwrap().email, "bob@acme.test");
    assert_eq!(setup.calls()[3], 0);
}

#[tokio::test]
async fn a_created_user_gets_no_address_that_is_not_verified() {
    for no in [json!(false), json!("false"), json!(0)] {
        let setup = Setup::new().await;
        let claims = json!({"email": "ceo@acme.test", "email_verified": no});
        token(setup.ask("new", &claims)).await;
        assert_eq!(setup.user("auth0|new").unwrap().email, "");
        let by_email = Setup::of(managed_world(), BY_EMAIL, PROFILE, "").await;
        refused(by_email.ask("new", &claims), 403, "user_not_mapped").await;
        assert_eq!(by_email.tenant.calls(Call::Any), 0);
    }
}

#[tokio::test]
async fn nobody_is_created_who_would_not_be_the_one_that_is_wanted() {
    let other = PROFILE.replace("auth0|", "saml|");
    let by_id = "{ field = 'userId', value = '{sub}' }";
    let no_address = "{ subject = 'auth0|{sub}', name = '{name}' }";
    let work = PROFILE.replace("{email}", "{work_email}");
    for (rules, profile) in [
        (BY_SUBJECT, other.as_str()),
        (by_id, PROFILE),
        (BY_EMAIL, no_address),
        (BY_EMAIL, &work),
    ] {
        let setup = Setup::of(managed_world(), rules, profile, "").await;
        let claims = json!({"work_email": "else@acme.test"});
        for _ in 0..2 {
            refused(setup.ask("new", &claims), 403, "user_unknown").await;
        }
        assert_eq!(setup.calls()[1], 0, "{rules} {profile}");
        assert!(setup.user("saml|new").is_none());
    }
}

#[tokio::test]
async fn no_bot_is_ever_created() {
    let profile = PROFILE.replace("auth0|{sub}", "{sub}");
    for rules in [
        BY_EMAIL,
        "{ field = 'subject', value = '{sub}' }",
        "{ field = 'userId', value = '{name}' }",
    ] {
        let setup = Setup::of(managed_world(), rules, &profile, "").await;
        for sub in [r"qlikbot\new", r"QLIKBOT\new", r" qlikbot\new"] {
            let claims = json!({"email": "new@acme.test", "name": "New"});
            refused(setup.ask(sub, &claims), 403, "user_not_allowed").await;
        }
        assert_eq!(setup.tenant.calls(Call::Any), 0, "{rules}");
    }
}

#[tokio::test]
async fn who_is_denied_is_not_created() {
    let tenant = Simulator::start(managed_world()).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let config = mapped(&portal, BY_EMAIL, "deny = ['auth0|svc-*']")
        + &managed_table("acme", &tenant.url())
        + &format!("provision_users = {PROFILE}\n");
    let broker = Broker::start(&config);
    let claims = json!({"name": "Service", "email": "svc@acme.test"});
    let session = portal.session_with("svc-backup", &claims);
    refused(broker.ask_as(&session), 403, "user_not_allowed").await;
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn without_the_claims_of_the_profile_nobody_is_created() {
    for rules in [BY_SUBJECT, BY_EMAIL] {
        let setup = Setup::of(managed_world(), rules, PROFILE, "").await;
        for value in [
            Value::Null,
            json!(""),
            json!({"first": "New"}),
            json!("a\u{0}b"),
        ] {
            let claims = json!({"name": value});
            refused(setup.ask("new", &claims), 403, "user_unknown").await;
        }
        assert_eq!(setup.calls()[1], 0, "{rules}");
    }
    let setup = Setup::new().await;
    token(setup.ask("new", &json!({"email": null}))).await;
    assert_eq!(setup.user("auth0|new").unwrap().email, "");
}

#[tokio::test]
async fn a_back_end_never_creates_a_user() {
    let setup = Setup::new().await;
    let asking = setup.broker.ask(&json!({"user_lookup": subject("new")}));
    refused(asking, 403, "user_unknown").await;
    assert_eq!(setup.calls()[1], 0);
    assert!(setup.user("auth0|new").is_none());
}

#[tokio::test]
async fn a_user_who_is_not_active_is_neither_created_nor_woken() {
    for status in [UserStatus::Disabled, UserStatus::Invited] {
        let mut user = User::new("auth0|new", "new@acme.test");
        user.status = status;
        let mut world = managed_world();
        world.users.push(user);
        let setup = Setup::of(world, BY_SUBJECT, PROFILE, "").await;
        refused(setup.ask("new", &json!({})), 403, "user_disabled").await;
        assert_eq!(setup.calls()[1..3], [0, 0]);
        assert_eq!(setup.user("auth0|new").unwrap().status, status);
    }
}

/// Nobody is to come to be by leaving.
#[tokio::test]
async fn a_logout_creates_nobody() {
    let setup = Setup::of(managed_world(), BY_EMAIL, PROFILE, "").await;
    let claims = json!({"name": "New", "email": "new@acme.test"});
    let session = setup.portal.session_with("new", &claims);
    let leaving = setup.broker.post("/logout").bearer_auth(&session);
    assert_eq!(leaving.send().await.unwrap().status(), 204);
    assert_eq!(setup.calls()[1..], [0, 0, 0]);
    assert!(setup.user("auth0|new").is_none());
}
