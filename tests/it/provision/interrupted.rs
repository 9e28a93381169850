//! A run that is interrupted at any of its calls, and repeated.

use std::sync::Arc;

use qlik_token_broker::simulator::{Call, ClientSetup, Fault, Simulator, World};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::harness::PAGE;
use super::{
    Desk, ISSUING, MANAGEMENT, assert_done, assert_provisioned, client, client_secrets, empty,
    said, writes,
};

/// So many commands at a time.
const AT_ONCE: usize = 12;

/// What may become of a call.
fn faults() -> Vec<Fault> {
    let status = |status| Fault::Status {
        status,
        code: None,
        title: None,
    };
    vec![
        status(503),
        Fault::CutMidAnswer,
        Fault::Disconnect,
        Fault::Throttle { retry_after: 1 },
        Fault::Conflict,
        Fault::CreatedMeanwhile,
    ]
}

/// A tenant whose clients are there and wrong in every way, their secrets nowhere at hand.
fn drifted() -> World {
    let wrong = |id: &str, name: &str| {
        ClientSetup::new(id)
            .name(name)
            .scopes("apps:read")
            .secret(id)
    };
    empty()
        .with_client(wrong("issuing", ISSUING))
        .with_client(wrong("management", MANAGEMENT))
}

/// Runs the command while the call `number` goes wrong, once or with all that follow it, and again
/// without; then all is as it should be, and a third run finds nothing to do.
async fn interrupt(world: World, number: u32, fault: Fault, is_lasting: bool) {
    let what = format!("{fault:?} at call {number}, lasting: {is_lasting}");
    let secrets_before = world
        .clients
        .iter()
        .map(|client| client.secrets.len())
        .sum::<usize>();
    let tenant = Simulator::start(world).await.unwrap();
    let desk = Desk::new();
    tenant.on_times(Call::Any, Fault::Slow { millis: 0 }, number - 1);
    if is_lasting {
        tenant.on_until_cleared(Call::Any, fault);
    } else {
        tenant.on(Call::Any, fault);
    }
    let arguments = ["--yes", "--csp", "--subject", "auth0|ann"];
    let first = desk.provision(&tenant, &arguments).await;
    assert!(
        tenant.calls(Call::Any) >= number as usize,
        "{what} never came"
    );
    tenant.clear_faults();
    let again = desk.provision(&tenant, &arguments).await;
    assert!(
        again.status.success(),
        "{what}\n{}\nafter\n{}",
        said(&again),
        said(&first)
    );
    assert_provisioned(&tenant, &desk);
    for name in [ISSUING, MANAGEMENT] {
        let secrets = client(&tenant, name).secrets.len();
        let most = if is_lasting {
            5
        } else {
            1 + usize::from(secrets_before > 1)
        };
        assert!(
            secrets <= most,
            "{what}: {name} has {secrets} secrets\n{}",
            said(&first)
        );
    }
    let csp = tenant.with_world(|world| world.csp_origins.clone());
    assert_eq!(
        (csp.len(), csp[0]["origin"].as_str()),
        (1, Some(PAGE)),
        "{what}"
    );
    tenant.reset();
    assert_done(&desk.provision(&tenant, &arguments).await);
    assert_eq!(writes(&tenant), 0, "{what}");
}

async fn interrupt_everywhere(world: fn() -> World) {
    let tenant = Simulator::start(world()).await.unwrap();
    let desk = Desk::new();
    let arguments = ["--yes", "--csp", "--subject", "auth0|ann"];
    assert_done(&desk.provision(&tenant, &arguments).await);
    let calls = u32::try_from(tenant.calls(Call::Any)).unwrap();
    assert!(calls > 15, "{calls} calls");
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    for number in 1..=calls {
        for fault in faults() {
            // What lasts is the same to a command, but for whether the calls are done.
            let lasts = matches!(fault, Fault::Disconnect | Fault::Status { .. });
            for is_lasting in [false, true].into_iter().take(1 + usize::from(lasts)) {
                let (room, fault) = (Arc::clone(&room), fault.clone());
                runs.spawn(async move {
                    let _place = room.acquire_owned().await.unwrap();
                    interrupt(world(), number, fault, is_lasting).await;
                });
            }
        }
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

#[ignore = "needs the machine for itself: scripts/test runs it"]
#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_an_empty_tenant_may_be_interrupted_at_every_call() {
    interrupt_everywhere(empty).await;
}

#[ignore = "needs the machine for itself: scripts/test runs it"]
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_repairs_may_be_interrupted_at_every_call() {
    interrupt_everywhere(drifted).await;
}

/// The tenant is still at work when the answer is given up.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_late_is_made_once() {
    for (world, call, calls) in [
        (empty as fn() -> World, Call::OauthClientCreate, 2),
        (drifted, Call::ClientSecretAdd, 3),
    ] {
        let tenant = Simulator::start(world()).await.unwrap();
        let desk = Desk::new();
        tenant.on(call, Fault::WorksLater { millis: 1000 });
        assert_done(&desk.provision(&tenant, &["--yes"]).await);
        assert_provisioned(&tenant, &desk);
        assert_eq!(tenant.calls(call), calls);
        let before = usize::from(call == Call::ClientSecretAdd);
        for name in [ISSUING, MANAGEMENT] {
            assert_eq!(client_secrets(&tenant, name), before + 1, "{name}");
        }
    }
}

/// A client that proves itself by a key gets a secret by being allowed one.
#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_change_whose_answer_got_lost_is_dropped() {
    for lost in [false, true] {
        let jwk = serde_json::json!({"kty": "EC", "kid": "k", "alg": "ES384", "use": "sig", "x": "x", "y": "y"});
        let by_key = ClientSetup::new("issuing").name(ISSUING).public_key(jwk);
        let tenant = Simulator::start(empty().with_client(by_key)).await.unwrap();
        if lost {
            tenant.on(Call::OauthClientPatch, Fault::Slow { millis: 0 });
            tenant.on(Call::OauthClientPatch, Fault::Slow { millis: 0 });
            tenant.on(Call::OauthClientPatch, Fault::Slow { millis: 0 });
            tenant.on(Call::OauthClientPatch, Fault::Disconnect);
        }
        let desk = Desk::new();
        assert_done(&desk.provision(&tenant, &["--yes"]).await);
        assert_provisioned(&tenant, &desk);
        assert_eq!(client_secrets(&tenant, ISSUING), 1, "lost: {lost}");
        let added = 1 + usize::from(lost);
        assert_eq!(tenant.calls(Call::ClientSecretAdd) + 1, added);
    }
}

/// A file is there, so that nobody takes the secret that comes with the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_nobody_needs_is_dropped() {
    let tenant = Simulator::start(empty()).await.unwrap();
    let desk = Desk::new();
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    tenant.with_world(|world| {
        let mut clients = world.clients.iter_mut();
        let issuing = clients.find(|client| client.name == ISSUING).unwrap();
        issuing.auth_methods = vec!["private_key_jwt".to_owned()];
    });
    assert_done(&desk.provision(&tenant, &["--yes"]).await);
    assert_provisioned(&tenant, &desk);
    assert_eq!(client_secrets(&tenant, ISSUING), 1);
}
