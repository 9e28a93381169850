//! Several replicas and what they share, with a real Redis between them.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault, RateLimit, Simulator};
use qlik_token_broker::tenant::Rate;
use reqwest::Method;
use serde_json::{Value, json};

use super::cli::{free_address, serve, wait_for};
use super::harness::{
    Broker, KEY, Scratch, header, key_table, refused, subject, tenant, tenant_table, token,
    usual_budget, who_is, world,
};
use super::portal::{Key, Portal};
use super::redis::{Cluster, Redis, Reply, Sentinel, available};

pub const ENCRYPTION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// The table of the shared tier, with these keys by name.
pub fn shared_table(url: &str, keys: &[(&str, &str)]) -> String {
    let keys = keys
        .iter()
        .map(|(id, key)| format!("{{ id = '{id}', key = '{key}' }}"));
    let keys = keys.collect::<Vec<_>>().join(", ");
    format!("[shared]\nurl = '{url}'\nencryption_keys = [{keys}]\n")
}

/// A tenant, a portal and a Redis.
pub struct Site {
    pub tenant: Simulator,
    pub portal: Portal,
    pub redis: Redis,
}

impl Site {
    pub async fn new() -> Self {
        Self {
            tenant: tenant().await,
            portal: Portal::start(Key::p256()).await,
            redis: Redis::start().await,
        }
    }

    pub fn config(&self, keys: &[(&str, &str)]) -> String {
        self.config_with(&shared_table(&self.redis.url(), keys))
    }

    /// With this table of the shared tier.
    pub fn config_with(&self, shared: &str) -> String {
        let keys_table =
            key_table(&["acme"]).replace("'token', 'logout'", "'token', 'logout', 'sessions'");
        "[server]\nreplicas = 2\n".to_owned()
            + shared
            + &keys_table
            + "[[session]]\ntype = 'handle'\nidle = '1s'\n"
            + &self.portal.table()
            + &tenant_table("acme", &self.tenant.url())
    }

    pub async fn broker(&self) -> Broker {
        Broker::start_shared(&self.config(&[("k1", ENCRYPTION_KEY)])).await
    }

    pub async fn brokers(&self) -> [Broker; 2] {
        [self.broker().await, self.broker().await]
    }

    fn mints(&self) -> usize {
        self.tenant.calls(Call::TokenImpersonation)
    }
}

/// Waits until a broker says so about its shared tier.
pub async fn until(broker: &Broker, reachable: bool) {
    for _ in 0..200 {
        let ready: Value = broker.ops("/readyz").await.json().await.unwrap();
        let away = ready["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .any(|why| !why["shared"].is_null());
        if away != reachable {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the shared tier did not change");
}

#[tokio::test]
async fn c41_two_replicas_and_a_thousand_requests_for_one_user_make_one_mint() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let brokers = site.brokers().await;
    site.tenant
        .on(Call::TokenImpersonation, Fault::Slow { millis: 300 });
    let asking = (0..1000).map(|index| token(brokers[index % 2].ask_for("ann")));
    let tokens = join_all(asking).await;
    assert_eq!(site.mints(), 1);
    assert!(tokens.iter().all(|token| token.text == tokens[0].text));
    let from_other = tokens
        .iter()
        .filter(|token| token.source == "shared")
        .count();
    assert!(from_other >= 1, "one replica minted, the other took it");
    assert_eq!(who_is(&site.tenant, &tokens[0].text).await, "auth0|ann");
}

#[tokio::test]
async fn a_replica_that_starts_takes_over_what_the_others_have() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let first = site.broker().await;
    let ann = first.token_of("ann").await;
    drop(first);
    let second = site.broker().await;
    let taken = second.token_of("ann").await;
    assert_eq!(
        (taken.text.as_str(), taken.source.as_str()),
        (ann.text.as_str(), "shared")
    );
    assert!(taken.expires_in <= ann.expires_in);
    assert_eq!(second.token_of("ann").await.source, "local");
    assert_eq!(site.mints(), 1);
}

#[tokio::test]
async fn nothing_in_the_store_tells_of_anybody() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    // Longer than what chance writes among sealed bytes.
    let people = ["annabella", "bobadilla", "evangeline"];
    for person in people {
        site.tenant.with_world(|world| {
            let (subject, email) = (format!("auth0|{person}"), format!("{person}@acme.test"));
            *world = std::mem::take(world).with_user(subject, email);
        });
    }
    let brokers = site.brokers().await;
    let ann = brokers[0].token_of(people[0]).await;
    let made: Value = brokers[0]
        .post("/sessions")
        .bearer_auth(KEY)
        .json(&json!({"user_lookup": subject(people[1])}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let handle = made["session"].as_str().unwrap();
    token(brokers[1].ask_as(handle)).await;
    let session = site.portal.session(people[2]);
    token(brokers[1].ask_as(&session)).await;
    brokers[1]
        .post("/logout")
        .bearer_auth(&session)
        .send()
        .await
        .unwrap();
    let everything = site.redis.everything();
    assert!(everything.len() >= 5, "{}", everything.len());
    let clear = [
        ann.text.as_str(),
        ann.id.as_str(),
        handle,
        &handle[5..],
        &session,
        people[0],
        people[1],
        people[2],
        "auth0",
        "@acme",
        "\"acme\"",
        "user_default",
        "tenant-client-secret",
        ENCRYPTION_KEY,
    ];
    for (key, value) in &everything {
        for text in clear {
            let holds = |bytes: &[u8]| {
                bytes
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            };
            assert!(!holds(key) && !holds(value), "{text} stands in the store");
        }
    }
}

#[tokio::test]
async fn c47_a_logout_on_one_replica_ends_the_token_on_all() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let brokers = site.brokers().await;
    let session = site.portal.session("ann");
    let before = token(brokers[0].ask_as(&session)).await;
    assert_eq!(token(brokers[1].ask_as(&session)).await.text, before.text);
    let answer = brokers[0]
        .post("/logout")
        .bearer_auth(&session)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    let started = Instant::now();
    while brokers[1].ask_as(&session).send().await.unwrap().status() == 200 {
        assert!(
            started.elapsed() < Duration::from_millis(500),
            "still served"
        );
    }
    refused(brokers[1].ask_as(&session), 401, "session_expired").await;
    // Another session of the same user goes on, with a token of its own.
    let other = site.portal.session_with("ann", &json!({"jti": "2"}));
    let after = token(brokers[1].ask_as(&other)).await;
    assert_ne!(after.text, before.text);
    assert_eq!(token(brokers[0].ask_as(&other)).await.text, after.text);
    assert_eq!(site.mints(), 2);
    // The answer to a logout does not wait for the tenant's.
    while site.tenant.is_live(&before.text) {
        assert!(started.elapsed() < Duration::from_secs(5), "it lives");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(site.tenant.is_live(&after.text));
    assert_eq!(
        site.tenant.calls(Call::Revoke),
        1,
        "revoked once, not by each replica"
    );
}

#[tokio::test]
async fn a_session_that_ended_before_a_replica_started_stays_ended() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let first = site.broker().await;
    let session = site.portal.session("ann");
    let other = site.portal.session("bob");
    token(first.ask_as(&session)).await;
    first
        .post("/logout")
        .bearer_auth(&session)
        .send()
        .await
        .unwrap();
    let everywhere = json!({"user_lookup": subject("bob")});
    let ending = first.post("/logout").bearer_auth(KEY).json(&everywhere);
    assert_eq!(ending.send().await.unwrap().status(), 204);
    let second = site.broker().await;
    refused(second.ask_as(&session), 401, "session_expired").await;
    refused(second.ask_as(&other), 401, "session_expired").await;
    assert_eq!(site.mints(), 1);
}

#[tokio::test]
async fn handles_live_and_rest_on_all_replicas_together() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let brokers = site.brokers().await;
    let made: Value = brokers[0]
        .post("/sessions")
        .bearer_auth(KEY)
        .json(&json!({"user_lookup": subject("ann")}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let handle = made["session"].as_str().unwrap().to_owned();
    // Shown to one replica only, it does not rest on the other.
    for _ in 0..6 {
        token(brokers[1].ask_as(&handle)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    token(brokers[0].ask_as(&handle)).await;
    assert_eq!(site.mints(), 1);
    tokio::time::sleep(Duration::from_millis(1300)).await;
    for broker in &brokers {
        refused(broker.ask_as(&handle), 401, "session_expired").await;
    }
    let unknown = format!("qtbs_{}", "A".repeat(43));
    refused(brokers[0].ask_as(&unknown), 401, "session_invalid").await;
}

#[tokio::test]
async fn a_handle_that_was_logged_out_ends_on_every_replica() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let brokers = site.brokers().await;
    let made: Value = brokers[0]
        .post("/sessions")
        .bearer_auth(KEY)
        .json(&json!({"user_lookup": subject("ann")}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let handle = made["session"].as_str().unwrap().to_owned();
    token(brokers[0].ask_as(&handle)).await;
    token(brokers[1].ask_as(&handle)).await;
    brokers[1]
        .post("/logout")
        .bearer_auth(&handle)
        .send()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for broker in &brokers {
        refused(broker.ask_as(&handle), 401, "session_expired").await;
    }
    refused(site.broker().await.ask_as(&handle), 401, "session_expired").await;
}

/// Two processes: one dies without a word, and what it minted is served by the other.
#[tokio::test]
async fn a_replica_that_is_killed_costs_nobody_a_token() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let config = Scratch::new(&usual_budget(&site.config(&[("k1", ENCRYPTION_KEY)])));
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let (public, ops) = (free_address(), free_address());
        let running = serve(&config.0, &public, &ops);
        wait_for(&format!("http://{ops}/readyz")).await;
        replicas.push((public, ops, running));
    }
    let session = site.portal.session("ann");
    let ask = |public: &str| {
        let asking = reqwest::Client::new().post(format!("http://{public}/session-token"));
        token(asking.bearer_auth(&session))
    };
    let first = ask(&replicas[0].0).await;
    // It is put there in the background.
    for _ in 0..200 {
        let metrics = reqwest::get(format!("http://{}/metrics", replicas[0].1)).await;
        let metrics = metrics.unwrap().text().await.unwrap();
        if metrics.contains("{operation=\"put\",outcome=\"ok\"}") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, _, killed) = replicas.remove(0);
    killed.signal("-KILL");
    assert_eq!(killed.ended().await, None);
    let second = ask(&replicas[0].0).await;
    assert_eq!((second.id, second.source.as_str()), (first.id, "shared"));
    assert_eq!(site.mints(), 1);
}

/// What another replica left is worth no more than one's own.
#[tokio::test]
async fn a_token_near_its_end_is_not_taken_from_another_replica() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    site.tenant
        .with_world(|world| world.token_life = Duration::from_secs(3));
    let [one, other] = site.brokers().await;
    let first = one.token_of("ann").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = other.token_of("ann").await;
    assert_ne!(second.id, first.id);
    assert!(second.expires_in >= 2);
    assert_eq!(site.mints(), 2);
}

#[tokio::test]
async fn a_token_that_is_dead_for_one_replica_is_dead_for_all() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let config = site.config(&[("k1", ENCRYPTION_KEY)]) + "[cache]\nrenewal_pause = '1s'\n";
    let brokers = [
        Broker::start_shared(&config).await,
        Broker::start_shared(&config).await,
    ];
    let dead = brokers[0].token_of("ann").await;
    assert_eq!(brokers[1].token_of("ann").await.text, dead.text);
    site.tenant.revoke_user("auth0|ann");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let body = json!({"user_lookup": subject("ann"), "rejected": dead.id});
    let renewed = token(brokers[0].ask(&body)).await;
    assert_ne!(renewed.text, dead.text);
    // The other one neither hands the dead one out, nor asks the tenant again.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(brokers[1].token_of("ann").await.text, renewed.text);
    assert_eq!(token(brokers[1].ask(&body)).await.text, renewed.text);
    assert_eq!(site.mints(), 2);
    assert_eq!(site.tenant.calls(Call::UserMe), 1);
}

#[tokio::test]
async fn whoever_writes_to_the_store_makes_us_forget_and_never_believe() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let first = site.broker().await;
    let ann = first.token_of("ann").await;
    first.token_of("bob").await;
    let stored = site.redis.everything();
    let tokens: Vec<_> = stored
        .iter()
        .filter(|(_, value)| value.len() > 200)
        .collect();
    assert_eq!(tokens.len(), 2);
    // Bob's token in Ann's place, and Ann's in Bob's.
    site.redis.set(&tokens[0].0, &tokens[1].1);
    site.redis.set(&tokens[1].0, &tokens[0].1);
    let second = site.broker().await;
    for user in ["ann", "bob"] {
        let got = second.token_of(user).await;
        assert_eq!(got.source, "minted");
        assert_eq!(
            who_is(&site.tenant, &got.text).await,
            format!("auth0|{user}")
        );
    }
    // Noise everywhere: tombstones count as there, all else as absent.
    for (key, _) in site.redis.everything() {
        site.redis.del(&key);
        site.redis.set(
            &key,
            b"\x01\x02k1noise, and more of it, and more of it, and more of it",
        );
    }
    let third = site.broker().await;
    assert_eq!(third.token_of("ann").await.source, "minted");
    assert_eq!(
        first.token_of("ann").await.text,
        ann.text,
        "who has a live token notices nothing"
    );
    site.redis.flush();
    assert_eq!(third.token_of("eve").await.source, "minted");
}

#[tokio::test]
async fn without_the_store_every_replica_serves_alone_and_heals_by_itself() {
    if !available() {
        return;
    }
    let mut site = Site::new().await;
    let brokers = site.brokers().await;
    let session = site.portal.session("ann");
    let before = token(brokers[0].ask_as(&session)).await;
    token(brokers[1].ask_as(&session)).await;
    site.redis.kill();
    // No request with a live token fails, from the first moment on.
    for _ in 0..50 {
        for broker in &brokers {
            assert_eq!(token(broker.ask_as(&session)).await.text, before.text);
        }
    }
    assert_eq!(brokers[0].token_of("bob").await.source, "minted");
    assert_eq!(
        brokers[1].token_of("bob").await.source,
        "minted",
        "each alone"
    );
    until(&brokers[0], false).await;
    // A logout meanwhile is kept, and told when the store is back.
    brokers[0]
        .post("/logout")
        .bearer_auth(&session)
        .send()
        .await
        .unwrap();
    refused(brokers[0].ask_as(&session), 401, "session_expired").await;
    let handle = format!("qtbs_{}", "A".repeat(43));
    refused(
        brokers[0].ask_as(&handle),
        503,
        "session_service_unavailable",
    )
    .await;
    site.redis.restart().await;
    until(&brokers[0], true).await;
    until(&brokers[1], true).await;
    let started = Instant::now();
    while brokers[1].ask_as(&session).send().await.unwrap().status() == 200 {
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "the logout came back with the store"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused(brokers[1].ask_as(&session), 401, "session_expired").await;
    assert!(!site.tenant.is_live(&before.text));
    let mints = site.mints();
    assert_eq!(brokers[0].token_of("eve").await.source, "minted");
    assert_eq!(brokers[1].token_of("eve").await.source, "shared");
    assert_eq!(site.mints(), mints + 1);
    // Who has a live token from the time without the store keeps it.
    assert_eq!(brokers[1].token_of("bob").await.source, "local");
}

#[tokio::test]
async fn a_store_that_hangs_costs_one_request_a_moment_and_the_others_nothing() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let broker = site.broker().await;
    broker.token_of("ann").await;
    site.redis.pause();
    let started = Instant::now();
    assert_eq!(broker.token_of("bob").await.source, "minted");
    assert!(
        started.elapsed() < Duration::from_millis(1500),
        "{:?}",
        started.elapsed()
    );
    until(&broker, false).await;
    let started = Instant::now();
    for user in ["eve", "ann", "bob"] {
        broker.token_of(user).await;
    }
    assert!(
        started.elapsed() < Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
    site.redis.resume();
    until(&broker, true).await;
    assert_eq!(broker.token_of("ann").await.source, "local");
}

#[tokio::test]
async fn encryption_keys_are_changed_without_losing_anything() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let (old, new) = (("k1", ENCRYPTION_KEY), ("k2", OTHER_KEY));
    let first = Broker::start_shared(&site.config(&[old])).await;
    let session = site.portal.session("eve");
    token(first.ask_as(&session)).await;
    let ann = first.token_of("ann").await;
    // Step by step: the new one opens, then seals, then is the only one.
    let second = Broker::start_shared(&site.config(&[old, new])).await;
    assert_eq!(second.token_of("ann").await.text, ann.text);
    let third = Broker::start_shared(&site.config(&[new, old])).await;
    assert_eq!(third.token_of("ann").await.text, ann.text);
    let bob = third.token_of("bob").await;
    assert_eq!(second.token_of("bob").await.text, bob.text);
    third
        .post("/logout")
        .bearer_auth(&session)
        .send()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for broker in [&first, &second, &third] {
        refused(broker.ask_as(&session), 401, "session_expired").await;
    }
    let last = Broker::start_shared(&site.config(&[new])).await;
    assert_eq!(last.token_of("bob").await.text, bob.text);
    assert_eq!(
        last.token_of("ann").await.source,
        "minted",
        "sealed by a key that is gone"
    );
    refused(last.ask_as(&session), 401, "session_expired").await;
}

#[tokio::test]
async fn who_knows_another_key_sees_nothing() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let ours = site.broker().await;
    let theirs = Broker::start_shared(&site.config(&[("k1", OTHER_KEY)])).await;
    ours.token_of("ann").await;
    assert_eq!(theirs.token_of("ann").await.source, "minted");
    let metrics = theirs.ops("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("qtb_shared_up 1"));
    assert_eq!(
        theirs
            .call(Method::GET, "/healthz")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        header(&ours.ask_for("ann").send().await.unwrap(), "server-timing"),
        "token;desc=\"local\""
    );
}

/// Two replicas over the same store of some kind: one mints, the other takes it, a logout ends both.
async fn share(site: &Site, shared: &str) -> [Broker; 2] {
    let config = site.config_with(shared);
    let brokers = [
        Broker::start_shared(&config).await,
        Broker::start_shared(&config).await,
    ];
    let mints = site.mints();
    let session = site.portal.session("ann");
    for user in ["bob", "eve"] {
        assert_eq!(brokers[0].token_of(user).await.source, "minted");
        assert_eq!(brokers[1].token_of(user).await.source, "shared");
    }
    token(brokers[0].ask_as(&session)).await;
    token(brokers[1].ask_as(&session)).await;
    let ending = brokers[0].post("/logout").bearer_auth(&session).send();
    assert_eq!(ending.await.unwrap().status(), 204);
    tokio::time::sleep(Duration::from_millis(300)).await;
    refused(brokers[1].ask_as(&session), 401, "session_expired").await;
    assert_eq!(site.mints(), mints + 3);
    brokers
}

#[tokio::test]
async fn a_cluster_is_shared_and_its_loss_is_survived() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let mut cluster = Cluster::start().await;
    let keys = [("k1", ENCRYPTION_KEY)];
    let brokers = share(&site, &shared_table(&cluster.url(), &keys)).await;
    cluster.kill_one().await;
    for user in ["bob", "eve"] {
        for broker in &brokers {
            assert_eq!(broker.token_of(user).await.source, "local");
        }
    }
    assert_eq!(brokers[0].token_of("ann").await.source, "minted");
}

#[tokio::test]
async fn sentinels_lead_to_the_new_master() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let mut sentinel = Sentinel::start().await;
    let keys = [("k1", ENCRYPTION_KEY)];
    let brokers = share(&site, &shared_table(&sentinel.url(), &keys)).await;
    sentinel.fail_over().await;
    for broker in &brokers {
        assert_eq!(broker.token_of("bob").await.source, "local");
        until(broker, true).await;
    }
    // Both are back, but what one writes in the first moments may not have reached the new master.
    let mut users = (0..20).map(|number| format!("u{number}"));
    let is_shared = async |user: String| {
        let (subject, email) = (format!("auth0|{user}"), format!("{user}@acme.test"));
        site.tenant
            .with_world(|world| *world = std::mem::take(world).with_user(subject, email));
        assert_eq!(brokers[0].token_of(&user).await.source, "minted");
        brokers[1].token_of(&user).await.source == "shared"
    };
    while !is_shared(users.next().unwrap()).await {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_password_is_shown_to_the_store_and_to_nobody_else() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let redis = Redis::with_password("canary-password").await;
    let keys = [("k1", ENCRYPTION_KEY)];
    let table = shared_table(&redis.url(), &keys);
    let table = table.replace(":canary-password@", "");
    let with = table.replace(
        "encryption_keys",
        "password = 'canary-password'\nencryption_keys",
    );
    share(&site, &with).await;
}

fn pace(per_minute: u32, burst: u32) -> Rate {
    Rate {
        per_minute: NonZeroU32::new(per_minute).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

/// A tenant of 50 calls in any 3 s, and two replicas that ask 20 times at once and 10 times a second
/// in all: with the store, and while it is away.
#[tokio::test]
async fn the_budget_is_one_for_all_replicas() {
    if !available() {
        return;
    }
    let mut world = world();
    for user in 0..80 {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    world.tier2 = Some(RateLimit {
        calls: 50,
        window: Duration::from_secs(3),
    });
    let mut site = Site {
        tenant: Simulator::start(world).await.unwrap(),
        portal: Portal::start(Key::p256()).await,
        redis: Redis::start().await,
    };
    let config = site.config(&[("k1", ENCRYPTION_KEY)]);
    let rate = pace(600, 20);
    let brokers = [
        Broker::start_shared_paced(&config, rate).await,
        Broker::start_shared_paced(&config, rate).await,
    ];
    let asking = |users: std::ops::Range<usize>| {
        let brokers = &brokers;
        join_all(users.map(|user| async move {
            let asking = brokers[user % 2].ask_for(&format!("u{user}"));
            asking.send().await.unwrap().status().as_u16()
        }))
    };
    let started = Instant::now();
    assert!(asking(0..50).await.iter().all(|status| *status == 200));
    let took = started.elapsed();
    assert!(
        took > Duration::from_millis(4700),
        "a store that is new may be one that forgot, so that there is no burst: {took:?}"
    );
    assert!(
        took < Duration::from_secs(8),
        "and both get their part: {took:?}"
    );
    site.redis.kill();
    assert!(asking(50..65).await.iter().all(|status| *status == 200));
    site.redis.restart().await;
    until(&brokers[0], true).await;
    until(&brokers[1], true).await;
    assert!(asking(65..80).await.iter().all(|status| *status == 200));
    let requests = site.tenant.requests();
    assert!(requests.iter().all(|request| request.status != Some(429)));
    assert_eq!(site.mints(), 80);
}

#[tokio::test]
async fn a_429_for_one_replica_is_one_for_all() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let brokers = site.brokers().await;
    site.tenant.on(
        Call::TokenImpersonation,
        Fault::Throttle { retry_after: 13 },
    );
    let wait = refused(brokers[0].ask_for("ann"), 503, "tenant_throttled").await;
    assert_eq!(wait, Some(13));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asking = async {
        let started = Instant::now();
        let wait = refused(brokers[1].ask_for("bob"), 503, "tenant_throttled").await;
        (wait, started.elapsed())
    };
    let (wait, took) = asking.await;
    assert!(
        wait >= Some(1) && took < Duration::from_secs(12),
        "{wait:?} {took:?}"
    );
    assert_eq!(site.mints(), 1);
}

/// The subscription is a connection of its own: what is told while it is gone is looked up.
#[tokio::test]
async fn c47_a_logout_that_was_not_heard_is_found_out() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let brokers = site.brokers().await;
    let session = site.portal.session("ann");
    for broker in &brokers {
        token(broker.ask_as(&session)).await;
    }
    let killing = site
        .redis
        .command(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]);
    killing.unwrap();
    let ending = brokers[0].post("/logout").bearer_auth(&session).send();
    assert_eq!(ending.await.unwrap().status(), 204);
    let started = Instant::now();
    while brokers[1].ask_as(&session).send().await.unwrap().status() == 200 {
        assert!(started.elapsed() < Duration::from_secs(3), "still served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused(brokers[1].ask_as(&session), 401, "session_expired").await;
}

#[tokio::test]
async fn who_hangs_up_while_logging_out_is_logged_out() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let broker = site.broker().await;
    let session = site.portal.session("ann");
    let before = token(broker.ask_as(&session)).await;
    // A store that is slow, so that the request does not end at once.
    site.redis.pause();
    let asking = broker.post("/logout").bearer_auth(&session).send();
    let gone = tokio::time::timeout(Duration::from_millis(60), asking).await;
    assert!(gone.is_err(), "it was answered before it could be left");
    site.redis.resume();
    let started = Instant::now();
    while site.tenant.is_live(&before.text) {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "its token lives"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused(broker.ask_as(&session), 401, "session_expired").await;
}

/// A store that lost its data tells of no logout, and is no evidence of one.
#[tokio::test]
async fn a_store_that_loses_its_data_takes_no_live_token_away() {
    if !available() {
        return;
    }
    let mut site = Site::new().await;
    let brokers = site.brokers().await;
    let first = site.portal.session("ann");
    token(brokers[0].ask_as(&first)).await;
    brokers[0]
        .post("/logout")
        .bearer_auth(&first)
        .send()
        .await
        .unwrap();
    let second = site.portal.session_with("ann", &json!({"jti": "2"}));
    let held = token(brokers[0].ask_as(&second)).await;
    site.redis.kill();
    until(&brokers[0], false).await;
    site.redis.restart().await;
    until(&brokers[0], true).await;
    for _ in 0..3 {
        let now = token(brokers[0].ask_as(&second)).await;
        assert_eq!(
            (now.text.as_str(), now.source.as_str()),
            (held.text.as_str(), "local")
        );
    }
    assert!(site.tenant.is_live(&held.text));
    refused(brokers[0].ask_as(&first), 401, "session_expired").await;
}

/// What stands in the store is not believed beyond what can be.
#[tokio::test]
async fn a_pace_that_is_no_number_counts_as_none() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let broker = site.broker().await;
    broker.token_of("ann").await;
    let keys = site.redis.keys();
    let is_pace = |key: &&Vec<u8>| {
        let kind = site.redis.command(&[b"TYPE", key]).unwrap();
        kind == Reply::Bytes(b"hash".into())
    };
    let pace = keys.iter().find(is_pace).unwrap();
    let garbling = [&b"HSET"[..], pace, b"next", b"nan", b"closed", b"nan"];
    site.redis.command(&garbling).unwrap();
    assert_eq!(broker.token_of("bob").await.source, "minted");
    let next = site.redis.command(&[b"HGET", pace, b"next"]).unwrap();
    assert_ne!(next, Reply::Bytes(b"nan".into()), "counted again");
    let far = [&b"HSET"[..], pace, b"next", b"9e15", b"closed", b"0"];
    site.redis.command(&far).unwrap();
    assert_eq!(broker.token_of("eve").await.source, "minted");
}
