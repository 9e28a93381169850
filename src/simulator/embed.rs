//! What browsers load from a tenant before they embed (code): a stand-in for it, which gets its tokens
//! as the real one does, and shows whose they are.

use super::answer::Answer;
use super::asked::Asked;
use super::state::State;

const RUNTIME: &str = include_str!("embed.js");

/// The script at `/qlik-embed/main.js`.
pub(super) fn runtime(_: &mut State, _: &Asked) -> Answer {
    Answer::text(200, "text/javascript; charset=utf-8", RUNTIME)
}
