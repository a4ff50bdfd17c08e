//! MAIL, RCPT and DATA (rfc5321bis 3.3): a transaction up to its content.

use super::content::Content;
use super::hello::Hello;
use super::turn::Turn;
use super::{
    Accepted, Envelope, ForwardPath, Mailbox, Output, Recipient, Reply, ReversePath, State,
};
use crate::envelope::Origin;
use crate::registry::reply;
use crate::syntax::command::Body;

/// An open transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    hello: Hello,
    reverse_path: ReversePath,
    body: Body,
    recipients: Vec<Recipient>,
}

/// MAIL: asks whether the sender may go on, unless the declared size rules it out.
pub(super) fn open(
    hello: Hello,
    reverse_path: ReversePath,
    size: Option<u64>,
    body: Option<Body>,
    turn: &mut Turn<'_>,
) -> State {
    let uses_parameters = size.is_some() || body.is_some();
    if uses_parameters && !hello.extended {
        let refusal = reply::UNKNOWN_PARAMETER.with_text("parameters need EHLO");
        return turn.stay(&refusal, State::Ready(hello));
    }
    let size = size.unwrap_or(0);
    let limit = turn.settings.limits.message_octets_max;
    if size > limit {
        return turn.stay(&too_large(limit), State::Ready(hello));
    }
    let (name, path) = (hello.name.clone(), reverse_path.clone());
    turn.outputs.push_back(Output::JudgeSender { hello: name, reverse_path: path, size });
    let body = body.unwrap_or_default();
    State::Opening(Transaction { hello, reverse_path, body, recipients: Vec::new() })
}

/// The refusal of what is over the limit, naming it (RFC 1870 6).
pub(super) fn too_large(limit: u64) -> Reply {
    reply::TOO_LARGE.with_text(format!("message too large, the limit is {limit} octets"))
}

impl Transaction {
    pub(super) fn into_hello(self) -> Hello {
        self.hello
    }

    pub(super) fn judged_sender(self, verdict: Result<(), Reply>, turn: &mut Turn<'_>) -> State {
        match verdict {
            Ok(()) => turn.stay(&reply::SENDER_OK, State::Transaction(self)),
            Err(refusal) => turn.stay(&refusal, State::Ready(self.hello)),
        }
    }

    /// RCPT: each is judged by itself.
    pub(super) fn rcpt(self, path: ForwardPath, turn: &mut Turn<'_>) -> State {
        let limit = turn.settings.limits.recipients_max;
        if self.recipients.len() >= limit {
            let text = format!("at most {limit} recipients, send the rest in another transaction");
            let refusal = reply::TOO_MANY_RECIPIENTS.with_text(text);
            return turn.stay(&refusal, State::Transaction(self));
        }
        turn.outputs.push_back(Output::JudgeRecipient(path.clone()));
        State::Judging(self, path)
    }

    /// A recipient named twice gets one copy.
    pub(super) fn judged_recipient(
        mut self,
        path: &ForwardPath,
        verdict: Result<Mailbox, Reply>,
        turn: &mut Turn<'_>,
    ) -> State {
        let address = match verdict {
            Ok(address) => address,
            Err(refusal) => return turn.stay(&refusal, State::Transaction(self)),
        };
        let original = Some(path.to_string()).filter(|said| *said != address.to_string());
        let known = |recipient: &Recipient| recipient.address == address;
        if !self.recipients.iter().any(known) {
            self.recipients.push(Recipient { address, original });
        }
        turn.stay(&reply::RECIPIENT_OK, State::Transaction(self))
    }

    /// DATA: 354 only where somebody is to get the content.
    pub(super) fn data(self, turn: &mut Turn<'_>) -> State {
        if self.recipients.is_empty() {
            let refusal = reply::BAD_SEQUENCE.with_text("no recipient was accepted");
            return turn.stay(&refusal, State::Transaction(self));
        }
        turn.reply(&reply::START_CONTENT);
        let envelope = Envelope {
            reverse_path: self.reverse_path,
            recipients: self.recipients,
            body: self.body,
            eight_bit: false,
            long_lines: false,
            session: String::new(),
            origin: Origin::default(),
        };
        turn.outputs.push_back(Output::Begin(Box::new(Accepted {
            envelope,
            hello: self.hello.name.clone(),
            with: if self.hello.extended { "ESMTP" } else { "SMTP" },
        })));
        State::Content(Content::new(self.hello, turn.settings))
    }
}
