//! The broker as `serve` runs it, but for the budget: no configuration lifts that beyond what a
//! tenant allows, and misses are to be measured by the thousand. `unpaced CONFIG`.
#![expect(
    clippy::unwrap_used,
    reason = "a measuring aid that is started by a script"
)]

use std::net::TcpListener;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use axum_server::Handle;
use qlik_token_broker::app::live::Live;
use qlik_token_broker::config::{self, Sources};
use qlik_token_broker::tenant::Rate;
use qlik_token_broker::watch::Watch;
use qlik_token_broker::{http, telemetry};

// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A million calls a second.
const NO_BUDGET: Rate = Rate {
    per_minute: NonZeroU32::new(60_000_000).unwrap(),
    burst: NonZeroU32::new(1_000_000).unwrap(),
};

#[tokio::main]
async fn main() {
    let path = std::env::args().nth(1).map(PathBuf::from);
    // `cargo bench` and `cargo test` start every bench with flags of their own: nothing to do then.
    let Some(path) = path.filter(|path| path.is_file()) else {
        return;
    };
    let sources = Sources {
        files: vec![path],
        env: Vec::new(),
    };
    let watch = Watch::new(config::files(&sources));
    let mut config = config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    for tenant in config.tenants.values_mut() {
        tenant.budget = NO_BUDGET;
    }
    let _logs = telemetry::start(&config.log.level, config.log.format).unwrap();
    let listener = TcpListener::bind(config.server.listen).unwrap();
    let live = Live::new(config, sources, watch).unwrap();
    let metrics = live.app().metrics.clone().unwrap();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            metrics.run_upkeep();
        }
    });
    let routes = http::router(&live);
    let routes = move |peer| routes.of(peer);
    let handle = Handle::new();
    let serving = http::serve(listener, routes, handle, http::HEAD_TIMEOUT, None);
    serving.await.unwrap();
}
