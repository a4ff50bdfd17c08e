//! STARTTLS (RFC 3207): the connection turns into TLS, and the session begins anew.
//!
//! Promises that nothing which was said before holds after the handshake.

use super::super::turn::Turn;
use super::super::{Output, State};
use super::Hello;
use crate::registry::reply::{self, Reply};

/// Asks whether there can be a handshake now.
pub(super) fn starttls(state: State, turn: &mut Turn<'_>) -> State {
    if turn.settings.standing.tls {
        return turn.stay(reply::BAD_SEQUENCE.with_text("this is TLS already"), state);
    }
    let State::Ready(hello) = state else { return turn.refuse_order(state) };
    turn.ask(Output::StartTls, State::Preparing(hello))
}

/// Lets the handshake begin, unless it can't.
pub(in super::super) fn judged(
    hello: Hello,
    verdict: Result<(), Reply>,
    turn: &mut Turn<'_>,
) -> State {
    match verdict {
        Ok(()) => {
            turn.reply(reply::READY_FOR_TLS);
            turn.ask(Output::Handshake, State::Securing)
        }
        Err(refusal) => turn.stay(refusal, State::Ready(hello)),
    }
}
