//! How a process ends: after what it owes, or at once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault, Simulator};
use reqwest::{Client, RequestBuilder};
use serde_json::json;

use super::cli::{Running, free_address, program, wait_for};
use super::harness::{KEY, Scratch, key_table, subject, tenant, tenant_table, token};

struct Process {
    tenant: Simulator,
    running: Running,
    public: String,
    _config: Scratch,
}

impl Process {
    async fn start() -> Self {
        let tenant = tenant().await;
        let (public, ops) = (free_address(), free_address());
        let config = Scratch::new(&(key_table(&["acme"]) + &tenant_table("acme", &tenant.url())));
        let child = program()
            .args(["serve", "--config", config.0.to_str().unwrap()])
            .env("QTB__SERVER__LISTEN", &public)
            .env("QTB__OPS__LISTEN", &ops)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&format!("http://{ops}/readyz")).await;
        Self {
            tenant,
            running: Running(child),
            public,
            _config: config,
        }
    }

    /// The sockets that the process holds: its callers', those to the tenant, and those that listen.
    fn connections(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.running.0.id());
        let files = std::fs::read_dir(folder).unwrap();
        let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
        links
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .count()
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let request = Client::new().post(format!("http://{}{path}", self.public));
        request
            .bearer_auth(KEY)
            .json(&json!({"user_lookup": subject("ann")}))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_ended_sessions_are_revoked_before_the_process_ends() {
    let process = Process::start().await;
    let ann = token(process.post("/session-token")).await;
    process.tenant.on(Call::Revoke, Fault::Slow { millis: 800 });
    assert_eq!(process.post("/logout").send().await.unwrap().status(), 204);
    process.running.terminate();
    assert_eq!(process.running.ended().await, Some(0));
    assert!(!process.tenant.is_live(&ann.text));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let process = Process::start().await;
    process.tenant.on(Call::TokenImpersonation, Fault::Hang);
    let hanging = tokio::spawn(process.post("/session-token").send());
    while process.tenant.calls(Call::TokenImpersonation) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.running.terminate();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!hanging.is_finished(), "the first one lets it finish");
    let second = Instant::now();
    process.running.terminate();
    assert_eq!(process.running.ended().await, Some(1));
    assert!(second.elapsed() < Duration::from_secs(2));
    assert!(hanging.await.unwrap().is_err());
}

#[ignore = "needs the machine for itself: scripts/test runs it"]
#[tokio::test(flavor = "multi_thread")]
async fn c46_a_thousand_requests_in_flight_are_all_answered_before_the_process_ends() {
    let process = Process::start().await;
    let fault = Fault::Slow { millis: 4500 };
    process
        .tenant
        .on_until_cleared(Call::TokenImpersonation, fault);
    let (client, before) = (Client::new(), process.connections());
    let in_flight: Vec<_> = (0..1000)
        .map(|number| {
            let user = ["ann", "bob", "eve"][number % 3];
            let request = client.post(format!("http://{}/session-token", process.public));
            let request = request
                .bearer_auth(KEY)
                .json(&json!({"user_lookup": subject(user)}));
            tokio::spawn(request.send())
        })
        .collect();
    // Who is not let in yet is not in flight: on a busy machine there may be some.
    let mut let_in = 0;
    for _ in 0..150 {
        let_in = process.connections().saturating_sub(before + 3);
        if let_in >= 1000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A connection that was let in has a request in flight once that was read.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(let_in > 500 && in_flight.iter().all(|request| !request.is_finished()));
    let told = Instant::now();
    process.running.terminate();
    let answers = join_all(in_flight).await;
    let answered = answers.into_iter().map(|answer| answer.unwrap());
    let resets = answered.filter(|answer| !answer.as_ref().is_ok_and(|ok| ok.status() == 200));
    let resets: Vec<_> = resets.map(|answer| format!("{answer:?}")).collect();
    assert!(
        resets.len() <= 1000_usize.saturating_sub(let_in),
        "{let_in} let in, {} not answered: {:?}",
        resets.len(),
        resets.first()
    );
    assert_eq!(process.tenant.calls(Call::Any), 3);
    assert_eq!(process.running.ended().await, Some(0));
    assert!(
        told.elapsed() < Duration::from_secs(10),
        "{:?}",
        told.elapsed()
    );
}
