//! Sessions that end: by themselves, by a logout here, and by one on another replica.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::{Admission, Admissions, Place};
use crate::clock;
use crate::mapping::UserLookup;
use crate::session::SessionError;
use crate::session::ended::UserMark;
use crate::tenant::{Grant, Tenant};

impl Admissions {
    pub(super) async fn still_admitted(
        &self,
        known: &Admission,
        now: SystemTime,
    ) -> Result<bool, SessionError> {
        let holds = self
            .sessions
            .still_holds(known.table, &known.validity, now)
            .await;
        self.learn(known).await;
        match (self.has_ended(known), known.mark.is_asked) {
            (false, _) => Ok(holds),
            // Its keeper may say yes again, and is asked.
            (true, true) => Ok(false),
            (true, false) => Err(SessionError::Expired),
        }
    }

    /// Looks whether another replica ended a session, unless that is known since the last outage of
    /// the shared tier.
    pub(super) async fn learn(&self, known: &Admission) {
        let Some(outages) = self.ended.outages() else {
            return;
        };
        if known.learnt_after.load(Ordering::Acquire) != outages {
            let learning = self.ended.learn(&known.mark, known.user_mark());
            if Box::pin(learning).await {
                known.learnt_after.store(outages, Ordering::Release);
            }
        }
    }

    pub(super) fn has_ended(&self, known: &Admission) -> bool {
        let logouts = self.ended.changes();
        if known.logouts_seen.load(Ordering::Acquire) == logouts {
            return false;
        }
        let user = known.user_mark();
        if self.ended.is_ended(&known.mark, user, clock::now()) {
            return true;
        }
        known.logouts_seen.store(logouts, Ordering::Release);
        false
    }

    /// To be asked once more when a person's token is at hand: a logout that came meanwhile may have
    /// looked for the token before it was there. If so, it is ended now.
    pub async fn ended_meanwhile(&self, admission: &Admission) -> bool {
        let ended = self.has_ended(admission);
        if ended && let Some(place) = admission.place_now() {
            // In a box: a hit, which never comes here, shall not have a large future.
            Box::pin(self.end_tokens(&place)).await;
        }
        ended
    }

    /// Ends one person's session and the cached tokens of its user.
    pub async fn log_out(&self, admission: &Admission) {
        // First of all: whatever fails below, the session has ended.
        let ending = self
            .ended
            .end_session_everywhere(&admission.mark, clock::now());
        ending.await;
        if admission.place_now().is_none() {
            // Another of the user's sessions may have left a token. That this one has ended is the
            // answer, and the place is known nevertheless.
            drop(self.look_up(admission, false).await);
        }
        if let Some(place) = admission.place_now() {
            self.end_tokens(&place).await;
        }
    }

    async fn end_tokens(&self, place: &Place) {
        let Grant { tenant, user, .. } = place.seat.grant();
        self.broker.logout(tenant, user, Some(&place.seat)).await;
    }

    /// Ends everything of a user: its sessions up to now, and its cached tokens.
    pub async fn log_out_everywhere(&self, tenant: &Tenant, user: &UserLookup) {
        let mark = UserMark::new(&tenant.id, user);
        self.ended.end_user_everywhere(mark, clock::now()).await;
        self.broker.logout(tenant, user, None).await;
    }
}
