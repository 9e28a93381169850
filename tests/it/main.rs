//! The integration tests: real sockets, the real router, the simulated tenant.
#![cfg(feature = "simulator")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and tests look at real clocks and clients"
)]

mod architecture;
mod cli;
mod concurrency;
mod config;
mod cors;
mod failures;
mod harness;
mod jwt;
mod logout;
mod portal;
mod secrets;
mod simulator;
mod tokens;
mod upstream;
mod wire;
