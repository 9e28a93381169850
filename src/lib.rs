//! A token broker for embedded Qlik Cloud analytics.
//!
//! It proves a portal's session, maps it to a Qlik user, gets an OAuth impersonation token for that
//! user with machine-to-machine credentials that never leave it, caches the token per user, and
//! hands it to back ends and browsers.
//!
//! # Layout
//!
//! A request comes in at the top; arrows point downwards only, and a test checks them.
//!
//! | room | worry |
//! |---|---|
//! | [`cli`] | commands, arguments, exit codes |
//! | [`http`] | the public API: statuses, headers, CORS, the shape of errors |
//! | [`ops`] | health, readiness, metrics, the status page, what both listeners answer |
//! | [`app`] | the composition root |
//! | [`provision`] | sets a tenant up: its OAuth clients, and the files that go with them |
//! | [`rotation`] | replaces the secret or key of a client while brokers use it |
//! | [`config`] | TOML, environment and schema become typed values, or a full list of problems |
//! | [`admission`] | from a credential to the user's place in the cache, and what is remembered of it |
//! | [`broker`] | from there to a token: one mint per user, failures with a memory, logout |
//! | [`directory`] | the users of a tenant: found by e-mail, created, told apart when refused |
//! | [`session`] | who is calling: keys, JWTs, handles, cookies, headers, certificates |
//! | [`budget`] | how often a tenant is asked, and who is next |
//! | [`qlik`] | what is sent to a tenant, and what its answers mean |
//! | [`tenant`], [`mapping`], [`identity`] | tenants, scopes and origins; from claims to a user |
//! | [`expiring`] | one value that expires, loaded once for everybody |
//! | [`kept`] | what is kept of many, in bounded memory |
//! | [`limits`] | how often callers may ask |
//! | [`tls`], [`watch`] | the listener's certificate; files that change |
//! | [`shared`] | what several replicas share, in Redis or Valkey |
//! | [`outbound`] | HTTP clients: no redirects, verified TLS, capped bodies |
//! | [`telemetry`] | logs, audit lines, metrics, traces |
//! | [`secret`], [`clock`], [`digest`] | what must not be printed; what time it is; cache keys |
//! | `json` | objects that every request writes |
//! | `fuzzing` | what fuzzing reaches behind the doors; in no release |
//! | `portal` | the demo's portal: two users, and a page that embeds |
//! | `simulator` | a tenant for development and tests; uses nothing of the rest |

// The fuzz targets, which the tests replay, call the crate by its name.
#[cfg(test)]
extern crate self as qlik_token_broker;

pub mod admission;
pub mod app;
pub mod broker;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod digest;
pub mod directory;
pub mod expiring;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod identity;
mod json;
pub mod kept;
pub mod limits;
pub mod mapping;
pub mod ops;
pub mod outbound;
#[cfg(feature = "simulator")]
pub mod portal;
pub mod provision;
pub mod qlik;
pub mod rotation;
pub mod secret;
pub mod session;
pub mod shared;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod telemetry;
pub mod tenant;
pub mod tls;
pub mod watch;
