//! The users' tokens in the shared tier: one mint for all replicas, one logout for all.
//!
//! A logout leaves a mark there. A token says which mark stood there when its mint began, and counts
//! for nothing once another one does: no clock has to agree with any other.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::cells::UserKey;
use super::issued::{Groups, UserToken};
use super::told::{Dead, Farewell};
use crate::clock;
use crate::digest;
use crate::expiring::Margins;
use crate::qlik::AccessToken;
use crate::secret::{Secret, Zeroizing};
use crate::shared::{Away, Claim, Found, Kind, Shared, Write};

/// A token that another replica may be minting is waited for so long, looked for so often.
const WAIT: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A mark outlives every token that was minted before it.
const MARK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How far the clocks of two replicas may be apart, where nothing but a time can tell.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// The mark of a user's last logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Epoch {
    /// There was none.
    Start,
    /// This one.
    Mark([u8; 16]),
    /// It could not be seen, or not be read. Equal to nothing.
    Unclear,
}

impl Epoch {
    /// Whether a token of this epoch is good while the store has `seen`. No mark is no evidence of a
    /// logout: the store may have lost it, and it ends by itself after a day.
    fn is_good_under(self, seen: Self) -> bool {
        match (self, seen) {
            (Self::Unclear, _) | (_, Self::Unclear) => false,
            (_, Self::Start) => true,
            (own, seen) => own == seen,
        }
    }
}

/// A logout's mark as it is stored: when, in milliseconds since 1970, and which.
struct Mark {
    at: u64,
    id: [u8; 16],
}

impl Mark {
    fn write(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.at.to_be_bytes().as_slice(), &self.id].concat())
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (at, id) = value.split_first_chunk::<8>()?;
        Some(Self {
            at: u64::from_be_bytes(*at),
            id: id.try_into().ok()?,
        })
    }
}

/// A token as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    token: Zeroizing<String>,
    scope: String,
    /// Milliseconds since 1970.
    expires_at: u64,
    life_millis: u64,
    groups: Option<[u8; 32]>,
    epoch: Epoch,
}

/// Which token is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub key: UserKey,
    pub person: UserKey,
    /// Another one than this, which is at hand.
    pub instead_of: Option<Arc<UserToken>>,
    /// One of these groups, if any are named.
    pub groups: Option<Groups>,
    /// One that has more left than is good for want of a better one.
    pub margins: Margins,
}

impl Wanted {
    fn is_met_by(&self, token: &UserToken) -> bool {
        let is_newer = self.instead_of.as_ref().is_none_or(|held| {
            held.access.id != token.access.id && held.remaining() < token.remaining()
        });
        let lives_on = token.usable() > self.margins.spare(token.access.life);
        lives_on && is_newer && (self.groups.is_none() || self.groups == token.groups)
    }
}

/// What is to be done for a token.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing: another replica has it.
    Take(UserToken),
    /// Mint it, for all.
    Mint(Epoch, Option<Claim>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tier {
    pub shared: Arc<Shared>,
}

impl Tier {
    /// Whether what is known of a token is of now. Without the store it is as good as it gets.
    pub fn is_current(&self, token: &UserToken) -> bool {
        token.is_seen_after(self.shared.outages()) || !self.shared.is_up()
    }

    /// Waits a little for another replica that mints, and claims the mint where there is none.
    pub async fn wait_or_claim(&self, wanted: &Wanted) -> Next {
        let started = Instant::now();
        loop {
            let Ok((epoch, token)) = self.look(wanted).await else {
                return Next::Mint(Epoch::Unclear, None);
            };
            if let Some(token) = token {
                return Next::Take(token);
            }
            match self.shared.claim(&wanted.key.digest()).await {
                // Whoever held it before may have been done between the two looks.
                Ok(Some(claim)) => {
                    return match self.look(wanted).await {
                        Ok((_, Some(token))) => Next::Take(token),
                        _ => Next::Mint(epoch, Some(claim)),
                    };
                }
                Ok(None) if started.elapsed() < WAIT => sleep(LOOK_EVERY).await,
                Ok(None) | Err(Away) => return Next::Mint(epoch, None),
            }
        }
    }

    /// The wanted token, if it is there, and the mark that one minted now has to carry.
    pub async fn look(&self, wanted: &Wanted) -> Result<(Epoch, Option<UserToken>), Away> {
        let outages = self.shared.outages();
        let epoch = self.epoch(wanted.person).await?.0;
        let found = self.shared.get(Kind::Token, &wanted.key.digest()).await?;
        let Some(token) = open(found) else {
            return Ok((epoch, None));
        };
        token.see(outages);
        let is_good = token.epoch().is_good_under(epoch)
            && wanted.is_met_by(&token)
            && !self.is_dead(wanted.key, &token).await?;
        Ok((epoch, is_good.then_some(token)))
    }

    /// The mark, and when it was left.
    async fn epoch(&self, person: UserKey) -> Result<(Epoch, SystemTime), Away> {
        let found = self.shared.get(Kind::Tombstone, &person.digest()).await?;
        let mark: Option<Mark> = match found {
            Found::Nothing => return Ok((Epoch::Start, UNIX_EPOCH)),
            Found::Garbled => None,
            Found::Value(value, _) => Mark::read(&value),
        };
        // One that cannot be read was left just now.
        Ok(mark.map_or((Epoch::Unclear, clock::now()), |mark| {
            (
                Epoch::Mark(mark.id),
                UNIX_EPOCH + Duration::from_millis(mark.at),
            )
        }))
    }

    async fn is_dead(&self, key: UserKey, token: &UserToken) -> Result<bool, Away> {
        let found = self
            .shared
            .get(Kind::DeadToken, &dead(key, &token.access.id))
            .await?;
        Ok(!matches!(found, Found::Nothing))
    }

    /// Whether a token from before an outage may still be handed out. Without an answer it may.
    pub async fn still_good(&self, key: UserKey, person: UserKey, token: &UserToken) -> bool {
        let outages = self.shared.outages();
        let looking = async {
            let (epoch, at) = self.epoch(person).await?;
            let is_of_now = match token.epoch() {
                // It was minted without a look at the store.
                Epoch::Unclear => at + CLOCKS_DIFFER < token.received_at(),
                own => own.is_good_under(epoch),
            };
            Ok::<_, Away>(is_of_now && !self.is_dead(key, token).await?)
        };
        let seen = looking.await;
        if seen == Ok(true) {
            token.see(outages);
        }
        seen.unwrap_or(true)
    }

    /// Puts a token there for the other replicas, which are let go then. Nobody waits for it here.
    pub fn store(&self, key: UserKey, token: &UserToken, claim: Option<Claim>) {
        if token.epoch() == Epoch::Unclear {
            return;
        }
        let life = token.remaining();
        let stored = Stored {
            token: Zeroizing::new(token.access.secret.expose().to_owned()),
            scope: token.access.scope.to_string(),
            expires_at: now_millis() + millis(life),
            life_millis: millis(token.access.life),
            groups: token.groups.as_deref().copied(),
            epoch: token.epoch(),
        };
        let Ok(value) = serde_json::to_vec(&stored) else {
            return;
        };
        let put = Write::Put(Kind::Token, key.digest(), Zeroizing::new(value), life);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            shared.write(vec![put]).await;
            drop(claim);
        });
    }

    /// The tenant does not accept this token any more: no replica shall hand it out.
    pub async fn bury(&self, key: UserKey, token: &UserToken) {
        let id = &token.access.id;
        let body = serde_json::to_vec(&Dead {
            key: key.digest(),
            id,
        })
        .unwrap_or_default();
        let life = token.remaining();
        self.shared
            .write(vec![
                Write::Put(Kind::DeadToken, dead(key, id), Zeroizing::default(), life),
                Write::Tell(Kind::DeadToken, Zeroizing::new(body)),
            ])
            .await;
    }

    /// Ends a user's tokens everywhere, by whichever client it was or is impersonated. Returns those that were there.
    pub async fn end(
        &self,
        persons: impl IntoIterator<Item = UserKey>,
        farewell: &mut Farewell,
    ) -> Vec<UserToken> {
        let mut id = [0; 16];
        // Without randomness all zeros: still another mark than none.
        let _ = aws_lc_rs::rand::fill(&mut id);
        farewell.epoch = Some(id);
        let mark = Mark {
            at: now_millis(),
            id,
        }
        .write();
        let put =
            |person: UserKey| Write::Put(Kind::Tombstone, person.digest(), mark.clone(), MARK_LIFE);
        self.shared
            .write(persons.into_iter().map(put).collect())
            .await;
        let mut there = Vec::new();
        let mut writes = Vec::new();
        for key in &farewell.keys {
            let found = self.shared.get(Kind::Token, key).await;
            there.extend(found.ok().and_then(open));
            writes.push(Write::Remove(Kind::Token, *key));
        }
        let ids = there.iter().map(|token| token.access.id.to_string());
        farewell.revoked.extend(ids);
        let told = Zeroizing::new(serde_json::to_vec(farewell).unwrap_or_default());
        writes.push(Write::Tell(Kind::Tombstone, told));
        self.shared.write(writes).await;
        there
    }
}

fn dead(key: UserKey, token_id: &str) -> [u8; 32] {
    let mut parts = digest::Parts::of("dead");
    parts.add(&key.digest());
    parts.add(token_id.as_bytes());
    parts.digest()
}

/// The life of a token is what its writer's clock and the store's say, whichever is less.
pub(crate) fn open(found: Found) -> Option<UserToken> {
    let Found::Value(value, left) = found else {
        return None;
    };
    let stored: Stored = serde_json::from_slice(&value).ok()?;
    let left = left.min(Duration::from_millis(
        stored.expires_at.checked_sub(now_millis())?,
    ));
    let life = Duration::from_millis(stored.life_millis);
    let token = Secret::new(stored.token.as_str());
    let access = AccessToken::kept(token, stored.scope.into(), life);
    let left = left.min(access.life);
    let token = UserToken::shared(access, left, stored.groups.map(Arc::new), stored.epoch);
    (!left.is_zero()).then_some(token)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now_millis() -> u64 {
    millis(clock::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
