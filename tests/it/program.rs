//! The program itself, as an operator runs it: its listeners, and all that it writes.

use std::io::Read;
use std::process::Stdio;
use std::thread::JoinHandle;

use qlik_token_broker::simulator::Simulator;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::cli::{Running, free_address, program, wait_for};
use super::harness::{KEY, Scratch, key_table, subject, tenant_table};

pub struct Program {
    running: Running,
    pub public: String,
    pub ops: String,
    pub http: Client,
    pub config: Scratch,
    written: JoinHandle<String>,
}

impl Program {
    /// With the table of [`KEY`], one tenant `acme`, and whatever else is configured.
    pub async fn start(tenant: &Simulator, more: &str) -> Self {
        Self::start_with(tenant, more, &[]).await
    }

    pub async fn start_with(tenant: &Simulator, more: &str, arguments: &[&str]) -> Self {
        let tables = key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
        Self::run(&format!("{more}\n{tables}"), arguments).await
    }

    pub async fn run(config: &str, arguments: &[&str]) -> Self {
        let (public, ops) = (free_address(), free_address());
        let config = Scratch::new(config);
        let mut child = program()
            .args(["serve", "--config", config.0.to_str().unwrap()])
            .args(arguments)
            .env("QTB__SERVER__LISTEN", &public)
            .env("QTB__OPS__LISTEN", &ops)
            .env("RUST_LOG", "trace")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        // All the time: a full pipe would hold the program up.
        let written = std::thread::spawn(move || {
            let mut written = String::new();
            out.read_to_string(&mut written).unwrap();
            written
        });
        let running = Running(child);
        wait_for(&format!("http://{ops}/healthz")).await;
        Self {
            running,
            public,
            ops,
            http: Client::builder().no_proxy().build().unwrap(),
            config,
            written,
        }
    }

    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.public);
        self.http.request(method, url)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.call(Method::POST, path)
    }

    /// Asks as the back end for a user's token.
    pub fn ask_for(&self, user: &str) -> RequestBuilder {
        let body = json!({"user_lookup": subject(user)});
        self.post("/session-token").bearer_auth(KEY).json(&body)
    }

    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.ops);
        let answer = self.http.get(url).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// Ends it as an orchestrator does, and returns all that it wrote.
    pub async fn stop(self) -> String {
        self.running.terminate();
        assert_eq!(self.running.ended().await, Some(0));
        self.written.join().unwrap()
    }
}

/// The audit lines among what was written.
pub fn audit_lines(written: &str) -> Vec<Value> {
    let lines = written.lines().filter(|line| line.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"] == "audit").collect()
}
