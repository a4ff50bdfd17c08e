//! The sending state machine, SMTP and LMTP, pipelined by a list of expected replies.
//!
//! Promises to send nothing before the greeting, nothing that was not offered, and content only
//! where a recipient was accepted; one outcome per recipient, in order; and, where a
//! connection breaks, that recipients whose reply was read keep it (rfc5321bis 3.8, RFC 2033 4.2).
//! Octets and the end of the connection go in by `handle_*`; `poll_output` says what to do next. A
//! dialogue carries one transaction after the other until it is closed.

mod content;
mod secure;

use std::collections::VecDeque;

use bytes::BytesMut;

use super::complaint;
use super::features::Features;
use super::finding::{self, Finding};
use super::login::Login;
use super::outcome::{self, Outcome, Stage};
use super::relay::{Security, Way};
use crate::syntax::parameter::submitter::Submitter;
use crate::syntax::parameter::{MailParameters, RcptParameters};
use crate::syntax::reply::{ReplyReader, ServerReply};
pub use secure::{Channel, StartTls, Wishes};

/// Which protocol the next hop speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// EHLO, falling back to HELO.
    Smtp,
    /// LHLO, and a reply per recipient after the content (RFC 2033).
    Lmtp,
}

/// A message, or a question for a recipient, as one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// The reverse-path without brackets; empty for null.
    pub reverse_path: String,
    /// What was asked for the message, and is declared of its content, the size apart.
    pub parameters: MailParameters,
    /// Whom it is for.
    pub recipients: Vec<Addressee>,
    /// Octets of the content; 0 where there is none.
    pub size: u64,
    /// Ask only: MAIL, RCPT, RSET, no content. A recipient taken counts as delivered.
    pub probe: bool,
}

/// A recipient of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addressee {
    /// The forward-path without brackets.
    pub path: String,
    /// What was asked for it.
    pub parameters: RcptParameters,
}

impl Addressee {
    /// One for whom nothing was asked.
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), parameters: RcptParameters::default() }
    }
}

impl Transaction {
    /// The question whether `recipient` is taken.
    pub fn probe(recipient: &str) -> Self {
        Self {
            reverse_path: String::new(),
            parameters: MailParameters { utf8: !recipient.is_ascii(), ..MailParameters::default() },
            recipients: vec![Addressee::new(recipient)],
            size: 0,
            probe: true,
        }
    }
}

/// What the driver is to do next.
#[derive(PartialEq, Eq, Debug)]
pub enum Output {
    /// Send these octets.
    Send(Vec<u8>),
    /// Shake hands for TLS, then call `handle_secured`; where that fails, drop the connection.
    StartTls,
    /// The greeting, the hello and what was wished, or a NOOP, are over: a transaction may begin.
    Ready,
    /// Send the content, dot-stuffed and ended, then call `handle_content_sent`.
    SendContent,
    /// Send this command, and behind it the next octets of the content as they are, then call
    /// `handle_content_sent`.
    SendChunk {
        /// BDAT, with its CRLF.
        command: Vec<u8>,
        /// How many octets.
        octets: u64,
        /// They are the last: they must not be sent where the content turns out to be another one.
        is_last: bool,
    },
    /// The transaction is over: one outcome per recipient, in order.
    Finished(Vec<Outcome>),
    /// Close the connection; it is of no more use.
    Close,
}

/// Which of the RFC's times applies to what is being waited for (rfc5321bis 4.5.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The greeting.
    Greeting,
    /// Hello, MAIL, RCPT, RSET, QUIT.
    Command,
    /// DATA.
    DataInitiation,
    /// The final dot, or a chunk.
    DataTermination,
    /// Nothing: the connection is idle.
    Idle,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Rset,
    Mail,
    Rcpt(usize),
    Data,
    /// A chunk that is not the last.
    Chunk,
    /// The lone dot after a 354 that nobody is to get.
    LoneDot,
    /// The final dot for one recipient, or for all.
    Final(Option<usize>),
    Noop,
    Quit,
}

impl Expect {
    fn stage(self) -> Stage {
        match self {
            Self::Greeting => Stage::Greeting,
            Self::Ehlo | Self::Helo => Stage::Hello,
            Self::StartTls => Stage::StartTls,
            Self::Auth => Stage::Auth,
            Self::Rset | Self::Mail | Self::Quit => Stage::Mail,
            Self::Rcpt(_) => Stage::Recipient,
            Self::Data | Self::LoneDot => Stage::Data,
            Self::Chunk => Stage::Content,
            Self::Final(_) => Stage::Final,
            Self::Noop => Stage::Noop,
        }
    }
}

/// A transaction under way.
#[derive(Debug)]
struct Progress {
    transaction: Transaction,
    outcomes: Vec<Option<Outcome>>,
    accepted: Vec<usize>,
    sending_content: bool,
    /// Octets of the content that no chunk has taken yet.
    left: u64,
    /// A reply other than 421 came to it.
    heard: bool,
}

impl Progress {
    fn settle_open(&mut self, outcome: &Outcome) {
        for slot in &mut self.outcomes {
            slot.get_or_insert_with(|| outcome.clone());
        }
        self.accepted.clear();
    }

    fn settle(&mut self, recipient: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(recipient) {
            slot.get_or_insert(outcome);
        }
    }
}

/// One connection's dialogue.
#[derive(Debug)]
pub struct Dialog {
    protocol: Protocol,
    hello: String,
    wishes: Wishes,
    /// What TLS came to, once the connection is under it.
    channel: Option<Channel>,
    /// STARTTLS was answered, and nothing may come before the handshake.
    handshaking: bool,
    login: Option<Login>,
    logged_in: bool,
    login_refused: bool,
    features: Features,
    input: BytesMut,
    reader: ReplyReader,
    /// What is sent as soon as it may be, with the reply it will get.
    unsent: VecDeque<(String, Expect)>,
    expected: VecDeque<Expect>,
    outputs: VecDeque<Output>,
    progress: Option<Progress>,
    needs_reset: bool,
    /// The last transaction ended before it was answered at all.
    unheard: bool,
    /// What RCPT was answered in a probe.
    probe_reply: Option<ServerReply>,
    /// What the last transaction, or the way to the first, says of the site.
    finding: Finding,
    /// Why nothing more can be done here, once that is so.
    broken: Option<Outcome>,
}

impl Dialog {
    /// A dialogue that waits for the greeting; `hello` is our own name.
    pub fn new(protocol: Protocol, hello: &str) -> Self {
        Self {
            protocol,
            hello: hello.to_owned(),
            wishes: Wishes::default(),
            channel: None,
            handshaking: false,
            login: None,
            logged_in: false,
            login_refused: false,
            features: Features::default(),
            input: BytesMut::new(),
            reader: ReplyReader::default(),
            unsent: VecDeque::new(),
            expected: VecDeque::from([Expect::Greeting]),
            outputs: VecDeque::new(),
            progress: None,
            needs_reset: false,
            unheard: false,
            probe_reply: None,
            finding: Finding::default(),
            broken: None,
        }
    }

    /// Starts a transaction; only after `Ready` or `Finished`, and before `Close`.
    pub fn begin(&mut self, transaction: Transaction) {
        let outcomes = vec![None; transaction.recipients.len()];
        let progress = Progress {
            left: transaction.size,
            transaction,
            outcomes,
            accepted: vec![],
            sending_content: false,
            heard: false,
        };
        self.unheard = false;
        let too_large = self.features.size_limit.filter(|&limit| progress.transaction.size > limit);
        self.progress = Some(progress);
        if let Some(broken) = self.broken.clone() {
            return self.finish_with(&broken);
        }
        self.finding = Finding::default();
        if let (Some(limit), Some(progress)) = (too_large, &self.progress) {
            let outcome = outcome::of_size(progress.transaction.size, limit);
            return self.finish_with(&outcome);
        }
        self.write_envelope();
        self.pump();
    }

    /// Says NOOP, for a sign of life: `Ready` if the answer is 2yz, else the dialogue is over. Only
    /// where a transaction may begin.
    pub fn noop(&mut self) {
        self.unsent.push_back(("NOOP".to_owned(), Expect::Noop));
        self.pump();
    }

    /// Says QUIT; the connection closes with the answer.
    pub fn quit(&mut self) {
        self.unsent.push_back(("QUIT".to_owned(), Expect::Quit));
        self.pump();
    }

    /// Takes octets of the next hop.
    pub fn handle_input(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        if self.handshaking {
            return self.refuse_injected();
        }
        while self.broken.is_none() {
            match self.reader.read(&mut self.input) {
                Ok(Some(reply)) => self.handle_reply(&reply),
                Ok(None) => return,
                Err(garbage) => return self.handle_break(garbage.0),
            }
        }
    }

    /// Tells that the connection is gone or unusable, and why; also on a timeout.
    pub fn handle_break(&mut self, why: &str) {
        let stage = self.stage();
        self.break_with(outcome::of_break(stage, why), finding::of_break(stage, why));
    }

    /// Tells that the content can't be read to its end: no fault of the next hop.
    pub fn handle_content_lost(&mut self, why: &str) {
        self.break_with(outcome::of_break(self.stage(), why), Finding::Served);
    }

    fn stage(&self) -> Stage {
        let sending = self.progress.as_ref().is_some_and(|progress| progress.sending_content);
        match self.expected.front() {
            _ if sending => Stage::Content,
            Some(expected) => expected.stage(),
            None => Stage::Mail,
        }
    }

    /// What is being waited for.
    pub fn phase(&self) -> Phase {
        match self.expected.front() {
            None => Phase::Idle,
            Some(Expect::Greeting) => Phase::Greeting,
            Some(Expect::Data) => Phase::DataInitiation,
            Some(Expect::Final(_) | Expect::LoneDot | Expect::Chunk) => Phase::DataTermination,
            Some(_) => Phase::Command,
        }
    }

    /// What the rules of relaying ask of this connection.
    pub fn way(&self) -> Way<'_> {
        let is_final = self.protocol == Protocol::Lmtp;
        let security = match &self.channel {
            _ if is_final && self.wishes.is_local => Security::Local,
            None => Security::Clear,
            Some(channel) if channel.verified => Security::Verified,
            Some(_) => Security::Encrypted,
        };
        Way { features: &self.features, is_final, security }
    }

    /// Whether the connection is of no more use.
    pub fn is_over(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether the last transaction broke before any reply came to it, or was answered 421 at once:
    /// on a connection that had served before, another one deserves a try.
    pub fn was_unheard(&self) -> bool {
        self.unheard
    }

    /// What the last transaction says of the site; before any, what the greeting and the hello do.
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// The reply to the last probe's RCPT, once; none if it did not come to that.
    pub fn take_probe_reply(&mut self) -> Option<ServerReply> {
        self.probe_reply.take()
    }

    /// What to do next; `None` when input is needed, or a transaction.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn write_envelope(&mut self) {
        let Some(progress) = &self.progress else { return };
        let transaction = &progress.transaction;
        let mut mail = format!("MAIL FROM:<{}>", transaction.reverse_path);
        let parameters = MailParameters {
            size: Some(transaction.size).filter(|&size| size > 0),
            submitter: self.submitter(transaction),
            ..transaction.parameters.clone()
        };
        parameters.write(&mut mail, |parameter| self.features.takes(parameter));
        if std::mem::take(&mut self.needs_reset) {
            self.unsent.push_back(("RSET".to_owned(), Expect::Rset));
        }
        self.unsent.push_back((mail, Expect::Mail));
        for (index, recipient) in transaction.recipients.iter().enumerate() {
            let Addressee { path, parameters } = recipient;
            let mut rcpt = format!("RCPT TO:<{path}>");
            let ascii = (!self.features.offers("SMTPUTF8")).then(|| parameters.in_ascii());
            let parameters = ascii.as_ref().unwrap_or(parameters);
            parameters.write(&mut rcpt, |parameter| self.features.takes(parameter));
            self.unsent.push_back((rcpt, Expect::Rcpt(index)));
        }
        if transaction.probe {
            self.unsent.push_back(("RSET".to_owned(), Expect::Rset));
        } else if !self.takes_chunks() {
            self.unsent.push_back(("DATA".to_owned(), Expect::Data));
        }
    }

    /// Who submitted it is told to nobody but those with whom we are logged in (RFC 4954 5).
    fn submitter(&self, transaction: &Transaction) -> Option<Submitter> {
        let known = || transaction.parameters.submitter.clone();
        self.logged_in.then(|| known().unwrap_or(Submitter::Unknown))
    }

    /// Sends what may be sent now: everything where pipelining is offered, else one command.
    fn pump(&mut self) {
        let mut batch = Vec::new();
        while self.features.offers("PIPELINING") || self.expected.is_empty() {
            let Some((line, expect)) = self.unsent.pop_front() else { break };
            batch.extend_from_slice(line.as_bytes());
            batch.extend_from_slice(b"\r\n");
            self.expected.push_back(expect);
        }
        if !batch.is_empty() {
            self.outputs.push_back(Output::Send(batch));
        }
    }

    fn handle_reply(&mut self, reply: &ServerReply) {
        let Some(expect) = self.expected.pop_front() else {
            return self.unasked(reply);
        };
        if let (Some(progress), false) = (&mut self.progress, reply.code == 421) {
            progress.heard = true;
        }
        if let Some(complaint) = complaint::judge(reply) {
            self.finding.add(Finding::Limited(complaint));
        }
        match expect {
            Expect::Greeting => self.greeted(reply),
            Expect::Ehlo | Expect::Helo => self.helloed(expect, reply),
            Expect::StartTls => self.starttls_answered(reply),
            Expect::Auth => self.auth_answered(reply),
            Expect::Rset => self.reset(),
            Expect::Mail => self.mailed(reply),
            Expect::Rcpt(recipient) => self.recipient_judged(recipient, reply),
            Expect::Data => self.data_answered(reply),
            Expect::Chunk => self.chunk_answered(reply),
            Expect::LoneDot => self.finish(),
            Expect::Final(recipient) => self.content_judged(recipient, reply),
            Expect::Noop => self.nooped(reply),
            Expect::Quit => return self.close(),
        }
        if reply.code == 421 {
            return self.break_off(expect.stage(), reply);
        }
        self.pump();
    }

    /// A reply that nothing asked for: a verdict on content that it did not wait to see the end of,
    /// a farewell, or nonsense. The connection is of no more use in any case.
    fn unasked(&mut self, reply: &ServerReply) {
        let sending = self.progress.as_ref().is_some_and(|progress| progress.sending_content);
        match reply.code / 100 {
            4 | 5 if sending => self.break_off(Stage::Content, reply),
            _ => self.handle_break("it spoke out of turn"),
        }
    }

    fn greeted(&mut self, reply: &ServerReply) {
        if !reply.is_positive() {
            return self.break_off(Stage::Greeting, reply);
        }
        self.say_hello();
    }

    fn helloed(&mut self, expect: Expect, reply: &ServerReply) {
        if reply.is_positive() {
            if expect == Expect::Ehlo {
                self.features = Features::of(reply);
            }
            return self.prepare();
        }
        let fall_back =
            self.protocol == Protocol::Smtp && expect == Expect::Ehlo && reply.is_permanent();
        if fall_back {
            self.unsent.push_back((format!("HELO {}", self.hello), Expect::Helo));
        } else {
            self.break_off(Stage::Hello, reply);
        }
    }

    fn nooped(&mut self, reply: &ServerReply) {
        if reply.is_positive() {
            self.outputs.push_back(Output::Ready);
        } else {
            self.break_off(Stage::Noop, reply);
        }
    }

    /// RSET ends a probe; before a transaction it settles nothing.
    fn reset(&mut self) {
        let ends_probe = self.unsent.is_empty() && self.expected.is_empty();
        if ends_probe && self.progress.as_ref().is_some_and(|progress| progress.transaction.probe) {
            self.needs_reset = false;
            self.finish();
        }
    }

    fn mailed(&mut self, reply: &ServerReply) {
        if let (false, Some(progress)) = (reply.is_positive(), &mut self.progress) {
            progress.settle_open(&outcome::of_reply(Stage::Mail, reply));
            self.give_up_envelope();
        }
    }

    fn recipient_judged(&mut self, recipient: usize, reply: &ServerReply) {
        let Some(progress) = &mut self.progress else { return };
        let is_open = progress.outcomes.get(recipient).is_some_and(Option::is_none);
        // Behind a MAIL that was refused it says nothing of the recipient.
        if progress.transaction.probe && is_open {
            self.probe_reply = Some(reply.clone());
        }
        if !reply.is_positive() {
            let others = !progress.accepted.is_empty();
            progress.settle(recipient, outcome::of_recipient(reply, others));
        } else if progress.transaction.probe {
            progress.settle(recipient, Outcome::Delivered(reply.one_line()));
        } else if progress.outcomes.get(recipient).is_some_and(Option::is_none) {
            progress.accepted.push(recipient);
        }
        let nobody = progress.outcomes.iter().all(Option::is_some);
        if nobody && !progress.transaction.probe {
            self.give_up_envelope();
        }
        self.begin_chunks();
    }

    /// Nobody will get the content: what is unsent of the envelope stays unsent.
    fn give_up_envelope(&mut self) {
        self.needs_reset = true;
        if !self.unsent.is_empty() {
            self.unsent.clear();
            if self.expected.is_empty() {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        let unanswered = outcome::of_break(Stage::Final, "it never answered for this recipient");
        self.finish_with(&unanswered);
    }

    /// Ends the transaction; recipients still open get `outcome`.
    fn finish_with(&mut self, outcome: &Outcome) {
        if let Some(mut progress) = self.progress.take() {
            progress.settle_open(outcome);
            let outcomes = progress.outcomes.into_iter().flatten().collect();
            self.outputs.push_back(Output::Finished(outcomes));
        }
    }

    /// A reply ends the dialogue.
    fn break_off(&mut self, stage: Stage, reply: &ServerReply) {
        self.break_with(outcome::of_reply(stage, reply), finding::of_reply(stage, reply));
    }

    fn break_with(&mut self, outcome: Outcome, finding: Finding) {
        if self.broken.is_some() {
            return;
        }
        self.finding.add(finding);
        // Nobody was told yet what waits to be sent.
        self.outputs
            .retain(|output| matches!(output, Output::Ready | Output::Finished(_) | Output::Close));
        self.unheard = self.progress.as_ref().is_some_and(|progress| !progress.heard);
        self.finish_with(&outcome);
        self.broken = Some(outcome);
        self.close();
    }

    fn close(&mut self) {
        self.expected.clear();
        self.unsent.clear();
        if self.broken.is_none() {
            self.broken = Some(outcome::of_break(Stage::Mail, "the connection is closed"));
        }
        self.outputs.push_back(Output::Close);
    }
}

#[cfg(test)]
mod tests;
