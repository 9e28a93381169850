//! How much is logged: one level for everything, and another one for some rooms.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Libraries may log requests and headers below this level; the broker's own code never does.
const FOREIGN_LEVEL: LevelFilter = LevelFilter::WARN;
/// What rooms log that nothing is said about.
const USUAL: LevelFilter = LevelFilter::INFO;

/// The rooms that may be named: the modules of `lib.rs`.
const ROOMS: [&str; 30] = [
    "admission",
    "app",
    "broker",
    "budget",
    "cli",
    "clock",
    "config",
    "digest",
    "directory",
    "expiring",
    "http",
    "identity",
    "json",
    "kept",
    "limits",
    "mapping",
    "ops",
    "outbound",
    "portal",
    "provision",
    "qlik",
    "rotation",
    "secret",
    "session",
    "shared",
    "simulator",
    "telemetry",
    "tenant",
    "tls",
    "watch",
];

/// Levels as they are written: `info`, or `info,session=debug,broker::cells=trace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    rest: LevelFilter,
    /// By the path of the module below ours.
    rooms: Vec<(String, LevelFilter)>,
}

/// Why a text says no levels. Does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelsError {
    /// There is no such level.
    #[error("names a level that does not exist")]
    Level,
    /// There is no such room.
    #[error("names a room that does not exist")]
    Room,
    /// There is more than one level for the rest.
    #[error("has two levels for everything")]
    Twice,
}

impl Levels {
    pub(super) fn targets(&self) -> Targets {
        let ours = env!("CARGO_CRATE_NAME");
        let rooms = self.rooms.iter();
        Targets::new()
            .with_default(FOREIGN_LEVEL.min(self.rest))
            .with_target(ours, self.rest)
            .with_targets(rooms.map(|(room, level)| (format!("{ours}::{room}"), *level)))
    }
}

impl FromStr for Levels {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<Self, LevelsError> {
        let (mut rest, mut rooms) = (None, Vec::new());
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None if rest.replace(level(part)?).is_some() => return Err(LevelsError::Twice),
                None => {}
                Some((room, wanted)) => rooms.push((known(room.trim())?, level(wanted.trim())?)),
            }
        }
        let rest = rest.unwrap_or(USUAL);
        Ok(Self { rest, rooms })
    }
}

fn level(text: &str) -> Result<LevelFilter, LevelsError> {
    Ok(match text {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(LevelsError::Level),
    })
}

/// A room, or what is in one: which modules that may be is not known here.
fn known(path: &str) -> Result<String, LevelsError> {
    let room = path.split("::").next().unwrap_or_default();
    let is_path = |path: &str| path.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if !ROOMS.contains(&room)
        || !path
            .split("::")
            .all(|name| !name.is_empty() && is_path(name))
    {
        return Err(LevelsError::Room);
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn rooms_have_their_own_levels_and_libraries_are_quiet() {
        let levels: Levels = "info, session=debug,broker::cells=trace".parse().unwrap();
        let targets = levels.targets();
        let ours = |room: &str| format!("{}::{room}", env!("CARGO_CRATE_NAME"));
        for (target, level, logs) in [
            (ours("http"), Level::INFO, true),
            (ours("http"), Level::DEBUG, false),
            (ours("session::jwt"), Level::DEBUG, true),
            (ours("session"), Level::TRACE, false),
            (ours("broker::cells"), Level::TRACE, true),
            (ours("broker"), Level::DEBUG, false),
            ("hyper".into(), Level::WARN, true),
            ("hyper".into(), Level::INFO, false),
        ] {
            assert_eq!(
                targets.would_enable(&target, &level),
                logs,
                "{target} {level}"
            );
        }
        let loud: Levels = "trace".parse().unwrap();
        assert!(!loud.targets().would_enable("hyper", &Level::INFO));
        let quiet: Levels = "off,session=warn".parse().unwrap();
        assert!(!quiet.targets().would_enable("hyper", &Level::ERROR));
        assert!(
            quiet
                .targets()
                .would_enable(&ours("session"), &Level::ERROR)
        );
        assert_eq!(
            "session=debug".parse::<Levels>().unwrap().rest,
            LevelFilter::INFO
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for (text, error) in [
            ("", LevelsError::Level),
            ("loud", LevelsError::Level),
            ("INFO", LevelsError::Level),
            ("info,", LevelsError::Level),
            ("info,session", LevelsError::Level),
            ("info,session=loud", LevelsError::Level),
            ("info,sessions=debug", LevelsError::Room),
            ("info,hyper=trace", LevelsError::Room),
            ("info,session::=trace", LevelsError::Room),
            ("info,session::Jwt=trace", LevelsError::Room),
            ("info,debug", LevelsError::Twice),
        ] {
            assert_eq!(text.parse::<Levels>(), Err(error), "{text}");
        }
    }

    #[test]
    fn every_room_can_be_named() {
        let rooms = include_str!("../lib.rs").lines();
        let rooms = rooms.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        for room in rooms.filter(|room| *room != "fuzzing") {
            assert!(ROOMS.contains(&room), "{room} is missing");
        }
    }
}
