//! What becomes of a session when users cannot be looked up, created or changed.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault};
use serde_json::{Value, json};

use super::{PROFILE, Setup};
use crate::directory::BY_SUBJECT;
use crate::harness::{managed_world, refused, token, who_is};

fn status(status: u16) -> Fault {
    Fault::Status {
        status,
        code: None,
        title: None,
    }
}

/// Nothing has to be done for a user that is there.
#[tokio::test]
async fn with_the_management_client_out_of_order_users_still_get_tokens() {
    let rows = [
        (Call::Users, status(500)),
        (Call::Users, status(403)),
        (Call::Users, Fault::Disconnect),
        (Call::Users, Fault::NotJson),
        (Call::Users, Fault::Throttle { retry_after: 13 }),
        (Call::TokenClientCredentials, status(500)),
        (Call::TokenClientCredentials, Fault::WrongSecret),
        (Call::TokenClientCredentials, Fault::Disconnect),
    ];
    join_all(rows.into_iter().map(|(call, fault)| async move {
        let setup = Setup::new().await;
        setup.tenant.on_until_cleared(call, fault.clone());
        let ann = token(setup.ask("ann", &json!({}))).await;
        assert_eq!(who_is(&setup.tenant, &ann.text).await, "auth0|ann");
        assert_eq!(setup.calls()[1..], [0, 0, 1], "{call:?} {fault:?}");
    }))
    .await;
}

/// Who waits for the management client has no time left for the token.
#[tokio::test]
async fn a_management_client_that_hangs_costs_no_user_the_token() {
    let lines = "[server]\nrequest_timeout = '2s'\n";
    join_all(
        [Call::Users, Call::TokenClientCredentials].map(|call| async move {
            let setup = Setup::of(managed_world(), BY_SUBJECT, PROFILE, lines).await;
            setup.tenant.on_until_cleared(call, Fault::Hang);
            let started = Instant::now();
            let ann = token(setup.ask("ann", &json!({}))).await;
            assert_eq!(who_is(&setup.tenant, &ann.text).await, "auth0|ann");
            assert!(started.elapsed() < Duration::from_secs(3), "{call:?}");
        }),
    )
    .await;
}

#[tokio::test]
async fn a_failed_creation_has_its_answer_and_gives_no_token() {
    let rows = [
        (status(500), 503, "tenant_unavailable", 3),
        (status(403), 502, "tenant_refused_client", 1),
        (Fault::NotJson, 502, "tenant_malformed", 1),
        (Fault::NoContent, 502, "tenant_malformed", 1),
        (Fault::Redirect, 502, "tenant_malformed", 3),
    ];
    join_all(
        rows.into_iter()
            .map(|(fault, status, code, tries)| async move {
                let setup = Setup::new().await;
                setup
                    .tenant
                    .on_until_cleared(Call::UserCreate, fault.clone());
                for _ in 0..2 {
                    let wait = refused(setup.ask("new", &json!({})), status, code).await;
                    assert!(wait.is_some(), "{fault:?}");
                    assert_eq!(setup.calls()[1..], [tries, 0, 0], "{fault:?} is remembered");
                }
                token(setup.ask("ann", &json!({}))).await;
            }),
    )
    .await;
}

/// Creating users and minting are of one tier: while one is closed, so is the other.
#[tokio::test]
async fn a_tenant_that_throttles_creations_is_left_alone_as_a_whole() {
    let setup = Setup::new().await;
    let throttled = Fault::Throttle { retry_after: 13 };
    setup.tenant.on_until_cleared(Call::UserCreate, throttled);
    for user in ["new", "newer"] {
        let wait = refused(setup.ask(user, &json!({})), 503, "tenant_throttled").await;
        assert!(matches!(wait, Some(12 | 13)), "{wait:?}");
    }
    assert_eq!(setup.calls()[1], 1);
    let ready: Value = setup.broker.ops("/readyz").await.json().await.unwrap();
    assert_eq!(ready["reasons"][0]["reason"], "throttled");
}
