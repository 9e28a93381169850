//! `openapi`: prints what `docs/openapi.json` holds, and the operators' listener serves.

use crate::ops;

pub(super) fn run() {
    println!("{}", ops::openapi::document());
}
