//! Why there is no token: told by the tenant's status alone, or by its management client.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault, Refusal, Simulator, User, UserStatus, World};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{
    Broker, header, key_table, managed_table, managed_world, refused, subject, tenant_table, world,
};

struct Setup {
    tenant: Simulator,
    broker: Broker,
}

impl Setup {
    /// A broker with a management client, in a tenant that also has a disabled user `dan`.
    async fn of(mut world: World) -> Self {
        let mut dan = User::new("auth0|dan", "dan@acme.test");
        dan.status = UserStatus::Disabled;
        world.users.push(dan);
        let tenant = Simulator::start(world).await.unwrap();
        let config = key_table(&["acme"]) + &managed_table("acme", &tenant.url());
        let broker = Broker::start(&config);
        Self { tenant, broker }
    }

    /// Look-ups and mints so far.
    fn calls(&self) -> [usize; 2] {
        [Call::Users, Call::TokenImpersonation].map(|call| self.tenant.calls(call))
    }

    /// Asserts that a user is refused with one mint and one look at the user, that this is
    /// remembered, and that nobody else notices.
    async fn refuses(&self, user: &str, status: u16, code: &str, what: &str) {
        let [looks, mints] = self.calls();
        refused(self.broker.ask_for(user), status, code).await;
        assert_eq!(self.calls(), [looks + 1, mints + 1], "{what}");
        let all = self.tenant.calls(Call::Any);
        refused(self.broker.ask_for(user), status, code).await;
        assert_eq!(self.tenant.calls(Call::Any), all, "{what} is remembered");
        self.tenant.clear_faults();
        self.broker.token_of("bob").await;
        let ready: Value = self.broker.ops("/readyz").await.json().await.unwrap();
        assert_eq!(ready["status"], "ready", "{what}");
    }
}

fn refusal(status: u16) -> Refusal {
    Refusal::new(status, "OAUTH-999", "Not documented")
}

fn narrow(user: &str) -> Value {
    json!({"user_lookup": subject(user), "scope": "apps:read spaces:read"})
}

#[tokio::test]
async fn an_unknown_user_is_told_whatever_the_status() {
    join_all([400, 401, 403, 404].map(|status| async move {
        let mut world = managed_world();
        world.refusals.unknown_user = refusal(status);
        let setup = Setup::of(world).await;
        let what = format!("status {status}");
        setup.refuses("nobody", 403, "user_unknown", &what).await;
    }))
    .await;
}

#[tokio::test]
async fn a_disabled_user_is_told_whatever_the_status() {
    join_all([400, 401, 403, 404].map(|status| async move {
        let mut world = managed_world();
        world.refusals.disabled_user = refusal(status);
        let setup = Setup::of(world).await;
        let what = format!("status {status}");
        setup.refuses("dan", 403, "user_disabled", &what).await;
    }))
    .await;
}

#[tokio::test]
async fn a_user_is_found_by_its_id_as_well() {
    let setup = Setup::of(managed_world()).await;
    let id = |user: &str| User::new(format!("auth0|{user}"), "").id;
    for (user, code) in [("nobody", "user_unknown"), ("dan", "user_disabled")] {
        let lookup = json!({"user_lookup": {"field": "userId", "value": id(user)}});
        refused(setup.broker.ask(&lookup), 403, code).await;
    }
    assert_eq!(setup.calls(), [2, 2]);
}

#[tokio::test]
async fn an_active_user_that_is_refused_has_too_many_tokens() {
    let setup = Setup::of(managed_world()).await;
    let fault = Fault::TooManyTokens;
    setup
        .tenant
        .on_until_cleared(Call::TokenImpersonation, fault);
    setup.refuses("ann", 403, "user_token_limit", "fault").await;

    let mut strict = managed_world();
    strict.max_tokens_per_user = Some(1);
    let setup = Setup::of(strict).await;
    let held = setup.broker.token_of("ann").await;
    for _ in 0..2 {
        let asking = setup.broker.ask(&narrow("ann"));
        refused(asking, 403, "user_token_limit").await;
        assert_eq!(setup.calls(), [1, 2]);
    }
    assert_eq!(setup.broker.token_of("ann").await.id, held.id);
    setup.broker.token_of("bob").await;
}

#[tokio::test]
async fn a_refusal_that_is_not_about_the_user_is_the_operator_s_to_repair() {
    join_all([400, 401, 404].map(|status| async move {
        let setup = Setup::of(managed_world()).await;
        let odd = Fault::Status {
            status,
            code: Some("OAUTH-999".into()),
            title: None,
        };
        setup.tenant.on_until_cleared(Call::TokenImpersonation, odd);
        let what = format!("status {status}");
        setup
            .refuses("ann", 502, "tenant_refused_client", &what)
            .await;
    }))
    .await;
}

/// The configuration offers a set of scopes that the client does not hold.
#[tokio::test]
async fn a_scope_that_the_client_lacks_is_the_operator_s_to_repair() {
    let mut world = managed_world();
    world.clients[0].scopes = vec!["user_default".into()];
    let setup = Setup::of(world).await;
    for _ in 0..2 {
        let asking = setup.broker.ask(&narrow("ann"));
        refused(asking, 502, "tenant_refused_client").await;
        assert_eq!(setup.calls(), [1, 1]);
    }
    refused(setup.broker.ask(&narrow("nobody")), 403, "user_unknown").await;
    for user in ["ann", "bob"] {
        setup.broker.token_of(user).await;
    }
}

#[tokio::test]
async fn a_known_code_needs_no_second_opinion() {
    for fault in [Fault::WrongSecret, Fault::Untrusted] {
        let setup = Setup::of(managed_world()).await;
        setup.tenant.on(Call::TokenImpersonation, fault.clone());
        for user in ["ann", "ann", "bob"] {
            refused(setup.broker.ask_for(user), 502, "tenant_refused_client").await;
            assert_eq!(setup.calls(), [0, 1], "{fault:?}");
        }
        assert_eq!(setup.tenant.calls(Call::Any), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn unknown_users_never_stop_a_tenant_that_says_401_to_them() {
    let mut world = managed_world();
    world.refusals.unknown_user = refusal(401);
    let setup = Setup::of(world).await;
    for number in 0..5 {
        let user = format!("nobody{number}");
        refused(setup.broker.ask_for(&user), 403, "user_unknown").await;
    }
    assert_eq!(setup.calls(), [5, 5]);
    setup.broker.token_of("ann").await;
}

#[tokio::test]
async fn with_the_management_client_out_of_order_the_status_decides() {
    let down = |status| Fault::Status {
        status,
        code: None,
        title: None,
    };
    let outages = [
        (Call::Users, down(500)),
        (Call::Users, down(403)),
        (Call::Users, Fault::Disconnect),
        (Call::Users, Fault::NotJson),
        (Call::Users, Fault::Throttle { retry_after: 13 }),
        (Call::TokenClientCredentials, Fault::WrongSecret),
        (Call::TokenClientCredentials, Fault::Disconnect),
    ];
    let answers = [
        (400, 403, "user_unknown"),
        (404, 403, "user_unknown"),
        (403, 403, "user_disabled"),
        (401, 502, "tenant_refused_client"),
    ];
    join_all(outages.into_iter().map(|(call, outage)| async move {
        for (theirs, ours, code) in answers {
            let mut world = managed_world();
            world.refusals.unknown_user = refusal(theirs);
            let setup = Setup::of(world).await;
            setup.tenant.on_until_cleared(call, outage.clone());
            for _ in 0..2 {
                refused(setup.broker.ask_for("nobody"), ours, code).await;
                assert_eq!(setup.calls()[1], 1, "{outage:?} {theirs}");
            }
            setup.broker.token_of("ann").await;
        }
    }))
    .await;
}

/// A value that cannot stand in a filter: nobody is asked by half of it.
#[tokio::test]
async fn a_user_that_cannot_be_asked_about_is_judged_by_the_status() {
    let setup = Setup::of(managed_world()).await;
    for value in [
        "auth0|\"ann\"",
        "auth0|ann\" or subject co \"",
        r"auth0|\ann",
    ] {
        let lookup = json!({"user_lookup": {"field": "subject", "value": value}});
        refused(setup.broker.ask(&lookup), 403, "user_unknown").await;
    }
    assert_eq!(setup.calls(), [0, 3]);
}

#[tokio::test]
async fn two_hits_for_a_refused_user_leave_it_to_the_status() {
    let setup = Setup::of(managed_world()).await;
    setup.tenant.on(Call::Users, Fault::TwoUsers);
    refused(setup.broker.ask_for("dan"), 403, "user_disabled").await;
    setup.broker.token_of("ann").await;
}

#[tokio::test]
async fn a_user_that_gets_its_token_is_not_looked_at() {
    let setup = Setup::of(managed_world()).await;
    for user in ["ann", "bob"] {
        setup.broker.token_of(user).await;
    }
    assert_eq!(setup.tenant.calls(Call::Any), 2);
}

/// A live token outlives the refusal of the next one, whatever its cause.
#[tokio::test]
async fn a_refused_scope_leaves_the_user_s_other_token_alone() {
    let setup = Setup::of(managed_world()).await;
    let held = setup.broker.token_of("ann").await;
    setup.tenant.on(Call::TokenImpersonation, Fault::Disabled);
    refused(setup.broker.ask(&narrow("ann")), 403, "user_token_limit").await;
    assert_eq!(setup.broker.token_of("ann").await.id, held.id);
}

#[tokio::test]
async fn without_a_management_client_one_odd_user_stops_nobody_and_a_second_does() {
    let mut world = world();
    world.refusals.unknown_user = refusal(401);
    let tenant = Simulator::start(world).await.unwrap();
    let config = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    let mints = || tenant.calls(Call::TokenImpersonation);
    for _ in 0..3 {
        refused(broker.ask_for("odd"), 502, "tenant_refused_client").await;
    }
    assert_eq!(mints(), 1);
    broker.token_of("bob").await;
    refused(broker.ask_for("odder"), 502, "tenant_refused_client").await;
    broker.token_of("ann").await;
    assert_eq!(mints(), 4, "a mint lies between the two");
    for user in ["oddest", "oddity"] {
        refused(broker.ask_for(user), 502, "tenant_refused_client").await;
    }
    let asking = |request: RequestBuilder| async { request.send().await.unwrap() };
    let paused = asking(broker.ask_for("eve")).await;
    assert_eq!(paused.status(), 502);
    let wait: u64 = header(&paused, "retry-after").parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    assert_eq!(mints(), 6, "eve was not even asked for");
    assert_eq!(
        tenant.calls(Call::Any),
        6,
        "and there is nobody else to ask"
    );
    assert_eq!(broker.token_of("bob").await.source, "local");
    let ready: Value = broker.ops("/readyz").await.json().await.unwrap();
    assert_eq!(ready["reasons"][0]["reason"], "client_refused");
}

/// An explanation is looked for within the request's deadline, and then no longer.
#[tokio::test]
async fn a_management_client_that_hangs_holds_up_one_answer_at_most() {
    let tenant = Simulator::start(managed_world()).await.unwrap();
    let config = "[server]\nrequest_timeout = '1s'\n".to_owned()
        + &key_table(&["acme"])
        + &managed_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    tenant.on_until_cleared(Call::Users, Fault::Hang);
    let started = Instant::now();
    let first = broker.ask_for("nobody").send().await.unwrap();
    assert!(matches!(first.status().as_u16(), 403 | 503));
    assert!(started.elapsed() < Duration::from_millis(1900));
    refused(broker.ask_for("nobody"), 403, "user_unknown").await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
    assert_eq!(broker.token_of("ann").await.source, "minted");
}
