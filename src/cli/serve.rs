//! `serve`: the broker and its ops listener, until a signal says stop.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum_server::Handle;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use super::ConfigFiles;
use crate::app::live::Live;
use crate::app::origins;
use crate::config::{self, Config, Sources};
use crate::http::Tls;
use crate::telemetry::{Levels, export, traces};
use crate::watch::{self, Watch};
use crate::{http, ops, telemetry};

/// Histograms are folded this often, so that they do not grow between two scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// The start waits this long for the shared tier. Without it the broker serves alone.
const SHARED_PATIENCE: Duration = Duration::from_secs(3);

/// At the end, spans that the collector has not taken yet are worth waiting for this long.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    files: ConfigFiles,
    /// How much is logged, instead of what the configuration says: info,session=debug
    #[arg(long, value_name = "LEVEL")]
    log: Option<Levels>,
    #[command(flatten)]
    pace: Pace,
}

// How often a sample is taken for the status page.
#[derive(Args)]
pub(super) struct Pace {
    /// Milliseconds between two samples of the status page; for tests
    #[arg(long, hide = true)]
    sample_every: Option<u64>,
}

impl Pace {
    pub fn every(&self) -> Duration {
        // An interval cannot be nothing.
        let every = |millis: u64| Duration::from_millis(millis.max(1));
        self.sample_every.map_or(ops::EVERY, every)
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { files, log, pace } = options;
    let sources = files.sources();
    // The look comes first: what changes while the files are read is seen as a change.
    let watch = Watch::new(config::files(&sources));
    let config = files.load()?;
    let levels = log.as_ref().unwrap_or(&config.log.level);
    let _logs =
        telemetry::start(levels, config.log.format).context("logging could not be started")?;
    report_panics();
    super::runtime()?.block_on(async {
        let (stop, at_once) = (stop_signal()?, stop_signals(2)?);
        if let Some(collector) = &config.telemetry.collector {
            export::start(collector).context("telemetry.otlp_endpoint")?;
        }
        let hangups = signal(SignalKind::hangup())?;
        let running = Running::start(config, sources, watch, pace.every()).await?;
        tracing::info!(public = %running.public, ops = %running.ops, "listening");
        tokio::spawn(reload_on(hangups, Arc::clone(&running.live)));
        tokio::spawn(Arc::clone(&running.live).follow(watch::EVERY));
        tokio::select! {
            ended = running.until(stop) => ended,
            () = at_once => anyhow::bail!("stopped at once by a second signal"),
        }
    })
}

/// A panic's message may hold anything; where it happened is enough to find it.
pub(super) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, ToString::to_string);
        tracing::error!(place, "panicked");
    }));
}

/// Resolves with the first SIGTERM or Ctrl-C.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    stop_signals(1)
}

/// Resolves with the so manieth SIGTERM or Ctrl-C from now on.
fn stop_signals(count: usize) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for _ in 0..count {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
    })
}

/// Reads the configuration again with each SIGHUP.
async fn reload_on(mut hangups: Signal, live: Arc<Live>) {
    while hangups.recv().await.is_some() {
        // What came of it is in the log.
        drop(live.reload().await);
    }
}

/// A broker that listens.
pub(super) struct Running {
    live: Arc<Live>,
    /// Where browsers and back ends call.
    pub public: SocketAddr,
    /// Where operators look.
    pub ops: SocketAddr,
    handles: [Handle<SocketAddr>; 2],
    servers: [tokio::task::JoinHandle<std::io::Result<()>>; 2],
}

impl Running {
    /// Binds both listeners before anything is served, so that a port in use is found at once.
    async fn start(
        config: Config,
        sources: Sources,
        watch: Watch,
        pace: Duration,
    ) -> anyhow::Result<Self> {
        let public = bind(config.server.listen, "server.listen")?;
        let ops = bind(config.ops.listen, "ops.listen")?;
        let live = Live::new(config, sources, watch)?;
        Self::on(public, ops, live, pace).await
    }

    /// Serves on these listeners, whatever the configuration says about addresses. `pace` is that of
    /// the status page.
    pub async fn on(
        public: TcpListener,
        ops: TcpListener,
        live: Arc<Live>,
        pace: Duration,
    ) -> anyhow::Result<Self> {
        let app = live.app();
        let addresses = (public.local_addr()?, ops.local_addr()?);
        let tls = app.server.tls.clone().map(Tls::open).transpose();
        let tls = tls.map_err(|error| anyhow::anyhow!("{error}"))?;
        if let Some(shared) = &app.shared {
            shared.ready(SHARED_PATIENCE).await;
        }
        origins::follow(&app, origins::EVERY).await;
        let status = Arc::<ops::Status>::default();
        let handles = [Handle::new(), Handle::new()];
        let routes = http::router(&live);
        let ops_routes = ops::router(&live, &status, addresses.1.ip());
        let servers = [
            tokio::spawn(http::serve(
                public,
                move |peer| routes.of(peer),
                handles[0].clone(),
                http::HEAD_TIMEOUT,
                tls.as_ref().map(Tls::acceptor),
            )),
            tokio::spawn(http::serve(
                ops,
                move |_| ops_routes.clone(),
                handles[1].clone(),
                http::HEAD_TIMEOUT,
                None,
            )),
        ];
        if let Some(tls) = tls {
            tokio::spawn(tls.renew(watch::EVERY));
        }
        tokio::spawn(status.follow(Arc::clone(&live), pace));
        if let Some(metrics) = app.metrics.clone() {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(METRICS_UPKEEP).await;
                    metrics.run_upkeep();
                }
            });
        }
        Ok(Self {
            live,
            public: addresses.0,
            ops: addresses.1,
            handles,
            servers,
        })
    }

    /// Serves until `stop`, then lets requests in flight finish within the grace.
    pub async fn until(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let [mut public, mut ops] = self.servers;
        tokio::select! {
            ended = &mut public => return Ok(ended??),
            ended = &mut ops => return Ok(ended??),
            () = stop => {}
        }
        tracing::info!("stopping");
        self.live.stop();
        let app = self.live.app();
        tokio::time::sleep(app.server.shutdown_delay).await;
        let [public_handle, ops_handle] = self.handles;
        let grace = Instant::now() + app.server.shutdown_grace;
        public_handle.graceful_shutdown(Some(app.server.shutdown_grace));
        public.await??;
        if timeout_at(grace, app.broker.settle()).await.is_err() {
            tracing::warn!("tokens of ended sessions were not revoked in time");
        }
        let left = grace.saturating_duration_since(Instant::now());
        traces::flush(left.min(FLUSH_PATIENCE)).await;
        // The last to go: whoever probes readiness is told the truth until the end.
        ops_handle.shutdown();
        ops.await??;
        tracing::info!("stopped");
        Ok(())
    }
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("{key}: cannot listen on {address}"))
}
