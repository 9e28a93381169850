//! The integration tests: real sockets, the real router, the simulated tenant.
#![cfg(feature = "simulator")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "a test that cannot go on has failed, looks at real clocks and clients, and may be a table"
)]

mod architecture;
mod cli;
mod concurrency;
mod config;
mod cors;
mod failures;
mod handles;
mod harness;
mod introspection;
mod jwt;
mod keeper;
mod logout;
mod portal;
mod portal_check;
mod secrets;
mod simulator;
mod tokens;
mod upstream;
mod wire;
