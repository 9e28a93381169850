//! `POST /logout`: what has ended stays ended, on every path that leads to a token.

use std::time::Duration;

use qlik_token_broker::simulator::{Call, Fault, Simulator};
use serde_json::{Value, json};

use super::harness::{Broker, KEY, jump, key_table, refused, subject, tenant, tenant_table, token};
use super::portal::{Key, Portal, now};

async fn setup() -> (Simulator, Portal, Broker) {
    let (tenant, portal) = (tenant().await, Portal::start(Key::p256()).await);
    let broker = Broker::start(
        &(key_table(&["acme"]) + &portal.table() + &tenant_table("acme", &tenant.url())),
    );
    (tenant, portal, broker)
}

impl Broker {
    async fn log_out(&self, bearer: &str, body: Option<Value>) -> u16 {
        let request = self.post("/logout").bearer_auth(bearer);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    }
}

/// Waits for what follows a logout in the background.
async fn revoked(tenant: &Simulator, token: &str) {
    for _ in 0..50 {
        if !tenant.is_live(token) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the token was not revoked");
}

#[tokio::test]
async fn a_session_ends_itself_and_its_token_and_stays_ended() {
    let (tenant, portal, broker) = setup().await;
    let (session, other) = (
        portal.session("ann"),
        portal.session_with("ann", &json!({"jti": "2"})),
    );
    let first = token(broker.ask_as(&session)).await;
    assert_eq!(token(broker.ask_as(&other)).await.id, first.id);
    assert_eq!(broker.log_out(&session, None).await, 204);
    refused(broker.ask_as(&session), 401, "session_expired").await;
    revoked(&tenant, &first.text).await;
    let second = token(broker.ask_as(&other)).await;
    assert_ne!(
        second.id, first.id,
        "the other session lives on, with a new token"
    );
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
    assert_eq!(broker.log_out(&session, None).await, 204, "twice is once");
    assert_eq!(
        token(broker.ask_as(&other)).await.id,
        second.id,
        "and ends nothing more"
    );
}

#[tokio::test]
async fn an_ecdsa_signature_rewritten_does_not_bring_the_session_back() {
    let (_tenant, portal, broker) = setup().await;
    let session = portal.session("ann");
    token(broker.ask_as(&session)).await;
    assert_eq!(broker.log_out(&session, None).await, 204);
    // A second, equally valid signature over the same text.
    let (signed, _) = session.rsplit_once('.').unwrap();
    let again = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        portal.key.sign(signed.as_bytes()),
    );
    let rewritten = format!("{signed}.{again}");
    assert_ne!(rewritten, session);
    refused(broker.ask_as(&rewritten), 401, "session_expired").await;
}

#[tokio::test]
async fn c11_logout_is_idempotent_and_refuses_forgeries() {
    let (tenant, portal, broker) = setup().await;
    let expired = portal.session_with("ann", &json!({"exp": now() - 600}));
    assert_eq!(
        broker.log_out(&expired, None).await,
        204,
        "correctly signed, but expired"
    );
    let forged = Key::p256().jwt(&portal.header(), &portal.claims("ann"));
    refused(
        broker.post("/logout").bearer_auth(&forged),
        401,
        "session_invalid",
    )
    .await;
    refused(
        broker.post("/logout").bearer_auth("nonsense"),
        401,
        "session_invalid",
    )
    .await;
    refused(broker.post("/logout"), 401, "session_missing").await;
    let by_key = |session: &str| {
        broker
            .post("/logout")
            .bearer_auth(KEY)
            .json(&json!({"session": session}))
    };
    refused(by_key("nonsense"), 400, "request_invalid").await;
    refused(by_key(&forged), 400, "request_invalid").await;
    refused(by_key(KEY), 400, "request_invalid").await;
    assert_eq!(by_key(&expired).send().await.unwrap().status(), 204);
    for body in [
        json!({}),
        json!({"session": "x", "user_lookup": subject("ann")}),
        json!({"session": "x", "tenant": "acme"}),
        json!({"who": 1}),
    ] {
        refused(
            broker.post("/logout").bearer_auth(KEY).json(&body),
            400,
            "request_invalid",
        )
        .await;
    }
    let body = json!({"user_lookup": subject("ann")});
    refused(
        broker
            .post("/logout")
            .bearer_auth(portal.session("bob"))
            .json(&body),
        403,
        "user_not_allowed",
    )
    .await;
    assert_eq!(tenant.calls(Call::Any), 0);
}

#[tokio::test]
async fn a_back_end_ends_a_session_it_holds() {
    let (tenant, portal, broker) = setup().await;
    let session = portal.session("ann");
    let first = token(broker.ask_as(&session)).await;
    assert_eq!(
        broker.log_out(KEY, Some(json!({"session": session}))).await,
        204
    );
    refused(broker.ask_as(&session), 401, "session_expired").await;
    revoked(&tenant, &first.text).await;
}

#[tokio::test]
async fn everywhere_ends_every_jwt_up_to_now_and_all_scopes() {
    let (tenant, portal, broker) = setup().await;
    let sessions: Vec<_> = (0..3)
        .map(|id| portal.session_with("ann", &json!({"jti": id, "iat": now() - 2})))
        .collect();
    let undated = portal.session_with("ann", &json!({"iat": null}));
    let first = token(broker.ask_as(&sessions[0])).await;
    let narrow = token(
        broker
            .ask_as(&sessions[1])
            .json(&json!({"scope": "apps:read spaces:read"})),
    )
    .await;
    let bob = token(broker.ask_as(&portal.session("bob"))).await;
    assert_eq!(
        broker
            .log_out(KEY, Some(json!({"user_lookup": subject("ann")})))
            .await,
        204
    );
    for session in sessions.iter().chain([&undated]) {
        refused(broker.ask_as(session), 401, "session_expired").await;
    }
    revoked(&tenant, &first.text).await;
    revoked(&tenant, &narrow.text).await;
    assert_eq!(
        token(broker.ask_as(&portal.session("bob"))).await.id,
        bob.id
    );
    let later = portal.session_with("ann", &json!({"iat": now() + 2}));
    assert_ne!(
        token(broker.ask_as(&later)).await.id,
        first.id,
        "a new login is a new session"
    );
}

#[tokio::test]
async fn a_mint_in_flight_is_revoked_when_it_lands_and_its_waiters_are_told() {
    let (tenant, portal, broker) = setup().await;
    let session = portal.session("ann");
    tenant.on(Call::TokenImpersonation, Fault::Slow { millis: 400 });
    let waiter = tokio::spawn(broker.ask_as(&session).send());
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(broker.log_out(&session, None).await, 204);
    let answer = waiter.await.unwrap().unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["code"],
        "session_expired"
    );
    for _ in 0..50 {
        if tenant.calls(Call::Revoke) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (
            tenant.calls(Call::TokenImpersonation),
            tenant.calls(Call::Revoke)
        ),
        (1, 1)
    );
    refused(broker.ask_as(&session), 401, "session_expired").await;
    let fresh = token(broker.ask_as(&portal.session_with("ann", &json!({"jti": "new"})))).await;
    assert!(tenant.is_live(&fresh.text) && fresh.source == "minted");
}

#[tokio::test]
async fn another_session_that_waits_for_the_same_mint_gets_a_token() {
    let (tenant, portal, broker) = setup().await;
    let ends = portal.session("ann");
    let goes_on = portal.session_with("ann", &json!({"jti": "other"}));
    tenant.on(Call::TokenImpersonation, Fault::Slow { millis: 400 });
    let waiters = [&ends, &goes_on].map(|session| tokio::spawn(broker.ask_as(session).send()));
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(broker.log_out(&ends, None).await, 204);
    let [ended, going_on] = waiters;
    assert_eq!(ended.await.unwrap().unwrap().status(), 401);
    let answer = going_on.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    assert!(tenant.is_live(body["access_token"].as_str().unwrap()));
    assert_eq!(tenant.calls(Call::TokenImpersonation), 2);
}

/// Each logout ends the mint that was begun after the one before.
#[tokio::test]
async fn a_session_gets_its_token_however_many_others_of_its_user_end() {
    let (tenant, portal, broker) = setup().await;
    let session = |number: usize| portal.session_with("ann", &json!({"jti": number}));
    tenant.on_times(Call::TokenImpersonation, Fault::Slow { millis: 400 }, 4);
    let goes_on = tokio::spawn(broker.ask_as(&session(0)).send());
    for number in 1..=3 {
        for _ in 0..100 {
            if tenant.calls(Call::TokenImpersonation) == number {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(broker.log_out(&session(number), None).await, 204);
    }
    let body: Value = goes_on.await.unwrap().unwrap().json().await.unwrap();
    assert!(tenant.is_live(body["access_token"].as_str().unwrap_or_default()));
    assert_eq!(tenant.calls(Call::TokenImpersonation), 4);
}

/// A logout among requests of the same session: whatever the interleaving, no token that is handed
/// out lives on.
#[tokio::test(flavor = "multi_thread")]
async fn no_race_lets_an_ended_session_keep_a_token() {
    let (tenant, portal, broker) = setup().await;
    for round in 0..100 {
        let session = portal.session_with("ann", &json!({"jti": round}));
        token(broker.ask_as(&session)).await;
        let asking = (0..8).map(|_| async {
            let answer = broker.ask_as(&session).send().await.unwrap();
            let body: Value = answer.json().await.unwrap();
            body["access_token"].as_str().map(str::to_owned)
        });
        let (handed_out, ended) = tokio::join!(
            futures_util::future::join_all(asking),
            broker.log_out(&session, None)
        );
        assert_eq!(ended, 204);
        for token in handed_out.into_iter().flatten() {
            revoked(&tenant, &token).await;
        }
    }
}

#[tokio::test]
async fn a_token_that_had_to_leave_the_cache_is_ended_by_its_own_session() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let config = format!(
        "[cache]\nmax_users = 1\n{}{}{}",
        portal.table(),
        key_table(&["acme"]),
        tenant_table("acme", &tenant.url())
    );
    let broker = Broker::start(&config);
    let session = portal.session("ann");
    let first = token(broker.ask_as(&session)).await;
    // By a back end: another session would push out this one, too.
    broker.token_of("bob").await;
    assert_eq!(broker.log_out(&session, None).await, 204);
    refused(broker.ask_as(&session), 401, "session_expired").await;
    revoked(&tenant, &first.text).await;
}

/// The cache is looked at every now and then only, while a session is in use.
#[tokio::test]
async fn who_is_in_use_can_be_logged_out_however_soon_others_are_forgotten() {
    let (tenant, portal) = (tenant().await, Portal::start(Key::p256()).await);
    let config = key_table(&["acme"]) + &portal.table() + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&("[cache]\nidle = '20s'\n".to_owned() + &config));
    let broker = broker.forgetting_connections();
    let session = portal.session("ann");
    let first = token(broker.ask_as(&session)).await;
    for _ in 0..3 {
        jump(8).await;
        assert_eq!(token(broker.ask_as(&session)).await.id, first.id);
    }
    let ann = json!({"user_lookup": subject("ann")});
    assert_eq!(broker.log_out(KEY, Some(ann)).await, 204);
    revoked(&tenant, &first.text).await;
}

#[tokio::test]
async fn a_tenant_that_cannot_revoke_does_not_hold_up_the_logout() {
    let (tenant, portal, broker) = setup().await;
    let session = portal.session("ann");
    token(broker.ask_as(&session)).await;
    tenant.on(Call::Revoke, Fault::Hang);
    let started = std::time::Instant::now();
    assert_eq!(broker.log_out(&session, None).await, 204);
    assert!(started.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn revoking_can_be_switched_off() {
    let tenant = tenant().await;
    let portal = Portal::start(Key::p256()).await;
    let config = "[cache]\nrevoke_on_logout = false\n".to_owned()
        + &portal.table()
        + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    let session = portal.session("ann");
    let first = token(broker.ask_as(&session)).await;
    assert_eq!(broker.log_out(&session, None).await, 204);
    refused(broker.ask_as(&session), 401, "session_expired").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(tenant.is_live(&first.text) && tenant.calls(Call::Revoke) == 0);
}
