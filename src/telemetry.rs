//! What the broker says about itself: logs, audit lines and metrics.

pub mod audit;
pub mod build;
mod lines;
pub mod metrics;
pub mod recent;

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub use lines::LinesGuard;

/// Libraries may log requests and headers below this level; the broker's own code never does.
const FOREIGN_LEVEL: LevelFilter = LevelFilter::WARN;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people at a terminal.
    Pretty,
}

/// Starts logging to standard output. Keep the guard: dropping it writes out what is buffered.
pub fn start(level: LevelFilter, format: LogFormat) -> std::io::Result<LinesGuard> {
    let (lines, guard) = lines::start_once()?;
    let ours = Targets::new()
        .with_default(FOREIGN_LEVEL.min(level))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let layer = match format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(lines)
            .boxed(),
        LogFormat::Pretty => fmt::layer()
            .with_ansi(std::io::stdout().is_terminal())
            .with_writer(lines)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(ours))
        .try_init()
        .map_err(std::io::Error::other)?;
    Ok(guard)
}
