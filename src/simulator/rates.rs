//! Sliding windows: who has used how much of which tier.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::asked::Asked;
use super::call::{Call, Tier};
use super::state::State;
use super::world::{RateIdentity, RateLimit, World};

/// The calls of each payer in each tier, oldest first.
#[derive(Default)]
pub(super) struct Windows(HashMap<(Tier, String), VecDeque<Instant>>);

impl Windows {
    /// Books one call; `Err` holds the seconds until the window has room again. A refused call is not
    /// booked: whether a tenant counts those is unknown.
    fn book(
        &mut self,
        tier: Tier,
        payer: String,
        limit: RateLimit,
        now: Instant,
    ) -> Result<(), u64> {
        let calls = self.0.entry((tier, payer)).or_default();
        while calls
            .front()
            .is_some_and(|oldest| now.duration_since(*oldest) >= limit.window)
        {
            calls.pop_front();
        }
        if calls.len() < limit.calls {
            calls.push_back(now);
            return Ok(());
        }
        let used = calls
            .front()
            .map_or(Duration::ZERO, |oldest| now.duration_since(*oldest));
        Err(limit
            .window
            .saturating_sub(used)
            .as_millis()
            .div_ceil(1000)
            .try_into()
            .unwrap_or(u64::MAX)
            .max(1))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Charges a call to its tier; `Err` holds the seconds to wait.
pub(super) fn charge(state: &mut State, call: Call, asked: &Asked) -> Result<(), u64> {
    let Some(tier) = call.tier() else {
        return Ok(());
    };
    let Some(limit) = limit_of(&state.world, tier) else {
        return Ok(());
    };
    let payer = payer(state, call, asked);
    state.windows.book(tier, payer, limit, Instant::now())
}

fn limit_of(world: &World, tier: Tier) -> Option<RateLimit> {
    match tier {
        Tier::One => world.tier1,
        Tier::Two => world.tier2,
        Tier::Special => world.special,
    }
}

/// Limits are per user and tenant (doc). A client's bot is its user, so a client's own calls and its token
/// calls share a budget; a person's calls with an impersonation token are that person's.
fn payer(state: &State, call: Call, asked: &Asked) -> String {
    if state.world.rate_identity == RateIdentity::Tenant {
        return "tenant".to_owned();
    }
    if call.lineage().contains(&Call::Token) {
        return token_payer(state, asked);
    }
    let token = if call == Call::Revoke {
        asked.text("token")
    } else {
        asked.bearer()
    };
    let issued = token.and_then(|token| state.tokens.find(token));
    match issued {
        Some(issued) if call == Call::Revoke => format!("client:{}", issued.client_id),
        Some(issued) => match state
            .world
            .user(&issued.user_id)
            .and_then(|user| user.client_id.as_ref())
        {
            Some(client_id) => format!("client:{client_id}"),
            None => format!("user:{}", issued.user_id),
        },
        None => "nobody".to_owned(),
    }
}

fn token_payer(state: &State, asked: &Asked) -> String {
    if state.world.rate_identity == RateIdentity::User
        && let Some(value) = asked
            .object()
            .ok()
            .and_then(|body| body.get("user_lookup")?.get("value")?.as_str())
        && let Some(user) = state.world.find_user(value)
    {
        return format!("user:{}", user.id);
    }
    let basic = super::client_auth::basic(asked).map(|(id, _)| id);
    let client_id = basic.or_else(|| asked.text("client_id").map(str::to_owned));
    client_id.map_or_else(|| "nobody".to_owned(), |id| format!("client:{id}"))
}
