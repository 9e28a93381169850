//! How often callers may ask: per browser session, and of refused credentials per client address.
//! What one back end may ask is in its own [`Limiter`].
//!
//! Every map is bounded. Who has to leave one starts anew, so that a crowd that fills it gets rid of
//! its own limits, and locks nobody else out. Who leaves because nothing came for a minute would have
//! started anew as well.

mod limiter;
mod sessions;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::kept::Kept;
use crate::telemetry::metrics;

pub use limiter::Limiter;
use sessions::Sessions;

/// Addresses with refused credentials, about 300 bytes each.
const ADDRESSES: u64 = 16_384;
/// A limiter that rested for this long is as good as new, whatever its rate.
const RESTED: Duration = Duration::from_secs(60);

/// What the configuration says. `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Calls per browser session and minute.
    pub sessions: Option<NonZeroU32>,
    /// Refused credentials per client address and minute.
    pub failures: Option<NonZeroU32>,
}

/// A caller asked too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// What was too much.
    pub limit: Limit,
    /// When asking again makes sense.
    pub retry_after: Duration,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Calls of a browser session.
    Session,
    /// Refused credentials of an address.
    Failures,
    /// Calls of a back end's key.
    Key,
}

impl Limit {
    /// As it is written in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Failures => "failures",
            Self::Key => "key",
        }
    }

    /// Counts it.
    pub fn exceeded(self, retry_after: Duration) -> Exceeded {
        metrics::limited(self.as_str());
        Exceeded {
            limit: self,
            retry_after,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Limits {
    sessions: Option<Arc<Sessions>>,
    failures: Option<Arc<Failures>>,
    /// Whether the proxies in front tell the clients' addresses.
    knows_clients: bool,
    has_warned: AtomicBool,
}

impl Limits {
    /// Nobody has asked yet. `sessions` bounds the sessions that are counted. `knows_clients`: proxies
    /// are trusted to tell the clients' addresses.
    pub fn new(rates: Rates, sessions: u64, knows_clients: bool) -> Self {
        let counts = |rate| Arc::new(Sessions::new(rate, sessions));
        let failures = |rate| Arc::new(Failures::new(rate));
        Self {
            sessions: rates.sessions.map(counts),
            failures: rates.failures.map(failures),
            knows_clients,
            has_warned: AtomicBool::new(false),
        }
    }

    /// The same, with what was counted before where the rate is still that of then.
    #[must_use]
    pub fn after(mut self, previous: &Self) -> Self {
        if let (Some(now), Some(then)) = (&mut self.sessions, &previous.sessions)
            && now.per_minute() == then.per_minute()
        {
            *now = Arc::clone(then);
        }
        if let (Some(now), Some(then)) = (&mut self.failures, &previous.failures)
            && now.per_minute == then.per_minute
        {
            *now = Arc::clone(then);
        }
        self
    }

    /// One more call of a proven session.
    pub fn session(&self, session: [u8; 32]) -> Result<(), Exceeded> {
        let Some(sessions) = &self.sessions else {
            return Ok(());
        };
        let taken = sessions.take(session);
        taken.map_err(|wait| Limit::Session.exceeded(wait))
    }

    /// Whether a credential from there may be judged, where that costs something.
    pub fn may_judge(&self, client: IpAddr) -> Result<(), Exceeded> {
        let failures = self.failures.as_ref().filter(|_| self.tells(client));
        let failed = failures.and_then(|failures| failures.limiters.get(&network(client)));
        match failed.and_then(|limiter| limiter.wait()) {
            Some(wait) => Err(Limit::Failures.exceeded(wait)),
            None => Ok(()),
        }
    }

    /// A credential from there was refused: `Err` if that was one too many.
    pub fn refused(&self, client: IpAddr) -> Result<(), Exceeded> {
        let Some(failures) = &self.failures else {
            return Ok(());
        };
        if !self.tells(client) {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                let remedy = "name the proxies in server.trusted_proxies, or set limits.failures_per_minute = 0";
                tracing::warn!(
                    remedy,
                    "refused credentials are not limited: they come from a private address, which may be a proxy"
                );
            }
            return Ok(());
        }
        let taken = failures.of(network(client)).take();
        taken.map_err(|wait| Limit::Failures.exceeded(wait))
    }

    /// Whether the address tells clients apart. A proxy that nobody named is everybody at once.
    fn tells(&self, client: IpAddr) -> bool {
        self.knows_clients || !is_private(client)
    }
}

/// The addresses that credentials were refused to.
#[derive(Debug)]
struct Failures {
    per_minute: NonZeroU32,
    limiters: Kept<IpAddr, Arc<Limiter>>,
}

impl Failures {
    fn new(per_minute: NonZeroU32) -> Self {
        let limiters = Kept::new(ADDRESSES, RESTED);
        Self {
            per_minute,
            limiters,
        }
    }

    fn of(&self, network: IpAddr) -> Arc<Limiter> {
        let new = || Arc::new(Limiter::per_minute(self.per_minute));
        self.limiters.get_or_insert_with(network, new)
    }
}

/// What one client can choose among: an IPv4 address, an IPv6 /64 (RFC 4291, 2.5.4).
fn network(client: IpAddr) -> IpAddr {
    const INTERFACE: u128 = u64::MAX as u128;
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !INTERFACE).into(),
        IpAddr::V4(address) => address.into(),
    }
}

/// Where proxies are: private networks, this host, this link.
fn is_private(client: IpAddr) -> bool {
    match client.to_canonical() {
        IpAddr::V4(address) => {
            // Clouds give the shared addresses of RFC 6598 to their own machines.
            let is_shared = matches!(address.octets(), [100, 64..=127, ..]);
            address.is_private() || address.is_loopback() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => {
            address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn limits(per_minute: u32, knows_clients: bool) -> Limits {
        let rate = NonZeroU32::new(per_minute);
        let rates = Rates {
            sessions: rate,
            failures: rate,
        };
        Limits::new(rates, 1000, knows_clients)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn refusals(limits: &Limits, client: &str) -> usize {
        let refused = |_: &usize| limits.refused(address(client)).is_ok();
        (0..1000).take_while(refused).count()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_judged_once_the_last_refusal_is_used_and_again_when_one_came_up() {
        let limits = limits(120, false);
        let client = address("203.0.113.7");
        for _ in 0..24 {
            assert_eq!(limits.may_judge(client), Ok(()));
            assert_eq!(limits.refused(client), Ok(()));
        }
        let closed = limits.may_judge(client).unwrap_err();
        assert_eq!(
            (closed.limit, closed.retry_after),
            (Limit::Failures, Duration::from_millis(500))
        );
        assert_eq!(limits.may_judge(address("203.0.113.8")), Ok(()));
        advance(closed.retry_after).await;
        assert_eq!(limits.may_judge(client), Ok(()));
        assert_eq!(limits.refused(client), Ok(()));
        assert!(limits.may_judge(client).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn private_addresses_count_only_where_proxies_are_named() {
        let nobody = [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ];
        let somebody = ["172.32.0.1", "100.63.0.1", "100.128.0.1", "2001:db8::1"];
        let (off, on) = (limits(120, false), limits(120, true));
        for client in nobody {
            assert_eq!(refusals(&off, client), 1000, "{client}");
            assert_eq!(off.may_judge(address(client)), Ok(()));
        }
        for client in somebody {
            assert_eq!(refusals(&off, client), 24, "{client}");
        }
        assert_eq!(refusals(&on, "192.168.1.1"), 24);
    }

    /// Who has to leave starts anew: a crowd of addresses frees itself, and closes nobody out.
    #[tokio::test]
    async fn twenty_thousand_hostile_addresses_and_sessions_take_bounded_memory() {
        let limits = limits(5, false);
        let session = |count: u32| {
            let mut session = [0; 32];
            session[..4].copy_from_slice(&count.to_be_bytes());
            session
        };
        for count in 0..20_000 {
            let ipv4 = std::net::Ipv4Addr::from_bits(0xCB00_0000 + count);
            let ipv6 = Ipv6Addr::from_bits((0x2001_0db8 << 96) + (u128::from(count) << 64));
            for client in [IpAddr::from(ipv4), ipv6.into()] {
                let _ = limits.refused(client);
            }
            assert_eq!(limits.session(session(count)), Ok(()));
        }
        let addresses = &limits.failures.as_ref().unwrap().limiters;
        assert_eq!(addresses.tidy(), ADDRESSES);
        assert!(limits.session(session(19_000)).is_err());
        assert_eq!(limits.session(session(18_999)), Ok(()), "it had to leave");
        let judged = limits.may_judge(address("198.51.100.1"));
        assert_eq!(judged, Ok(()), "somebody else");
    }
}
