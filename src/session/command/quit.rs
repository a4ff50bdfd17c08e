//! QUIT (rfc5321bis 4.1.1.10): ends the session; nothing half-done is kept.

use super::super::turn::Turn;
use super::super::{Output, State};
use crate::registry::reply;

/// Says good bye and closes.
pub(super) fn quit(turn: &mut Turn<'_>) -> State {
    turn.reply(reply::CLOSING);
    turn.ask(Output::Close, State::Closed)
}
