//! What a command may do while it is handled: reply, count a refusal, look at the settings.

use std::collections::VecDeque;

use super::{Output, Settings, State, octets};
use crate::metric::{self, Refusal, ReplyClass, Stage};
use crate::registry::reply::{self, Reply};
use crate::syntax::command::OFFER;

/// The session's parts that outlive a state, lent to the handling of one command.
pub(super) struct Turn<'a> {
    pub(super) settings: &'a Settings,
    pub(super) outputs: &'a mut VecDeque<Output>,
    pub(super) errors: &'a mut usize,
    /// What is being answered.
    pub(super) stage: Stage,
}

impl Turn<'_> {
    /// Gives the command's one reply; refusals for good are counted.
    pub(super) fn reply(&mut self, reply: &Reply) {
        count(self.stage, reply);
        *self.errors += usize::from(reply.is_permanent());
        self.outputs.push_back(Output::Send(octets(reply)));
    }

    /// Replies and goes on in `state`.
    pub(super) fn stay(&mut self, reply: &Reply, state: State) -> State {
        self.reply(reply);
        state
    }

    /// QUIT.
    pub(super) fn close(&mut self) -> State {
        self.reply(&reply::CLOSING);
        self.outputs.push_back(Output::Close);
        State::Closed
    }
}

/// Counts a reply by what it answers.
pub(super) fn count(stage: Stage, reply: &Reply) {
    metric::SMTPD_COMMANDS.add((stage, ReplyClass::of(reply)), 1);
    if let Some(refusal) = Refusal::of(reply) {
        metric::SMTPD_REJECTS.add((stage, refusal), 1);
    }
}

/// The reply to HELP.
pub(super) fn help(topic: &str) -> Reply {
    let all = || OFFER.help(b"").unwrap_or_default();
    reply::HELP.with_text(OFFER.help(topic.as_bytes()).unwrap_or_else(all))
}
