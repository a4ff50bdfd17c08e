//! Floor 2: the receiving session, a machine without I/O.
//!
//! Promises one reply per command, in order, whatever the pieces the input comes in; memory bounded
//! by `limit.rs`; and that a transaction is handed on only whole. Octets go in by `handle_input`;
//! `poll_output` gives what to do next until it gives `None`. A judgement or a commit that an output
//! asks for is answered by the matching `handle_*` before anything else is read.
//!
//! ```text
//! Greeted ──EHLO──▶ Ready ──MAIL──▶ Opening ──ok──▶ Transaction ──RCPT──▶ Judging ──▶ Transaction
//!                     ▲                               │ DATA  │ BDAT
//!                     └─ replies ◀── Committing ◀──dot── Content ▼
//!                                        ▲──────────last────── Chunk ◀──BDAT──▶ Chunks ──RSET──▶ Ready
//! ```
//! VRFY, XCLIENT, STARTTLS and AUTH leave Ready for a state that waits for their answer.
//! Every other move is forbidden; a state owns exactly what is true in it, so nothing is ever reset.

mod answers;
mod chunks;
mod command;
mod content;
pub mod limit;
mod line;
mod secure;
mod standing;
mod transaction;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::envelope::Envelope;
use crate::metric::Stage;
use crate::registry::mechanism::Mechanism;
use crate::registry::offer::{Known, Offer, Protocol};
use crate::registry::reply::{self, Reply};
use crate::registry::verb::Verb;
use crate::syntax::command::{Command, Grammar};
use crate::syntax::content::BareLineEnds;
use crate::syntax::parameter::RcptParameters;
use crate::syntax::parameter::deadline::Deadline;
use crate::syntax::parameter::hold::Hold;
use crate::syntax::parameter::validity::Validity;
use crate::syntax::path::{ForwardPath, Mailbox, ReversePath};
use crate::syntax::sasl::Response;
use crate::syntax::xclient::Claim;

use answers::Answers;
use chunks::{Chunk, Chunks};
use command::Hello;
use content::Content;
use limit::{COMMAND_OCTETS_MAX, Limits};
use line::{Line, LineReader};
use transaction::Transaction;
use turn::Turn;

pub use standing::{Demand, Standing};

/// Outputs that wait at a time, where nobody sends commands in batches.
const OUTPUTS: usize = 4;

/// What a listener tells its sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own name, first word of greeting and hello.
    pub hostname: Arc<str>,
    /// What is spoken.
    pub protocol: Protocol,
    /// What is offered to this client.
    pub offer: Arc<Offer>,
    /// The bounds.
    pub limits: Limits,
    /// What bare CR and LF in this client's content lead to.
    pub bare_line_ends: BareLineEnds,
    /// Whether commands are read strictly, see [`Grammar`].
    pub strict: bool,
    /// What this client's paths get that have no domain; none where they are refused.
    pub domain: Option<Arc<str>>,
    /// Whether VRFY tells this client who lives here.
    pub verify: bool,
    /// Whether mail is taken at all.
    pub service: Service,
    /// How this client stands.
    pub standing: Standing,
}

/// Whether a listener takes mail (rfc5321bis 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// It does.
    Open,
    /// Not now or not from anyone: 554 in the greeting, then 503 to all but QUIT.
    Closed,
    /// This host takes no mail at all: 521 and the end (RFC 7504).
    None,
}

/// What the driver is to do next.
#[derive(PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this reply; it may wait for others until input is needed.
    Reply(Reply),
    /// Answer with `handle_sender`: may this sender open a transaction of that declared size?
    JudgeSender {
        /// The name the client gave.
        hello: Arc<str>,
        /// The reverse-path.
        reverse_path: ReversePath,
        /// Declared octets, 0 where nothing was declared.
        size: u64,
        /// When the message is to be released.
        hold: Option<Hold>,
        /// By when it is to be delivered.
        deadline: Option<Deadline>,
    },
    /// Answer with `handle_recipient`: may this recipient be added, with what must hold of its owner?
    JudgeRecipient(ForwardPath, Option<Validity>),
    /// Answer with `handle_verification`: the argument of VRFY.
    Verify(Box<str>),
    /// A trusted proxy speaks for another client: answer with `handle_impersonation`.
    Impersonate(Box<Claim>),
    /// Answer with `handle_start_tls`.
    StartTls,
    /// Send what waits, take the handshake, and answer with `handle_secured`; or close.
    Handshake,
    /// Begin a SASL exchange; answer with `handle_challenge` or `handle_login`.
    Authenticate {
        /// By this mechanism.
        mechanism: Mechanism,
        /// With this initial response, if one came.
        initial: Option<Response>,
    },
    /// Go on with the exchange; answer as before.
    Respond(Response),
    /// The exchange is over, without an end: forget it.
    CancelExchange,
    /// Content begins: open a place for it.
    Begin(Box<Accepted>),
    /// The next piece of content.
    Content(Vec<u8>),
    /// The content is whole: make it safe, and answer with `handle_commit`.
    Commit,
    /// The content will not be kept: forget it.
    Discard,
    /// Send what waits, then close the connection.
    Close,
}

/// A transaction whose content may come.
#[derive(PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Reverse-path, recipients, declared body type.
    pub envelope: Envelope,
    /// The name the client gave.
    pub hello: Arc<str>,
    /// A registered `with` protocol for the trace field (rfc5321bis 4.4).
    pub with: &'static str,
}

#[derive(Debug)]
enum State {
    /// Refused in the greeting; waits for QUIT.
    Refused,
    Greeted,
    Ready(Hello),
    /// Waiting for the judgement of a sender.
    Opening(Transaction),
    Transaction(Transaction),
    /// Waiting for the judgement of a recipient.
    Judging(Transaction, ForwardPath, RcptParameters),
    /// Waiting for what VRFY found, which may or may not be told in UTF-8.
    Verifying(Box<Self>, bool),
    /// Waiting to be taken for another client.
    Impersonating(Option<Hello>),
    /// Waiting for leave to begin a handshake.
    Preparing(Hello),
    /// Waiting for the end of the handshake.
    Securing,
    /// Waiting for a challenge or a verdict.
    Authenticating(Hello),
    /// Waiting for the client's response.
    Responding(Hello),
    Content(Content),
    /// Waiting for the octets of a chunk.
    Chunk(Chunk),
    /// Between two chunks.
    Chunks(Chunks),
    /// Waiting for the commit.
    Committing(Answers),
    Closed,
}

/// One receiving session.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    state: State,
    lines: LineReader,
    outputs: VecDeque<Output>,
    errors: usize,
    /// Transactions asked for, whatever became of them.
    transactions: u32,
    /// What is being answered, for the figures.
    stage: Stage,
    deadline: Instant,
    stopping: bool,
}

impl Session {
    /// A session that greets, or refuses all mail if that is the service.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        let mut session = Self {
            deadline: now + settings.limits.idle,
            settings,
            state: State::Greeted,
            lines: LineReader::default(),
            outputs: VecDeque::with_capacity(OUTPUTS),
            errors: 0,
            transactions: 0,
            stage: Stage::Connection,
            stopping: false,
        };
        match session.settings.service {
            Service::Open => {
                let greeting = greeting(&session.settings);
                session.outputs.push_back(Output::Reply(greeting));
            }
            Service::Closed => session.state = session.turn().stay(reply::CLOSED, State::Refused),
            Service::None => session.close_with(reply::NO_MAIL_HERE),
        }
        session
    }

    /// A session that only refuses.
    pub fn refusing(settings: Arc<Settings>, refusal: Reply, now: Instant) -> Self {
        let mut session = Self::new(settings, now);
        session.outputs.clear();
        session.close_with(refusal);
        session
    }

    /// Takes octets from the client. Call it only when `poll_output` has nothing left to say.
    pub fn handle_input(&mut self, octets: &[u8], now: Instant) {
        let mut octets = octets;
        if self.state.takes_content() {
            self.deadline = now + self.settings.limits.idle;
            if self.lines.rest().is_empty() {
                octets = self.read_content(octets);
            }
        }
        self.lines.push(octets);
    }

    /// Reads content straight from what came; what stands behind its end.
    fn read_content<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        self.stage = Stage::Content;
        let state = std::mem::replace(&mut self.state, State::Closed);
        let turn = &mut self.turn();
        let (state, used) = match state {
            State::Content(content) => content.read(octets, turn),
            State::Chunk(chunk) => chunk.read(octets, turn),
            state => (state, 0),
        };
        self.state = state;
        self.count_errors();
        if self.stopping && self.state.takes_lines() {
            self.close_with(reply::SHUTTING_DOWN);
        }
        octets.get(used..).unwrap_or_default()
    }

    /// Answers `JudgeSender`.
    pub fn handle_sender(&mut self, verdict: Result<(), Reply>, now: Instant) {
        if let State::Opening(transaction) = self.take_state(now) {
            self.state = command::mail::judged(transaction, verdict, &mut self.turn());
        }
    }

    /// Answers `JudgeRecipient` with the final recipient or a refusal.
    pub fn handle_recipient(&mut self, verdict: Result<Mailbox, Reply>, now: Instant) {
        if let State::Judging(transaction, path, parameters) = self.take_state(now) {
            let recipient = (path, parameters);
            self.state = command::rcpt::judged(transaction, recipient, verdict, &mut self.turn());
        }
    }

    /// Answers `Verify` with the reply to VRFY.
    pub fn handle_verification(&mut self, found: Reply, now: Instant) {
        if let State::Verifying(state, utf8) = self.take_state(now) {
            self.state = command::vrfy::verified(*state, found, utf8, &mut self.turn());
        }
    }

    /// Answers `Impersonate` with what holds for the client that the proxy stands for.
    pub fn handle_impersonation(&mut self, settings: Arc<Settings>, now: Instant) {
        if let State::Impersonating(hello) = self.take_state(now) {
            self.settings = settings;
            self.state = command::xclient::impersonated(hello, &mut self.turn());
        }
    }

    /// Answers `Commit` with the queue id, or a refusal.
    pub fn handle_commit(&mut self, result: Result<&str, Reply>, now: Instant) {
        if let State::Committing(answers) = self.take_state(now) {
            self.stage = Stage::Content;
            let reply = match result {
                Ok(id) => reply::QUEUED.with_text(["queued as ", id].concat()),
                Err(refusal) => refusal,
            };
            self.state = answers.give(&reply, &mut self.turn());
            if self.stopping {
                self.close_with(reply::SHUTTING_DOWN);
            }
        }
    }

    /// Tells that `poll_timeout` has passed.
    pub fn handle_timeout(&mut self) {
        self.close_with(reply::IDLE);
    }

    /// Tells that the service is stopping: content under way is finished, then 421.
    pub fn handle_stop(&mut self) {
        self.stopping = true;
        if self.state.takes_lines() {
            self.close_with(reply::SHUTTING_DOWN);
        }
    }

    /// Whether `handle_stop` was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// When `handle_timeout` is due; none while an answer is being waited for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.state.takes_content() || self.state.takes_lines()).then_some(self.deadline)
    }

    /// What to do next; `None` when input or an answer is needed.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !self.advance(now) {
                return None;
            }
        }
    }

    /// Works off one line or one piece of content; false when there is nothing to work on.
    fn advance(&mut self, now: Instant) -> bool {
        if self.state.takes_commands() {
            return self.read_command(now);
        }
        if matches!(self.state, State::Responding(_)) {
            return self.read_response(now);
        }
        if !self.state.takes_content() || self.lines.rest().is_empty() {
            return false;
        }
        let mut lines = std::mem::take(&mut self.lines);
        let behind = self.read_content(lines.rest()).len();
        lines.consume(lines.rest().len() - behind);
        self.lines = lines;
        true
    }

    fn read_command(&mut self, now: Instant) -> bool {
        let Settings { offer, strict, domain, .. } = &*self.settings;
        let grammar = Grammar { offer, strict: *strict, domain: domain.as_deref() };
        let octets_max = self.line_octets_max();
        let command = self.lines.take(octets_max, |line| match line {
            Line::TooLong => Err(reply::LINE_TOO_LONG),
            Line::BareLineFeed(octets) => grammar.refuse(octets, reply::BARE_LINE_FEED),
            Line::Whole(octets) => grammar.parse(octets),
        });
        let Some(command) = command else { return false };
        self.deadline = now + self.settings.limits.idle;
        if self.stopping {
            self.close_with(reply::SHUTTING_DOWN);
        } else if command == Ok(Command::StartTls) && !self.lines.rest().is_empty() {
            self.close_with(reply::SPOKE_BEFORE_TLS);
        } else {
            self.handle_command(command);
        }
        true
    }

    /// The longest line now, with its CRLF: longer while the client may send what AUTH allows.
    fn line_octets_max(&self) -> usize {
        let Settings { offer, standing, .. } = &*self.settings;
        if !standing.authenticated && offer.verb(b"AUTH") == Known::Served(Verb::Auth) {
            offer.octets_max(Verb::Auth)
        } else {
            COMMAND_OCTETS_MAX
        }
    }

    fn handle_command(&mut self, command: Result<Command, Reply>) {
        self.stage = command.as_ref().map_or(Stage::Unknown, command::stage);
        if matches!((&self.state, &command), (State::Ready(_), Ok(Command::Mail { .. }))) {
            if self.settings.limits.transactions_max.is_some_and(|max| self.transactions >= max) {
                return self.close_with(reply::TOO_MANY_TRANSACTIONS);
            }
            self.transactions = self.transactions.saturating_add(1);
        }
        let state = std::mem::replace(&mut self.state, State::Closed);
        let turn = &mut self.turn();
        self.state = match (state, command) {
            (state, Ok(command @ Command::BadBdat(_))) => command::handle(state, command, turn),
            (State::Refused, Ok(command)) if command != Command::Quit => {
                let refusal = reply::BAD_SEQUENCE.with_text("no mail is taken here");
                command::bdat::refuse(State::Refused, &command, refusal, turn)
            }
            (state, Ok(command)) => match turn.settings.standing.refusal(&command) {
                Some(refusal) => command::bdat::refuse(state, &command, refusal, turn),
                None => command::handle(state, command, turn),
            },
            (state, Err(refusal)) => turn.stay(refusal, state),
        };
        self.count_errors();
    }

    /// Ends the session in place of a refusal that is one too many.
    fn count_errors(&mut self) {
        if self.errors > self.settings.limits.errors_max && !matches!(self.state, State::Closed) {
            self.outputs.pop_back();
            self.close_with(reply::TOO_MANY_ERRORS);
        }
    }

    fn close_with(&mut self, farewell: Reply) {
        self.stage = Stage::Connection;
        self.turn().reply(farewell);
        self.outputs.push_back(Output::Close);
        self.state = State::Closed;
    }

    fn take_state(&mut self, now: Instant) -> State {
        self.deadline = now + self.settings.limits.idle;
        std::mem::replace(&mut self.state, State::Closed)
    }

    fn turn(&mut self) -> Turn<'_> {
        Turn {
            settings: &self.settings,
            outputs: &mut self.outputs,
            errors: &mut self.errors,
            stage: self.stage,
        }
    }
}

impl State {
    /// Whether a line is waited for.
    fn takes_lines(&self) -> bool {
        self.takes_commands() || matches!(self, Self::Responding(_))
    }

    /// Whether the next line is a command.
    fn takes_commands(&self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Greeted | Self::Ready(_) | Self::Transaction(_) | Self::Chunks(_)
        )
    }

    /// Whether the octets that come are content, or stand where it would.
    fn takes_content(&self) -> bool {
        matches!(self, Self::Content(_) | Self::Chunk(_))
    }
}

/// The greeting (rfc5321bis 3.1, 4.2).
fn greeting(settings: &Settings) -> Reply {
    let protocol = match settings.protocol {
        Protocol::Smtp => "ESMTP",
        Protocol::Lmtp => "LMTP",
    };
    let greeting = reply::GREETING;
    let text = [&*settings.hostname, " ", protocol, " ", greeting.text()].concat();
    greeting.with_text(text)
}

#[cfg(test)]
mod tests;
