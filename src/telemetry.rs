//! What the broker says about itself: logs, audit lines and metrics.

pub mod audit;
pub mod metrics;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

/// Lines that wait for a slow terminal or pipe. When they are that many, callers wait too: no line
/// is ever dropped, least of all an audit line.
const BUFFERED_LINES: usize = 64 * 1024;
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
pub fn start(level: LevelFilter, format: LogFormat) -> Result<WorkerGuard, TryInitError> {
    let (lines, guard) = NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(BUFFERED_LINES)
        .finish(std::io::stdout());
    let ours = Targets::new()
        .with_default(FOREIGN_LEVEL.min(level))
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_target(audit::TARGET, LevelFilter::INFO);
    let layer = match format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(lines)
            .boxed(),
        LogFormat::Pretty => fmt::layer().with_writer(lines).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(ours))
        .try_init()?;
    Ok(guard)
}
