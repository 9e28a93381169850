//! A tenant that fails: each fault has its answer, its number of calls, and an end.

use std::time::Duration;

use futures_util::future::join_all;
use qlik_token_broker::http::Code;
use qlik_token_broker::simulator::{Call, Fault, Simulator, World};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::harness::{
    Broker, PAGE, header, jump, key_table, refused, tenant, tenant_table, token, usual_budget,
    world,
};
use super::keeper::Keeper;
use super::portal::{Key, Portal};

fn status(status: u16, code: Option<&str>) -> Fault {
    Fault::Status {
        status,
        code: code.map(str::to_owned),
        title: None,
    }
}

#[tokio::test]
async fn c7_answers_that_only_lack_something_are_understood() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    tenant.on(Call::Token, Fault::MissingExpiresIn);
    assert!(
        token(broker.ask_for("ann")).await.expires_in > 21_000,
        "from expires_at"
    );
    tenant.on(Call::Token, Fault::MissingExpiresAndAt);
    assert!(
        (295..=300).contains(&token(broker.ask_for("bob")).await.expires_in),
        "none is short"
    );
    tenant.on(Call::Token, Fault::ExpiresIn(60));
    assert!(
        token(broker.ask_for("eve")).await.expires_in <= 60,
        "the smaller of the two"
    );
    let narrow =
        json!({"user_lookup": super::harness::subject("ann"), "scope": "apps:read spaces:read"});
    tenant.on(
        Call::Token,
        Fault::NarrowScope {
            scope: "apps:read".into(),
        },
    );
    assert_eq!(
        token(broker.ask(&narrow)).await.scope,
        "apps:read",
        "what was granted is told"
    );
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_and_nobody_notices() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    tenant.on(Call::Token, status(500, None));
    tenant.on(Call::Token, Fault::Disconnect);
    broker.token_of("ann").await;
    assert_eq!(tenant.calls(Call::Token), 3);
}

#[tokio::test]
async fn a_throttled_tenant_is_left_alone_for_exactly_that_long() {
    let tenant = tenant().await;
    let config = format!(
        "[server]\nrequest_timeout = '1s'\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&usual_budget(&config));
    broker.token_of("bob").await;
    tenant.on(Call::Token, Fault::Throttle { retry_after: 2 });
    refused(broker.ask_for("ann"), 503, "tenant_throttled").await;
    let wait = refused(broker.ask_for("eve"), 503, "tenant_throttled").await;
    assert!(matches!(wait, Some(1 | 2)), "{wait:?}");
    assert_eq!(
        broker.token_of("bob").await.source,
        "local",
        "who has a token does not notice"
    );
    assert_eq!(tenant.calls(Call::Token), 2);
    let ready: Value = broker.ops("/readyz").await.json().await.unwrap();
    assert_eq!(
        ready,
        json!({"status": "degraded", "reasons": [{"tenant": "acme", "reason": "throttled"}], "generation": 1})
    );
    // Less than the deadline is left of the pause now: this caller waits it out.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    tenant
        .with_world(|world| *world = std::mem::take(world).with_user("auth0|new", "new@acme.test"));
    token(broker.ask_for("new")).await;
    token(broker.ask_for("ann")).await;
}

#[tokio::test]
async fn one_odd_user_never_stops_a_tenant_and_two_refusals_do() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    tenant.on(Call::Token, Fault::UnknownClient);
    refused(broker.ask_for("ann"), 502, "tenant_refused_client").await;
    broker.token_of("bob").await;
    refused(broker.ask_for("ann"), 502, "tenant_refused_client").await;
    assert_eq!(tenant.calls(Call::Token), 2);
    tenant.on_until_cleared(Call::Token, Fault::UnknownClient);
    let others: Vec<String> = (0..5).map(|number| format!("other{number}")).collect();
    for user in &others {
        refused(broker.ask_for(user), 502, "tenant_refused_client").await;
    }
    assert_eq!(
        tenant.calls(Call::Token),
        4,
        "after the second in a row the tenant is left alone"
    );
    let ready = broker.ops("/readyz").await;
    assert_eq!(ready.status(), 200, "bob is still served");
    assert_eq!(
        ready.json::<Value>().await.unwrap()["reasons"][0]["reason"],
        "client_refused"
    );
    assert_eq!(broker.token_of("bob").await.source, "local");
}

#[tokio::test]
async fn one_odd_user_with_two_scopes_or_beside_a_stale_secret_is_still_one() {
    let tenant = tenant().await;
    let table = tenant_table("acme", &tenant.url()).replace(
        "client_secret = 'tenant-client-secret'",
        "client_secrets = ['tenant-client-secret', 'stale']",
    );
    let broker = Broker::start(&(key_table(&["acme"]) + &table));
    for scope in ["user_default", "apps:read spaces:read"] {
        // The good secret is refused without a known code, the stale one for certain.
        tenant.on(Call::Token, Fault::UnknownClient);
        let odd = json!({"user_lookup": super::harness::subject("ann"), "scope": scope});
        refused(broker.ask(&odd), 502, "tenant_refused_client").await;
    }
    assert_eq!(tenant.calls(Call::Token), 4);
    assert_eq!(
        broker.ops("/readyz").await.json::<Value>().await.unwrap()["status"],
        "ready"
    );
    broker.token_of("bob").await;
}

#[tokio::test]
async fn a_client_that_is_refused_for_everybody_makes_the_broker_unready() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    assert_eq!(broker.ops("/readyz").await.status(), 200);
    tenant.on_until_cleared(Call::Token, Fault::WrongSecret);
    refused(broker.ask_for("ann"), 502, "tenant_refused_client").await;
    refused(broker.ask_for("bob"), 502, "tenant_refused_client").await;
    assert_eq!(
        tenant.calls(Call::Token),
        1,
        "a known code pauses the tenant at once"
    );
    assert_eq!(broker.ops("/readyz").await.status(), 503);
}

#[tokio::test]
async fn a_token_that_has_ended_does_not_make_the_broker_ready() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant).forgetting_connections();
    let ready = async || {
        let answer = broker.ops("/readyz").await;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["status"].as_str().unwrap().to_owned())
    };
    let life = broker.token_of("ann").await.expires_in;
    tenant.on_until_cleared(Call::Token, Fault::WrongSecret);
    refused(broker.ask_for("bob"), 502, "tenant_refused_client").await;
    assert_eq!(ready().await, (200, "degraded".into()), "ann is served");
    broker.token_of("ann").await;
    // It may be handed out for as long as it said, and counts to the second.
    jump(life + 1).await;
    refused(broker.ask_for("bob"), 502, "tenant_refused_client").await;
    assert_eq!(ready().await, (503, "unready".into()));
    tenant.clear_faults();
    jump(60).await;
    broker.token_of("ann").await;
    assert_eq!(ready().await, (200, "ready".into()));
}

#[tokio::test]
async fn c39_c42_with_the_tenant_down_live_tokens_are_served_and_recovery_needs_no_restart() {
    let faults = [
        status(500, None),
        Fault::NotJson,
        Fault::Disconnect,
        Fault::Throttle { retry_after: 1 },
        Fault::WrongSecret,
        Fault::Disabled,
    ];
    join_all(faults.into_iter().map(|fault| async move {
        let mut short = world();
        short.token_life = Duration::from_secs(5);
        let tenant = Simulator::start(short).await.unwrap();
        let config = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
        let broker = Broker::start(&usual_budget(&config));
        let first = broker.token_of("ann").await;
        tokio::time::sleep(Duration::from_millis(3050)).await;
        tenant.on_until_cleared(Call::Token, fault.clone());
        for _ in 0..5 {
            let served = broker.token_of("ann").await;
            assert_eq!(
                (served.id.as_str(), served.source.as_str()),
                (first.id.as_str(), "local"),
                "{fault:?}"
            );
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let dead = broker.ask_for("ann").send().await.unwrap().status();
        assert_ne!(dead, 200, "{fault:?}: never after its end");
        if !matches!(fault, Fault::WrongSecret | Fault::Disabled) {
            tenant.clear_faults();
            tokio::time::sleep(Duration::from_millis(4100)).await;
            assert_ne!(broker.token_of("ann").await.id, first.id, "{fault:?}");
        }
    }))
    .await;
}

#[tokio::test]
async fn nobody_listens_is_unavailable_too() {
    let broker =
        Broker::start(&(key_table(&["acme"]) + &tenant_table("acme", "http://127.0.0.1:9")));
    refused(broker.ask_for("ann"), 503, "tenant_unavailable").await;
}

#[tokio::test]
async fn users_who_get_no_token_push_out_nobody_who_has_one() {
    let tenant = tenant().await;
    let config = format!(
        "[cache]\nmax_users = 8\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let first = broker.token_of("ann").await;
    for user in 0..200 {
        refused(
            broker.ask_for(&format!("nobody{user}")),
            403,
            "user_unknown",
        )
        .await;
    }
    assert_eq!(broker.token_of("ann").await.id, first.id);
}

#[tokio::test]
async fn the_simulated_world_itself_refuses_as_the_faults_do() {
    let mut strict: World = world();
    strict.clients[0].trusted = false;
    let tenant = Simulator::start(strict).await.unwrap();
    let broker = Broker::with(&tenant);
    refused(broker.ask_for("ann"), 502, "tenant_refused_client").await;
}

/// What a page reads of a refusal: its code, and when to come back.
async fn told(request: RequestBuilder) -> (String, u64) {
    let answer = request.header("origin", PAGE).send().await.unwrap();
    assert!(matches!(answer.status().as_u16(), 429 | 503));
    assert_eq!(header(&answer, "access-control-allow-origin"), PAGE);
    let exposed = header(&answer, "access-control-expose-headers");
    assert!(exposed.split(", ").any(|name| name == "Retry-After"));
    let wait = header(&answer, "retry-after").parse().unwrap();
    let body: Value = answer.json().await.unwrap();
    (body["code"].as_str().unwrap().to_owned(), wait)
}

#[tokio::test]
async fn c29_a_page_is_told_when_to_come_back_by_every_429_and_503() {
    let (acme, portal) = (tenant().await, Portal::start(Key::p256()).await);
    let table = tenant_table("acme", &acme.url());
    let broker = Broker::start(&(portal.table() + &table));
    let ask = |user: &str| broker.ask_as(&portal.session(user));
    let mut seen = Vec::new();

    let held = token(ask("ann")).await;
    seen.push(told(ask("ann").json(&json!({"rejected": held.id}))).await);
    acme.on_until_cleared(Call::Token, status(500, None));
    seen.push(told(ask("bob")).await);
    acme.clear_faults();
    acme.on(Call::Token, Fault::Throttle { retry_after: 13 });
    seen.push(told(ask("eve")).await);

    let nobody = portal.table_with("jwks_url = 'http://127.0.0.1:9/jwks'");
    let deaf = Broker::start(&(nobody + &table));
    seen.push(told(deaf.ask_as(&portal.session("ann"))).await);

    let keeper = Keeper::start().await;
    keeper.slow(Duration::from_millis(500));
    let slow = format!(
        "[server]\nmax_in_flight = 1\n[[session]]\ntype = 'portal_check'\nurl = '{}/whoami'\ncookies = ['sid']\n\
         user = [{{ field = 'subject', value = 'auth0|{{name}}' }}]\n",
        keeper.url
    );
    let full = Broker::start(&(slow + &table));
    let ask = || {
        let request = full.post("/session-token").header("cookie", "sid=s1");
        request.header("x-broker-request", "1")
    };
    let first = tokio::spawn(ask().send());
    while keeper.questions() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen.push(told(ask()).await);
    drop(first.await);

    let strict = "[limits]\nsession_per_minute = 5\n".to_owned();
    let strict = Broker::start(&(strict + &portal.table() + &table));
    let session = portal.session("eve");
    drop(strict.ask_as(&session).send().await);
    seen.push(told(strict.ask_as(&session)).await);

    let waits = seen.iter().map(|(code, wait)| (code.as_str(), *wait));
    let waits: Vec<_> = waits.collect();
    assert_eq!(
        waits[1..3],
        [("tenant_unavailable", 1), ("tenant_throttled", 13)]
    );
    assert!(waits.iter().all(|(_, wait)| *wait >= 1), "{waits:?}");
    let must_wait = |code: &&Code| matches!(code.status().as_u16(), 429 | 503);
    for code in Code::ALL.iter().filter(must_wait) {
        let is_seen = waits.iter().any(|(seen, _)| *seen == code.as_str());
        assert!(is_seen, "{}", code.as_str());
    }
}
