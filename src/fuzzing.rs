//! What fuzzing reaches behind the doors: thin wrappers, and in no release. Whatever can be reached
//! by the front door is fuzzed there.

use std::time::Duration;

use crate::broker::{UserToken, tier};
use crate::clock;
use crate::config::{Config, Problems, Schema, Sources, load_by};
use crate::qlik::answer::parse_token;
use crate::qlik::error::classify;
use crate::qlik::users::parse_page;
use crate::qlik::{AccessToken, QlikError, User};
use crate::secret::Zeroizing;
use crate::session::handle;
use crate::shared::seal::Sealer;
use crate::shared::{EncryptionKey, Found, Kind};
use crate::tenant::ScopeSet;

/// [`crate::config::load`] for many configurations: makes once what takes longest.
pub fn loader() -> impl Fn(&Sources) -> Result<Config, Problems> {
    let schema = Schema::new();
    move |sources| load_by(&schema, sources)
}

/// What a tenant's answer to a call for a token means.
pub fn token_answer(
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
    asked: &ScopeSet,
) -> Result<AccessToken, QlikError> {
    match status {
        200 => parse_token(body, asked, clock::now()),
        _ => Err(classify(status, retry_after, body, true)),
    }
}

/// The users on a tenant's page of them.
pub fn users_page(body: &[u8]) -> Result<Vec<User>, QlikError> {
    parse_page(body)
}

/// Seals a value for its place in the shared tier.
pub fn seal(key: &EncryptionKey, kind: Kind, place: &[u8; 32], value: &[u8]) -> Option<Vec<u8>> {
    let keys = Sealer::new(std::slice::from_ref(key))?;
    let name = keys.names(kind, place).next()?;
    keys.seal(kind, &name, value)
}

/// Opens what stands in a place of the shared tier.
pub fn open(
    key: &EncryptionKey,
    kind: Kind,
    place: &[u8; 32],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let keys = Sealer::new(std::slice::from_ref(key))?;
    let name = keys.names(kind, place).next()?;
    keys.open(kind, &name, sealed)
}

/// A token as another replica stored it, in a place that stands for `left`.
pub fn stored_token(value: &[u8], left: Duration) -> Option<UserToken> {
    tier::open(Found::Value(Zeroizing::new(value.to_vec()), left))
}

/// Whether a handle as another replica stored it, in a place that stands for `left`, lives; `None` if it
/// is none.
pub fn stored_handle(value: &[u8], idle: Duration, left: Duration) -> Option<bool> {
    handle::tier::open([0; 32], value, idle, left).map(|handle| handle.touch())
}

#[cfg(test)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

#[cfg(test)]
mod tests {
    use super::targets::{config, jwt, mapping, requests, shared, upstream};
    use std::path::Path;

    fn replay(target: &str, run: fn(&[u8]) -> bool) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(target);
        for seed in std::fs::read_dir(seeds).unwrap() {
            let path = seed.unwrap().path();
            let is_taken = run(&std::fs::read(&path).unwrap());
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_right = if is_taken {
                name.starts_with("good-")
            } else {
                name.starts_with("bad-")
            };
            assert!(is_right, "{target}/{name} was taken: {is_taken}");
        }
    }

    #[test]
    fn seeds_of_jwt_are_judged_as_their_names_say() {
        replay("jwt", jwt::run);
    }

    #[test]
    fn seeds_of_mapping_are_judged_as_their_names_say() {
        replay("mapping", mapping::run);
    }

    #[test]
    fn seeds_of_upstream_are_judged_as_their_names_say() {
        replay("upstream", upstream::run);
    }

    #[test]
    fn seeds_of_requests_are_judged_as_their_names_say() {
        replay("requests", requests::run);
    }

    #[test]
    fn seeds_of_config_are_judged_as_their_names_say() {
        replay("config", config::run);
    }

    #[test]
    fn seeds_of_shared_are_judged_as_their_names_say() {
        replay("shared", shared::run);
    }
}
