//! A rotation that is interrupted at any of its calls, or killed there, and repeated.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use qlik_token_broker::simulator::{Call, ClientSecret, Fault, Simulator};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Desk, FAST, OLD, Proof, assert_done, client, said};

/// So many commands at a time.
const AT_ONCE: usize = 12;

/// What may become of a call.
#[derive(Clone, Debug)]
enum Mishap {
    Once(Fault),
    /// All calls after it go wrong in the same way.
    Lasting(Fault),
    /// The command is killed while it waits for the answer.
    Killed,
}

fn mishaps() -> Vec<Mishap> {
    let status = |status| Fault::Status {
        status,
        code: None,
        title: None,
    };
    let faults = [
        status(503),
        Fault::CutMidAnswer,
        Fault::Disconnect,
        Fault::NotJson,
        Fault::Throttle { retry_after: 1 },
        Fault::Conflict,
        Fault::CreatedMeanwhile,
    ];
    let mut mishaps: Vec<_> = faults.into_iter().map(Mishap::Once).collect();
    mishaps.push(Mishap::Lasting(status(503)));
    mishaps.push(Mishap::Lasting(Fault::Disconnect));
    mishaps.push(Mishap::Killed);
    mishaps
}

/// Starts the command, and kills it when it has made so many calls.
async fn kill(desk: &Desk, tenant: &Simulator, calls: usize) {
    let config = desk.configure(tenant);
    let mut command = desk.command(&config, &FAST);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    while tenant.calls(Call::Any) < calls {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Starts the command, and kills it when it waits for the answer to this call.
async fn kill_at(desk: &Desk, tenant: &Simulator, call: Call) {
    let before = tenant.calls(call);
    let config = desk.configure(tenant);
    let mut command = desk.command(&config, &FAST);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    while tenant.calls(call) == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Runs the command while the call `number` goes wrong, and again without. In between what is in the file
/// works, and then it is the only one.
async fn interrupt(proof: Proof, number: u32, mishap: Mishap) {
    let what = format!("{mishap:?} at call {number} of {proof:?}");
    let desk = Desk::new(proof);
    let tenant = desk.tenant().await;
    let before = desk.read();
    tenant.on_times(Call::Any, Fault::Slow { millis: 0 }, number - 1);
    let first = match mishap {
        Mishap::Killed => {
            tenant.on(Call::Any, Fault::Hang);
            kill(&desk, &tenant, number as usize).await;
            "killed".to_owned()
        }
        Mishap::Once(fault) => {
            tenant.on(Call::Any, fault);
            said(&desk.rotate(&tenant, &FAST).await)
        }
        Mishap::Lasting(fault) => {
            tenant.on_until_cleared(Call::Any, fault);
            said(&desk.rotate(&tenant, &FAST).await)
        }
    };
    assert!(
        tenant.calls(Call::Any) >= number as usize,
        "{what} never came"
    );
    tenant.clear_faults();
    desk.assert_works(&tenant);
    let again = desk.rotate(&tenant, &FAST).await;
    let text = said(&again);
    assert!(again.status.success(), "{what}\n{text}\nafter\n{first}");
    let left = desk.assert_works(&tenant);
    assert_eq!(left, 1, "{what}\n{text}\nafter\n{first}");
    desk.assert_rotated(&tenant, &before);
}

async fn interrupt_everywhere(proof: Proof) {
    let desk = Desk::new(proof);
    let tenant = desk.tenant().await;
    assert_done(&desk.rotate(&tenant, &FAST).await);
    let calls = u32::try_from(tenant.calls(Call::Any)).unwrap();
    assert!(calls > 6, "{calls} calls");
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    for number in 1..=calls {
        for mishap in mishaps() {
            let room = Arc::clone(&room);
            runs.spawn(async move {
                let _place = room.acquire_owned().await.unwrap();
                interrupt(proof, number, mishap).await;
            });
        }
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

#[ignore = "needs the machine for itself: scripts/test runs it"]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_a_secret_may_be_interrupted_at_every_call() {
    interrupt_everywhere(Proof::Secret).await;
}

#[ignore = "needs the machine for itself: scripts/test runs it"]
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_a_key_may_be_interrupted_at_every_call() {
    interrupt_everywhere(Proof::Key).await;
}

/// Killed between the tenant's answer and the disk: the tenant has a secret that nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_made_for_a_killed_command_is_dropped_and_no_other() {
    for (age, is_ours) in [(0, true), (3600, false)] {
        let desk = Desk::new(Proof::Secret);
        let tenant = desk.tenant().await;
        tenant.on(Call::ClientSecretAdd, Fault::Hang);
        kill_at(&desk, &tenant, Call::ClientSecretAdd).await;
        tenant.with_world(|world| {
            let made = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(age);
            let client = world.client_mut("broker").unwrap();
            client
                .secrets
                .push(ClientSecret::new("made-for-nobody-12345", made));
        });
        let again = desk.rotate(&tenant, &FAST).await;
        assert_done(&again);
        assert_eq!(said(&again).contains("drop the secret 12345"), is_ours);
        assert_ne!(desk.read(), OLD);
        let hints: Vec<_> = client(&tenant, "broker")
            .secrets
            .into_iter()
            .map(|one| one.hint)
            .collect();
        assert_eq!(hints.contains(&"12345".to_owned()), !is_ours, "{hints:?}");
        assert_eq!(desk.assert_works(&tenant), 1 + usize::from(!is_ours));
    }
}

/// Another machine was faster: its secret is new and nobody's here, and the old one is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_machine_is_not_taken_for_a_lost_one() {
    let desk = Desk::new(Proof::Secret);
    let tenant = desk.tenant().await;
    tenant.on(Call::ClientSecretAdd, Fault::Hang);
    kill_at(&desk, &tenant, Call::ClientSecretAdd).await;
    tenant.with_world(|world| {
        let client = world.client_mut("broker").unwrap();
        let theirs = ClientSecret::new("made-elsewhere-12345", jiff::Timestamp::now());
        client.secrets = vec![theirs];
    });
    assert_done(&desk.rotate(&tenant, &FAST).await);
    let left = client(&tenant, "broker").secrets;
    assert!(left.iter().any(|one| one.hint == "12345"), "{left:?}");
    assert_eq!(desk.assert_works(&tenant), 2);
}

/// The tenant is still at work when the answer is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_made_late_is_dropped() {
    let desk = Desk::new(Proof::Secret);
    let tenant = desk.tenant().await;
    tenant.on(Call::ClientSecretAdd, Fault::WorksLater { millis: 1000 });
    assert_done(&desk.rotate(&tenant, &FAST).await);
    assert_eq!(tenant.calls(Call::ClientSecretAdd), 2);
    desk.assert_rotated(&tenant, OLD);
    assert_eq!(desk.assert_works(&tenant), 1);
}

/// Killed when the new one is saved, and when it is in place.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_on_where_it_was_killed() {
    for (call, stage) in [
        (Call::TokenImpersonation, "wait until the tenant accepts"),
        (Call::ClientSecretDelete, "drop the old secret"),
    ] {
        let desk = Desk::new(Proof::Secret);
        let tenant = desk.tenant().await;
        let control = usize::from(call == Call::TokenImpersonation);
        tenant.on_times(
            call,
            Fault::Slow { millis: 0 },
            u32::try_from(control).unwrap(),
        );
        tenant.on(call, Fault::Hang);
        let config = desk.configure(&tenant);
        let mut child = desk
            .command(&config, &FAST)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while tenant.calls(call) <= control {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let is_in_place = desk.read() != OLD;
        assert_eq!(is_in_place, call == Call::ClientSecretDelete);
        assert_eq!(desk.assert_works(&tenant), 2);
        let dry = said(&desk.rotate(&tenant, &["--dry-run"]).await);
        assert!(dry.contains(stage) && dry.contains("goes on"), "{dry}");
        assert!(!dry.contains("add a secret"), "{dry}");
        assert_done(&desk.rotate(&tenant, &FAST).await);
        assert_eq!(tenant.calls(Call::ClientSecretAdd), 1);
        desk.assert_rotated(&tenant, OLD);
    }
}
