//! HELO, EHLO and LHLO (rfc5321bis 4.1.1.1, RFC 2033 4.1): who the client says it is, and what we
//! offer.

use std::sync::Arc;

use super::super::State;
use super::super::turn::Turn;
use crate::registry::reply;

/// What the client said of itself.
#[derive(Clone, Debug)]
pub(in super::super) struct Hello {
    pub(in super::super) name: Arc<str>,
    /// EHLO or LHLO rather than HELO: extensions may be used.
    pub(in super::super) extended: bool,
}

/// Greets back and drops any open transaction (rfc5321bis 4.1.4).
pub(super) fn hello(state: State, hello: Hello, turn: &mut Turn<'_>) -> State {
    if let State::Chunks(chunks) = state {
        chunks.abandon(turn);
    }
    let settings = turn.settings;
    let offered = if hello.extended { settings.offer.ehlo_text() } else { "" };
    let welcome = reply::HELLO;
    let text = [&*settings.hostname, " ", welcome.text(), offered].concat();
    turn.stay(welcome.with_text(text), State::Ready(hello))
}
