//! NOOP (rfc5321bis 4.1.1.9): a sign of life; its argument means nothing.

use super::super::State;
use super::super::turn::Turn;
use crate::registry::reply;

/// Changes nothing.
pub(super) fn noop(state: State, turn: &mut Turn<'_>) -> State {
    turn.stay(reply::OK, state)
}
