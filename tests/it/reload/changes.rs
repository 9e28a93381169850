//! What counts from the next request on.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use qlik_token_broker::simulator::Call;
use serde_json::json;

use crate::harness::{
    Broker, Folder, KEY, PAGE, header, key_table, refused, sha256, subject, tenant, tenant_table,
    token,
};
use crate::portal::{Key, Portal};

const OTHER: &str = "qtb_other_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC";

#[tokio::test]
async fn a_key_is_added_ends_and_is_removed() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let one = std::fs::read_to_string(&broker.file.0).unwrap();
    let with = |more: &str| {
        let entry = format!(
            "}}, {{ id = 'other', sha256 = '{}'{more} }}]",
            sha256(OTHER)
        );
        one.replacen("}]", &entry, 1)
    };
    let ask = || broker.ask_for("ann");
    let ask_other = || {
        let asking = broker.post("/session-token").bearer_auth(OTHER);
        asking.json(&json!({"user_lookup": subject("ann")}))
    };
    refused(ask_other(), 401, "session_invalid").await;
    broker.reload(&with("")).await;
    token(ask_other()).await;
    token(ask()).await;
    let soon = Timestamp::try_from(SystemTime::now() + Duration::from_millis(400)).unwrap();
    broker.reload(&with(&format!(", expires = '{soon}'"))).await;
    token(ask_other()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        ask_other().send().await.unwrap().status(),
        401,
        "its time is over"
    );
    broker.reload(&with("")).await;
    token(ask_other()).await;
    broker.reload(&one).await;
    refused(ask_other(), 401, "session_invalid").await;
    token(ask()).await;
    assert_eq!(tenant.calls(Call::Any), 1);
}

#[tokio::test]
async fn a_page_is_allowed_and_shut_out() {
    const LATER: &str = "https://later.acme.test";
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let one = portal.table() + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&one);
    let session = portal.session("ann");
    let allows = async |page: &str| {
        let asking = broker.ask_as(&session).header("origin", page);
        let answer = asking.send().await.unwrap();
        let allowed = header(&answer, "access-control-allow-origin");
        assert_eq!(answer.status() == 200, allowed == page, "{page}");
        assert!(allowed == page || allowed.is_empty());
        answer.status() == 200
    };
    assert!(allows(PAGE).await && !allows(LATER).await);
    broker.reload(&one.replace(PAGE, LATER)).await;
    assert!(!allows(PAGE).await && allows(LATER).await);
    assert_eq!(tenant.calls(Call::Any), 1, "and the token is the same");
}

/// The key is in a file, whose name stays the same.
#[tokio::test]
async fn a_session_whose_key_was_replaced_is_refused_at_once() {
    let tenant = tenant().await;
    let folder = Folder::new();
    let portal = Portal::start(Key::p256()).await;
    let file = folder.write("key.pem", &portal.key.public_pem());
    let table = portal.table_with(&format!("public_key = {{ file = '{file}' }}"));
    let config = table + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    let session = portal.session("ann");
    let before = token(broker.ask_as(&session)).await;
    let other = Key::p256();
    folder.write("key.pem", &other.public_pem());
    broker.reload(&config).await;
    refused(broker.ask_as(&session), 401, "session_invalid").await;
    let session = other.jwt(&portal.header(), &portal.claims("ann"));
    let after = token(broker.ask_as(&session)).await;
    assert_eq!((after.text, after.source.as_str()), (before.text, "local"));
    assert_eq!(tenant.calls(Call::Any), 1);
}

/// A table that stays the same keeps its keys; one that does not fetches them anew.
#[tokio::test]
async fn key_sets_are_fetched_again_only_where_their_table_changed() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let one = portal.table() + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&one);
    let session = portal.session("ann");
    token(broker.ask_as(&session)).await;
    let origin = one.replace(PAGE, "https://later.acme.test");
    for config in [&one, &origin, &(key_table(&["acme"]) + &one)] {
        broker.reload(config).await;
        token(broker.ask_as(&session)).await;
        assert_eq!(portal.fetches(), 1);
    }
    let leeway = one.replace("[[session]]\n", "[[session]]\nleeway = '10s'\n");
    broker.reload(&leeway).await;
    token(broker.ask_as(&session)).await;
    assert_eq!((portal.fetches(), tenant.calls(Call::Any)), (2, 1));
}

/// A key that names no tenants holds the only one, whichever that is.
#[tokio::test]
async fn a_key_without_tenants_follows_the_only_one() {
    let (acme, globex) = (tenant().await, tenant().await);
    let key = key_table(&["acme"]).replace("tenants = [\"acme\"], ", "");
    let broker = Broker::start(&(key.clone() + &tenant_table("acme", &acme.url())));
    broker.token_of("ann").await;
    broker
        .reload(&(key + &tenant_table("globex", &globex.url())))
        .await;
    broker.token_of("ann").await;
    assert_eq!((acme.calls(Call::Any), globex.calls(Call::Any)), (1, 1));
}

/// Users have the same pseudonym in the audit lines before and after, though nobody chose the key.
#[tokio::test]
async fn the_random_audit_key_survives() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let config = std::fs::read_to_string(&broker.file.0).unwrap();
    let hash = || broker.live.app().audit.user("acme", "subject", "ann");
    let before = hash();
    broker.reload(&config).await;
    assert_eq!(hash(), before);
    let keyed = |key: &str| format!("[audit]\nkey = '{key}'\n{config}");
    broker.reload(&keyed("0123456789abcdef")).await;
    let first = hash();
    assert_ne!(first, before);
    broker.reload(&config).await;
    assert_ne!(hash(), first, "a key that was chosen is not kept");
    broker.reload(&keyed("0123456789abcdef")).await;
    assert_eq!(hash(), first);
}

/// Tokens that were minted for scopes, or by a client, that are no longer configured end as well.
#[tokio::test]
async fn a_logout_ends_tokens_of_earlier_configurations() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let one = std::fs::read_to_string(&broker.file.0).unwrap();
    let wide = json!({"user_lookup": subject("ann"), "scope": "apps:read spaces:read"});
    let (narrow, wide) = (broker.token_of("ann").await, token(broker.ask(&wide)).await);
    let fewer = one.replace("optional_scopes = ['spaces:read apps:read']\n", "");
    broker.reload(&fewer).await;
    broker
        .reload(&fewer.replace(PAGE, "https://later.acme.test"))
        .await;
    refused(
        broker.ask(&json!({"user_lookup": subject("ann"), "scope": "apps:read spaces:read"})),
        403,
        "scope_not_allowed",
    )
    .await;
    let ending = broker.post("/logout").bearer_auth(KEY);
    let ending = ending.json(&json!({"user_lookup": subject("ann")}));
    assert_eq!(ending.send().await.unwrap().status(), 204);
    for ended in [narrow, wide] {
        crate::reload::revoked(&tenant, &ended.text).await;
    }
    broker.reload(&one).await;
    assert_eq!(broker.token_of("ann").await.source, "minted");
}

/// Who asked too often has not gained anything by a reload, unless the limit itself is another one.
#[tokio::test]
async fn limits_go_on_counting() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let config = |limits: &str, page: &str| {
        let key = "tenants = [\"acme\"], requests_per_minute = 5";
        let keys = key_table(&["acme"]).replace("tenants = [\"acme\"]", key);
        let table = tenant_table("acme", &tenant.url()).replace(PAGE, page);
        format!("[limits]\n{limits}\n{keys}{}{table}", portal.table())
    };
    let few = "session_per_minute = 10";
    let broker = Broker::start(&config(few, PAGE));
    let session = portal.session("ann");
    for _ in 0..2 {
        token(broker.ask_as(&session)).await;
    }
    broker.token_of("ann").await;
    for page in [PAGE, "https://later.acme.test"] {
        broker.reload(&config(few, page)).await;
        refused(broker.ask_as(&session), 429, "rate_limited").await;
        refused(broker.ask_for("ann"), 429, "rate_limited").await;
    }
    broker
        .reload(&config("session_per_minute = 20", PAGE))
        .await;
    token(broker.ask_as(&session)).await;
    assert_eq!(tenant.calls(Call::Any), 1);
}
