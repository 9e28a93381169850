//! A rotation while the running program mints for user after user.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Simulator};
use reqwest::Client;
use serde_json::{Value, json};

use super::super::cli::{free_address, serve, wait_for};
use super::super::harness::{KEY, subject};
use super::{Desk, Proof, assert_done, client, set_delay};

const TASKS: usize = 4;
/// A tenant takes 500 calls in five minutes.
const USERS: usize = 480;
const PACE: Duration = Duration::from_millis(100);
/// So many mints before, and after.
const AROUND: usize = 40;

/// One user after the other, each of them a mint, until the rotation is over and some more; returns how
/// many there were.
async fn mint(public: &str, is_rotated: &AtomicBool, rotate: impl Future<Output = ()>) -> usize {
    let (next, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let http = Client::new();
    let minting = join_all((0..TASKS).map(|_| async {
        while after.load(Ordering::SeqCst) < AROUND {
            let user = next.fetch_add(1, Ordering::SeqCst);
            assert!(user < USERS, "the rotation takes too long");
            let asked = http
                .post(format!("http://{public}/session-token"))
                .bearer_auth(KEY)
                .json(&json!({"user_lookup": subject(&format!("u{user}"))}));
            let answer = asked.send().await.unwrap();
            let status = answer.status();
            let timing = answer.headers()["server-timing"].clone();
            assert_eq!(status, 200, "{}", answer.text().await.unwrap());
            assert!(timing.to_str().unwrap().contains("minted"));
            if is_rotated.load(Ordering::SeqCst) {
                after.fetch_add(1, Ordering::SeqCst);
            }
            tokio::time::sleep(PACE).await;
        }
    }));
    let rotating = async {
        while next.load(Ordering::SeqCst) < AROUND {
            tokio::time::sleep(PACE).await;
        }
        rotate.await;
        is_rotated.store(true, Ordering::SeqCst);
    };
    tokio::join!(minting, rotating);
    next.into_inner()
}

/// Nothing is waited for: the broker has the old one in memory when it is dropped.
async fn rotate_under_load(proof: Proof) {
    let desk = Desk::new(proof);
    let mut world = desk.world();
    for user in 0..USERS {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    let tenant = Simulator::start(world).await.unwrap();
    set_delay(&tenant, 1);
    let config = desk.configure(&tenant);
    let (public, ops) = (free_address(), free_address());
    let running = serve(Path::new(&config), &public, &ops);
    wait_for(&format!("http://{ops}/readyz")).await;
    let before = desk.read();
    let is_rotated = AtomicBool::new(false);
    let users = mint(&public, &is_rotated, async {
        let more = ["--yes", "--wait", "0s"];
        assert_done(&desk.rotate_with(&config, &more).await);
    })
    .await;
    desk.assert_rotated(&tenant, &before);
    assert!(tenant.calls(Call::TokenImpersonation) >= users);
    // The old one is dead, and the broker knows the new one.
    let refused = Client::new()
        .post(format!("{}/oauth/token", tenant.url()))
        .json(&json!({"grant_type": "client_credentials", "client_id": "broker", "client_secret": before, "scope": "user_default"}));
    assert_eq!(refused.send().await.unwrap().status(), 401);
    let metrics = Client::new().get(format!("http://{ops}/metrics")).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    let line = "qtb_client_secret_in_use{tenant=\"acme\",client=\"issuing\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let ready = Client::new().get(format!("http://{ops}/readyz")).send();
    let ready: Value = ready.await.unwrap().json().await.unwrap();
    assert_eq!(ready["reasons"], json!([]));
    assert_eq!(client(&tenant, "broker").grants.len(), 1);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn c45_rotate_secret_under_load_fails_no_request() {
    rotate_under_load(Proof::Secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c45_a_private_key_is_rotated_under_load_without_a_failed_request() {
    rotate_under_load(Proof::Key).await;
}
