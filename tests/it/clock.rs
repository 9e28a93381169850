//! Clocks that jump, ours and the tenant's: what has ended does not come back.
//!
//! The broker's steady clock runs ahead here while the wall clock stays: just what it sees when the
//! wall clock is set back. That the wall clock runs ahead is a case of `expiring`.

use std::time::Duration;

use qlik_token_broker::simulator::{Call, Fault, Simulator};
use serde_json::{Value, json};

use super::harness::{Broker, KEY, jump, refused, sha256, subject, tenant_table, token, world};
use super::redis::available;
use super::shared::{ENCRYPTION_KEY, Site};

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

/// A tenant whose tokens live for half an hour, and whose clock is off by so many seconds.
async fn tenant_off_by(skew: i64) -> (Simulator, Broker) {
    let mut world = world();
    world.token_life = HALF_AN_HOUR;
    world.clock_skew_seconds = skew;
    let tenant = Simulator::start(world).await.unwrap();
    let broker = Broker::with(&tenant).forgetting_connections();
    (tenant, broker)
}

#[tokio::test]
async fn c48_a_clock_set_back_makes_no_ended_token_look_valid() {
    let (tenant, broker) = tenant_off_by(0).await;
    let first = broker.token_of("ann").await;
    jump(600).await;
    let later = broker.token_of("ann").await;
    assert_eq!(later.id, first.id);
    assert!(later.expires_in <= 1200, "{} s are left", later.expires_in);
    jump(1201).await;
    let unavailable = Fault::Status {
        status: 503,
        code: None,
        title: None,
    };
    tenant.on_until_cleared(Call::Token, unavailable);
    refused(broker.ask_for("ann"), 503, "tenant_unavailable").await;
    tenant.clear_faults();
    jump(1).await;
    assert_ne!(broker.token_of("ann").await.id, first.id);
}

/// Answers count whole seconds, and no page can do anything with a token for none.
#[tokio::test]
async fn a_token_in_its_last_second_counts_as_ended() {
    let (tenant, broker) = tenant_off_by(0).await;
    let first = broker.token_of("ann").await;
    tenant.on_until_cleared(Call::Token, Fault::Throttle { retry_after: 60 });
    jump(1798).await;
    let spare = broker.token_of("ann").await;
    assert_eq!((&spare.id, spare.expires_in), (&first.id, 1));
    jump(1).await;
    refused(broker.ask_for("ann"), 503, "tenant_throttled").await;
}

#[tokio::test]
async fn c48_a_tenant_whose_clock_is_ahead_gives_no_token_a_longer_life() {
    let (tenant, broker) = tenant_off_by(3600).await;
    let first = broker.token_of("ann").await;
    assert!(first.expires_in <= 1800, "{}", first.expires_in);
    jump(1801).await;
    assert_ne!(broker.token_of("ann").await.id, first.id);
    assert_eq!(tenant.calls(Call::Token), 2);
}

/// By its own word the token has ended: nobody can tell who is wrong.
#[tokio::test]
async fn c48_a_tenant_whose_clock_is_behind_gives_no_token_that_has_ended() {
    let (tenant, broker) = tenant_off_by(-3600).await;
    refused(broker.ask_for("ann"), 502, "tenant_malformed").await;
    assert_eq!(tenant.calls(Call::Token), 3);
    tenant.with_world(|world| world.token_life = Duration::from_secs(7200));
    let token = broker.token_of("bob").await;
    assert!(
        (3500..=3600).contains(&token.expires_in),
        "{}",
        token.expires_in
    );
}

/// A handle of ann's.
async fn registered(broker: &Broker) -> String {
    let request = broker.post("/sessions").bearer_auth(KEY);
    let answer = request.json(&json!({"user_lookup": subject("ann")}));
    let body: Value = answer.send().await.unwrap().json().await.unwrap();
    body["session"].as_str().unwrap().to_owned()
}

/// The user's token lives on in the cache, and that is of no use to the session that ended.
#[tokio::test]
async fn an_ended_session_gets_no_token_although_one_is_cached() {
    let tenant = Simulator::start(world()).await.unwrap();
    let tables = format!(
        "[[session]]\ntype = 'api_key'\nkeys = [{{ id = 'portal', sha256 = '{}', tenants = ['acme'], allow = ['token', 'sessions'] }}]\n\
         [[session]]\ntype = 'handle'\nttl = '1h'\nidle = '10m'\n",
        sha256(KEY)
    );
    let broker = Broker::start(&(tables + &tenant_table("acme", &tenant.url())));
    let broker = broker.forgetting_connections();
    let (idle, busy) = (registered(&broker).await, registered(&broker).await);
    let first = token(broker.ask_as(&idle)).await;
    for _ in 0..6 {
        assert_eq!(token(broker.ask_as(&busy)).await.id, first.id);
        jump(590).await;
    }
    refused(broker.ask_as(&idle), 401, "session_expired").await;
    assert_eq!(token(broker.ask_as(&busy)).await.id, first.id);
    jump(61).await;
    refused(broker.ask_as(&busy), 401, "session_expired").await;
    assert_eq!(
        broker.token_of("ann").await.id,
        first.id,
        "which is still cached"
    );
    assert_eq!(tenant.calls(Call::Any), 1);
}

/// Redis has it for as long again, to tell that it ended.
#[tokio::test]
async fn c48_a_clock_set_back_makes_no_ended_handle_look_alive_on_any_replica() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let config = site.config(&[("k1", ENCRYPTION_KEY)]);
    let config = config.replace("idle = '1s'", "ttl = '10m'\nidle = '10m'");
    let broker = async || Broker::start_shared(&config).await.forgetting_connections();
    let (here, there) = (broker().await, broker().await);
    let first = registered(&here).await;
    token(here.ask_as(&first)).await;
    jump(601).await;
    refused(here.ask_as(&first), 401, "session_expired").await;

    let second = registered(&here).await;
    for key in site.redis.keys() {
        let minute_to_live = b"660000".as_slice();
        site.redis
            .command(&[b"PEXPIRE", &key, minute_to_live])
            .unwrap();
    }
    token(there.ask_as(&second)).await;
    jump(61).await;
    refused(there.ask_as(&second), 401, "session_expired").await;
}
