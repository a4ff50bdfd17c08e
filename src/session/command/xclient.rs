//! XCLIENT (bilateral; Postfix's XCLIENT_README): a proxy says whom it stands for.
//!
//! Promises that the session begins anew: what was said before counts for nothing.

use super::super::turn::Turn;
use super::super::{Output, State, greeting};
use super::Hello;
use crate::syntax::xclient::Claim;

/// Asks the driver to take the client for another.
pub(super) fn xclient(state: State, claim: Box<Claim>, turn: &mut Turn<'_>) -> State {
    match state {
        State::Greeted | State::Ready(_) => {
            let hello = claim.hello.clone();
            let hello = hello.map(|name| Hello { name, extended: claim.extended });
            turn.ask(Output::Impersonate(claim), State::Impersonating(hello))
        }
        state => turn.refuse_order(state),
    }
}

/// Greets the client that it stands for.
pub(in super::super) fn impersonated(hello: Option<Hello>, turn: &mut Turn<'_>) -> State {
    turn.reply(greeting(turn.settings));
    hello.map_or(State::Greeted, State::Ready)
}
