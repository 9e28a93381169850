//! The program itself: signals, log lines and metrics.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use qlik_token_broker::simulator::Call;
use reqwest::Client;
use serde_json::{Value, json};

use crate::cli::{Running, free_address, program, wait_for};
use crate::harness::{KEY, Scratch, key_table, subject, tenant, tenant_table, token};

const CANARY: &str = "canary-9b2e";

struct Process {
    running: Running,
    public: String,
    ops: String,
    config: Scratch,
}

impl Process {
    async fn start(config: &str) -> Self {
        let (public, ops) = (free_address(), free_address());
        let config = Scratch::new(config);
        let child = program()
            .args(["serve", "--config", config.0.to_str().unwrap()])
            .env("QTB__SERVER__LISTEN", &public)
            .env("QTB__OPS__LISTEN", &ops)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&format!("http://{ops}/readyz")).await;
        let running = Running(child);
        Self {
            running,
            public,
            ops,
            config,
        }
    }

    fn hang_up(&self) {
        let pid = self.running.0.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.unwrap().success());
    }

    async fn get(&self, path: &str) -> String {
        let answer = Client::new().get(format!("http://{}{path}", self.ops));
        answer.send().await.unwrap().text().await.unwrap()
    }

    /// Waits until readiness says this.
    async fn becomes(&self, status: &str, generation: u64) {
        for _ in 0..200 {
            let ready: Value = serde_json::from_str(&self.get("/readyz").await).unwrap();
            if (&ready["status"], &ready["generation"]) == (&json!(status), &json!(generation)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{}", self.get("/readyz").await);
    }

    async fn metric(&self, name: &str) -> String {
        let metrics = self.get("/metrics").await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing"))
            .to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reloads_and_logs_and_metrics_say_what_came_of_it() {
    let tenant = tenant().await;
    let good = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let mut process = Process::start(&good).await;
    let ask = || {
        let asking = Client::new().post(format!("http://{}/session-token", process.public));
        asking
            .bearer_auth(KEY)
            .json(&json!({"user_lookup": subject("ann")}))
    };
    token(ask()).await;
    assert_eq!(process.metric("qtb_config_generation").await, "1");
    assert_eq!(process.metric("qtb_config_last_reload_ok").await, "1");

    let broken = good.replace("'user_default'", &format!("'admin {CANARY}'"));
    std::fs::write(&process.config.0, broken).unwrap();
    process.hang_up();
    process.becomes("degraded", 1).await;
    assert_eq!(process.metric("qtb_config_last_reload_ok").await, "0");
    let refused = "qtb_config_reloads_total{outcome=\"refused\"}";
    assert_eq!(process.metric(refused).await, "1");

    let other = format!("[log]\nlevel = 'error'\n[server]\nmax_in_flight = 7\n{good}");
    std::fs::write(&process.config.0, other).unwrap();
    process.hang_up();
    process.becomes("ready", 2).await;
    assert_eq!(process.metric("qtb_config_generation").await, "2");
    assert_eq!(process.metric("qtb_config_last_reload_ok").await, "1");
    let ok = "qtb_config_reloads_total{outcome=\"ok\"}";
    assert_eq!(process.metric(ok).await, "1");
    assert_eq!(token(ask()).await.source, "local");
    assert_eq!(tenant.calls(Call::Any), 1);

    process.running.terminate();
    let mut out = process.running.0.stdout.take().unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut logs = String::new();
        out.read_to_string(&mut logs).unwrap();
        logs
    });
    let logs = reading.await.unwrap();
    assert_eq!(process.running.ended().await, Some(0));
    let lines: Vec<Value> = logs
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = |level: &str, message: &str| {
        let found = lines.iter().find(|line| {
            line["level"] == level
                && line["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(message))
        });
        found.unwrap_or_else(|| panic!("{message}:\n{logs}"))
    };
    let problem = said("ERROR", "admin* or offline_access");
    assert_eq!(problem["path"], "tenants.acme.scopes");
    assert!(
        problem["place"].as_str().unwrap().ends_with(".toml:8"),
        "{problem}"
    );
    said("ERROR", "the old one is in use");
    assert_eq!(said("WARN", "needs a restart")["key"], "log");
    assert_eq!(said("INFO", "was reloaded")["generation"], 2);
    assert!(!logs.contains(CANARY));
}
