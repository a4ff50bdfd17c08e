//! MAIL (rfc5321bis 4.1.1.2): opens a transaction.
//!
//! Promises that what the declared size rules out is refused before anybody is asked, and that a
//! transaction which is open already stays as it was. Who is not known gets no priority above the
//! usual one, and is told so (RFC 6710 4).

use std::sync::Arc;

use super::super::transaction::Transaction;
use super::super::turn::Turn;
use super::super::{Output, State};
use crate::registry::reply::{self, Reply};
use crate::syntax::parameter::MailParameters;
use crate::syntax::path::ReversePath;

/// Asks whether the sender may go on.
pub(super) fn mail(
    state: State,
    reverse_path: ReversePath,
    parameters: MailParameters,
    turn: &mut Turn<'_>,
) -> State {
    let State::Ready(hello) = state else { return turn.refuse_order(state) };
    if !hello.extended && !parameters.is_empty() {
        let refusal = reply::UNKNOWN_PARAMETER.with_text("parameters need EHLO");
        return turn.stay(refusal, State::Ready(hello));
    }
    if parameters.require_tls && !turn.settings.offer.offers("REQUIRETLS") {
        return turn.stay(reply::REQUIRED_BUT_CLEAR, State::Ready(hello));
    }
    let size = parameters.size.unwrap_or(0);
    let limit = turn.settings.limits.message_octets_max;
    if size > limit {
        return turn.stay(too_large(limit), State::Ready(hello));
    }
    let (name, path) = (Arc::clone(&hello.name), reverse_path.clone());
    let (hold, deadline) = (parameters.hold, parameters.deadline);
    let question = Output::JudgeSender { hello: name, reverse_path: path, size, hold, deadline };
    turn.ask(question, State::Opening(Transaction::new(hello, reverse_path, parameters)))
}

/// Answers with the verdict on the sender.
pub(in super::super) fn judged(
    mut transaction: Transaction,
    verdict: Result<(), Reply>,
    turn: &mut Turn<'_>,
) -> State {
    match verdict {
        Ok(()) if !turn.settings.standing.known && transaction.lower_priority() => {
            turn.stay(reply::PRIORITY_CHANGED, State::Transaction(transaction))
        }
        Ok(()) => turn.stay(reply::SENDER_OK, State::Transaction(transaction)),
        Err(refusal) => {
            turn.refuse_sender(refusal);
            State::Ready(transaction.into_hello())
        }
    }
}

/// The refusal of what is over the limit, naming it (RFC 1870 6).
pub(in super::super) fn too_large(limit: u64) -> Reply {
    reply::TOO_LARGE.with_text(format!("message too large, the limit is {limit} octets"))
}
