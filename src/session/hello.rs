//! HELO and EHLO (rfc5321bis 4.1.1.1): who the client says it is, and what we offer.

use super::State;
use super::turn::Turn;
use crate::registry::offer::{Offer, Protocol};
use crate::registry::reply;

/// What the client said of itself.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) name: Box<str>,
    /// EHLO rather than HELO.
    pub(super) extended: bool,
}

/// Greets back and drops any open transaction (4.1.4).
pub(super) fn hello(name: Box<str>, extended: bool, turn: &mut Turn<'_>) -> State {
    let mut text = format!("{} {}", turn.settings.hostname, reply::HELLO.text());
    if extended {
        let size = turn.settings.limits.message_octets_max;
        text.push_str(Offer::new(Protocol::Smtp, false, size).ehlo_text());
    }
    turn.stay(&reply::HELLO.with_text(text), State::Ready(Hello { name, extended }))
}
