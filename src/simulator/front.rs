//! The way of a request through the tenant: logged, faulted, charged, answered, made readable for browsers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as Shelf};
use http::{Method, Response};

use super::answer::Answer;
use super::asked::Asked;
use super::call::Call;
use super::fault::Fault;
use super::faults::Delay;
use super::log::Ticket;
use super::routes::{self, Handler};
use super::state::{Shared, State};
use super::{clock, control, cors, rates};

/// Answers one request.
pub(super) async fn serve(Shelf(shared): Shelf<Arc<Shared>>, request: Request) -> Response<Body> {
    let asked = Asked::read(request).await;
    if control::owns(&asked.path) {
        return control::answer(&mut shared.lock(), &asked).into_response();
    }
    let (call, handler) = routes::find(&asked);
    let (ticket, fault) = admit(&mut shared.lock(), &asked, call);
    if let Some(Fault::WorksLater { millis }) = fault {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            answer(&mut shared.lock(), &asked, call, handler, None);
        });
        let broken = Fault::Disconnect.alter(Answer::empty(204), call);
        return broken.into_response();
    }
    match fault.as_ref().and_then(Fault::delay) {
        None => {}
        Some(Delay::Forever) => shared.stopping().await,
        Some(Delay::For(delay)) => {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = shared.stopping() => {}
            }
        }
    }
    let mut state = shared.lock();
    let answer = answer(&mut state, &asked, call, handler, fault.as_ref());
    let answer = cors::expose(&state.world, &asked, answer).traced(state.ids.hex(32));
    let answer = answer.with("date", clock::http_date(state.now()));
    state.log.close(ticket, answer.status);
    tracing::debug!(?call, status = answer.status, "simulated tenant answered");
    drop(state);
    answer.into_response()
}

fn admit(state: &mut State, asked: &Asked, call: Call) -> (Ticket, Option<Fault>) {
    let time = clock::iso_millis(state.now());
    let ticket = state.log.open(asked, call, time);
    (ticket, state.faults.take(call))
}

fn answer(
    state: &mut State,
    asked: &Asked,
    call: Call,
    handler: Handler,
    fault: Option<&Fault>,
) -> Answer {
    if let Some(refused) = fault.and_then(|fault| fault.refusal(call, &state.world)) {
        return refused;
    }
    if asked.method == Method::OPTIONS {
        return cors::preflight(asked);
    }
    if let Err(retry_after) = rates::charge(state, call, asked) {
        return Answer::throttled(retry_after);
    }
    let answer = handler(state, asked);
    match fault {
        Some(fault) => fault.alter(answer, call),
        None => answer,
    }
}
