//! A reload on one replica of several.

use std::time::Duration;

use qlik_token_broker::simulator::{Call, ClientSetup, Fault, IMPERSONATION};
use serde_json::json;

use crate::harness::{KEY, refused, subject, token};
use crate::redis::available;
use crate::shared::Site;

/// What another replica ends is ended here as well, before and after; the connection stays.
#[tokio::test]
async fn a_replica_goes_on_to_hear_of_logouts_after_a_reload() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let [here, there] = site.brokers().await;
    let config = std::fs::read_to_string(&here.file.0).unwrap();
    let sessions = ["ann", "bob"].map(|user| site.portal.session(user));
    let ann = token(here.ask_as(&sessions[0])).await;
    let bob = token(here.ask_as(&sessions[1])).await;
    assert_eq!(token(there.ask_as(&sessions[0])).await.text, ann.text);
    for config in [
        format!("# the same\n{config}"),
        config.replace("'1s'", "'2s'"),
    ] {
        let answer = here.reload(&config).await;
        assert_eq!(answer["restart_needed"], json!([]));
        for session in &sessions {
            assert_eq!(token(here.ask_as(session)).await.source, "local");
        }
    }
    let everywhere = there.post("/logout").bearer_auth(KEY);
    let everywhere = everywhere.json(&json!({"user_lookup": subject("ann")}));
    assert_eq!(everywhere.send().await.unwrap().status(), 204);
    for _ in 0..100 {
        let answer = here.ask_as(&sessions[0]).send().await.unwrap();
        if answer.status() == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused(here.ask_as(&sessions[0]), 401, "session_expired").await;
    crate::reload::revoked(&site.tenant, &ann.text).await;
    assert_eq!(token(here.ask_as(&sessions[1])).await.text, bob.text);
}

/// One replica has the tenant's next client already. A mint by the former one that is under way at a
/// logout is ended all the same, and what it brings is taken by nobody.
#[tokio::test]
async fn a_logout_reaches_what_is_minted_by_the_client_of_before() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let [here, there] = site.brokers().await;
    let next = ClientSetup::new("next")
        .secret("tenant-client-secret")
        .grant(IMPERSONATION)
        .scopes("user_default spaces:read apps:read")
        .trusted();
    site.tenant
        .with_world(|world| *world = std::mem::take(world).with_client(next));
    let config = std::fs::read_to_string(&there.file.0).unwrap();
    there
        .reload(&config.replace("client_id = 'broker'", "client_id = 'next'"))
        .await;
    site.tenant
        .on(Call::TokenImpersonation, Fault::Slow { millis: 500 });
    let minting = tokio::spawn(here.ask_for("ann").send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let everywhere = there.post("/logout").bearer_auth(KEY);
    let everywhere = everywhere.json(&json!({"user_lookup": subject("ann")}));
    assert_eq!(everywhere.send().await.unwrap().status(), 204);
    minting.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(site.tenant.is_live(&here.token_of("ann").await.text));
    assert_eq!(site.tenant.calls(Call::Revoke), 1);
    assert_eq!(site.tenant.calls(Call::TokenImpersonation), 2);
}

#[tokio::test]
async fn another_store_needs_a_restart() {
    if !available() {
        return;
    }
    let site = Site::new().await;
    let here = site.broker().await;
    let config = std::fs::read_to_string(&here.file.0).unwrap();
    here.token_of("ann").await;
    let other = config.replace(&site.redis.url(), "redis://127.0.0.1:1");
    let keys = config.replace("id = 'k1'", "id = 'k2'");
    let start = config.find("[shared]").unwrap();
    let none = format!(
        "{}{}",
        &config[..start],
        &config[start + config[start..].find("[[session]]").unwrap()..]
    );
    for config in [other, keys, none] {
        let answer = here.reload(&config).await;
        assert_eq!(answer["restart_needed"], json!(["shared"]));
        assert_eq!(here.token_of("ann").await.source, "local");
        let app = here.live.app();
        assert!(app.shared.as_ref().unwrap().is_up());
    }
}
