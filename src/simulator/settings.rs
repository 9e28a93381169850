//! The tenant's habits as JSON, for the control interface: read, and changed while it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::user::UserStatus;
use super::world::{RateIdentity, RateLimit, World};

/// What may be changed; what is left out stays, `null` switches a limit off.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    token_life_seconds: Option<u64>,
    exchange_token_life_seconds: Option<u64>,
    #[serde(default)]
    tier1: Change<Limit>,
    #[serde(default)]
    tier2: Change<Limit>,
    #[serde(default)]
    special: Change<Limit>,
    rate_identity: Option<RateIdentity>,
    #[serde(default)]
    max_tokens_per_user: Change<usize>,
    clock_skew_seconds: Option<i64>,
    assertion_leeway_seconds: Option<u64>,
    secret_delay_seconds: Option<u64>,
    impersonable: Option<Vec<UserStatus>>,
    subject_ignores_case: Option<bool>,
    users_me_redirects: Option<bool>,
    origins_at_creation: Option<bool>,
    #[serde(default)]
    public_url: Change<String>,
    aliases: Option<Vec<String>>,
    refusals: Option<BTreeMap<String, Refusal>>,
}

/// Tells absence from `null`.
#[derive(Default)]
enum Change<T> {
    #[default]
    Kept,
    To(Option<T>),
}

impl<T> Change<T> {
    fn apply<U: From<T>>(self, place: &mut Option<U>) {
        if let Self::To(value) = self {
            *place = value.map(U::from);
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::To)
    }
}

/// A rate limit.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    calls: usize,
    #[serde(default = "five_minutes")]
    window_seconds: u64,
}

fn five_minutes() -> u64 {
    5 * 60
}

impl From<Limit> for RateLimit {
    fn from(limit: Limit) -> Self {
        Self {
            calls: limit.calls,
            window: Duration::from_secs(limit.window_seconds),
        }
    }
}

impl Settings {
    /// Changes `world`; the error says what is wrong, and nothing is changed then.
    pub(super) fn apply(self, world: &mut World) -> Result<(), String> {
        let mut refusals = world.refusals.clone();
        for (name, refusal) in self.refusals.unwrap_or_default() {
            let Some(place) = refusals.named(&name) else {
                let known: Vec<_> = refusals.entries().iter().map(|(name, _)| *name).collect();
                return Err(format!(
                    "refusal {name:?} is not one of {}",
                    known.join(", ")
                ));
            };
            *place = refusal;
        }
        world.refusals = refusals;
        let seconds = |value: Option<u64>, place: &mut Duration| {
            set(value.map(Duration::from_secs), place);
        };
        seconds(self.token_life_seconds, &mut world.token_life);
        seconds(
            self.exchange_token_life_seconds,
            &mut world.exchange_token_life,
        );
        seconds(self.assertion_leeway_seconds, &mut world.assertion_leeway);
        seconds(self.secret_delay_seconds, &mut world.secret_delay);
        self.tier1.apply(&mut world.tier1);
        self.tier2.apply(&mut world.tier2);
        self.special.apply(&mut world.special);
        set(self.rate_identity, &mut world.rate_identity);
        self.max_tokens_per_user
            .apply(&mut world.max_tokens_per_user);
        set(self.clock_skew_seconds, &mut world.clock_skew_seconds);
        set(self.impersonable, &mut world.impersonable);
        set(self.subject_ignores_case, &mut world.subject_ignores_case);
        set(self.users_me_redirects, &mut world.users_me_redirects);
        set(self.origins_at_creation, &mut world.origins_at_creation);
        self.public_url.apply(&mut world.public_url);
        set(self.aliases, &mut world.aliases);
        Ok(())
    }
}

/// The settings as they are.
pub(super) fn shown(world: &mut World) -> Value {
    let limit = |limit: Option<RateLimit>| {
        limit.map(|limit| json!({ "calls": limit.calls, "window_seconds": limit.window.as_secs() }))
    };
    let refusals: BTreeMap<_, _> = world
        .refusals
        .entries()
        .into_iter()
        .map(|(name, refusal)| (name, refusal.clone()))
        .collect();
    json!({
        "token_life_seconds": world.token_life.as_secs(),
        "exchange_token_life_seconds": world.exchange_token_life.as_secs(),
        "tier1": limit(world.tier1),
        "tier2": limit(world.tier2),
        "special": limit(world.special),
        "rate_identity": world.rate_identity,
        "max_tokens_per_user": world.max_tokens_per_user,
        "clock_skew_seconds": world.clock_skew_seconds,
        "assertion_leeway_seconds": world.assertion_leeway.as_secs(),
        "secret_delay_seconds": world.secret_delay.as_secs(),
        "impersonable": world.impersonable,
        "subject_ignores_case": world.subject_ignores_case,
        "users_me_redirects": world.users_me_redirects,
        "origins_at_creation": world.origins_at_creation,
        "public_url": world.public_url,
        "aliases": world.aliases,
        "refusals": refusals,
    })
}

fn set<T>(value: Option<T>, place: &mut T) {
    if let Some(value) = value {
        *place = value;
    }
}
