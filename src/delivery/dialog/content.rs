//! The content's share of a dialogue: by DATA, or in chunks where CHUNKING is offered (RFC 3030).
//!
//! Promises that no content is sent before a recipient was taken and every recipient was answered,
//! and no chunk before the one in front of it was taken: so replies never pile up unread, and a
//! refusal costs one chunk.

use super::{Dialog, Expect, Output, Protocol};
use crate::delivery::outcome::{self, Stage};
use crate::syntax::reply::ServerReply;

/// The most octets of a chunk.
const CHUNK_OCTETS_MAX: u64 = 4 * 1024 * 1024;

impl Dialog {
    /// Tells that the content and its final dot, or a chunk, were handed to the connection.
    pub fn handle_content_sent(&mut self) {
        let has_more = self.takes_chunks();
        let Some(progress) = &mut self.progress else { return };
        progress.sending_content = false;
        if has_more && progress.left > 0 {
            return self.expected.push_back(Expect::Chunk);
        }
        match self.protocol {
            Protocol::Smtp => self.expected.push_back(Expect::Final(None)),
            Protocol::Lmtp => {
                self.expected.extend(
                    progress.accepted.iter().map(|&recipient| Expect::Final(Some(recipient))),
                );
            }
        }
    }

    /// Whether the content goes by BDAT.
    pub(super) fn takes_chunks(&self) -> bool {
        self.features.offers("CHUNKING")
    }

    /// The envelope may have had its last answer: nothing else is in front of the first chunk.
    pub(super) fn begin_chunks(&mut self) {
        if !(self.takes_chunks() && self.unsent.is_empty() && self.expected.is_empty()) {
            return;
        }
        let Some(progress) = self.progress.as_ref() else { return };
        if progress.transaction.probe {
            return;
        }
        if progress.accepted.is_empty() {
            self.needs_reset = true;
            self.finish();
        } else {
            self.send_chunk();
        }
    }

    fn send_chunk(&mut self) {
        let Some(progress) = &mut self.progress else { return };
        let octets = progress.left.min(CHUNK_OCTETS_MAX);
        progress.left -= octets;
        progress.sending_content = true;
        let is_last = progress.left == 0;
        let last = if is_last { " LAST" } else { "" };
        let command = format!("BDAT {octets}{last}\r\n").into_bytes();
        self.outputs.push_back(Output::SendChunk { command, octets, is_last });
    }

    pub(super) fn chunk_answered(&mut self, reply: &ServerReply) {
        if reply.is_positive() {
            self.send_chunk();
        } else {
            self.refuse_content(Stage::Content, reply);
        }
    }

    pub(super) fn data_answered(&mut self, reply: &ServerReply) {
        let Some(progress) = &mut self.progress else { return };
        let go = reply.code / 100 == 3;
        if go && progress.accepted.is_empty() {
            self.outputs.push_back(Output::Send(b".\r\n".to_vec()));
            self.expected.push_back(Expect::LoneDot);
        } else if go {
            progress.sending_content = true;
            self.outputs.push_back(Output::SendContent);
        } else {
            self.refuse_content(Stage::Data, reply);
        }
    }

    /// The content is not wanted, or no more of it.
    fn refuse_content(&mut self, stage: Stage, reply: &ServerReply) {
        if let Some(progress) = &mut self.progress {
            progress.settle_open(&outcome::of_reply(stage, reply));
        }
        self.needs_reset = true;
        self.finish();
    }

    pub(super) fn content_judged(&mut self, recipient: Option<usize>, reply: &ServerReply) {
        let Some(progress) = &mut self.progress else { return };
        let outcome = outcome::of_reply(Stage::Final, reply);
        match recipient {
            Some(recipient) => progress.settle(recipient, outcome),
            None => progress.settle_open(&outcome),
        }
        if self.expected.is_empty() {
            self.finish();
        }
    }
}
