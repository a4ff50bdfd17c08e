//! BDAT (RFC 3030 2): a chunk of the content. Its octets follow at once, so that they are read even
//! where the command is refused.

use super::super::chunks::{Chunk, Chunks};
use super::super::turn::Turn;
use super::super::{Output, State};
use crate::registry::reply::{self, Reply};
use crate::syntax::command;

/// Lets the octets come.
pub(super) fn bdat(state: State, chunk: command::Chunk, turn: &mut Turn<'_>) -> State {
    let refuse = |why: &'static str| reply::BAD_SEQUENCE.with_text(why);
    let (refusal, state) = match state {
        State::Chunks(chunks) => return chunks.take(chunk, turn),
        State::Transaction(transaction) if transaction.recipients() == 0 => {
            (refuse("no recipient was accepted"), State::Transaction(transaction))
        }
        State::Transaction(transaction) if !transaction.is_extended() => {
            (refuse("say EHLO first"), State::Transaction(transaction))
        }
        State::Transaction(transaction) => {
            let is_binary = transaction.is_binary();
            let (accepted, answers) = transaction.close(turn.settings);
            turn.outputs.push_back(Output::Begin(Box::new(accepted)));
            return Chunks::new(answers, is_binary, turn.settings).take(chunk, turn);
        }
        state => (refuse(turn.wants(&state)), state),
    };
    Chunk::pass_over(chunk, refusal, state, turn)
}

/// Refuses a command that can't be carried out now, with the octets that belong to it.
pub(in super::super) fn refuse(
    state: State,
    command: &command::Command,
    refusal: Reply,
    turn: &mut Turn<'_>,
) -> State {
    match command {
        command::Command::Bdat(chunk) => Chunk::pass_over(*chunk, refusal, state, turn),
        _ => turn.stay(refusal, state),
    }
}
