//! The content of a message (rfc5321bis 4.1.1.4), from 354 to the final dot.
//!
//! Promises to read to the real end whatever happens, so that the session stays in sync, and to
//! hand on nothing more once the message is lost: too large, looping, or holding octets it may not.

use super::command::mail::too_large;
use super::limit::HOPS_MAX;
use super::turn::Turn;
use super::{Answers, Output, Settings, State};
use crate::registry::reply::{self, Reply};
use crate::syntax::content::{ContentFault, Decoder};
use crate::syntax::header::HopCounter;

/// Content under way.
#[derive(Debug)]
pub(super) struct Content {
    answers: Answers,
    decoder: Decoder,
    tally: Tally,
}

impl Content {
    pub(super) fn new(answers: Answers, settings: &Settings) -> Self {
        let decoder = Decoder::new(settings.bare_line_ends);
        Self { answers, decoder, tally: Tally::new(settings) }
    }

    /// Decodes input up to the end of the content; the next state, and the octets used.
    pub(super) fn read(mut self, input: &[u8], turn: &mut Turn<'_>) -> (State, usize) {
        let mut piece = Vec::with_capacity(input.len());
        let (used, end) = self.decoder.decode(input, &mut piece);
        self.tally.take(piece, self.decoder.fault(), turn);
        let finish = |content: Self, turn| content.tally.finish(content.answers, turn);
        (if end { finish(self, turn) } else { State::Content(self) }, used)
    }
}

/// What has come of a message, and whether it is lost.
#[derive(Debug)]
pub(super) struct Tally {
    hops: HopCounter,
    octets: u64,
    octets_max: u64,
    /// Why the message is lost, if it is.
    lost: Option<Reply>,
    discarded: bool,
}

impl Tally {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            hops: HopCounter::default(),
            octets: 0,
            octets_max: settings.limits.message_octets_max,
            lost: None,
            discarded: false,
        }
    }

    /// Hands on a piece, unless the message is lost.
    pub(super) fn take(
        &mut self,
        piece: Vec<u8>,
        fault: Option<ContentFault>,
        turn: &mut Turn<'_>,
    ) {
        self.octets += piece.len() as u64;
        self.hops.look(&piece);
        self.lost = self.judge(fault);
        match &self.lost {
            None if !piece.is_empty() => turn.outputs.push_back(Output::Content(piece)),
            Some(_) if !self.discarded => {
                self.discarded = true;
                turn.outputs.push_back(Output::Discard);
            }
            _ => {}
        }
    }

    /// Why the message is lost, if it is.
    pub(super) fn refusal(&self) -> Option<&Reply> {
        self.lost.as_ref()
    }

    /// Why what came so far is lost. Which reason counts depends on the content, and not on the
    /// pieces it came in.
    fn judge(&self, fault: Option<ContentFault>) -> Option<Reply> {
        if self.octets > self.octets_max {
            return Some(too_large(self.octets_max));
        }
        if self.hops.hops() > HOPS_MAX {
            return Some(reply::LOOP);
        }
        let text = match fault? {
            ContentFault::Nul => "a message may not hold NUL",
            ContentFault::BareLineEnd => "a CR or LF stands alone, lines end with CR LF",
        };
        Some(reply::BAD_CONTENT.with_text(text))
    }

    /// Has the message kept, or tells why it is lost.
    pub(super) fn finish(self, answers: Answers, turn: &mut Turn<'_>) -> State {
        match self.lost {
            None => turn.ask(Output::Commit, State::Committing(answers)),
            Some(refusal) => answers.give(&refusal, turn),
        }
    }
}
