//! The commands (rfc5321bis 4.1.1): each is one file, and one function from state to state.
//!
//! Promises one reply to each, at once or after the answer that the command waits for; and that a
//! command which a state does not allow leaves that state as it was.

pub(super) mod auth;
pub(super) mod bdat;
mod data;
mod hello;
mod help;
pub(super) mod mail;
mod noop;
mod quit;
pub(super) mod rcpt;
mod rset;
pub(super) mod starttls;
pub(super) mod vrfy;
pub(super) mod xclient;

use super::turn::Turn;
use super::{Output, State};
use crate::metric::Stage;
use crate::registry::reply;
use crate::syntax::command::Command;
pub(super) use hello::Hello;

/// Carries out `command`.
pub(super) fn handle(state: State, command: Command, turn: &mut Turn<'_>) -> State {
    match command {
        Command::Helo(name) => hello::hello(state, Hello { name, extended: false }, turn),
        Command::Ehlo(name) => hello::hello(state, Hello { name, extended: true }, turn),
        Command::Mail { reverse_path, parameters } => {
            mail::mail(state, reverse_path, parameters, turn)
        }
        Command::Rcpt { path, utf8, parameters } => {
            rcpt::rcpt(state, (path, parameters), utf8, turn)
        }
        Command::Data => data::data(state, turn),
        Command::Bdat(chunk) => bdat::bdat(state, chunk, turn),
        Command::BadBdat(refusal) => {
            turn.reply(refusal);
            turn.reply(reply::OUT_OF_STEP);
            turn.ask(Output::Close, State::Closed)
        }
        Command::Rset => rset::rset(state, turn),
        Command::Noop => noop::noop(state, turn),
        Command::Quit => quit::quit(turn),
        Command::Vrfy { text, utf8 } => vrfy::vrfy(state, text, utf8, turn),
        Command::Help(topic) => help::help(state, &topic, turn),
        Command::StartTls => starttls::starttls(state, turn),
        Command::Auth { mechanism, initial } => auth::auth(state, mechanism, initial, turn),
        Command::Xclient(claim) => xclient::xclient(state, claim, turn),
    }
}

/// What a command asks for, as the figures tell it.
pub(super) fn stage(command: &Command) -> Stage {
    match command {
        Command::Helo(_) | Command::Ehlo(_) => Stage::Hello,
        Command::Mail { .. } => Stage::Mail,
        Command::Rcpt { .. } => Stage::Recipient,
        Command::Data | Command::Bdat(_) | Command::BadBdat(_) => Stage::Data,
        _ => Stage::Other,
    }
}
