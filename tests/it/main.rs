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
mod audit;
mod budget;
mod causes;
mod certificates;
mod chain;
mod chaos;
mod claims;
mod cli;
mod client_certificate;
mod client_js;
mod clients;
mod clock;
mod concurrency;
mod config;
mod cors;
mod demo;
mod directory;
mod docs;
mod explain;
mod failures;
mod fault_matrix;
mod handles;
mod harness;
mod introspection;
mod jwt;
mod keeper;
mod limits;
mod live;
mod logout;
mod logs;
mod metrics;
mod morning;
mod nginx;
mod openapi;
mod origins;
mod overload;
mod portal;
mod portal_check;
mod program;
mod provision;
mod provisioning;
mod redis;
mod refused_headers;
mod release;
mod reload;
mod rotate_secret;
mod secrets;
mod service;
mod shared;
mod shutdown;
mod simulator;
mod status;
mod tls;
mod tokens;
mod traces;
mod trusted_header;
mod upstream;
mod wire;
