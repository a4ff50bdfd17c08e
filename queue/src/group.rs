//! A group: the batches that one write and one sync make durable.
//!
//! It is recovered whole or not at all. Messages that move forward come first, as they carry the
//! states known before the group. The operations are kept until the sync has returned: after a
//! failure they are encoded again for another segment.
//! Refuses: an append of another start's message, a batch no segment can hold, and a repeated
//! append (by leaving it out).

use std::collections::HashSet;

use crate::appended::Appended;
use crate::footer::Footer;
use crate::id::MessageId;
use crate::label::{BLOCK, Label, Use, VERSION};
use crate::log::{Log, Space};
use crate::op::{CommitError, Op};
use crate::record::{Moving, Target, Written};
use crate::shared::{Batch, Shared, lock};
use crate::walk::{GROUP_HEAD, GroupHead};
use crate::writer::keep;

/// What became of a batch that was offered to a group.
pub(crate) enum Added {
    Taken,
    /// It can never be stored.
    Refused(Batch, CommitError),
    /// It does not fit into the segment.
    NoRoom(Batch),
}

pub(crate) struct Group {
    space: Space,
    /// A segment is open, and `space` is in it.
    open: bool,
    /// What is to be written: the label where it is missing, the group's head, its records.
    octets: Vec<u8>,
    /// Where the group begins in them.
    start: usize,
    records: Vec<Written>,
    /// Octets that the records take in the footer.
    entries: usize,
    pub(crate) batches: Vec<Batch>,
    /// Per batch, the operations that are left out.
    skipped: Vec<Vec<usize>>,
    /// Appended by this group.
    ids: HashSet<MessageId>,
}

/// How far a group had come.
struct Mark {
    octets: usize,
    records: usize,
    entries: usize,
}

impl Group {
    /// A group for the segment that is open; the buffer is used again.
    pub(crate) fn new(space: Option<Space>, buffer: Vec<u8>) -> Self {
        let mut group = Self {
            open: space.is_some(),
            space: space.unwrap_or_else(measure),
            octets: buffer,
            start: 0,
            records: Vec::new(),
            entries: 0,
            batches: Vec::new(),
            skipped: Vec::new(),
            ids: HashSet::new(),
        };
        group.begin();
        group
    }

    fn begin(&mut self) {
        self.octets.clear();
        if self.space.fresh {
            self.octets.extend_from_slice(&self.space.label.encode());
            self.octets.resize(BLOCK as usize, 0);
        }
        self.start = self.octets.len();
        self.octets.resize(self.start + GROUP_HEAD, 0);
        self.records.clear();
        self.entries = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.records.is_empty()
    }

    /// Nothing is to be written.
    pub(crate) fn is_silent(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Where the group begins in its octets.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn slot(&self) -> u32 {
        self.space.label.slot
    }

    pub(crate) fn records(&self) -> &[Written] {
        &self.records
    }

    /// The octets of one of its records.
    pub(crate) fn record(&self, written: &Written) -> &[u8] {
        let at = (written.offset - self.space.offset) as usize + self.start;
        self.octets.get(at..at + written.octets).unwrap_or_default()
    }

    pub(crate) fn is_control(&self) -> bool {
        self.batches.iter().all(Batch::is_control)
    }

    /// The buffer, for the next group.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.octets
    }

    /// Puts the head in front, and fills the last block.
    pub(crate) fn finish(&mut self) {
        let octets = self.octets.len() - self.start;
        let head = GroupHead {
            count: self.records.len() as u32,
            number: self.space.number,
            serial: self.space.label.serial,
            epoch: self.space.label.epoch,
            octets: octets as u32,
        };
        let head = head.encode(&self.space.seal, self.space.offset);
        if let Some(place) = self.octets.get_mut(self.start..self.start + GROUP_HEAD) {
            place.copy_from_slice(&head);
        }
        self.octets.resize(self.octets.len().next_multiple_of(BLOCK as usize), 0);
    }

    /// Takes a message that moves forward; `false` when the segment has no room.
    pub(crate) fn add_move(&mut self, moving: &Moving, log: &Log) -> bool {
        let before = self.mark();
        let written = self.target().put_move(moving);
        self.push(written);
        let fits = self.open && log.fits(self.end(), self.entries, false);
        if !fits {
            self.undo(&before);
        }
        fits
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
        let (control, before) = (batch.is_control(), self.mark());
        self.encode(&batch, &skipped);
        let grown = self.octets.len() - before.octets;
        let needs = (GROUP_HEAD + grown + self.entries - before.entries) as u64;
        let options = &shared.options;
        let most = if control { options.control_max() } else { options.append_max() };
        if needs.next_multiple_of(BLOCK) > most {
            self.undo(&before);
            let why = format!("a batch of {needs} octets; a segment holds {most}");
            return Added::Refused(batch, CommitError::Unavailable(why));
        }
        if grown > 0 && !(self.open && log.fits(self.end(), self.entries, control)) {
            self.undo(&before);
            return Added::NoRoom(batch);
        }
        self.ids.extend(batch.appends().map(|message| message.id));
        self.batches.push(batch);
        self.skipped.push(skipped);
        Added::Taken
    }

    /// Bodies that were staged for its messages are named by them now.
    pub(crate) fn keep_content(&self) {
        for (batch, skipped) in self.batches.iter().zip(&self.skipped) {
            let kept = batch.ops.iter().enumerate().filter(|(place, _)| !skipped.contains(place));
            kept.for_each(|(_, op)| keep(op));
        }
    }

    /// Where the segment would be written to.
    fn end(&self) -> u64 {
        self.space.offset + (self.octets.len() - self.start) as u64
    }

    fn mark(&self) -> Mark {
        let (octets, records) = (self.octets.len(), self.records.len());
        Mark { octets, records, entries: self.entries }
    }

    fn undo(&mut self, to: &Mark) {
        self.octets.truncate(to.octets);
        self.records.truncate(to.records);
        self.entries = to.entries;
    }

    fn target(&mut self) -> Target<'_> {
        // The label's block may be in front of the group, as it is on the disk.
        let base = self.space.offset - self.start as u64;
        Target { seal: &self.space.seal, base, out: &mut self.octets }
    }

    fn push(&mut self, written: Written) {
        self.entries += Footer::entry_octets(written.octets);
        self.records.push(written);
    }

    /// Encodes the batches once more, for another segment. Moves can wait, and are left out.
    pub(crate) fn encode_again(&mut self, space: Option<Space>) {
        self.space = space.unwrap_or_else(measure);
        self.begin();
        let batches = std::mem::take(&mut self.batches);
        let skipped = std::mem::take(&mut self.skipped);
        for (batch, skipped) in batches.iter().zip(&skipped) {
            self.encode(batch, skipped);
        }
        (self.batches, self.skipped) = (batches, skipped);
        self.finish();
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
            if known || lock(&shared.index).contains(id) {
                skipped.push(place);
            } else if !appended.may_append(id, shared.options.adopt) {
                return Err(CommitError::Fenced);
            } else {
                message.check(shared.options.inline_max)?;
            }
        }
        Ok(skipped)
    }

    fn encode(&mut self, batch: &Batch, skipped: &[usize]) {
        let mut crcs = batch.crcs.iter();
        for (place, op) in batch.ops.iter().enumerate() {
            let append = matches!(op, Op::Append(_));
            let crc = if append { crcs.next().copied().unwrap_or_default() } else { 0 };
            if !skipped.contains(&place) {
                let written = self.target().put(op, crc);
                self.push(written);
            }
        }
    }
}

/// Space that is never written to, to learn how long a group would be.
fn measure() -> Space {
    let (usage, slot, epoch, secret, serial, first) = (Use::Log, 0, 0, 0, 0, 0);
    let label = Label { version: VERSION, usage, slot, epoch, secret, serial, first, size: 0 };
    Space { label, seal: label.seal(), offset: BLOCK, fresh: false, number: 0 }
}
