//! A group: the batches that one write and one sync make durable.
//!
//! Each batch becomes one frame, so that it is recovered whole or not at all. Messages that move
//! forward come first, as they carry the states known before the group. The operations are kept
//! until the sync has returned: after a failure they are encoded again for another segment.
//! Refuses: an append of another start's message, a batch no segment can hold, and a repeated
//! append (by leaving it out).

use std::collections::{BTreeMap, HashSet};

use crate::frame::{Frames, LABEL_SPACE, Seal};
use crate::id::MessageId;
use crate::log::Log;
use crate::op::{CommitError, NewBody, NewMessage, Op};
use crate::record::{Moving, Position, RECIPIENTS_MAX, Record, encode, encode_moved};
use crate::shared::{Batch, Shared, lock};
use crate::superblock::Claim;

/// The messages that were appended since this start: ranges of counters, so that a long run with
/// few gaps takes little memory.
pub(crate) struct Appended {
    claim: Claim,
    /// First counter of a range, and the one after its last.
    ranges: BTreeMap<u64, u64>,
}

impl Appended {
    pub(crate) fn new(claim: Claim) -> Self {
        Self { claim, ranges: BTreeMap::new() }
    }

    fn is_ours(&self, id: MessageId) -> bool {
        id.shard() == self.claim.shard && id.epoch() == self.claim.epoch
    }

    fn contains(&self, id: MessageId) -> bool {
        let before = self.ranges.range(..=id.counter()).next_back();
        self.is_ours(id) && before.is_some_and(|(_, end)| id.counter() < *end)
    }

    /// Takes note of what has become durable.
    pub(crate) fn note(&mut self, record: &Record) {
        let Record::Append(stored, _) = record else { return };
        let counter = stored.id.counter();
        if !self.is_ours(stored.id) || self.contains(stored.id) {
            return;
        }
        let end = self.ranges.remove(&(counter + 1)).unwrap_or(counter + 1);
        match self.ranges.range_mut(..=counter).next_back() {
            Some((_, last)) if *last == counter => *last = end,
            _ => {
                self.ranges.insert(counter, end);
            }
        }
    }
}

/// What became of a batch that was offered to a group.
pub(crate) enum Added {
    Taken,
    /// It can never be stored.
    Refused(Batch, CommitError),
    /// It does not fit into the segment; its frame takes so many octets.
    NoRoom(Batch, u64),
}

pub(crate) struct Group {
    frames: Frames,
    /// A segment is open, and `frames` are for it.
    open: bool,
    pub(crate) batches: Vec<Batch>,
    /// Per batch, the operations that are left out.
    skipped: Vec<Vec<usize>>,
    /// Appended by this group.
    ids: HashSet<MessageId>,
    records: Vec<Record>,
}

impl Group {
    /// A group for the segment these frames belong to.
    pub(crate) fn new(frames: Option<Frames>) -> Self {
        Self {
            open: frames.is_some(),
            frames: frames.unwrap_or_else(measure),
            batches: Vec::new(),
            skipped: Vec::new(),
            ids: HashSet::new(),
            records: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.octets() == 0
    }

    pub(crate) fn octets(&self) -> usize {
        self.frames.octets().len()
    }

    pub(crate) fn frames(&self) -> &Frames {
        &self.frames
    }

    pub(crate) fn segment(&self) -> u32 {
        self.frames.segment()
    }

    pub(crate) fn is_control(&self) -> bool {
        self.batches.iter().all(Batch::is_control)
    }

    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Takes a message that moves forward; `false` when the segment has no room.
    pub(crate) fn add_move(&mut self, moving: &Moving, log: &Log) -> bool {
        let start = self.frames.begin();
        let position = self.position();
        let record = encode_moved(moving, position, self.frames.payload());
        self.frames.end(start);
        if !self.open || !log.fits(self.frames.offset(), false) {
            self.frames.undo(start);
            return false;
        }
        self.records.push(record);
        true
    }

    /// Takes a batch, if it may be stored and fits.
    pub(crate) fn add(
        &mut self,
        batch: Batch,
        log: &Log,
        appended: &Appended,
        shared: &Shared,
    ) -> Added {
        let skipped = match self.check(&batch, appended, shared) {
            Ok(skipped) => skipped,
            Err(error) => return Added::Refused(batch, error),
        };
        let (control, before) = (batch.is_control(), self.records.len());
        let start = self.encode(&batch, &skipped);
        let octets = (self.octets() - start) as u64;
        let options = &shared.options;
        let most = if control { options.control_max() } else { options.append_max() };
        if octets > most {
            self.undo(start, before);
            let why = format!("a batch of {octets} octets; a segment holds {most}");
            return Added::Refused(batch, CommitError::Unavailable(why));
        }
        if octets > 0 && !(self.open && log.fits(self.frames.offset(), control)) {
            self.undo(start, before);
            return Added::NoRoom(batch, octets);
        }
        self.ids.extend(appends(&batch).map(|message| message.id));
        self.batches.push(batch);
        self.skipped.push(skipped);
        Added::Taken
    }

    fn undo(&mut self, start: usize, records: usize) {
        self.frames.undo(start);
        self.records.truncate(records);
    }

    /// Encodes the batches once more, for another segment. Moves can wait, and are left out.
    pub(crate) fn encode_again(&mut self, frames: Option<Frames>) {
        self.frames = frames.unwrap_or_else(measure);
        self.records.clear();
        let batches = std::mem::take(&mut self.batches);
        let skipped = std::mem::take(&mut self.skipped);
        for (batch, skipped) in batches.iter().zip(&skipped) {
            self.encode(batch, skipped);
        }
        self.batches = batches;
    }

    /// Finds the appends that repeat others, or the reason why the batch may not be stored.
    fn check(
        &self,
        batch: &Batch,
        appended: &Appended,
        shared: &Shared,
    ) -> Result<Vec<usize>, CommitError> {
        let mut skipped = Vec::new();
        let mut here = HashSet::new();
        for (place, op) in batch.ops.iter().enumerate() {
            let Op::Append(message) = op else { continue };
            let id = message.id;
            let known = self.ids.contains(&id) || !here.insert(id) || appended.contains(id);
            if known || lock(&shared.index).get(id).is_some() {
                skipped.push(place);
            } else if !appended.is_ours(id) {
                return Err(CommitError::Fenced);
            } else {
                check_limits(message, shared.options.inline_max)?;
            }
        }
        Ok(skipped)
    }

    /// Appends the batch's frame and its records; answers where the frame begins.
    fn encode(&mut self, batch: &Batch, skipped: &[usize]) -> usize {
        let start = self.frames.begin();
        for (place, op) in batch.ops.iter().enumerate() {
            if !skipped.contains(&place) {
                let position = self.position();
                self.records.push(encode(op, position, self.frames.payload()));
            }
        }
        self.frames.end(start);
        start
    }

    fn position(&self) -> Position {
        Position { segment: self.frames.segment(), offset: self.frames.offset() }
    }
}

/// Frames that are never written, to learn how long they would be.
fn measure() -> Frames {
    Frames::new(Seal { secret: 0, segment: 0, epoch: 0 }, LABEL_SPACE)
}

fn appends(batch: &Batch) -> impl Iterator<Item = &NewMessage> {
    batch.ops.iter().filter_map(|op| match op {
        Op::Append(message) => Some(message),
        _ => None,
    })
}

fn check_limits(message: &NewMessage, inline_max: usize) -> Result<(), CommitError> {
    let why = match &message.body {
        NewBody::Inline(_) if message.body.octets() > inline_max as u64 => {
            format!("a body of more than {inline_max} octets must be staged")
        }
        NewBody::Staged(staged) if staged.id() != message.id => {
            "the body was staged for another message".into()
        }
        _ if message.recipients > RECIPIENTS_MAX => {
            format!("a message may have {RECIPIENTS_MAX} recipients")
        }
        _ => return Ok(()),
    };
    Err(CommitError::Unavailable(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Stored;
    use crate::record::Place;

    #[test]
    fn ranges_join_whatever_the_order() {
        let claim = Claim { shard: 1, epoch: 2, secret: 3 };
        let mut appended = Appended::new(claim);
        let id = |counter| MessageId::new(1, 2, counter).unwrap();
        let place = Place {
            segment: 0,
            at: 0,
            envelope_octets: 0,
            envelope_crc: 0,
            body_crc: 0,
            staged: false,
            octets: 0,
        };
        let mut noted = HashSet::new();
        for counter in [5, 3, 4, 9, 0, 1, 8, 5, 3] {
            let (arrived_ms, size, held, told_ms) = (0, 0, false, 0);
            let (via, tenant, recipients) = ("".into(), "".into(), Vec::new());
            let own = id(counter);
            let stored =
                Stored { id: own, arrived_ms, size, held, told_ms, via, tenant, recipients };
            appended.note(&Record::Append(stored, place));
            noted.insert(counter);
            for probe in 0..12 {
                assert_eq!(appended.contains(id(probe)), noted.contains(&probe));
            }
        }
        assert_eq!(appended.ranges, BTreeMap::from([(0, 2), (3, 6), (8, 10)]));
        assert!(!appended.contains(MessageId::new(1, 3, 4).unwrap()));
    }
}
