//! RSET (rfc5321bis 4.1.1.5): drops the open transaction, and keeps everything else.

use super::super::State;
use super::super::turn::Turn;
use crate::registry::reply;

/// Back to where MAIL may come.
pub(super) fn rset(state: State, turn: &mut Turn<'_>) -> State {
    let state = match state {
        State::Transaction(transaction) => State::Ready(transaction.into_hello()),
        State::Chunks(chunks) => chunks.abandon(turn),
        state => state,
    };
    turn.stay(reply::OK, state)
}
