//! All that changes while the tenant runs, behind one lock that is never held across an await.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::clock;
use super::faults::Faults;
use super::ids::Ids;
use super::log::Log;
use super::rates::Windows;
use super::signer::Signer;
use super::tokens::Tokens;
use super::world::World;

/// The tenant at work.
pub(super) struct State {
    pub world: World,
    pub tokens: Tokens,
    /// The `jti` of assertions already accepted, with their end.
    pub used_assertions: HashMap<String, Timestamp>,
    pub windows: Windows,
    pub faults: Faults,
    pub log: Log,
    pub ids: Ids,
    pub signer: Signer,
    /// The base URL of the listener.
    pub address_url: String,
}

/// What the server and the [`Simulator`](super::Simulator) share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Turns true when the server is to stop, so that hanging answers end.
    pub stop: watch::Sender<bool>,
}

impl State {
    pub(super) fn new(world: World, address_url: String) -> std::io::Result<Self> {
        let mut ids = Ids::new()?;
        let signer = Signer::new(ids.uuid())?;
        Ok(Self {
            world,
            tokens: Tokens::default(),
            used_assertions: HashMap::new(),
            windows: Windows::default(),
            faults: Faults::default(),
            log: Log::default(),
            ids,
            signer,
            address_url,
        })
    }

    /// The tenant's present.
    pub(super) fn now(&self) -> Timestamp {
        clock::timestamp(self.world.clock_skew_seconds)
    }

    /// The base URL of the tenant, as it names itself.
    pub(super) fn base(&self) -> String {
        let base = self
            .world
            .public_url
            .as_deref()
            .unwrap_or(&self.address_url);
        base.trim_end_matches('/').to_owned()
    }

    /// The host names of the tenant: its own first, then the aliases (doc).
    pub(super) fn hostnames(&self) -> Vec<String> {
        let base = self.base();
        let own = base
            .split_once("://")
            .map_or(base.as_str(), |(_, host)| host);
        let mut hosts = vec![own.to_owned()];
        hosts.extend(self.world.aliases.iter().cloned());
        hosts
    }

    /// Ends the live tokens of a user, by id or subject, and says how many; none if there is no such user.
    pub(super) fn revoke_user(&mut self, id_or_subject: &str) -> Option<usize> {
        let id = self.world.find_user(id_or_subject)?.id.clone();
        let now = self.now();
        Some(self.tokens.revoke(now, |issued| issued.user_id == id))
    }

    /// Forgets counters, log, faults and rate windows; the world and its tokens stay.
    pub(super) fn reset(&mut self) {
        self.log.clear();
        self.faults.clear();
        self.windows.clear();
    }
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            stop: watch::Sender::new(false),
        }
    }

    /// A panic elsewhere leaves a usable state: every change is made in one step.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the server is to stop.
    pub(super) async fn stopping(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
