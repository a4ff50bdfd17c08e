//! Checking a spool: every label, group, footer, envelope and body.
//!
//! Promises to write nothing, and to look at all that a message may ever be read from; recovery
//! looks at as little as it can. Damage is told with file, offset and length. What lies in unused
//! room is nobody's, and not looked at.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::bulk::{block_octets, block_offset, blocks_in};
use crate::disk::{Disk, read_exact_at};
use crate::footer::{self, Footer, Found};
use crate::id::MessageId;
use crate::index::Known;
use crate::label::{BLOCK, LABEL_OCTETS, Label, Use, segment_name, segment_slot};
use crate::open::{Damage, OpenError};
use crate::read::{Loaded, ReadError};
use crate::record::Extent;
use crate::recovery::{LogSegment, SET_ASIDE, TORN, damage, read_all};
use crate::seal::Seal;
use crate::shared::lock;
use crate::snapshot::Snapshot;
use crate::superblock;
use crate::walk::{GROUP_HEAD, Stretch, Walk, record_at, walk};

/// Messages that are checked between two looks at the index.
const PAGE: usize = 256;
/// Octets of a place for a footer of which so many in eight are right hold a damaged one; fewer
/// are what the segment held before.
const RIGHT_IN_EIGHT: usize = 7;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Live messages.
    pub messages: usize,
    /// Octets of their bodies.
    pub octets: u64,
    /// Segments.
    pub segments: Segments,
    /// What is not as it was written.
    pub damage: Vec<Damage>,
    /// Files that an earlier start kept because of damage.
    pub set_aside: Vec<String>,
    /// Files that are not the spool's.
    pub strangers: Vec<String>,
}

/// How many segments serve which use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// Parts of the log.
    pub log: usize,
    /// Blocks of large bodies.
    pub bulk: usize,
    /// To be used.
    pub free: usize,
    /// Nobody can tell.
    pub unknown: usize,
}

/// Checks a spool that nobody has open. Names in `others` belong to the spool's owner.
///
/// # Errors
/// When there is nothing to check: see [`OpenError`].
pub fn check(disk: Arc<dyn Disk>, others: &[&str]) -> Result<Report, OpenError> {
    let snapshot = Snapshot::open(disk.clone())?;
    let mut check = Check { snapshot: &snapshot, report: Report::default() };
    check.report.damage.clone_from(&snapshot.report().damage);
    check.superblock()?;
    check.files(others)?;
    for segment in &snapshot.begun.log {
        check.segment(segment)?;
    }
    check.messages();
    let begun = &snapshot.begun;
    check.report.segments = Segments {
        log: begun.log.len(),
        bulk: begun.bulk.len(),
        free: begun.free.len(),
        unknown: begun.unknown.len(),
    };
    check.report.damage.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    Ok(check.report)
}

struct Check<'a> {
    snapshot: &'a Snapshot,
    report: Report,
}

impl Check<'_> {
    fn disk(&self) -> &dyn Disk {
        &*self.snapshot.shared.disk
    }

    /// What recovery has told already is not told again.
    fn damaged(&mut self, damage: Damage) {
        if !self.report.damage.contains(&damage) {
            self.report.damage.push(damage);
        }
    }

    fn superblock(&mut self) -> io::Result<()> {
        let slots = superblock::read(self.disk())?;
        // After the first write the second slot has not been written yet.
        let second = slots.iter().flatten().map(|label| label.serial).max().is_none_or(|n| n > 1);
        for (slot, _) in slots.iter().enumerate().filter(|(_, label)| label.is_none()) {
            if second || !is_blank(self.disk(), slot as u64 * BLOCK)? {
                let file = superblock::NAME.to_owned();
                let (offset, octets) = (slot as u64 * BLOCK, LABEL_OCTETS as u64);
                let what = "a slot of the superblock is damaged".into();
                self.damaged(Damage { file, offset, octets, what });
            }
        }
        Ok(())
    }

    /// Every file has a use, and segments have the length they say.
    fn files(&mut self, others: &[&str]) -> io::Result<()> {
        let mut names = self.disk().list()?;
        names.sort();
        for name in names {
            if let Some(slot) = segment_slot(&name) {
                self.length(slot)?;
            } else if name.starts_with(SET_ASIDE) {
                self.report.set_aside.push(name);
            } else if ![superblock::NAME, "lock"].contains(&&*name) && !others.contains(&&*name) {
                self.report.strangers.push(name);
            }
        }
        Ok(())
    }

    fn length(&mut self, slot: u32) -> io::Result<()> {
        let file = self.disk().open(&segment_name(slot))?;
        let mut octets = [0; LABEL_OCTETS];
        // One that cannot be read is told by recovery.
        if file.read_at(0, &mut octets).is_err() {
            return Ok(());
        }
        let (label, size) = (Label::decode(&octets), file.size()?);
        if let Some(label) = label.filter(|label| label.size != size && label.usage != Use::Free) {
            let stretch = Stretch { start: size.min(label.size) as usize, end: size as usize };
            let what = format!("its label says that it has {} octets", label.size);
            self.damaged(damage(slot, stretch, &what));
        }
        Ok(())
    }

    /// Walks through a segment of the log, and compares its footer.
    fn segment(&mut self, segment: &LogSegment) -> io::Result<()> {
        let (label, seal) = (segment.label, segment.label.seal());
        let file = self.disk().open(&segment_name(label.slot))?;
        let (octets, unread) = read_all(&*file)?;
        for stretch in unread {
            self.damaged(damage(label.slot, stretch, "the disk cannot read it"));
        }
        let walk = walk(&label, &seal, &octets, segment.void);
        for (stretch, what) in &walk.damage {
            self.damaged(damage(label.slot, *stretch, what));
        }
        let footer = footer::read(&*file, &label, &seal).ok().flatten();
        match footer.filter(|footer| footer.last < segment.void) {
            Some(footer) => self.with_footer(&label, &octets, &walk, &footer),
            None => self.without_footer(segment, &seal, &octets, &walk),
        }
        Ok(())
    }

    fn with_footer(&mut self, label: &Label, octets: &[u8], walk: &Walk, footer: &Found) {
        if let Some(torn) = walk.torn {
            // A footer is written behind the last sync: this group was durable.
            self.damaged(damage(label.slot, torn, "the last group is damaged"));
        }
        let told: Vec<Stretch> = walk.damage.iter().map(|(at, _)| *at).chain(walk.torn).collect();
        let is_told = |at: usize| told.iter().any(|told| (told.start..told.end).contains(&at));
        let walked: BTreeMap<u64, usize> =
            walk.records.iter().map(|written| (written.offset, written.octets)).collect();
        let mut found = BTreeMap::new();
        for (at, written) in &footer.records {
            found.insert(written.offset, written.octets);
            let start = written.offset as usize;
            let here = octets.get(start..start + written.octets);
            let same = here == footer.octets.get(*at..*at + written.octets);
            let whole = same && walked.get(&written.offset) == Some(&written.octets);
            if !whole && !is_told(start) {
                let stretch = Stretch { start, end: start + written.octets + written.body };
                self.damaged(damage(
                    label.slot,
                    stretch,
                    "no whole group holds this record, which the footer has",
                ));
            }
        }
        for written in walk.records.iter().filter(|w| found.get(&w.offset) != Some(&w.octets)) {
            let start = written.offset as usize;
            let stretch = Stretch { start, end: start + written.octets };
            self.damaged(damage(label.slot, stretch, "the footer lacks this record"));
        }
        if walk.torn.is_none() && walk.last != Some(footer.last) {
            let end = end_of(walk);
            let what = format!("group {}, the last by the footer, is damaged", footer.last);
            let head = Stretch { start: end, end: end + GROUP_HEAD };
            self.damaged(damage(label.slot, head, &what));
        }
    }

    fn without_footer(&mut self, segment: &LogSegment, seal: &Seal, octets: &[u8], walk: &Walk) {
        let slot = segment.label.slot;
        if let Some(torn) = walk.torn {
            self.damaged(damage(slot, torn, TORN));
            return;
        }
        let end = end_of(walk);
        // Without its head, a last group shows by its records.
        let mut start = end + GROUP_HEAD;
        let newest = segment.void == u64::MAX;
        while let Some((written, _)) = record_at(seal, octets, start).filter(|_| newest) {
            start += (written.octets + written.body).next_multiple_of(8);
        }
        if start > end + GROUP_HEAD {
            self.damaged(damage(slot, Stretch { start: end, end: start }, TORN));
        } else if let Some(stretch) = damaged_footer(&segment.label, seal, octets, walk) {
            self.damaged(damage(slot, stretch, "the footer is damaged; the groups were read"));
        }
    }

    /// Reads every message, and counts who uses which block.
    fn messages(&mut self) {
        let mut owners = BTreeMap::new();
        let mut last = None;
        loop {
            let page = lock(&self.snapshot.shared.index).after(last, PAGE);
            let Some(end) = page.last() else { return };
            last = Some(end.id);
            for known in &page {
                self.report.messages += 1;
                match self.snapshot.load(known.id).and_then(read_body) {
                    Ok(octets) => self.report.octets += octets,
                    Err(error) => self.unreadable(known, &error),
                }
                self.blocks(known, &mut owners);
            }
        }
    }

    fn unreadable(&mut self, known: &Known, error: &ReadError) {
        let what = format!("{}: {error}", known.id);
        let record = || {
            let start = known.row.place.offset as usize;
            damage(
                known.row.place.slot,
                Stretch { start, end: start + known.row.octets as usize },
                &what,
            )
        };
        // A record that can be read leads to a body that cannot.
        let record_is_good = self.snapshot.load(known.id).is_ok();
        let damage = match known.extra.extents.first().filter(|_| record_is_good) {
            Some(extent) => self.in_blocks(extent, extent.blocks, &what),
            None => record(),
        };
        self.damaged(damage);
    }

    fn in_blocks(&self, extent: &Extent, blocks: u32, what: &str) -> Damage {
        let size = self.snapshot.shared.bulk.size(extent.slot).unwrap_or_default();
        let offset = block_offset(size, extent.block);
        let octets = u64::from(blocks) * block_octets(size);
        Damage { file: segment_name(extent.slot), offset, octets, what: what.into() }
    }

    fn blocks(&mut self, known: &Known, owners: &mut BTreeMap<(u32, u32), MessageId>) {
        for extent in &known.extra.extents {
            // A damaged record may name blocks that no segment has.
            let size = self.snapshot.shared.bulk.size(extent.slot).unwrap_or_default();
            let end = extent.block.saturating_add(extent.blocks).min(blocks_in(size));
            for block in extent.block..end {
                let Some(other) = owners.insert((extent.slot, block), known.id) else { continue };
                let what = format!("a block that both {other} and {} name", known.id);
                let damage = self.in_blocks(&Extent { block, ..*extent }, 1, &what);
                self.damaged(damage);
            }
        }
    }
}

fn read_body(mut loaded: Loaded) -> Result<u64, ReadError> {
    while loaded.body.next_chunk()?.is_some() {}
    Ok(loaded.body.len())
}

fn is_blank(disk: &dyn Disk, at: u64) -> io::Result<bool> {
    let mut octets = [0; LABEL_OCTETS];
    read_exact_at(&*disk.open(superblock::NAME)?, at, &mut octets)?;
    Ok(octets.iter().all(|octet| *octet == 0))
}

/// Where the next group would stand.
fn end_of(walk: &Walk) -> usize {
    let end = walk.last_group.map_or(BLOCK as usize, |group| group.end);
    end.next_multiple_of(BLOCK as usize)
}

/// A footer that cannot be read, told from none by what it should be.
fn damaged_footer(label: &Label, seal: &Seal, octets: &[u8], walk: &Walk) -> Option<Stretch> {
    let last = walk.last.filter(|_| walk.damage.is_empty())?;
    let mut footer = Footer::default();
    for written in &walk.records {
        let at = written.offset as usize;
        footer.push(written, octets.get(at..at + written.octets)?);
    }
    let (offset, right) = footer.finish(seal, label.size, last)?;
    let there = octets.get(offset as usize..)?;
    let mut wrong = there.iter().zip(&right).enumerate().filter(|(_, (a, b))| a != b);
    let (first, _) = wrong.next()?;
    let (count, end) = wrong.fold((1, first), |(count, _), (at, _)| (count + 1, at));
    let start = offset as usize;
    let is_ours = count * 8 <= right.len() * (8 - RIGHT_IN_EIGHT);
    is_ours.then_some(Stretch { start: start + first, end: start + end + 1 })
}
