//! What back ends ask for again and again: where the words of a request led to. To read them, to hash the
//! user and to find its cell costs more than all the rest of such a hit.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::{Admissions, Place};
use crate::digest::Parts;
use crate::kept::Kept;
use crate::session::back_end::BackEnd;
use crate::tenant::Grant;

/// Those who are asked for at the moment, some hundred bytes each. Their tokens are kept elsewhere: who
/// has to leave here costs no mint, but what the first look cost.
const MOST: u64 = 32_768;

/// See the module.
#[derive(Debug)]
pub(super) struct Asked(Kept<[u8; 32], Led>);

/// Who asked, and where it led.
#[derive(Debug)]
struct Led {
    back_end: Arc<BackEnd>,
    place: Arc<Place>,
}

impl Asked {
    pub fn new(capacity: u64, idle: Duration) -> Self {
        Self(Kept::new(capacity.min(MOST), idle))
    }

    pub fn tidy(&self) {
        self.0.tidy();
    }
}

impl Admissions {
    /// Where the same words of the same back end led to before.
    pub fn asked_before(&self, back_end: &Arc<BackEnd>, body: &[u8]) -> Option<Arc<Place>> {
        // A key and a certificate may bear the same name, and hold different tenants.
        let place =
            |led: &Led| Arc::ptr_eq(&led.back_end, back_end).then(|| Arc::clone(&led.place));
        self.asked.0.look(&digest_of(back_end, body), place)?
    }

    /// These words led there, and shall again.
    pub fn remember_asked(&self, back_end: &Arc<BackEnd>, body: &[u8], place: &Arc<Place>) {
        let led = Led {
            back_end: Arc::clone(back_end),
            place: Arc::clone(place),
        };
        self.asked.0.insert(digest_of(back_end, body), led);
    }

    /// The place of a user whom a back end named. `user_hash` is the user's audit hash.
    pub fn place_named(
        &self,
        back_end: &BackEnd,
        grant: Grant,
        user_hash: CompactString,
    ) -> Arc<Place> {
        let seat = self.broker.seat(grant, &back_end.source, None);
        Arc::new(Place { seat, user_hash })
    }
}

fn digest_of(back_end: &BackEnd, body: &[u8]) -> [u8; 32] {
    let mut parts = Parts::of("asked");
    parts.add(back_end.id.as_bytes());
    parts.add(body);
    parts.digest()
}
