//! RCPT (rfc5321bis 4.1.1.3): adds a recipient. Each is judged by itself.

use super::super::transaction::Transaction;
use super::super::turn::Turn;
use super::super::{Output, State};
use crate::registry::reply::{self, Reply};
use crate::syntax::parameter::RcptParameters;
use crate::syntax::path::{ForwardPath, Mailbox};

/// Asks for the verdict on a recipient, unless there are as many as may be (4.5.3.1.10).
pub(super) fn rcpt(
    state: State,
    (path, parameters): (ForwardPath, RcptParameters),
    utf8: bool,
    turn: &mut Turn<'_>,
) -> State {
    let transaction = match state {
        State::Transaction(transaction) => transaction,
        state => return turn.refuse_order(state),
    };
    if !transaction.is_extended() && !parameters.is_empty() {
        let refusal = reply::UNKNOWN_PARAMETER.with_text("parameters need EHLO");
        return turn.stay(refusal, State::Transaction(transaction));
    }
    if utf8 && !transaction.is_utf8() {
        return turn.stay(reply::UNDECLARED_RECIPIENT, State::Transaction(transaction));
    }
    let limit = turn.settings.limits.recipients_max;
    if transaction.recipients() >= limit {
        let text = format!("at most {limit} recipients, send the rest in another transaction");
        let refusal = reply::TOO_MANY_RECIPIENTS.with_text(text);
        return turn.stay(refusal, State::Transaction(transaction));
    }
    let question = Output::JudgeRecipient(path.clone(), parameters.validity);
    turn.ask(question, State::Judging(transaction, path, parameters))
}

/// Answers with the verdict on a recipient.
pub(in super::super) fn judged(
    mut transaction: Transaction,
    (path, parameters): (ForwardPath, RcptParameters),
    verdict: Result<Mailbox, Reply>,
    turn: &mut Turn<'_>,
) -> State {
    let reply = match verdict {
        Ok(address) => {
            transaction.accept(path, address, parameters, turn.settings.protocol);
            reply::RECIPIENT_OK
        }
        Err(refusal) => refusal,
    };
    turn.stay(reply, State::Transaction(transaction))
}
