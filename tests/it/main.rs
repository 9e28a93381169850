//! The integration tests: real sockets, the real router, the simulated tenant.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and tests look at real clocks and clients"
)]

mod config;
mod simulator;
