//! `demo`: a simulated tenant and a broker in one process, and what to try with curl.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::json;

use super::serve::{Running, report_panics, stop_signal};
use crate::app::live::Live;
use crate::config::{self, Sources};
use crate::simulator::{Simulator, World};
use crate::watch::Watch;
use crate::{clock, telemetry};

const CONFIG: &str = include_str!("../../config/demo.toml");
const API_KEY: &str = "qtb_demo_ZGVtby1vbmx5LWtleS1uZXZlci11c2UtaXQtZWxzZXd";
const PORTAL_SECRET: &str = "demo only: whoever knows this text is anybody";
const SESSION_LIFE: Duration = Duration::from_secs(8 * 3600);
/// How many ports after the usual one are tried.
const PORTS: u16 = 50;

#[derive(Args)]
pub(super) struct Options {
    /// Stop by itself after this many seconds; for tests
    #[arg(long, hide = true)]
    seconds: Option<u64>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        let stop = stop_signal()?;
        let tenant = tokio::net::TcpListener::from_std(free_port(9400)?)?;
        let simulator = Simulator::start_on(tenant, World::demo()).await?;
        let (public, ops) = (free_port(8080)?, free_port(9090)?);
        let (_file, sources) = sources(&simulator.url())?;
        let config = config::load(&sources)?;
        let _logs = telemetry::start(config.log.level, config.log.format)?;
        report_panics();
        // Nobody changes this file, but the demo may be asked to read it again.
        let live = Live::new(config, sources, Watch::new(Vec::new()))?;
        let running = Running::on(public, ops, live).await?;
        print(&running, &simulator.url());
        let limit = Duration::from_secs(options.seconds.unwrap_or(u64::MAX >> 32));
        let stop = async move { tokio::time::timeout(limit, stop).await.unwrap_or_default() };
        running.until(stop).await?;
        simulator.stopped().await;
        Ok(())
    })
}

/// The usual port, or the next one that nobody uses.
fn free_port(usual: u16) -> anyhow::Result<TcpListener> {
    for port in usual..=usual + PORTS {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => {
                let listener = bound.with_context(|| format!("cannot listen on port {port}"))?;
                listener.set_nonblocking(true)?;
                return Ok(listener);
            }
        }
    }
    anyhow::bail!("the ports {usual} to {} are all taken", usual + PORTS)
}

/// The demo's configuration, with the tenant's address as it came out.
fn sources(tenant_url: &str) -> anyhow::Result<(Written, Sources)> {
    let file = Written::new(CONFIG)?;
    let env = vec![("QTB__TENANTS__DEMO__URL".to_owned(), tenant_url.to_owned())];
    let files = vec![file.0.clone()];
    Ok((file, Sources { files, env }))
}

/// A file that is gone when dropped: the program may run where its sources are not.
struct Written(PathBuf);

impl Written {
    fn new(text: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!(
            "qlik-token-broker-demo-{}.toml",
            std::process::id()
        ));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(Self(path))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A session of the demo's portal.
fn session(user: &str) -> String {
    let now = clock::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let claims = json!({
        "iss": "https://portal.example.com", "aud": "qlik-token-broker", "sub": user,
        "iat": now, "exp": now + SESSION_LIFE.as_secs(),
    });
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!(
        "{}.{}",
        part(json!({"alg": "HS256", "typ": "JWT"})),
        part(claims)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, PORTAL_SECRET.as_bytes());
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()))
    )
}

fn print(running: &Running, tenant: &str) {
    let Running { public, ops, .. } = running;
    println!("\nThe broker listens on http://{public}, its metrics are at http://{ops}/metrics,");
    println!("a simulated tenant with the users Ann and Bob at {tenant}.\n");
    println!("A back end shows its key and names the user:\n");
    for user in ["ann", "bob"] {
        println!(
            "curl -s http://{public}/session-token -H 'Authorization: Bearer {API_KEY}' \\\n  \
             --json '{{\"user_lookup\": {{\"field\": \"subject\", \"value\": \"auth0|{user}\"}}}}'\n"
        );
    }
    println!("A person shows the portal's session, here a JWT; the broker knows who it is:\n");
    for user in ["ann", "bob"] {
        println!(
            "curl -s -X POST http://{public}/session-token -H 'Authorization: Bearer {}'\n",
            session(user)
        );
    }
    println!("The second call of a user is answered from the cache. Ctrl-C ends the demo.\n");
}
