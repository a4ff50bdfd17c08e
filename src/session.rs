//! Floor 2: the receiving session, a machine without I/O.
//!
//! Promises one reply per command, in order, whatever the pieces the input comes in; memory bounded
//! by `limit.rs`; and that a transaction is handed on only whole. Octets go in by `handle_input`;
//! `poll_output` gives what to do next until it gives `None`. A judgement or a commit that an output
//! asks for is answered by the matching `handle_*` before anything else is read.
//!
//! ```text
//! Greeted ──EHLO──▶ Ready ──MAIL──▶ Opening ──ok──▶ Transaction ──RCPT──▶ Judging ──▶ Transaction
//!                     ▲                                  │ DATA
//!                     └── reply ◀── Committing ◀──dot── Content
//! ```
//! Every other move is forbidden; a state owns exactly what is true in it, so nothing is ever reset.

mod content;
mod hello;
pub mod limit;
mod line;
mod mail;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::envelope::{Envelope, Recipient};
use crate::metric::Stage;
use crate::registry::reply::{self, Reply};
use crate::syntax::command::{self, Command};
use crate::syntax::content::BareLineEnds;
use crate::syntax::path::{ForwardPath, Mailbox, ReversePath};

use content::Content;
use hello::Hello;
use limit::Limits;
use line::{Line, LineReader};
use mail::Transaction;
use turn::Turn;

/// What a listener tells its sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own name, first word of greeting and hello.
    pub hostname: String,
    /// The bounds.
    pub limits: Limits,
    /// What bare CR and LF in this client's content lead to.
    pub bare_line_ends: BareLineEnds,
}

/// What the driver is to do next.
#[derive(PartialEq, Eq, Debug)]
pub enum Output {
    /// Send these octets; they may wait for others until input is needed.
    Send(Bytes),
    /// Answer with `handle_sender`: may this sender open a transaction of that declared size?
    JudgeSender {
        /// The name the client gave.
        hello: Box<str>,
        /// The reverse-path.
        reverse_path: ReversePath,
        /// Declared octets, 0 where nothing was declared.
        size: u64,
    },
    /// Answer with `handle_recipient`.
    JudgeRecipient(ForwardPath),
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
    pub hello: Box<str>,
    /// A registered `with` protocol for the trace field (rfc5321bis 4.4).
    pub with: &'static str,
}

#[derive(Debug)]
enum State {
    Greeted,
    Ready(Hello),
    /// Waiting for the judgement of a sender.
    Opening(Transaction),
    Transaction(Transaction),
    /// Waiting for the judgement of a recipient.
    Judging(Transaction, ForwardPath),
    Content(Content),
    /// Waiting for the commit.
    Committing(Hello),
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
    /// What is being answered, for the figures.
    stage: Stage,
    deadline: Instant,
    stopping: bool,
}

impl Session {
    /// A session that greets.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        let greeting = format!("{} {}", settings.hostname, reply::GREETING.text());
        let mut session = Self {
            deadline: now + settings.limits.idle,
            settings,
            state: State::Greeted,
            lines: LineReader::default(),
            outputs: VecDeque::new(),
            errors: 0,
            stage: Stage::Connection,
            stopping: false,
        };
        let greeting = octets(&reply::GREETING.with_text(greeting));
        session.outputs.push_back(Output::Send(greeting));
        session
    }

    /// A session that only refuses, with a 421.
    pub fn refusing(settings: Arc<Settings>, refusal: &Reply, now: Instant) -> Self {
        let mut session = Self::new(settings, now);
        session.outputs.clear();
        session.close_with(refusal);
        session
    }

    /// Takes octets from the client. Call it only when `poll_output` has nothing left to say.
    pub fn handle_input(&mut self, octets: &[u8], now: Instant) {
        if matches!(self.state, State::Content(_)) {
            self.deadline = now + self.settings.limits.idle;
        }
        self.lines.push(octets);
    }

    /// Answers `JudgeSender`.
    pub fn handle_sender(&mut self, verdict: Result<(), Reply>, now: Instant) {
        if let State::Opening(transaction) = self.take_state(now) {
            self.state = transaction.judged_sender(verdict, &mut self.turn());
        }
    }

    /// Answers `JudgeRecipient` with the final recipient or a refusal.
    pub fn handle_recipient(&mut self, verdict: Result<Mailbox, Reply>, now: Instant) {
        if let State::Judging(transaction, path) = self.take_state(now) {
            self.state = transaction.judged_recipient(&path, verdict, &mut self.turn());
        }
    }

    /// Answers `Commit` with the queue id, or a refusal.
    pub fn handle_commit(&mut self, result: Result<&str, Reply>, now: Instant) {
        if let State::Committing(hello) = self.take_state(now) {
            self.stage = Stage::Content;
            match result {
                Ok(id) => self.turn().reply(&reply::QUEUED.with_text(format!("queued as {id}"))),
                Err(refusal) => self.turn().reply(&refusal),
            }
            self.state = State::Ready(hello);
            if self.stopping {
                self.close_with(&reply::SHUTTING_DOWN);
            }
        }
    }

    /// Tells that `poll_timeout` has passed.
    pub fn handle_timeout(&mut self) {
        self.close_with(&reply::IDLE);
    }

    /// Tells that the service is stopping: content under way is finished, then 421.
    pub fn handle_stop(&mut self) {
        self.stopping = true;
        if matches!(self.state, State::Greeted | State::Ready(_) | State::Transaction(_)) {
            self.close_with(&reply::SHUTTING_DOWN);
        }
    }

    /// Whether `handle_stop` was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// When `handle_timeout` is due; none while an answer is being waited for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Opening(_) | State::Judging(..) | State::Committing(_) | State::Closed => None,
            _ => Some(self.deadline),
        }
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
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Content(content) => {
                let (state, progress) = content.advance(&mut self.lines, &mut self.outputs);
                self.state = state;
                progress
            }
            state @ (State::Greeted | State::Ready(_) | State::Transaction(_)) => {
                self.state = state;
                let Some(line) = self.lines.take() else { return false };
                self.deadline = now + self.settings.limits.idle;
                self.handle_line(&line);
                true
            }
            state => {
                self.state = state;
                false
            }
        }
    }

    fn handle_line(&mut self, line: &Line) {
        if self.stopping {
            return self.close_with(&reply::SHUTTING_DOWN);
        }
        let command = match line {
            Line::TooLong => Err(reply::LINE_TOO_LONG),
            Line::BareLineFeed => Err(reply::BARE_LINE_FEED),
            Line::Whole(octets) => command::parse(octets),
        };
        self.stage = command.as_ref().map_or(Stage::Unknown, stage);
        match command {
            Ok(command) => {
                let state = std::mem::replace(&mut self.state, State::Closed);
                self.state = state.handle(command, &mut self.turn());
            }
            Err(refusal) => self.turn().reply(&refusal),
        }
        if self.errors > self.settings.limits.errors_max {
            self.outputs.pop_back();
            self.close_with(&reply::TOO_MANY_ERRORS);
        }
    }

    fn close_with(&mut self, farewell: &Reply) {
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
    /// One command, from state to state.
    fn handle(self, command: Command, turn: &mut Turn<'_>) -> Self {
        match (command, self) {
            (Command::Noop, state) => turn.stay(&reply::OK, state),
            (Command::Vrfy, state) => turn.stay(&reply::NOT_VERIFIED, state),
            (Command::Help(topic), state) => turn.stay(&turn::help(&topic), state),
            (Command::Quit, _) => turn.close(),
            (Command::Helo(name), _) => hello::hello(name, false, turn),
            (Command::Ehlo(name), _) => hello::hello(name, true, turn),
            (Command::Rset, Self::Greeted) => turn.stay(&reply::OK, Self::Greeted),
            (Command::Rset, state) => match state.into_hello() {
                Some(hello) => turn.stay(&reply::OK, Self::Ready(hello)),
                None => Self::Closed,
            },
            (Command::Mail { reverse_path, size, body }, Self::Ready(hello)) => {
                mail::open(hello, reverse_path, size, body, turn)
            }
            (Command::Rcpt(path), Self::Transaction(transaction)) => transaction.rcpt(path, turn),
            (Command::Data, Self::Transaction(transaction)) => transaction.data(turn),
            (Command::Mail { .. }, state @ Self::Transaction(_)) => {
                turn.stay(&reply::BAD_SEQUENCE.with_text("a transaction is open already"), state)
            }
            (Command::Mail { .. } | Command::Rcpt(_) | Command::Data, state @ Self::Greeted) => {
                turn.stay(&reply::BAD_SEQUENCE.with_text("say EHLO first"), state)
            }
            (Command::Rcpt(_) | Command::Data | Command::Mail { .. }, state) => {
                turn.stay(&reply::BAD_SEQUENCE.with_text("say MAIL first"), state)
            }
        }
    }

    fn into_hello(self) -> Option<Hello> {
        match self {
            Self::Ready(hello) | Self::Committing(hello) => Some(hello),
            Self::Opening(transaction)
            | Self::Transaction(transaction)
            | Self::Judging(transaction, _) => Some(transaction.into_hello()),
            Self::Greeted | Self::Content(_) | Self::Closed => None,
        }
    }
}

/// What a command asks for, as the figures tell it.
fn stage(command: &Command) -> Stage {
    match command {
        Command::Helo(_) | Command::Ehlo(_) => Stage::Hello,
        Command::Mail { .. } => Stage::Mail,
        Command::Rcpt(_) => Stage::Recipient,
        Command::Data => Stage::Data,
        _ => Stage::Other,
    }
}

/// Encodes a reply into octets of its own.
fn octets(reply: &Reply) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    reply.encode(&mut out);
    out.freeze()
}

#[cfg(test)]
mod tests;
