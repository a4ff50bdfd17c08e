//! AUTH (RFC 4954): the client proves who it is, in an exchange of challenges and responses.
//!
//! Promises one success in a session, none within a transaction, and that whatever ends an exchange
//! leaves the session where AUTH came. What is said in it is the driver's affair.

use super::super::line::Line;
use super::super::turn::Turn;
use super::super::{Output, State};
use super::Hello;
use crate::registry::mechanism::Mechanism;
use crate::registry::reply::{self, Reply};
use crate::syntax::sasl::{self, LINE_OCTETS_MAX, Response};

/// Begins an exchange by a mechanism that this channel allows.
pub(super) fn auth(
    state: State,
    mechanism: Mechanism,
    initial: Option<Response>,
    turn: &mut Turn<'_>,
) -> State {
    let standing = turn.settings.standing;
    if standing.authenticated {
        return turn.stay(reply::BAD_SEQUENCE.with_text("you are logged in already"), state);
    }
    let hello = match state {
        State::Ready(hello) if hello.extended => hello,
        State::Ready(_) => {
            return turn.stay(reply::BAD_SEQUENCE.with_text("say EHLO first"), state);
        }
        state => return turn.refuse_order(state),
    };
    if !turn.settings.offer.mechanisms().contains(&mechanism) {
        let hidden = mechanism.shows_secret() && !standing.tls;
        let refusal = if hidden { reply::NEEDS_TLS } else { reply::UNKNOWN_MECHANISM };
        return turn.stay(refusal, State::Ready(hello));
    }
    turn.ask(Output::Authenticate { mechanism, initial }, State::Authenticating(hello))
}

/// Sends a challenge, and waits for the response.
pub(in super::super) fn challenged(hello: Hello, challenge: &[u8], turn: &mut Turn<'_>) -> State {
    let text = sasl::write_challenge(challenge);
    turn.stay(reply::CHALLENGE.with_text(text), State::Responding(hello))
}

/// Reads a line of the exchange.
pub(in super::super) fn read(line: Line<'_>) -> Result<Response, Reply> {
    match line {
        Line::TooLong => Err(reply::RESPONSE_TOO_LONG),
        Line::BareLineFeed(_) => Err(reply::BARE_LINE_FEED),
        Line::Whole(line) if line.len() > LINE_OCTETS_MAX => Err(reply::RESPONSE_TOO_LONG),
        Line::Whole(b"*") => Err(reply::AUTH_CANCELLED),
        Line::Whole(line) => sasl::parse_response(line).ok_or(reply::BAD_RESPONSE),
    }
}

/// Hands on a response; what is none ends the exchange.
pub(in super::super) fn responded(
    hello: Hello,
    response: Result<Response, Reply>,
    turn: &mut Turn<'_>,
) -> State {
    match response {
        Ok(response) => turn.ask(Output::Respond(response), State::Authenticating(hello)),
        Err(refusal) => {
            turn.reply(refusal);
            turn.ask(Output::CancelExchange, State::Ready(hello))
        }
    }
}

/// Tells whether the client is in.
pub(in super::super) fn judged(
    hello: Hello,
    verdict: Result<(), Reply>,
    turn: &mut Turn<'_>,
) -> State {
    turn.stay(
        verdict.map_or_else(|refusal| refusal, |()| reply::AUTHENTICATED),
        State::Ready(hello),
    )
}
