//! HELP (rfc5321bis 4.1.1.8): the forms of the commands, out of the registry.

use super::super::State;
use super::super::turn::Turn;
use crate::registry::reply;

/// Tells of all commands, or of the one that `topic` names.
pub(super) fn help(state: State, topic: &str, turn: &mut Turn<'_>) -> State {
    let reply = match turn.settings.offer.help(topic.as_bytes()) {
        Some(text) => reply::HELP.with_text(text),
        None => reply::BAD_VALUE.with_text("no help on that; HELP alone lists the commands"),
    };
    turn.stay(reply, state)
}
