//! The content of a message on its way out: as it is queued, or converted for one next hop.
//!
//! Promises that each transaction gets it from the beginning, and that what fails its checksum, or
//! can't be converted, is never sent.

use angarium_queue::id::MessageId;
use angarium_queue::spool::{Body, Spool};
use bytes::Bytes;

use crate::delivery::convert::{Converted, Refusal};
use crate::delivery::outcome::Outcome;
use crate::event;
use crate::net::connection::Source;
use crate::route::next_hop::NextHop;

/// The content of a queued message, to be sent once or, in several transactions, anew.
pub(super) struct Content<'a> {
    spool: &'a Spool,
    id: MessageId,
    octets: u64,
    /// The reading; none if it is to begin anew.
    body: Option<Body>,
    converted: Option<Bytes>,
    /// A piece was given out since the last rewind.
    begun: bool,
}

impl<'a> Content<'a> {
    pub(super) fn new(spool: &'a Spool, id: MessageId, body: Body) -> Self {
        let octets = body.len();
        Self { spool, id, octets, body: Some(body), converted: None, begun: false }
    }

    /// How many octets will be sent.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn is_converted(&self) -> bool {
        self.converted.is_some()
    }

    /// Converts 8-bit or binary content, whole in memory: it is rare, and bounded by the largest
    /// message that was accepted. `refused` is the outcome where it can't be.
    pub(super) fn convert(
        &mut self,
        next_hop: &NextHop,
        convert: fn(&[u8]) -> Result<Converted, Refusal>,
        refused: fn(&str) -> Outcome,
    ) -> Result<(), Outcome> {
        self.rewind();
        let mut octets = Vec::new();
        while let Some(piece) = self.next_piece().map_err(Outcome::Deferred)? {
            octets.extend_from_slice(&piece);
        }
        match tokio::task::block_in_place(|| convert(&octets)) {
            Ok(converted) => {
                let Converted { octets, broke_signature, masked, .. } = converted;
                event::converted(self.id, next_hop, broke_signature, masked);
                self.octets = octets.len() as u64;
                self.converted = Some(octets.into());
                Ok(())
            }
            Err(refusal) => Err(refused(&refusal.to_string())),
        }
    }

    fn queued_piece(&mut self) -> Result<Option<Bytes>, String> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let loaded = self.spool.load(self.id).map_err(|error| error.to_string())?;
                self.body.insert(loaded.body)
            }
        };
        body.next_chunk().map_err(|error| {
            event::unreadable(self.id, &error);
            error.to_string()
        })
    }
}

impl Source for Content<'_> {
    fn rewind(&mut self) {
        if std::mem::take(&mut self.begun) {
            self.body = None;
        }
    }

    fn next_piece(&mut self) -> Result<Option<Bytes>, String> {
        let first = !std::mem::replace(&mut self.begun, true);
        match &self.converted {
            Some(converted) => Ok(first.then(|| converted.clone())),
            None => self.queued_piece(),
        }
    }
}
