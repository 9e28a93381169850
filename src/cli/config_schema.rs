//! `config-schema`: prints what `config/schema.json` holds.

use crate::config;

pub(super) fn run() {
    println!("{:#}", config::schema());
}
