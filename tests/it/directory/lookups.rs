//! When the tenant is asked who somebody is, how often, and what becomes of its failures.

use std::time::Duration;

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault, Simulator};
use serde_json::json;

use super::{BY_EMAIL, BY_SUBJECT, Setup, calls, mapped};
use crate::harness::{
    Broker, EVIL, KEY, PAGE, key_table, managed_table, managed_world, refused, tenant,
    tenant_table, token, who_is,
};
use crate::portal::{Key, Portal};

fn status(status: u16) -> Fault {
    Fault::Status {
        status,
        code: None,
        title: None,
    }
}

/// Waits for what follows a logout in the background.
async fn revoked(tenant: &Simulator, token: &str) -> bool {
    for _ in 0..50 {
        if !tenant.is_live(token) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

async fn log_out(broker: &Broker, session: &str) -> u16 {
    let request = broker.post("/logout").bearer_auth(session);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_second_session_of_an_address_needs_no_look_up() {
    let setup = Setup::by_email().await;
    let first = token(setup.ask("ann@acme.test")).await;
    for number in 0..3 {
        let claims = json!({"email": "ann@acme.test", "jti": number});
        let again = token(setup.ask_with(&claims)).await;
        assert_eq!(again.id, first.id);
    }
    assert_eq!(setup.calls(), [1, 1, 1]);
}

#[tokio::test]
async fn an_unknown_address_is_remembered() {
    let setup = Setup::by_email().await;
    for number in 0..3 {
        let claims = json!({"email": "nobody@acme.test", "jti": number});
        refused(setup.ask_with(&claims), 403, "user_unknown").await;
        assert_eq!(setup.calls(), [1, 1, 0]);
        assert_eq!(setup.tenant.calls(Call::Any), 2);
    }
    token(setup.ask("ann@acme.test")).await;
}

#[tokio::test]
async fn nobody_is_looked_up_for_a_request_that_is_refused_anyway() {
    let (acme, other) = (
        Simulator::start(managed_world()).await.unwrap(),
        Simulator::start(managed_world()).await.unwrap(),
    );
    let portal = Portal::start(Key::p256()).await;
    for rules in [BY_EMAIL, BY_SUBJECT] {
        let lines = "tenant = '{org}'\nrefuse_admins = true";
        let config = mapped(&portal, rules, lines)
            + &managed_table("acme", &acme.url())
            + &managed_table("other", &other.url());
        let broker = Broker::start(&config);
        let claims = json!({"email": "ann@acme.test", "org": "acme"});
        let session = portal.session_with("ann", &claims);
        let ask = || broker.ask_as(&session);
        for page in ["https://portal.other.test", EVIL] {
            let asking = ask().header("origin", page);
            refused(asking, 403, "origin_not_allowed").await;
        }
        for (body, status, code) in [
            (json!({"scope": "admin"}), 403, "scope_not_allowed"),
            (json!({"tenant": "acme"}), 403, "tenant_not_allowed"),
            (
                json!({"user_lookup": crate::harness::subject("bob")}),
                403,
                "user_not_allowed",
            ),
            (json!({"rejected": "short"}), 400, "request_invalid"),
            (json!({"who": "ann"}), 400, "request_invalid"),
        ] {
            refused(ask().json(&body), status, code).await;
        }
        assert_eq!(
            [&acme, &other].map(|tenant| tenant.calls(Call::Any)),
            [0, 0]
        );
        token(ask().header("origin", PAGE)).await;
        assert_eq!((calls(&acme), calls(&other)), ([1, 1, 1], [0, 0, 0]));
        acme.reset();
    }
}

#[tokio::test]
async fn a_management_client_that_is_refused_is_the_operator_s_to_repair() {
    let tenant = Simulator::start(managed_world()).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let table = managed_table("acme", &tenant.url()).replace("management-client-s", "s");
    let broker = Broker::start(&(key_table(&["acme"]) + &mapped(&portal, BY_EMAIL, "") + &table));
    for user in ["ann", "bob", "ann"] {
        let claims = json!({"email": format!("{user}@acme.test")});
        let session = portal.session_with(user, &claims);
        refused(broker.ask_as(&session), 502, "tenant_refused_client").await;
    }
    assert_eq!(calls(&tenant), [0, 1, 0], "one refusal is enough for all");
    broker.token_of("ann").await;
}

/// Fault of the look-up, our status, our code.
#[tokio::test]
async fn every_failure_of_a_look_up_has_its_answer_and_no_token() {
    let rows = [
        (status(500), 503, "tenant_unavailable"),
        (Fault::Html5xx, 503, "tenant_unavailable"),
        (Fault::Disconnect, 503, "tenant_unavailable"),
        (Fault::CutMidAnswer, 503, "tenant_unavailable"),
        (status(403), 502, "tenant_refused_client"),
        (Fault::NotJson, 502, "tenant_malformed"),
        (Fault::NoContent, 502, "tenant_malformed"),
        (Fault::MultiStatus, 502, "tenant_malformed"),
        (Fault::OkWithErrors, 502, "tenant_malformed"),
        (Fault::Redirect, 502, "tenant_malformed"),
        (Fault::HugeBody, 502, "tenant_malformed"),
        (Fault::Conflict, 502, "tenant_malformed"),
        (status(404), 502, "tenant_malformed"),
    ];
    join_all(rows.into_iter().map(|(fault, status, code)| async move {
        let setup = Setup::by_email().await;
        setup.tenant.on_until_cleared(Call::Users, fault.clone());
        refused(setup.ask("ann@acme.test"), status, code).await;
        let [users, _, mints] = setup.calls();
        assert!((1..=3).contains(&users) && mints == 0, "{fault:?}");
        assert_eq!(
            setup.tenant.calls(Call::Other),
            0,
            "no redirect is followed"
        );
        refused(setup.ask("ann@acme.test"), status, code).await;
        assert_eq!(setup.calls()[0], users, "{fault:?} is remembered");
    }))
    .await;
}

#[tokio::test]
async fn a_failed_look_up_heals_without_a_restart() {
    let setup = Setup::by_email().await;
    setup.tenant.on_until_cleared(Call::Users, status(500));
    refused(setup.ask("ann@acme.test"), 503, "tenant_unavailable").await;
    setup.tenant.clear_faults();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if setup.ask("ann@acme.test").send().await.unwrap().status() == 200 {
            return;
        }
    }
    panic!("still refused after 2 s");
}

#[tokio::test]
async fn a_throttled_look_up_says_when_to_come_back() {
    let by_users = Setup::by_email().await;
    by_users
        .tenant
        .on_until_cleared(Call::Users, Fault::Throttle { retry_after: 13 });
    let by_token = Setup::by_email().await;
    by_token.tenant.on_until_cleared(
        Call::TokenClientCredentials,
        Fault::Throttle { retry_after: 13 },
    );
    for setup in [by_users, by_token] {
        let wait = refused(setup.ask("ann@acme.test"), 503, "tenant_throttled").await;
        assert_eq!(wait, Some(13), "never less than the tenant's");
        let asked = setup.tenant.calls(Call::Any);
        let wait = refused(setup.ask("ann@acme.test"), 503, "tenant_throttled").await;
        assert!(matches!(wait, Some(12 | 13)), "{wait:?}");
        assert_eq!(setup.tenant.calls(Call::Any), asked);
    }
}

#[tokio::test]
async fn a_tenant_that_throttles_look_ups_is_asked_for_nobody_else_meanwhile() {
    let setup = Setup::by_email().await;
    setup
        .tenant
        .on_until_cleared(Call::Users, Fault::Throttle { retry_after: 13 });
    for user in ["ann", "bob", "eve"] {
        let asking = setup.ask(&format!("{user}@acme.test"));
        refused(asking, 503, "tenant_throttled").await;
    }
    assert_eq!(setup.calls(), [1, 1, 0]);
}

#[tokio::test]
async fn a_management_token_that_died_meanwhile_is_replaced_once() {
    let setup = Setup::by_email().await;
    token(setup.ask("ann@acme.test")).await;
    assert_eq!(setup.tenant.revoke_user(r"qlikbot\management"), 1);
    token(setup.ask("bob@acme.test")).await;
    assert_eq!(setup.calls(), [3, 2, 2]);
    setup.tenant.on_until_cleared(Call::Users, Fault::Revoked);
    for (address, asked) in [("eve@acme.test", 4), ("new@acme.test", 5)] {
        refused(setup.ask(address), 502, "tenant_refused_client").await;
        assert_eq!(setup.calls(), [asked, 2, 2], "not again and again");
    }
}

#[tokio::test]
async fn a_logout_ends_the_token_of_a_session_by_address() {
    let setup = Setup::by_email().await;
    let session = setup.session("ann@acme.test");
    let first = token(setup.broker.ask_as(&session)).await;
    assert_eq!(log_out(&setup.broker, &session).await, 204);
    assert!(revoked(&setup.tenant, &first.text).await);
    refused(setup.broker.ask_as(&session), 401, "session_expired").await;
    assert_eq!(setup.calls(), [1, 1, 1]);
    let claims = json!({"email": "ann@acme.test", "jti": "later"});
    let later = token(setup.ask_with(&claims)).await;
    assert_ne!(later.id, first.id);
    assert_eq!(setup.calls(), [1, 1, 2]);
}

/// As with a session whose rules name the user: its tokens are the user's, whoever asked for them.
#[tokio::test]
async fn a_logout_of_a_session_that_never_asked_ends_the_user_s_tokens_too() {
    let setup = Setup::by_email().await;
    let first = token(setup.ask("ann@acme.test")).await;
    let claims = json!({"email": "ann@acme.test", "jti": "other"});
    let other = setup.portal.session_with("ann", &claims);
    assert_eq!(log_out(&setup.broker, &other).await, 204);
    refused(setup.broker.ask_as(&other), 401, "session_expired").await;
    assert!(revoked(&setup.tenant, &first.text).await);
    assert_ne!(token(setup.ask("ann@acme.test")).await.id, first.id);
}

#[tokio::test]
async fn a_logout_everywhere_ends_sessions_by_address() {
    let world = managed_world();
    let id = world.find_user("auth0|ann").unwrap().id.clone();
    let tenant = Simulator::start(world).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let config = key_table(&["acme"])
        + &mapped(&portal, BY_EMAIL, "")
        + &managed_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    let claims = |jti: u8| json!({"email": "ann@acme.test", "jti": jti});
    let [seen, unseen] = [1, 2].map(|jti| portal.session_with("ann", &claims(jti)));
    let first = token(broker.ask_as(&seen)).await;
    assert_eq!(who_is(&tenant, &first.text).await, "auth0|ann");
    let everywhere = json!({"user_lookup": {"field": "userId", "value": id}});
    let ending = broker.post("/logout").bearer_auth(KEY).json(&everywhere);
    assert_eq!(ending.send().await.unwrap().status(), 204);
    assert!(revoked(&tenant, &first.text).await);
    for session in [seen, unseen] {
        refused(broker.ask_as(&session), 401, "session_expired").await;
    }
    assert_eq!(calls(&tenant), [1, 1, 1]);
}

#[tokio::test]
async fn without_such_a_rule_nobody_is_looked_up() {
    let setup = Setup::of(managed_world(), BY_SUBJECT, "").await;
    token(setup.ask("ann@acme.test")).await;
    assert_eq!(setup.calls(), [0, 0, 1]);
    let plain = tenant().await;
    let table = tenant_table("acme", &plain.url());
    let broker = Broker::start(&(setup.portal.table() + &table));
    token(broker.ask_as(&setup.portal.session("ann"))).await;
    assert_eq!(plain.calls(Call::Any), 1);
}
