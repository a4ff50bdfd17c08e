//! DATA (rfc5321bis 4.1.1.4): 354 only where somebody is to get the content.

use super::super::content::Content;
use super::super::turn::Turn;
use super::super::{Output, State};
use crate::registry::reply;

/// Lets the content come.
pub(super) fn data(state: State, turn: &mut Turn<'_>) -> State {
    let transaction = match state {
        State::Transaction(transaction) => transaction,
        state => return turn.refuse_order(state),
    };
    if transaction.recipients() == 0 {
        let refusal = reply::BAD_SEQUENCE.with_text("no recipient was accepted");
        return turn.stay(refusal, State::Transaction(transaction));
    }
    if transaction.is_binary() {
        let refusal = reply::BAD_SEQUENCE.with_text("binary content comes by BDAT");
        return turn.stay(refusal, State::Transaction(transaction));
    }
    turn.reply(reply::START_CONTENT);
    let (accepted, answers) = transaction.close(turn.settings);
    let content = Content::new(answers, turn.settings);
    turn.ask(Output::Begin(Box::new(accepted)), State::Content(content))
}
