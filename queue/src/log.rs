//! The log: a sequence of segments, of which the newest is written to.
//!
//! Promises: each group starts on a fresh block, and its number is one more than that of the last
//! durable one; a segment whose write or sync failed is not written again. The label of a segment
//! becomes durable with its first group, and voids what failed before it. Appends leave the reserve
//! of each segment to control records, and every record leaves room for itself in the footer.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::footer::{Footer, TRAILER};
use crate::label::{BLOCK, Label, Use};
use crate::pool::{Need, Pool, Taken};
use crate::record::Written;
use crate::seal::Seal;

/// The segment that is written to.
struct Active {
    label: Label,
    seal: Seal,
    file: Arc<dyn DiskFile>,
    /// Where the next group goes.
    end: u64,
    /// Its label is not on the disk yet.
    fresh: bool,
    footer: Footer,
}

/// A full segment that waits for its footer.
#[derive(Debug)]
pub(crate) struct Sealing {
    pub(crate) label: Label,
    pub(crate) footer: Footer,
    /// The number of its last group.
    pub(crate) last: u64,
}

/// Where a group is to be written.
pub(crate) struct Space {
    pub(crate) label: Label,
    pub(crate) seal: Seal,
    /// Where the group begins.
    pub(crate) offset: u64,
    /// The label is to be written in front of it.
    pub(crate) fresh: bool,
    pub(crate) number: u64,
}

pub(crate) struct Log {
    pool: Arc<Pool>,
    reserve: u64,
    number: u64,
    active: Option<Active>,
    sealing: Vec<Sealing>,
}

impl Log {
    /// A log whose next group has this number.
    pub(crate) fn new(pool: Arc<Pool>, reserve: u64, number: u64) -> Self {
        Self { pool, reserve, number, active: None, sealing: Vec::new() }
    }

    /// The slot of the segment that is written to, when there is one.
    pub(crate) fn active(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.label.slot)
    }

    /// Where the next group goes; `None` without an active segment.
    pub(crate) fn space(&self) -> Option<Space> {
        self.active.as_ref().map(|active| Space {
            label: active.label,
            seal: active.seal.clone(),
            offset: active.end,
            fresh: active.fresh,
            number: self.number,
        })
    }

    /// A group that ends there, with so many octets of entries in the footer, has room.
    pub(crate) fn fits(&self, end: u64, entries: usize, control: bool) -> bool {
        let Some(active) = &self.active else { return false };
        let reserve = if control { 0 } else { self.reserve };
        let space = end.next_multiple_of(BLOCK) + active.footer.space(entries) + reserve;
        space <= active.label.size
    }

    /// A group without a record has room, and a group to follow.
    pub(crate) fn fits_empty(&self) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| !active.fresh && self.fits(active.end + 1, 0, false))
    }

    /// Octets that the active segment still has for appends.
    pub(crate) fn append_room(&self) -> u64 {
        let Some(active) = &self.active else { return 0 };
        let taken = active.end + active.footer.space(0) + self.reserve;
        active.label.size.saturating_sub(taken)
    }

    /// More than half of the active segment is written.
    pub(crate) fn is_half_full(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.end > active.label.size / 2)
    }

    /// Goes on in another segment, whose label is the answer.
    pub(crate) fn roll(&mut self, control: bool) -> io::Result<Label> {
        let need = if control { Need::Control } else { Need::Mail };
        let Taken { slot, size, file } = self.pool.take(need)?;
        self.retire();
        let label = self.pool.label(Use::Log, slot, size, self.number);
        let (seal, footer) = (label.seal(), Footer::default());
        self.active = Some(Active { label, seal, file, end: BLOCK, fresh: true, footer });
        Ok(label)
    }

    /// Leaves the active segment, which gets its footer if it holds anything.
    pub(crate) fn retire(&mut self) {
        if let Some(active) = self.active.take().filter(|active| !active.fresh) {
            let Active { label, footer, .. } = active;
            self.sealing.push(Sealing { label, footer, last: self.number - 1 });
        }
    }

    /// The full segments since this was last asked.
    pub(crate) fn take_sealing(&mut self) -> Vec<Sealing> {
        std::mem::take(&mut self.sealing)
    }

    /// Writes a group (behind the label, in a fresh segment) and makes it durable. After an error
    /// the segment is not written again.
    pub(crate) fn write(
        &mut self,
        octets: &[u8],
        group: usize,
        records: &[Written],
    ) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("no segment is open"));
        };
        let offset = if active.fresh { 0 } else { active.end };
        let written = active.file.write_at(offset, octets);
        if let Err(error) = written.and_then(|()| active.file.sync()) {
            self.active = None;
            return Err(error);
        }
        let start = active.end;
        active.fresh = false;
        active.end = offset + octets.len() as u64;
        self.number += 1;
        for written in records {
            let at = (written.offset - start) as usize + group;
            let record = octets.get(at..at + written.octets).unwrap_or_default();
            active.footer.push(written, record);
        }
        Ok(())
    }
}

/// Octets of the longest group that appends may fill, or control records.
pub(crate) fn longest_group(segment_size: u64, reserve: u64) -> u64 {
    segment_size.saturating_sub(BLOCK + reserve + TRAILER as u64)
}
