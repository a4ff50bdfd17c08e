//! Start-up: claim the spool, read what is there, report what cannot be read.
//!
//! In two steps. [`begin`] reads the labels and the end of the log, after which new messages may be
//! accepted; [`read_log`] reads the rest, footers where there are any. Promises: what is recovered
//! is durable before anything builds on it; damage costs the records it lies in and no others (I6);
//! recovery writes nothing but the superblock and, octet for octet, the last group that is there
//! already, and removes nothing but files that were never used, so that it may be interrupted and
//! begun again (I9). A last group that is not whole may be a write that was torn by a crash and
//! never acknowledged; the disk does not tell, so it is reported too.

mod survey;

use std::collections::BTreeSet;
use std::io;

use crate::disk::{Disk, DiskFile};
use crate::footer::{self, Footer};
use crate::index::Index;
use crate::label::{BLOCK, Label, Use, VERSION, segment_name};
use crate::log::Sealing;
use crate::mark::Place;
use crate::open::{Damage, OpenError, Options, Recovery};
use crate::pool::UNBORN;
use crate::record::{Meaning, Written, decode};
use crate::seal::Seal;
use crate::shared::{Shared, lock};
use crate::superblock::{self, Claim, Superblock};
use crate::walk::{Stretch, Walk, walk};
use survey::Survey;
pub(crate) use survey::{Begun, LogSegment};

/// What is said of the end of a log that was cut off.
pub(crate) const TORN: &str =
    "the last group is not whole; perhaps a torn write that was never acknowledged";
/// In front of the names of files that are kept because of damage.
pub(crate) const SET_ASIDE: &str = "damaged-";

/// Claims the spool and finds the end of its log.
pub(crate) fn begin(disk: &dyn Disk, options: &Options) -> Result<(Superblock, Begun), OpenError> {
    for name in disk.list()?.iter().filter(|name| name.starts_with(UNBORN)) {
        // A crash came before it was a segment: nothing was ever kept in it.
        disk.remove(name)?;
    }
    let survey = Survey::take(disk)?;
    let (shard, least) = (options.shard, options.least_epoch);
    let (superblock, last) = Superblock::claim(disk, shard, least, survey.witness())?;
    let mut begun = survey.sorted(disk, superblock.owner(), last)?;
    begun.find_end(disk)?;
    Ok((superblock, begun))
}

/// The same for somebody who only reads: no claim is made, and nothing is written.
pub(crate) fn look(disk: &dyn Disk) -> Result<Begun, OpenError> {
    let survey = Survey::take(disk)?;
    let (claim, last) = superblock::look(disk, survey.witness())?;
    survey.sorted(disk, claim, last)
}

impl Begun {
    /// Finds the last group, and writes it again: the run before may have been killed after a sync
    /// failed. Such pages read well from the system's cache, count as clean, and are not on the
    /// disk: only writing them again makes a sync of them mean something.
    fn find_end(&mut self, disk: &dyn Disk) -> Result<(), OpenError> {
        let Some(newest) = self.log.last() else { return Ok(()) };
        let label = newest.label;
        let seal = label.seal();
        let file = disk.open(&segment_name(label.slot))?;
        self.number = label.first;
        if let Ok(Some(footer)) = footer::read(&*file, &label, &seal) {
            self.number = footer.last + 1;
            return Ok(file.sync()?);
        }
        let walked = Walked::read(&*file, &label, &seal, u64::MAX)?;
        let Walked { octets, walk, .. } = &walked;
        self.number = walk.last.map_or(label.first, |last| last + 1);
        if !newest.relabelled {
            file.write_at(0, &label.encode())?;
        }
        if let Some(Stretch { start, end }) = walk.last_group {
            let end = end.next_multiple_of(BLOCK as usize).min(octets.len());
            file.write_at(start as u64, octets.get(start..end).unwrap_or_default())?;
        }
        // The run before may have died between a write and its sync: what was read here must not
        // be lost later.
        file.sync()?;
        self.newest = Some(walked);
        Ok(())
    }
}

pub(crate) fn damage(slot: u32, stretch: Stretch, what: &str) -> Damage {
    let octets = stretch.end.saturating_sub(stretch.start) as u64;
    let file = segment_name(slot);
    Damage { file, offset: stretch.start as u64, octets, what: what.into() }
}

/// A label for a segment that must hold bodies, as messages name its blocks.
fn bulk_label(claim: Claim, slot: u32, size: u64) -> Label {
    let Claim { epoch, secret, .. } = claim;
    Label { version: VERSION, usage: Use::Kept, slot, epoch, secret, serial: 0, first: 0, size }
}

/// A segment of the log that was read as a whole.
struct Walked {
    octets: Vec<u8>,
    unread: Vec<Stretch>,
    walk: Walk,
}

impl Walked {
    fn read(file: &dyn DiskFile, label: &Label, seal: &Seal, void: u64) -> io::Result<Self> {
        let (octets, unread) = read_all(file)?;
        let walk = walk(label, seal, &octets, void);
        Ok(Self { octets, unread, walk })
    }
}

/// What the second step found.
pub(crate) struct Read {
    pub(crate) index: Index,
    pub(crate) report: Recovery,
    /// Segments that could have a footer and have none.
    pub(crate) sealing: Vec<Sealing>,
    /// Records may be missing: what nobody names may yet be somebody's.
    pub(crate) doubtful: bool,
}

/// Reads all of the log. What messages name of the unknown segments holds bodies; the others are
/// left to the caller, who sets them aside when all that their damage means is durable.
pub(crate) fn read_log(disk: &dyn Disk, begun: &mut Begun) -> io::Result<Read> {
    let report = std::mem::take(&mut begun.report);
    let doubtful = !report.damage.is_empty();
    let mut read = Read { index: Index::default(), report, sealing: Vec::new(), doubtful };
    if begun.last.lost {
        let what = "neither slot can be read; what it said was taken from the segments".into();
        let (file, octets) = (superblock::NAME.into(), superblock::OCTETS);
        read.report.damage.push(Damage { file, offset: 0, octets, what });
    }
    let mut next = begun.last.sure.then_some(begun.last.first);
    let mut newest = begun.newest.take();
    let count = begun.log.len();
    for (place, segment) in begun.log.iter().enumerate() {
        read.index.segments.add(segment.label);
        if segment.relabelled {
            read.index.segments.mark_damaged(segment.label.slot);
        }
        if let Some(next) = next.filter(|next| *next < segment.label.first) {
            let what = format!("groups {next} to {} are missing", segment.label.first - 1);
            read.damaged(segment.label.slot, Stretch { start: 0, end: 0 }, &what);
        }
        let known = if place + 1 == count { newest.take() } else { None };
        let last = read.segment(disk, segment, known)?;
        let last = last.filter(|last| *last < segment.void);
        next = Some(last.map_or(segment.label.first, |last| last + 1));
    }
    let named: BTreeSet<u32> = read.index.extents().map(|extent| extent.slot).collect();
    for slot in begun.unknown.extract_if(.., |slot| named.contains(slot)) {
        let size = disk.open(&segment_name(slot))?.size()?;
        begun.bulk.push(bulk_label(begun.claim, slot, size));
    }
    read.report.messages = read.index.len();
    Ok(read)
}

impl Read {
    /// Takes in the records of one segment; answers the number of its last group.
    fn segment(
        &mut self,
        disk: &dyn Disk,
        segment: &LogSegment,
        known: Option<Walked>,
    ) -> io::Result<Option<u64>> {
        if let Some(walked) = known {
            return Ok(self.walked(segment, &walked));
        }
        let label = &segment.label;
        let seal = label.seal();
        let file = disk.open(&segment_name(label.slot))?;
        let footer = footer::read(&*file, label, &seal).ok().flatten();
        if let Some(footer) = footer.filter(|footer| footer.last < segment.void) {
            for (at, written) in &footer.records {
                self.apply(label, footer.octets.get(*at..*at + written.octets), written);
            }
            return Ok(Some(footer.last));
        }
        Ok(self.walked(segment, &Walked::read(&*file, label, &seal, segment.void)?))
    }

    /// Takes in what a walk has found.
    fn walked(&mut self, segment: &LogSegment, walked: &Walked) -> Option<u64> {
        let Walked { octets, unread, walk } = walked;
        let label = &segment.label;
        for stretch in unread {
            self.damaged(label.slot, *stretch, "the disk cannot read it");
        }
        let mut footer = Footer::default();
        for written in &walk.records {
            let at = written.offset as usize;
            let record = octets.get(at..at + written.octets);
            self.apply(label, record, written);
            footer.push(written, record.unwrap_or_default());
        }
        self.doubts(label.slot, walk);
        let end = walk.last_group.map_or(0, |group| group.end.next_multiple_of(BLOCK as usize));
        let good = unread.is_empty() && walk.damage.is_empty() && !segment.relabelled;
        let room = end as u64 + footer.space(0) <= label.size;
        if let Some(last) = walk.last.filter(|_| good && room) {
            self.sealing.push(Sealing { label: *label, footer, last });
        }
        walk.last
    }

    fn apply(&mut self, label: &Label, record: Option<&[u8]>, written: &Written) {
        let place = Place { slot: label.slot, offset: written.offset as u32 };
        match record.and_then(decode) {
            Some(meaning) => {
                let octets = (written.octets + written.body) as u32;
                self.index.apply(&meaning, place, octets);
            }
            None => {
                let start = written.offset as usize;
                let stretch = Stretch { start, end: start + written.octets };
                self.damaged(label.slot, stretch, "a whole record is none that is known");
            }
        }
    }

    fn doubts(&mut self, slot: u32, walk: &Walk) {
        for (stretch, what) in &walk.damage {
            self.damaged(slot, *stretch, what);
        }
        if let Some(torn) = walk.torn {
            self.report.damage.push(damage(slot, torn, TORN));
        }
    }

    fn damaged(&mut self, slot: u32, stretch: Stretch, what: &str) {
        self.doubtful = true;
        self.index.segments.mark_damaged(slot);
        self.report.damage.push(damage(slot, stretch, what));
    }
}

const READ_OCTETS: usize = 1 << 20;

/// Reads a whole file. What the disk cannot read comes back as zeros, and is listed.
pub(crate) fn read_all(file: &dyn DiskFile) -> io::Result<(Vec<u8>, Vec<Stretch>)> {
    let mut octets = vec![0; usize::try_from(file.size()?).map_err(io::Error::other)?];
    let mut unread = Vec::new();
    let mut at = 0;
    for part in octets.chunks_mut(READ_OCTETS) {
        if file.read_at(at as u64, part).is_err() {
            let mut start = at;
            for small in part.chunks_mut(BLOCK as usize) {
                if file.read_at(start as u64, small).is_err() {
                    small.fill(0);
                    unread.push(Stretch { start, end: start + small.len() });
                }
                start += small.len();
            }
        }
        at += part.len();
    }
    Ok((octets, unread))
}

/// Where the records of messages stand in a segment of the log, the last first.
pub(crate) fn messages_in(shared: &Shared, slot: u32, void: u64) -> io::Result<Vec<u32>> {
    let segment = lock(&shared.index).segments.get(slot).cloned();
    let Some(segment) = segment else { return Ok(Vec::new()) };
    let file = shared.pool.file(slot)?;
    let is_message =
        |record: &[u8]| matches!(decode(record), Some(Meaning::Append(_) | Meaning::Moved(_)));
    let mut offsets = Vec::new();
    if let Some(footer) = footer::read(&*file, &segment.label, &segment.seal)? {
        for (at, written) in &footer.records {
            if footer.octets.get(*at..*at + written.octets).is_some_and(is_message) {
                offsets.push(written.offset as u32);
            }
        }
    } else {
        let (octets, _) = read_all(&*file)?;
        for written in walk(&segment.label, &segment.seal, &octets, void).records {
            let at = written.offset as usize;
            if octets.get(at..at + written.octets).is_some_and(is_message) {
                offsets.push(written.offset as u32);
            }
        }
    }
    offsets.reverse();
    Ok(offsets)
}

/// Renames a file out of the spool's sight, and answers its new name.
pub(crate) fn set_aside(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let taken: BTreeSet<_> = disk.list()?.into_iter().collect();
    let mut kept = format!("{SET_ASIDE}{name}");
    while taken.contains(&kept) {
        kept.push('~');
    }
    disk.rename(name, &kept)?;
    Ok(kept)
}
