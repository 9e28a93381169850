//! Many callers at once: one mint per user, and nobody gets another's token.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{StreamExt, iter};
use qlik_token_broker::simulator::{Call, Fault, Simulator};
use serde_json::json;

use super::harness::{Broker, key_table, refused, tenant, tenant_table, token, who_is, world};
use super::keeper::Keeper;

#[tokio::test(flavor = "multi_thread")]
async fn c41_a_thousand_first_requests_of_one_user_are_one_mint() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let tokens = join_all((0..1000).map(|_| broker.token_of("ann"))).await;
    let ids: HashSet<_> = tokens.iter().map(|token| token.id.as_str()).collect();
    assert_eq!((ids.len(), tenant.calls(Call::TokenImpersonation)), (1, 1));
}

#[tokio::test]
async fn the_first_caller_leaves_and_the_others_are_served_by_its_mint() {
    let tenant = tenant().await;
    tenant.on(Call::TokenImpersonation, Fault::Slow { millis: 300 });
    let broker = Broker::with(&tenant);
    let first = broker
        .ask_for("ann")
        .timeout(Duration::from_millis(50))
        .send()
        .await;
    assert!(first.unwrap_err().is_timeout());
    let others = join_all((0..20).map(|_| broker.token_of("ann"))).await;
    assert!(others.iter().all(|token| token.id == others[0].id));
    assert_eq!(tenant.calls(Call::TokenImpersonation), 1);
}

#[tokio::test]
async fn a_mint_that_stalls_leaves_nobody_stuck() {
    let tenant = tenant().await;
    tenant.on(Call::TokenImpersonation, Fault::Hang);
    let config = format!(
        "[server]\nrequest_timeout = '1s'\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let started = std::time::Instant::now();
    let statuses = join_all((0..10).map(|_| async {
        broker
            .ask_for("ann")
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }))
    .await;
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
    tokio::time::sleep(Duration::from_millis(1050)).await;
    broker.token_of("ann").await;
}

/// 300 users of 2 tenants with 2 scope sets, asked for in random order by 64 callers.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_random_requests_get_each_user_its_own_token() {
    let mut many = world();
    many.users.clear();
    for user in 0..300 {
        many = many.with_user(format!("auth0|u|{user}"), format!("u{user}@acme.test"));
    }
    let tenants = [
        Simulator::start(many.clone()).await.unwrap(),
        Simulator::start(many).await.unwrap(),
    ];
    let config = key_table(&["acme", "globex"])
        + &tenant_table("acme", &tenants[0].url())
        + &tenant_table("globex", &tenants[1].url());
    let broker = Broker::start(&config);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below).unwrap()
    };
    let asked: Vec<_> = (0..2000).map(|_| (draw(300), draw(2), draw(2))).collect();
    let scopes = ["user_default", "apps:read spaces:read"];
    let answers = iter(asked.iter().map(|key| async {
        let (user, tenant, scope) = *key;
        let tenant = ["acme", "globex"][tenant];
        let body = json!({
            "user_lookup": {"field": "subject", "value": format!("auth0|u|{user}")},
            "tenant": tenant, "scope": scopes[scope],
        });
        (*key, token(broker.ask(&body)).await)
    }));
    let answers: Vec<_> = answers.buffer_unordered(64).collect().await;
    let mut seen = HashMap::new();
    for (key, token) in &answers {
        assert_eq!(token.scope, scopes[key.2]);
        assert_eq!(
            seen.entry(*key).or_insert(token.text.clone()),
            &token.text,
            "one token per key"
        );
    }
    let distinct: HashSet<_> = seen.values().collect();
    assert_eq!(distinct.len(), seen.len(), "no token serves two keys");
    let mints: usize = tenants
        .iter()
        .map(|tenant| tenant.calls(Call::TokenImpersonation))
        .sum();
    assert_eq!(mints, seen.len(), "calls = distinct keys");
    for ((user, tenant, _), text) in &seen {
        let subject = who_is(&tenants[*tenant], text).await;
        assert_eq!(subject, format!("auth0|u|{user}"));
    }
}

#[tokio::test]
async fn a_stale_token_is_served_while_one_refresh_runs() {
    let mut short = world();
    short.token_life = Duration::from_secs(5);
    let tenant = Simulator::start(short).await.unwrap();
    let broker = Broker::with(&tenant);
    let first = broker.token_of("ann").await;
    tokio::time::sleep(Duration::from_millis(3100)).await;
    tenant.on(Call::TokenImpersonation, Fault::Slow { millis: 200 });
    let meanwhile = join_all((0..20).map(|_| broker.token_of("ann"))).await;
    assert!(
        meanwhile
            .iter()
            .all(|token| token.id == first.id && token.source == "local")
    );
    tokio::time::sleep(Duration::from_millis(400)).await;
    let refreshed = broker.token_of("ann").await;
    assert_ne!(refreshed.id, first.id);
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
}

#[tokio::test]
async fn more_requests_than_places_are_shed_with_a_retry() {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    keeper.slow(Duration::from_millis(500));
    keeper.log_in("s1", json!({"name": "ann"}));
    let config = format!(
        "[server]\nmax_in_flight = 4\n[[session]]\ntype = 'portal_check'\nurl = '{}/whoami'\ncookies = ['sid']\n\
         user = [{{ field = 'subject', value = 'auth0|{{name}}' }}]\n{}",
        keeper.url,
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let ask = || {
        let ask = broker.post("/session-token").header("cookie", "sid=s1");
        ask.header("x-broker-request", "1").send()
    };
    let answers = join_all((0..8).map(|_| ask())).await;
    let shed: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().unwrap())
        .filter(|answer| answer.status() == 503)
        .collect();
    assert_eq!(shed.len(), 4);
    assert!(
        shed.iter()
            .all(|answer| answer.headers()["retry-after"] == "1")
    );
    assert_eq!(ask().await.unwrap().status(), 200, "places are given back");
}

/// Who waits for a mint is not in flight: users with a token are served meanwhile.
#[tokio::test]
async fn requests_that_wait_for_a_mint_hold_no_place_and_are_bounded_by_themselves() {
    let tenant = tenant().await;
    let config = format!(
        "[server]\nmax_in_flight = 2\nmax_waiting = 4\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    broker.token_of("bob").await;
    tenant.on_times(Call::TokenImpersonation, Fault::Slow { millis: 600 }, 1);
    let ask = |user: &str| broker.ask_for(user).send();
    let waiting: Vec<_> = (0..4).map(|_| tokio::spawn(ask("ann"))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let wait = refused(broker.ask_for("ann"), 503, "tenant_throttled").await;
    assert!(wait.is_some());
    assert_eq!(broker.token_of("bob").await.source, "local");
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap().status(), 200);
    }
}

/// However full the queue is: whoever has a live token gets it.
#[tokio::test]
async fn a_full_queue_takes_no_live_token_away() {
    let mut short = world();
    short.token_life = Duration::from_secs(5);
    let tenant = Simulator::start(short).await.unwrap();
    let config = format!(
        "[server]\nmax_waiting = 1\n{}{}",
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let first = broker.token_of("ann").await;
    tenant.on_until_cleared(Call::TokenImpersonation, Fault::Hang);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let waiting = tokio::spawn(broker.ask_for("bob").send());
    while tenant.calls(Call::TokenImpersonation) < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    refused(broker.ask_for("eve"), 503, "tenant_throttled").await;
    let served = broker.token_of("ann").await;
    assert_eq!((served.id, served.source.as_str()), (first.id, "local"));
    waiting.abort();
}
