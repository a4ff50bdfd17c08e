//! What a command may do while it is handled: reply, count a refusal, look at the settings.

use std::collections::VecDeque;

use super::{Output, Settings, State};
use crate::metric::{self, Refusal, ReplyClass, Stage};
use crate::registry::reply::{self, Reply};

/// The session's parts that outlive a state, lent to the handling of one command.
pub(super) struct Turn<'a> {
    pub(super) settings: &'a Settings,
    pub(super) outputs: &'a mut VecDeque<Output>,
    pub(super) errors: &'a mut usize,
    /// What is being answered.
    pub(super) stage: Stage,
}

impl Turn<'_> {
    /// Gives a command's one reply; refusals for good are counted.
    pub(super) fn reply(&mut self, reply: Reply) {
        *self.errors += usize::from(reply.is_permanent());
        self.answer(reply);
    }

    /// The same for a refused sender. What policy refuses for now (X.7.Z) counts, too, since it could
    /// be asked for without end; who waits for room does nothing wrong.
    pub(super) fn refuse_sender(&mut self, refusal: Reply) {
        let by_policy = refusal.status.is_some_and(|status| status.subject == 7);
        *self.errors += usize::from(refusal.is_permanent() || by_policy);
        self.answer(refusal);
    }

    /// The same where the client has said that it reads UTF-8 here (RFC 6531 3.7.4.2).
    pub(super) fn reply_in_utf8(&mut self, reply: Reply) {
        *self.errors += usize::from(reply.is_permanent());
        self.put(reply);
    }

    /// Gives one of possibly many replies to content, whose refusal is not the client's error.
    pub(super) fn answer(&mut self, reply: Reply) {
        self.put(reply.into_ascii());
    }

    fn put(&mut self, reply: Reply) {
        count(self.stage, &reply);
        self.outputs.push_back(Output::Reply(reply));
    }

    /// Replies and goes on in `state`.
    pub(super) fn stay(&mut self, reply: Reply, state: State) -> State {
        self.reply(reply);
        state
    }

    /// Refuses a command that `state` does not allow, and says which one it waits for.
    pub(super) fn refuse_order(&mut self, state: State) -> State {
        let refusal = reply::BAD_SEQUENCE.with_text(self.wants(&state));
        self.stay(refusal, state)
    }

    /// Which command `state` waits for.
    pub(super) fn wants(&self, state: &State) -> &'static str {
        match state {
            State::Greeted => "say hello first",
            State::Transaction(_) => "a transaction is open already",
            State::Chunks(_) => "the content comes in chunks, say BDAT or RSET",
            _ => "say MAIL first",
        }
    }

    /// Asks the driver something, and waits in `state` for its answer.
    pub(super) fn ask(&mut self, question: Output, state: State) -> State {
        self.outputs.push_back(question);
        state
    }
}

/// Counts a reply by what it answers.
fn count(stage: Stage, reply: &Reply) {
    metric::SMTPD_COMMANDS.add((stage, ReplyClass::of(reply)), 1);
    if let Some(refusal) = Refusal::of(reply) {
        metric::SMTPD_REJECTS.add((stage, refusal), 1);
    }
}
