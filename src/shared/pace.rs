//! The pace at which a tenant is asked by all replicas together.

use std::time::Duration;

use fred::interfaces::LuaInterface;

use super::{Away, Kind, Shared};

/// The generic cell rate algorithm, as governor has it, by the store's own clock. What stands there
/// is not believed beyond what can be: a tenant may be kept waiting by it for minutes, no longer.
/// There is no burst where it is not known what was used before: if nothing stands there, which a
/// store that lost its data has in common with a new one, or if somebody asked alone meanwhile
/// (`careful`).
pub(super) const TAKE: &str = "
local function number(text)
  local value = tonumber(text)
  if value == nil or value ~= value then return nil end
  return value
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, spare, careful = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local held = redis.call('HMGET', KEYS[1], 'next', 'closed')
local closed = math.min(number(held[2]) or 0, now + 300000000)
if closed > now then return {1, closed - now} end
local most = now + burst * interval
local next = math.max(math.min(number(held[1]) or most, most), now)
if careful then next = math.max(next, most - interval) end
local wait = next + interval - now - (burst - spare) * interval
if wait <= 0 then next = next + interval end
redis.call('HSET', KEYS[1], 'next', string.format('%.0f', next))
redis.call('PEXPIRE', KEYS[1], 2592000000)
local left = math.max(0, math.floor((most - next) / interval))
return {0, math.max(wait, 0), left}
";
const CLOSE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local before = tonumber(redis.call('HGET', KEYS[1], 'closed')) or 0
if before ~= before then before = 0 end
local closed = math.max(before, now + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'closed', string.format('%.0f', closed), 'next', string.format('%.0f', now + burst * interval))
redis.call('PEXPIRE', KEYS[1], 2592000000)
return 1
";

/// Who asks again, asks a little later.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// How often a tenant may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The time in which one turn comes up.
    pub interval: Duration,
    /// Turns at once, after a quiet time.
    pub burst: u32,
}

/// What the store says to who wants a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Go ahead. So many more could go at once.
    Now(u32),
    /// Ask again after this time.
    In(Duration),
    /// Some replica was told to leave the tenant alone for so long.
    Closed(Duration),
}

impl Shared {
    /// One turn of a tenant's, which leaves `spare` of the burst to others.
    pub async fn take(
        &self,
        tenant: &[u8; 32],
        pace: Pace,
        spare: u32,
        careful: bool,
    ) -> Result<Taken, Away> {
        let mut taken = Taken::Now(u32::MAX);
        // Under every key, so that replicas who have one in common count together.
        for name in self.link.sealer.names(Kind::Pace, tenant) {
            let values = vec![
                pace.interval.as_micros().to_string(),
                pace.burst.to_string(),
                spare.to_string(),
                u8::from(careful).to_string(),
            ];
            let taking =
                self.link
                    .client
                    .eval::<Vec<i64>, _, _, _>(TAKE, vec![name.as_str()], values);
            let answer = self.link.run("take", Box::pin(taking)).await?;
            let micros = |value: i64| Duration::from_micros(u64::try_from(value).unwrap_or(0));
            match answer[..] {
                [1, left] => return Ok(Taken::Closed(micros(left))),
                [_, wait, _] if wait != 0 => taken = Taken::In(micros(wait).max(LEAST_WAIT)),
                [_, _, left] => {
                    if let Taken::Now(other) = taken {
                        taken = Taken::Now(other.min(u32::try_from(left).unwrap_or(0)));
                    }
                }
                _ => {}
            }
        }
        Ok(taken)
    }

    /// The tenant is to be left alone by all for so long, and has no burst then.
    pub async fn close(&self, tenant: &[u8; 32], pace: Pace, pause: Duration) -> Result<(), Away> {
        for name in self.link.sealer.names(Kind::Pace, tenant) {
            let values = vec![
                pace.interval.as_micros().to_string(),
                pace.burst.to_string(),
                pause.as_micros().to_string(),
            ];
            let closing = self
                .link
                .client
                .eval::<i64, _, _, _>(CLOSE, vec![name.as_str()], values);
            self.link.run("close", Box::pin(closing)).await?;
        }
        Ok(())
    }
}
