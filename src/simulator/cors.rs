//! What browsers may read. A tenant's CORS headers are not documented; these follow from its client code.

use super::answer::Answer;
use super::asked::Asked;
use super::world::World;

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
const HEADERS: &str = "authorization, content-type, accept, qlik-api-version, qlik-web-integration-id, qlik-csrf-token, x-requested-with";

/// Echoes an origin that some client lists, with credentials; others get nothing.
pub(super) fn expose(world: &World, asked: &Asked, answer: Answer) -> Answer {
    let answer = answer.with("vary", "Origin");
    let Some(origin) = asked.origin() else {
        return answer;
    };
    let listed = world
        .clients
        .iter()
        .any(|client| client.origins.iter().any(|listed| listed == origin));
    if !listed {
        return answer;
    }
    answer
        .with("access-control-allow-origin", origin)
        .with("access-control-allow-credentials", "true")
}

/// The answer to a preflight; [`expose`] adds the origin, or not.
pub(super) fn preflight(asked: &Asked) -> Answer {
    let answer = Answer::empty(204);
    if asked.origin().is_none() {
        return answer;
    }
    answer
        .with("access-control-allow-methods", METHODS)
        .with("access-control-allow-headers", HEADERS)
}
