//! VRFY (rfc5321bis 4.1.1.6, 3.5): is there such a mailbox? It touches no transaction.
//!
//! Promises a 250 only for what was really verified, and, to clients that may not ask, the 252 that
//! tells nobody who lives here (3.5.3, 7.3).

use super::super::turn::Turn;
use super::super::{Output, State};
use crate::registry::reply::{self, Reply};

/// Asks for a mailbox or a local part; `utf8` lets the answer name it in UTF-8.
pub(super) fn vrfy(state: State, text: Box<str>, utf8: bool, turn: &mut Turn<'_>) -> State {
    if turn.settings.verify {
        turn.ask(Output::Verify(text), State::Verifying(Box::new(state), utf8))
    } else {
        turn.stay(reply::NOT_VERIFIED, state)
    }
}

/// Answers with what was found, and goes on where the command came.
pub(in super::super) fn verified(
    state: State,
    found: Reply,
    utf8: bool,
    turn: &mut Turn<'_>,
) -> State {
    if utf8 || found.text().is_ascii() {
        turn.reply_in_utf8(found);
        return state;
    }
    let found = if found.code < 300 { reply::VERIFIED_IN_UTF8 } else { found };
    turn.stay(found, state)
}
