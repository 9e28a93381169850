//! Monday, nine o'clock: more people than the tenant allows tokens for, in fast motion.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{StreamExt, iter};
use qlik_token_broker::simulator::{Call, Fault, RateLimit, Simulator, World};
use qlik_token_broker::tenant::Rate;
use serde_json::json;

use super::directory::{BY_SUBJECT, mapped};
use super::harness::{
    Broker, header, jump, key_table, managed_table, managed_world, refused, tenant_table, token,
    world,
};
use super::portal::{Key, Portal};
use super::provisioning::PROFILE;

const USERS: usize = 60;

fn rate(per_minute: u32, burst: u32) -> Rate {
    Rate {
        per_minute: NonZeroU32::new(per_minute).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

/// A tenant of 50 calls in any 3 s, and a broker that asks 20 times at once and 10 times a second.
async fn setup() -> (Simulator, Portal, Broker) {
    let mut world = world();
    for user in 0..USERS {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    world.tier2 = Some(RateLimit {
        calls: 50,
        window: Duration::from_secs(3),
    });
    let tenant = Simulator::start(world).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let config = "[server]\nrequest_timeout = '1s'\n".to_owned()
        + &key_table(&["acme"])
        + &portal.table()
        + &tenant_table("acme", &tenant.url());
    let broker = Broker::start_paced(&config, rate(600, 20));
    (tenant, portal, broker)
}

/// Asks as `client.js` does: after a 503 again, when the answer says so.
async fn insist(broker: &Broker, session: &str) -> (Duration, usize) {
    let (started, mut tries) = (Instant::now(), 0);
    loop {
        tries += 1;
        let answer = broker.ask_as(session).send().await.unwrap();
        if answer.status() == 200 {
            return (started.elapsed(), tries);
        }
        assert_eq!(answer.status(), 503);
        let wait: u64 = header(&answer, "retry-after").parse().unwrap();
        assert!(
            (1..=6).contains(&wait),
            "{wait} s are more than the arithmetic"
        );
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
}

#[tokio::test]
async fn a_cold_crowd_is_served_in_order_and_provokes_no_429() {
    let (tenant, portal, broker) = setup().await;
    let warm = portal.session("ann");
    token(broker.ask_as(&warm)).await;
    let sessions: Vec<_> = (0..USERS)
        .map(|user| portal.session(&format!("u{user}")))
        .collect();
    let crowd = sessions.iter().enumerate().map(|(index, session)| {
        let broker = &broker;
        async move {
            // In the order of their numbers.
            tokio::time::sleep(Duration::from_millis(10 * index as u64)).await;
            insist(broker, session).await
        }
    });
    let meanwhile = async {
        for _ in 0..40 {
            let started = Instant::now();
            assert_eq!(token(broker.ask_as(&warm)).await.source, "local");
            assert!(
                started.elapsed() < Duration::from_millis(500),
                "who has a token notices nothing"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (waits, ()) = tokio::join!(join_all(crowd), meanwhile);
    // 19 of the burst are left, the other 41 come up at 10 a second.
    let longest = waits.iter().map(|(wait, _)| *wait).max().unwrap();
    assert!(longest < Duration::from_secs(9), "{longest:?}");
    assert!(
        waits.iter().any(|(_, tries)| *tries > 1),
        "some had to come back"
    );
    assert_eq!(
        tenant.calls(Call::TokenImpersonation),
        USERS + 1,
        "one call each, none of them a 429"
    );
    let minted = tenant.requests().into_iter().filter_map(|request| {
        assert_ne!(request.status, Some(429));
        let body = request
            .body
            .filter(|_| request.call == Call::TokenImpersonation)?;
        Some(body["user_lookup"]["value"].as_str()?.to_owned())
    });
    let in_order = (0..USERS).map(|user| format!("auth0|u{user}"));
    assert!(minted.skip(1).eq(in_order), "first come, first served");
}

/// A key that asks for everybody takes turns with the people at the portal.
#[tokio::test]
async fn one_key_cannot_take_the_whole_budget() {
    let (_tenant, portal, broker) = setup().await;
    let metrics = async |name: &str| {
        let text = broker.ops("/metrics").await.text().await.unwrap();
        let line = format!("{name}{{tenant=\"acme\"}} ");
        let found = text.lines().find_map(|text| text.strip_prefix(&line));
        found.unwrap().parse::<f64>().unwrap()
    };
    let asking = (0..50).map(|user| {
        let body = json!({"user_lookup": super::harness::subject(&format!("u{user}"))});
        broker.ask(&body).send()
    });
    let person = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(metrics("qtb_waiting").await > 10.0 && metrics("qtb_budget_available").await < 2.0);
        insist(&broker, &portal.session("ann")).await
    };
    let (_, (wait, tries)) = tokio::join!(join_all(asking), person);
    assert!(
        wait < Duration::from_secs(1) && tries == 1,
        "{wait:?} in {tries} tries"
    );
}

#[tokio::test]
async fn the_place_of_a_caller_who_left_is_kept() {
    let (tenant, portal, broker) = setup().await;
    let sessions: Vec<_> = (0..45)
        .map(|user| portal.session(&format!("u{user}")))
        .collect();
    let answers = join_all(sessions.iter().map(|session| broker.ask_as(session).send())).await;
    let turned_away = answers
        .iter()
        .filter(|answer| answer.as_ref().unwrap().status() == 503);
    assert!(turned_away.count() > 5);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 45);
    for session in &sessions {
        assert_eq!(token(broker.ask_as(session)).await.source, "local");
    }
}

/// A tenant of 10 calls in any second, and a broker that asks 4 times at once and 5 times a second.
async fn narrow(world: World, provision: bool) -> (Simulator, Portal, Broker) {
    let mut world = world;
    world.tier2 = Some(RateLimit {
        calls: 10,
        window: Duration::from_secs(1),
    });
    let tenant = Simulator::start(world).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let mut config = key_table(&["acme"]) + &mapped(&portal, BY_SUBJECT, "");
    config += &managed_table("acme", &tenant.url());
    if provision {
        config = config + "provision_users = " + PROFILE + "\n";
    }
    let broker = Broker::start_paced(&config, rate(300, 4));
    (tenant, portal, broker)
}

fn throttled(tenant: &Simulator) -> usize {
    let requests = tenant.requests();
    requests
        .iter()
        .filter(|request| request.status == Some(429))
        .count()
}

/// Creating a user is a call of the same tier as minting.
#[tokio::test]
async fn users_are_created_within_the_same_budget() {
    let (tenant, portal, broker) = narrow(managed_world(), true).await;
    let sessions: Vec<_> = (0..8)
        .map(|user| {
            let name = format!("new{user}");
            let email = format!("{name}@acme.test");
            portal.session_with(&name, &json!({"name": name, "email": email}))
        })
        .collect();
    let started = Instant::now();
    join_all(sessions.iter().map(|session| insist(&broker, session))).await;
    assert_eq!(tenant.calls(Call::UserCreate), 8);
    assert_eq!(tenant.calls(Call::TokenImpersonation), 8);
    assert_eq!(throttled(&tenant), 0);
    // 17 calls with the management client's own token, 4 of them at once and then 5 a second.
    assert!(started.elapsed() > Duration::from_millis(2400));
}

/// So is a try that failed: a tenant in trouble is not asked more often than one that is well.
#[tokio::test]
async fn every_try_takes_a_turn_of_its_own() {
    let (tenant, portal, broker) = narrow(managed_world(), false).await;
    let unavailable = Fault::Status {
        status: 503,
        code: None,
        title: None,
    };
    tenant.on_times(Call::TokenImpersonation, unavailable, 6);
    let started = Instant::now();
    let asking = ["ann", "bob", "eve"].map(|user| {
        let session = portal.session(user);
        let broker = &broker;
        async move { insist(broker, &session).await }
    });
    join_all(asking).await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 9);
    assert_eq!(throttled(&tenant), 0);
    assert!(
        started.elapsed() > Duration::from_millis(900),
        "5 of 9 waited"
    );
}

/// Nobody wants the token any more, so that no turn is spent on it.
#[tokio::test]
async fn a_logout_takes_its_mint_out_of_the_queue() {
    let (tenant, portal, broker) = setup().await;
    let others: Vec<_> = (0..25)
        .map(|user| portal.session(&format!("u{user}")))
        .collect();
    let ann = portal.session("ann");
    let crowd = join_all(others.iter().map(|session| broker.ask_as(session).send()));
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let waiting = refused(broker.ask_as(&ann), 401, "session_expired");
        let logging_out = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            broker
                .post("/logout")
                .bearer_auth(&ann)
                .send()
                .await
                .unwrap()
        };
        let (_, answer) = tokio::join!(waiting, logging_out);
        assert_eq!(answer.status(), 204);
    };
    tokio::join!(crowd, leaving);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(tenant.calls(Call::TokenImpersonation), 25);
    assert_eq!(tenant.calls(Call::Revoke), 0);
}

/// The life of a token, and when it may be refreshed first, in seconds.
const LIFE: u64 = 6 * 3600;
const WINDOW: u64 = 600;

/// A broker that has just minted for so many users, and how long that took. Their tokens end together.
async fn monday(users: usize, rate: Rate) -> (Simulator, Broker, Duration) {
    let mut world = world();
    for user in 0..users {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    let tenant = Simulator::start(world).await.unwrap();
    let config = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let broker = Broker::start_paced(&config, rate).forgetting_connections();
    let started = tokio::time::Instant::now();
    let sources = ask_all(&broker, 0..users).await;
    assert!(sources.iter().all(|source| source == "minted"));
    let took = started.elapsed();
    (tenant, broker, took)
}

/// Asks for these users, and says where their tokens came from.
async fn ask_all(broker: &Broker, users: std::ops::Range<usize>) -> Vec<String> {
    let asking = users.map(|user| async move { broker.token_of(&format!("u{user}")).await.source });
    iter(asking).buffer_unordered(50).collect().await
}

/// The mints so far, when none has come for a while.
async fn mints(tenant: &Simulator) -> usize {
    let count = || tenant.calls(Call::TokenImpersonation);
    let (mut seen, mut quiet) = (count(), 0);
    while quiet < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        quiet = if count() == seen { quiet + 1 } else { 0 };
        seen = count();
    }
    seen
}

#[tokio::test]
async fn c44_tokens_that_end_together_are_refreshed_over_half_of_the_window() {
    const USERS: usize = 1000;
    let begun = tokio::time::Instant::now();
    let (tenant, broker, took) = monday(USERS, rate(30_000, 2000)).await;
    jump(LIFE - WINDOW - took.as_secs() - 10).await;
    let mut slices = Vec::new();
    while slices.len() < 12 {
        let before = tenant.calls(Call::TokenImpersonation);
        let from = begun.elapsed();
        let sources = ask_all(&broker, 0..USERS).await;
        assert!(
            sources.iter().all(|source| source == "local"),
            "nobody waits"
        );
        slices.push((from.as_secs(), mints(&tenant).await - before));
        jump(30).await;
    }
    let refreshed: usize = slices.iter().map(|(_, count)| count).sum();
    assert_eq!(refreshed, USERS, "each once: {slices:?}");
    assert_eq!(slices[0].1, 0, "none before the window: {slices:?}");
    // Spread evenly over 300 s, those of a slice are as many as its share, give or take what chance
    // does. Asking takes time as well.
    for pair in slices.windows(2) {
        let [(from, _), (until, count)] = [pair[0], pair[1]];
        if from > LIFE - WINDOW + 10 && until < LIFE - WINDOW / 2 {
            let share = usize::try_from(until - from).unwrap() * USERS / 300;
            assert!(count > share / 2 && count < share * 2, "{slices:?}");
        }
    }
}

/// Every token is due at once, and nobody asked for any before.
#[tokio::test]
async fn c44_refreshes_leave_half_of_the_burst_to_people_who_wait() {
    const STALE: usize = 400;
    const COLD: usize = 200;
    let (tenant, broker, took) = monday(STALE, rate(60, 500)).await;
    for user in 0..COLD {
        let (subject, email) = (format!("auth0|c{user}"), format!("c{user}@acme.test"));
        tenant.with_world(|world| *world = std::mem::take(world).with_user(subject, email));
    }
    jump(LIFE - WINDOW / 4 - took.as_secs()).await;
    let sources = ask_all(&broker, 0..STALE).await;
    assert!(sources.iter().all(|source| source == "local"));
    let refreshed = mints(&tenant).await - STALE;
    assert!(
        (250..=260).contains(&refreshed),
        "{refreshed} of a burst of 500"
    );

    let started = Instant::now();
    let names: Vec<_> = (0..COLD).map(|user| format!("c{user}")).collect();
    let cold = join_all(names.iter().map(|user| broker.token_of(user))).await;
    assert!(cold.iter().all(|token| token.source == "minted"));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "none of them queued"
    );
    let more = mints(&tenant).await - STALE - refreshed;
    assert!((COLD..=COLD + 10).contains(&more), "{more}");
}
