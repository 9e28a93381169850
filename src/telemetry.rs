//! What the broker says about itself: logs, audit lines, metrics and traces.

pub mod audit;
pub mod build;
pub mod export;
mod levels;
mod lines;
pub mod metrics;
mod pretty;
pub mod recent;
pub mod traces;
pub mod upstream;

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub use levels::{Levels, LevelsError};
pub use lines::LinesGuard;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people at a terminal.
    Pretty,
}

/// Starts logging to standard output. Without a format it is for people where that is a terminal, and
/// JSON elsewhere. Keep the guard: dropping it writes out what is buffered.
pub fn start(levels: &Levels, format: Option<LogFormat>) -> std::io::Result<LinesGuard> {
    let (lines, guard) = lines::start_once()?;
    let is_terminal = std::io::stdout().is_terminal();
    let usual = if is_terminal {
        LogFormat::Pretty
    } else {
        LogFormat::Json
    };
    let layer = match format.unwrap_or(usual) {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(lines)
            .boxed(),
        LogFormat::Pretty => fmt::layer()
            .fmt_fields(pretty::fields())
            .with_ansi(is_terminal)
            .with_writer(lines)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(levels.targets()))
        .try_init()
        .map_err(std::io::Error::other)?;
    Ok(guard)
}
