//! An open transaction (rfc5321bis 3.3): what is known of a message before its content.

use std::collections::HashSet;
use std::sync::Arc;

use super::answers::Answers;
use super::command::Hello;
use super::{Accepted, Settings};
use crate::envelope::{Envelope, Recipient};
use crate::registry::offer::Protocol;
use crate::registry::trace::{self, With};
use crate::syntax::parameter::body::Body;
use crate::syntax::parameter::priority::Priority;
use crate::syntax::parameter::{MailParameters, RcptParameters};
use crate::syntax::path::{ForwardPath, Mailbox, ReversePath};

/// Up to this many recipients a repeated one is found by looking at each.
const SEARCHED_MAX: usize = 16;

/// A transaction between MAIL and its content.
#[derive(Debug)]
pub(super) struct Transaction {
    hello: Hello,
    reverse_path: ReversePath,
    parameters: MailParameters,
    recipients: Vec<Recipient>,
    /// The addresses of `recipients`, once there are many.
    known: HashSet<Mailbox>,
    /// Each path that was accepted, repeated ones too, where each gets an answer of its own.
    answered: Vec<ForwardPath>,
}

impl Transaction {
    pub(super) fn new(hello: Hello, reverse_path: ReversePath, parameters: MailParameters) -> Self {
        Self {
            hello,
            reverse_path,
            parameters,
            recipients: Vec::new(),
            known: HashSet::new(),
            answered: Vec::new(),
        }
    }

    pub(super) fn into_hello(self) -> Hello {
        self.hello
    }

    /// Takes away a priority above the usual one, which is 0; whether there was one.
    pub(super) fn lower_priority(&mut self) -> bool {
        let usual = Some(Priority::default());
        let is_above = self.parameters.priority > usual;
        if is_above {
            self.parameters.priority = usual;
        }
        is_above
    }

    /// Whether the client said EHLO.
    pub(super) fn is_extended(&self) -> bool {
        self.hello.extended
    }

    /// Whether the content may be any octets, so that only BDAT can bring it (RFC 3030 3).
    pub(super) fn is_binary(&self) -> bool {
        self.parameters.body == Some(Body::BinaryMime)
    }

    /// Whether the client said SMTPUTF8.
    pub(super) fn is_utf8(&self) -> bool {
        self.parameters.utf8
    }

    /// How many copies or answers it comes to.
    pub(super) fn recipients(&self) -> usize {
        self.recipients.len().max(self.answered.len())
    }

    /// Takes a recipient; one that is named twice gets one copy.
    pub(super) fn accept(
        &mut self,
        path: ForwardPath,
        address: Mailbox,
        parameters: RcptParameters,
        protocol: Protocol,
    ) {
        if !self.knows(&address) {
            let said = match &path {
                ForwardPath::Mailbox(said) if *said == address => None,
                said => Some(said.to_string()),
            };
            if !self.known.is_empty() {
                self.known.insert(address.clone());
            }
            self.recipients.push(Recipient { address, original: said, parameters });
        }
        if protocol == Protocol::Lmtp {
            self.answered.push(path);
        }
    }

    fn knows(&mut self, address: &Mailbox) -> bool {
        if self.recipients.len() <= SEARCHED_MAX {
            return self.recipients.iter().any(|recipient| recipient.address == *address);
        }
        if self.known.is_empty() {
            self.known = self.recipients.iter().map(|known| known.address.clone()).collect();
        }
        self.known.contains(address)
    }

    /// Ends it where its content begins: what is handed on, and who waits for an answer.
    pub(super) fn close(self, settings: &Settings) -> (Accepted, Answers) {
        let Settings { protocol, standing, .. } = *settings;
        let with = trace::with(With {
            utf8: self.parameters.utf8,
            lmtp: protocol == Protocol::Lmtp,
            extended: self.hello.extended,
            tls: standing.tls,
            authenticated: standing.authenticated,
        });
        let envelope = Envelope {
            reverse_path: self.reverse_path,
            recipients: self.recipients,
            // What was declared of the size is of no use once the size is known.
            parameters: MailParameters { size: None, ..self.parameters },
            ..Envelope::default()
        };
        let accepted = Accepted { envelope, hello: Arc::clone(&self.hello.name), with };
        let answers = match protocol {
            Protocol::Smtp => Answers::one(self.hello),
            Protocol::Lmtp => Answers::each(self.hello, self.answered),
        };
        (accepted, answers)
    }
}
