//! Content that comes in chunks (RFC 3030): each with its reply, and as many octets as it says.
//!
//! Promises to read exactly the octets of a chunk whatever becomes of it, so that the session stays
//! in sync; one reply to each, behind its octets; and that after a refused chunk no other is taken
//! until the transaction is over. The last one is answered as the final dot would be.

use super::content::Tally;
use super::turn::Turn;
use super::{Answers, Output, Settings, State};
use crate::registry::reply::{self, Reply};
use crate::syntax::command;
use crate::syntax::content::chunk::ChunkDecoder;

/// Content of which the last chunk has not come.
#[derive(Debug)]
pub(super) struct Chunks {
    answers: Answers,
    decoder: ChunkDecoder,
    tally: Tally,
    /// A chunk was refused.
    refused: bool,
}

impl Chunks {
    pub(super) fn new(answers: Answers, is_binary: bool, settings: &Settings) -> Self {
        let text = || ChunkDecoder::text(settings.bare_line_ends);
        let decoder = if is_binary { ChunkDecoder::binary() } else { text() };
        Self { answers, decoder, tally: Tally::new(settings), refused: false }
    }

    /// Takes the next chunk, unless one was refused.
    pub(super) fn take(self, chunk: command::Chunk, turn: &mut Turn<'_>) -> State {
        if self.refused {
            let refusal = reply::BAD_SEQUENCE.with_text("a chunk was refused, say RSET");
            return Chunk::pass_over(chunk, refusal, State::Chunks(self), turn);
        }
        Chunk { said: chunk, left: chunk.octets, place: Place::Content(self) }.go_on(turn)
    }

    /// Forgets what has come.
    pub(super) fn abandon(self, turn: &mut Turn<'_>) -> State {
        turn.outputs.push_back(Output::Discard);
        State::Ready(self.answers.into_hello())
    }

    fn read(&mut self, octets: &[u8], turn: &mut Turn<'_>) {
        let mut piece = Vec::with_capacity(octets.len());
        self.decoder.decode(octets, &mut piece);
        self.tally.take(piece, self.decoder.fault(), turn);
    }

    /// Answers a chunk whose octets have come.
    fn answer(mut self, chunk: command::Chunk, turn: &mut Turn<'_>) -> State {
        if chunk.is_last {
            let mut piece = Vec::new();
            self.decoder.finish(&mut piece);
            self.tally.take(piece, self.decoder.fault(), turn);
            return self.tally.finish(self.answers, turn);
        }
        self.refused = self.tally.refusal().is_some();
        turn.answer(match self.tally.refusal() {
            Some(refusal) => refusal.clone(),
            None => reply::CHUNK_TAKEN.with_text(format!("{} octets, go on", chunk.octets)),
        });
        State::Chunks(self)
    }
}

/// Where the octets of a chunk go.
#[derive(Debug)]
enum Place {
    Content(Chunks),
    /// Nowhere; then comes the reply, and the state goes on.
    Nowhere(Reply, Box<State>),
}

/// A chunk under way.
#[derive(Debug)]
pub(super) struct Chunk {
    said: command::Chunk,
    left: u64,
    place: Place,
}

impl Chunk {
    /// Drops the octets of a chunk, then gives its refusal and goes on in `state`.
    pub(super) fn pass_over(
        said: command::Chunk,
        refusal: Reply,
        state: State,
        turn: &mut Turn<'_>,
    ) -> State {
        Self { said, left: said.octets, place: Place::Nowhere(refusal, Box::new(state)) }
            .go_on(turn)
    }

    /// Reads input up to the end of the chunk; the next state, and the octets used.
    pub(super) fn read(mut self, input: &[u8], turn: &mut Turn<'_>) -> (State, usize) {
        let used = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        self.left -= used as u64;
        if let Place::Content(chunks) = &mut self.place {
            chunks.read(input.get(..used).unwrap_or_default(), turn);
        }
        (self.go_on(turn), used)
    }

    /// Waits for more, or answers.
    fn go_on(self, turn: &mut Turn<'_>) -> State {
        if self.left > 0 {
            return State::Chunk(self);
        }
        match self.place {
            Place::Content(chunks) => chunks.answer(self.said, turn),
            // What was on its way when a chunk was refused is no error of the client's.
            Place::Nowhere(refusal, state) if matches!(*state, State::Chunks(_)) => {
                turn.answer(refusal);
                *state
            }
            Place::Nowhere(refusal, state) => turn.stay(refusal, *state),
        }
    }
}
