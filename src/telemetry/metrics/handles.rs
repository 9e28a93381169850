//! What is counted for every token and every request. The handles are resolved once, since a hit has no
//! time to look metrics up.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use super::{REFRESHES, REQUEST_SECONDS, REQUESTS, TOKEN_LIFE, TOKENS_ISSUED};

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// This replica's memory.
    Local,
    /// Another replica, through the shared tier.
    Shared,
    /// The tenant, while the caller waited.
    Minted,
}

impl TokenSource {
    /// As it is written in headers, metrics and audit lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Shared => "shared",
            Self::Minted => "minted",
        }
    }
}

/// What is counted for every token handed out, per tenant.
pub struct Issuing {
    local: Counter,
    shared: Counter,
    minted: Counter,
    life: Histogram,
    refreshed: Counter,
    refresh_failed: Counter,
}

impl Issuing {
    /// The handles of one tenant.
    pub fn of(tenant: &str) -> Self {
        let issued = |source: TokenSource| counter!(TOKENS_ISSUED, "tenant" => tenant.to_owned(), "source" => source.as_str());
        let refreshes = |outcome: &'static str| counter!(REFRESHES, "tenant" => tenant.to_owned(), "outcome" => outcome);
        Self {
            local: issued(TokenSource::Local),
            shared: issued(TokenSource::Shared),
            minted: issued(TokenSource::Minted),
            life: histogram!(TOKEN_LIFE, "tenant" => tenant.to_owned()),
            refreshed: refreshes("ok"),
            refresh_failed: refreshes("failed"),
        }
    }

    /// A token was handed out that came from there, with this much life left.
    pub fn issued(&self, source: TokenSource, life: Duration) {
        let counter = match source {
            TokenSource::Local => &self.local,
            TokenSource::Shared => &self.shared,
            TokenSource::Minted => &self.minted,
        };
        counter.increment(1);
        self.life.record(life);
    }

    /// A token was renewed ahead of its end, or should have been.
    pub fn refreshed(&self, done: bool) {
        let counter = if done {
            &self.refreshed
        } else {
            &self.refresh_failed
        };
        counter.increment(1);
    }
}

impl std::fmt::Debug for Issuing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuing")
    }
}

/// What is counted of every request, per route.
#[derive(Clone)]
pub struct Requests {
    route: &'static str,
    ok: Counter,
    seconds: Histogram,
}

impl Requests {
    /// The handles of one route.
    pub fn of(route: &'static str) -> Self {
        Self {
            route,
            ok: counter!(REQUESTS, "route" => route, "outcome" => "ok"),
            seconds: histogram!(REQUEST_SECONDS, "route" => route),
        }
    }

    /// The route, as it is labelled.
    pub fn route(&self) -> &'static str {
        self.route
    }

    /// A request was answered: well, or with a problem of this code.
    pub fn answered(&self, problem: Option<&'static str>, took: Duration) {
        match problem {
            None => self.ok.increment(1),
            Some(code) => {
                counter!(REQUESTS, "route" => self.route, "outcome" => code).increment(1);
            }
        }
        self.seconds.record(took);
    }
}
