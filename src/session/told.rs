//! Logouts in the shared tier: what one replica ends, the others learn.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ended::{Ended, Mark, UserMark};
use crate::clock;
use crate::secret::Zeroizing;
use crate::shared::{Away, Found, Kind, Notice, Shared, Write};

/// "Everything of this user up to now" is kept for so long; no JWT should live longer.
const USER_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is told, and what is stored: a time in milliseconds since 1970, and a session or a user.
struct End {
    /// When a session would have ended by itself; when a user was logged out.
    at: u64,
    what: [u8; 32],
}

impl End {
    fn of(what: [u8; 32], at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { at, what }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (at, what) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            at: u64::from_be_bytes(*at),
            what: what.try_into().ok()?,
        })
    }

    /// Far in the future instead of beyond what a date can be.
    fn time(&self) -> SystemTime {
        let since = Duration::from_millis(self.at);
        UNIX_EPOCH.checked_add(since).unwrap_or_else(clock::now)
    }

    fn writes(&self, kind: Kind, life: Duration) -> Vec<Write> {
        let body = Zeroizing::new([self.at.to_be_bytes().as_slice(), &self.what].concat());
        vec![
            Write::Put(kind, self.what, body.clone(), life),
            Write::Tell(kind, body),
        ]
    }
}

impl Ended {
    /// Ends one session here and, if it can be told from others, on every replica.
    pub async fn end_session_everywhere(&self, mark: &Mark, now: SystemTime) {
        self.end_session(mark, now);
        let (Some(shared), Some(session)) = (self.shared(), mark.session) else {
            return;
        };
        let life = mark.ends.duration_since(now).unwrap_or_default();
        let end = End::of(session, mark.ends);
        write(shared, end.writes(Kind::EndedSession, life)).await;
    }

    /// Ends every session of a user that began, or was last asked about, up to now, on every replica.
    pub async fn end_user_everywhere(&self, user: UserMark, now: SystemTime) {
        self.end_user(user, now);
        let Some(shared) = self.shared() else {
            return;
        };
        let end = End::of(user.digest(), now);
        write(shared, end.writes(Kind::EndedUser, USER_LIFE)).await;
    }

    /// Looks whether another replica ended this session. Whether that could be seen.
    pub async fn learn(&self, mark: &Mark, user: Option<UserMark>) -> bool {
        let Some(shared) = self.shared() else {
            return true;
        };
        let learnt = async {
            if let Some(session) = mark.session
                && !matches!(
                    shared.get(Kind::EndedSession, &session).await?,
                    Found::Nothing
                )
            {
                // Something stands there, whatever it says.
                self.end_session(mark, clock::now());
            }
            let Some(user) = user else {
                return Ok(());
            };
            match shared.get(Kind::EndedUser, &user.digest()).await? {
                Found::Nothing => {}
                // Once: whoever logs in after that is not locked out by it.
                Found::Garbled if self.knows(user) => {}
                Found::Garbled => self.end_user(user, clock::now()),
                Found::Value(value, _) => {
                    let end = End::read(&value);
                    self.end_user(user, end.map_or_else(clock::now, |end| end.time()));
                }
            }
            Ok::<_, Away>(())
        };
        learnt.await.is_ok()
    }

    /// Does what another replica told of.
    pub fn heed(&self, notice: &Notice) {
        let Some(end) = End::read(&notice.body) else {
            return;
        };
        match notice.kind {
            Kind::EndedSession => self.end_until(end.what, end.time(), clock::now()),
            Kind::EndedUser => self.end_user(UserMark::from_digest(end.what), end.time()),
            _ => {}
        }
    }
}

/// In a task: whoever logs out may hang up.
async fn write(shared: &std::sync::Arc<Shared>, writes: Vec<Write>) {
    let shared = std::sync::Arc::clone(shared);
    let writing = tokio::spawn(async move { shared.write(writes).await });
    drop(writing.await);
}
