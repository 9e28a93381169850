//! A stand-in for a Qlik Cloud tenant, for development, demos and tests.
//!
//! It answers as the tenant's documentation says; where that is silent or sources disagree, the doc comment
//! says so ("unknown", "inferred", or by whose report) and, where it matters to a client, the [`World`] has
//! a setting. Marks: `(doc)` is published documentation, `(code)` was read in official client code, `(field)`
//! is one outside report, `(inferred)` is our reasoning.
//!
//! Everything is in memory. Tests steer it in process through [`Simulator`]; everyone else over HTTP under
//! `/_simulator/`, where `GET /_simulator/` lists what there is.

mod answer;
mod asked;
mod assertion;
mod call;
mod client;
mod client_auth;
mod client_patch;
mod client_secrets;
mod clock;
mod consent;
mod control;
mod cors;
mod discovery;
mod embed;
mod fault;
mod faults;
mod filter;
mod front;
mod ids;
mod issue;
mod json_patch;
mod log;
mod new_client;
mod oauth_clients;
mod oauth_tokens;
mod page;
mod permission;
mod rates;
mod refusal;
mod revoke;
mod routes;
mod settings;
mod signer;
mod state;
mod tenant;
mod token;
mod tokens;
mod user;
mod user_patch;
mod users;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use call::Call;
pub use client::{CLIENT_CREDENTIALS, Client, ClientSecret, ClientSetup, IMPERSONATION};
pub use fault::{AssertionFlaw, Fault};
pub use log::RequestRecord;
pub use refusal::{Refusal, Refusals};
pub use user::{Group, User, UserStatus};
pub use world::{GroupSettings, RateIdentity, RateLimit, World};

use faults::Scripted;
use state::{Shared, State};

/// How long [`Simulator::stopped`] waits for requests under way.
const GRACE: Duration = Duration::from_secs(2);

/// A running tenant. Dropping it stops the server; [`Simulator::stopped`] also waits until it is gone.
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<JoinHandle<std::io::Result<()>>>,
}

impl Simulator {
    /// Starts a tenant on a free port of the loopback interface.
    pub async fn start(world: World) -> std::io::Result<Self> {
        Self::start_on(TcpListener::bind(("127.0.0.1", 0)).await?, world).await
    }

    /// Starts a tenant on a listener. One that listens on all interfaces needs [`World::public_url`].
    #[expect(
        clippy::unused_async,
        reason = "must run inside a runtime, like `start`"
    )]
    pub async fn start_on(listener: TcpListener, world: World) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let state = State::new(world, format!("http://{address}"))?;
        let shared = Arc::new(Shared::new(state));
        // Small answers on kept connections would otherwise wait for acknowledgements.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "no nodelay");
            }
        });
        let router = router(Arc::clone(&shared));
        let stopping = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(async move { stopping.stopping().await })
                .await
        });
        Ok(Self {
            address,
            shared,
            server: Some(server),
        })
    }

    /// The base URL, such as `http://127.0.0.1:9400`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Scripts a fault for one request of `call`. Faults of a call queue up; of several calls that fit a
    /// request, such as [`Call::TokenImpersonation`], [`Call::Token`] and [`Call::Any`], the narrowest goes first.
    pub fn on(&self, call: Call, fault: Fault) {
        self.on_times(call, fault, 1);
    }

    /// Scripts a fault for so many requests of `call`.
    pub fn on_times(&self, call: Call, fault: Fault, times: u32) {
        self.script(call, fault, Some(times));
    }

    /// Scripts a fault for every request of `call` until faults are cleared.
    pub fn on_until_cleared(&self, call: Call, fault: Fault) {
        self.script(call, fault, None);
    }

    fn script(&self, call: Call, fault: Fault, times: Option<u32>) {
        let scripted = Scripted {
            fault,
            times,
            until: None,
        };
        self.shared.lock().faults.push(call, scripted);
    }

    /// Clears the faults of all calls.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// The requests that reached `call` since the last reset, faulted and throttled ones included.
    pub fn calls(&self, call: Call) -> usize {
        self.shared.lock().log.count(call)
    }

    /// The latest requests, oldest first, without secrets.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.lock().log.records_after(0)
    }

    /// Reads or changes the world while it runs. `f` must not use this simulator: the world is locked.
    pub fn with_world<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        f(&mut self.shared.lock().world)
    }

    /// Ends all live tokens of a user, by id or subject, and says how many.
    pub fn revoke_user(&self, id_or_subject: &str) -> usize {
        let revoked = self.shared.lock().revoke_user(id_or_subject);
        revoked.unwrap_or_default()
    }

    /// Whether `token` was issued here and still lives.
    pub fn is_live(&self, token: &str) -> bool {
        let state = self.shared.lock();
        let issued = state.tokens.find(token);
        issued.is_some_and(|issued| issued.lives(state.now()))
    }

    /// The subject of the user that `token` was issued for, whether it still lives or not.
    pub fn owner(&self, token: &str) -> Option<String> {
        let state = self.shared.lock();
        let issued = state.tokens.find(token)?;
        let mut users = state.world.users.iter();
        let user = users.find(|user| user.id == issued.user_id)?;
        Some(user.subject.clone())
    }

    /// Forgets counters, log, faults and rate windows; the world and its tokens stay.
    pub fn reset(&self) {
        self.shared.lock().reset();
    }

    /// Stops the server and waits, a little, for requests under way.
    pub async fn stopped(mut self) {
        self.shared.stop.send_replace(true);
        if let Some(server) = self.server.take()
            && tokio::time::timeout(GRACE, server).await.is_err()
        {
            tracing::debug!("a request outlived the simulator");
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(front::serve).with_state(shared)
}
