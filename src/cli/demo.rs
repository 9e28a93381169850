//! `demo`: a simulated tenant, a broker and a portal in one process, and what to try.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::serve::{Pace, Running, report_panics, stop_signal};
use crate::app::live::Live;
use crate::clock;
use crate::config::{self, Sources};
use crate::portal::{self, Surroundings};
use crate::simulator::{Simulator, World};
use crate::telemetry::{self, Levels};
use crate::watch::Watch;

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
    #[command(flatten)]
    pace: Pace,
    /// How much is logged: info,session=debug
    #[arg(long, value_name = "LEVEL")]
    log: Option<Levels>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        let stop = stop_signal()?;
        let (tenant, portal) = (free_port(9400)?, free_port(3000)?);
        let (public, ops) = (free_port(8080)?, free_port(9090)?);
        let port = portal.local_addr()?.port();
        let tenant = tokio::net::TcpListener::from_std(tenant)?;
        let simulator = Simulator::start_on(tenant, world(port)).await?;
        let (_file, sources) = sources(&simulator.url(), port)?;
        let config = config::load(&sources)?;
        let levels = options.log.as_ref().unwrap_or(&config.log.level);
        let _logs = telemetry::start(levels, config.log.format)?;
        report_panics();
        // Nobody changes this file, but the demo may be asked to read it again.
        let live = Live::new(config, sources, Watch::new(Vec::new()))?;
        let running = Running::on(public, ops, live, options.pace.every()).await?;
        let portal = tokio::net::TcpListener::from_std(portal)?;
        tokio::spawn(serve_portal(portal, port, running.public, simulator.url()));
        print(&running, &simulator.url(), port)?;
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

/// The demo's tenant, which lists the portal's origins as they came out.
fn world(port: u16) -> World {
    let mut world = World::demo();
    if let Some(client) = world.client_mut("demo-broker") {
        client.origins = portal::origins(port).into();
    }
    world
}

/// The demo's configuration, with the addresses of tenant and portal as they came out.
fn sources(tenant_url: &str, port: u16) -> anyhow::Result<(Written, Sources)> {
    let config = CONFIG
        .replace("http://127.0.0.1:9400", tenant_url)
        .replace(":3000\"", &format!(":{port}\""));
    let file = Written::new(&config)?;
    let files = vec![file.0.clone()];
    let env = Vec::new();
    Ok((file, Sources { files, env }))
}

async fn serve_portal(
    listener: tokio::net::TcpListener,
    port: u16,
    broker: SocketAddr,
    tenant: String,
) {
    let surroundings = Surroundings {
        port,
        broker: &format!("http://{broker}"),
        tenant: &tenant,
        secret: PORTAL_SECRET,
        key: API_KEY,
    };
    if let Err(error) = portal::serve(listener, &surroundings).await {
        tracing::error!(%error, "the portal has ended");
    }
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

fn print(running: &Running, tenant: &str, port: u16) -> anyhow::Result<()> {
    let Running { public, ops, .. } = running;
    println!("\nOpen http://localhost:{port}\n");
    println!("It is a portal with a login of its own, and shows what the broker does for it.");
    println!("The broker listens on http://{public}, its status page is http://{ops}/,");
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
            portal::session_jwt(PORTAL_SECRET, user, clock::now(), SESSION_LIFE)?
        );
    }
    println!("The second call of a user is answered from the cache. Ctrl-C ends the demo.\n");
    Ok(())
}
