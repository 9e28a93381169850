//! The fuzz targets: what each does with an input, and what must hold whatever the input is.
//!
//! `run` says whether the input was taken. A seed whose name begins with `good-` must be, one whose
//! name begins with `bad-` must not; a test of the broker's own suite replays them all.

pub mod config;
pub mod front;
pub mod jwt;
pub mod mapping;
pub mod requests;
pub mod shared;
pub mod upstream;

/// The first line of an input, and the rest.
fn first_line(data: &[u8]) -> (&str, &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (line, rest) = data.split_at(end.unwrap_or(data.len()));
    (
        std::str::from_utf8(line).unwrap_or_default(),
        rest.get(1..).unwrap_or_default(),
    )
}
