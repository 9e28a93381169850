//! The last requests that failed, for people who look. Bounded, and of what an attacker can write
//! freely nothing is kept.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// More than a screen is not read.
const KEPT: usize = 30;

/// One request that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// When it was answered.
    pub at: SystemTime,
    /// Its id.
    pub request_id: &'a str,
    /// The route, as it is labelled in metrics.
    pub route: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The problem's code.
    pub code: &'static str,
    /// Which check failed, where the code alone does not tell.
    pub why: &'static str,
    /// The tenant, or nothing.
    pub tenant: &'a str,
    /// The page's origin, if it is a listed one.
    pub origin: &'a str,
}

/// Requests that failed alike, with the same code for the same tenant: the last one of them, and how
/// many there were.
#[derive(Clone, Debug)]
pub struct Failures {
    /// When the last one was answered.
    pub at: SystemTime,
    /// How many there were.
    pub count: u64,
    /// The id of the last one.
    pub request_id: String,
    /// The route of the last one.
    pub route: &'static str,
    /// The status of the answers.
    pub status: u16,
    /// The problem's code.
    pub code: &'static str,
    /// Which check failed with the last one, where the code alone does not tell.
    pub why: &'static str,
    /// The tenant, or nothing.
    pub tenant: String,
    /// The origin of the last one's page, if it is a listed one.
    pub origin: String,
}

/// What failed last, latest first. Requests that failed alike take one place, so that a flood of them
/// pushes nothing else out.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Vec<Failures>>);

impl Recent {
    fn kept(&self) -> MutexGuard<'_, Vec<Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request that failed.
    pub fn note(&self, failure: &Failure<'_>) {
        let mut kept = self.kept();
        // Callers without a credential choose route and check, and a code of a tenant's they do not.
        let alike = kept
            .iter()
            .position(|known| known.code == failure.code && known.tenant == failure.tenant);
        let count = alike.map_or(0, |index| kept.remove(index).count);
        kept.truncate(KEPT - 1);
        kept.insert(
            0,
            Failures {
                at: failure.at,
                count: count + 1,
                request_id: failure.request_id.to_owned(),
                route: failure.route,
                status: failure.status,
                code: failure.code,
                why: failure.why,
                tenant: failure.tenant.to_owned(),
                origin: failure.origin.to_owned(),
            },
        );
    }

    /// What is kept, the latest first.
    pub fn list(&self) -> Vec<Failures> {
        self.kept().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: &'static str, tenant: &str, request_id: &str, recent: &Recent) {
        recent.note(&Failure {
            at: SystemTime::UNIX_EPOCH,
            request_id,
            route: "/session-token",
            status: 503,
            code,
            why: "",
            tenant,
            origin: "",
        });
    }

    #[test]
    fn a_flood_of_one_kind_pushes_nothing_out() {
        let recent = Recent::default();
        failed("internal", "acme", "rare", &recent);
        for id in 0..1000 {
            failed("overloaded", "", &id.to_string(), &recent);
        }
        let kept = recent.list();
        let seen: Vec<_> = kept.iter().map(|one| (one.code, one.count)).collect();
        assert_eq!(seen, [("overloaded", 1000), ("internal", 1)]);
        assert_eq!(kept[0].request_id, "999");
    }

    #[test]
    fn the_number_of_kinds_is_bounded() {
        let recent = Recent::default();
        for tenant in 0..100 {
            failed("tenant_unavailable", &tenant.to_string(), "id", &recent);
        }
        let kept = recent.list();
        assert_eq!((kept.len(), kept[0].tenant.as_str()), (KEPT, "99"));
    }
}
