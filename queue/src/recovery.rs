//! Start-up: claim the spool, read what is there, report what cannot be read.
//!
//! Promises: what is recovered is durable before anything builds on it; damage costs the records it
//! lies in and no others (I6); recovery writes nothing but the superblock and, octet for octet,
//! frames that are there already, and cuts off nothing but zeros, so that it may be interrupted and
//! begun again (I9).
//! A gap with no valid frame behind it, at the end of the last segment of a start, may be a write
//! that was torn by a crash and never acknowledged; the disk does not tell, so it is reported too.

use std::collections::BTreeSet;
use std::io;

use crate::content::{content_id, content_name};
use crate::disk::{Disk, DiskFile};
use crate::frame::{Kind, LABEL_SPACE, Label, Seal, Stretch, VERSION, Walk, find_epoch, walk};
use crate::index::Index;
use crate::log::{segment_name, segment_number};
use crate::open::{Damage, OpenError, Options, Recovery};
use crate::record::{Position, decode_all};
use crate::superblock::{Claim, Witness, claim};

/// In front of the names of files that are kept because of damage.
pub(crate) const SET_ASIDE: &str = "damaged-";

/// What the writer goes on from.
pub(crate) struct Recovered {
    pub(crate) claim: Claim,
    pub(crate) index: Index,
    pub(crate) next_segment: u32,
    pub(crate) report: Recovery,
}

/// How many of the newest segments are written again as they were read.
///
/// The run before may have been killed after a sync failed, but before it could put the group into
/// the next segment. Such pages read well from the system's cache, count as clean, and are not on
/// the disk: only writing them again makes a sync of them mean something. The group is in the
/// segment before the newest at the earliest.
const RENEWED: usize = 2;

/// One segment file, before its frames are looked at.
struct Found {
    number: u32,
    name: String,
    octets: Vec<u8>,
    label: Option<Label>,
}

/// Claims the spool and reads it.
pub(crate) fn recover(disk: &dyn Disk, options: &Options) -> Result<Recovered, OpenError> {
    let names = disk.list()?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let labels = numbers
        .iter()
        .map(|number| read_label(disk, *number))
        .collect::<Result<Vec<_>, OpenError>>()?;
    let newest = labels.iter().filter_map(|(label, _)| *label).max_by_key(|label| label.epoch);
    let witness = Witness {
        newest: newest.map(|label| (label.epoch, label.secret)),
        any: labels.iter().any(|(_, any)| *any),
    };
    let claim = claim(disk, options.shard, witness)?;
    let mut replay = Replay {
        claim,
        index: Index::for_recovery(),
        epoch: 0,
        empty: Vec::new(),
        report: Recovery::default(),
    };
    for (place, (number, (label, _))) in numbers.iter().zip(labels).enumerate() {
        let renewed = place + RENEWED >= numbers.len();
        replay.segment(disk, *number, label, renewed)?;
    }
    for number in std::mem::take(&mut replay.empty) {
        // Nothing depends on a segment without records, wherever it stands. On a full disk, each
        // start would else take more room than the one before.
        disk.remove(&segment_name(number))?;
        replay.index.forget_segment(number);
    }
    replay.index.recovery_done();
    check_content(disk, &names, &mut replay)?;
    replay.report.messages = replay.index.len();
    let kept = names.iter().filter_map(|name| segment_number(name.strip_prefix(SET_ASIDE)?));
    let next_segment = numbers.iter().copied().chain(kept).max().unwrap_or(0) + 1;
    Ok(Recovered { claim, index: replay.index, next_segment, report: replay.report })
}

/// The label of a segment, and whether the segment holds anything at all.
fn read_label(disk: &dyn Disk, number: u32) -> Result<(Option<Label>, bool), OpenError> {
    let file = disk.open(&segment_name(number))?;
    let mut octets = vec![0; LABEL_SPACE as usize];
    let Ok(read) = file.read_at(0, &mut octets) else { return Ok((None, true)) };
    octets.truncate(read);
    let label = Label::decode(Kind::Segment, &octets).filter(|label| label.number == number);
    match label {
        Some(label) if label.version != VERSION => Err(OpenError::Version(label.version)),
        Some(label) => Ok((Some(label), true)),
        None => Ok((None, octets.iter().any(|octet| *octet != 0))),
    }
}

struct Replay {
    claim: Claim,
    index: Index,
    /// The epoch of the segment before.
    epoch: u32,
    /// Segments without a record.
    empty: Vec<u32>,
    report: Recovery,
}

impl Replay {
    fn segment(
        &mut self,
        disk: &dyn Disk,
        number: u32,
        label: Option<Label>,
        renewed: bool,
    ) -> Result<(), OpenError> {
        let name = segment_name(number);
        let file = disk.open(&name)?;
        let (octets, unread) = read_all(&*file)?;
        let found = Found { number, name, octets, label };
        let all_read = unread.is_empty();
        for stretch in unread {
            self.damaged(&found, stretch, "the disk cannot read it");
        }
        self.index.segment(number);
        let Some(seal) = self.seal(&found) else {
            if found.octets.iter().any(|octet| *octet != 0) {
                let all = Stretch { start: 0, end: found.octets.len() };
                self.damaged(&found, all, "the segment's label is damaged, and no frame is valid");
            }
            return Ok(());
        };
        self.epoch = seal.epoch;
        let walk = walk(&seal, &found.octets);
        self.frames(&found, &walk);
        if walk.payloads.is_empty() && walk.tail.is_none() && all_read {
            self.empty.push(number);
        }
        if renewed {
            renew(&*file, &found.octets, &walk)?;
        }
        if all_read && found.label.is_some() {
            trim(&*file, found.octets.len(), &walk)?;
        }
        // The run before may have died between a write and its sync: what was read here must not
        // be lost later.
        Ok(file.sync()?)
    }

    /// What the segment's frames are sealed with. Without a label, the epochs that are possible
    /// between its neighbours are tried.
    fn seal(&mut self, found: &Found) -> Option<Seal> {
        let segment = found.number;
        if let Some(label) = found.label {
            return Some(Seal { secret: label.secret, segment, epoch: label.epoch });
        }
        if found.octets.iter().all(|octet| *octet == 0) {
            return None;
        }
        let epochs = self.epoch..=self.claim.epoch;
        let seal = find_epoch(self.claim.secret, segment, epochs, &found.octets)?;
        let label = Stretch { start: 0, end: LABEL_SPACE as usize };
        self.damaged(found, label, "the segment's label is damaged; its frames were read");
        Some(seal)
    }

    fn frames(&mut self, found: &Found, walk: &Walk) {
        for payload in &walk.payloads {
            let octets = found.octets.get(payload.start..payload.end).unwrap_or_default();
            let position = Position { segment: found.number, offset: payload.start as u64 };
            match decode_all(octets, position) {
                Some(records) => records.into_iter().for_each(|record| self.index.apply(record)),
                None => self.damaged(found, *payload, "a whole frame holds what is no record"),
            }
        }
        for gap in &walk.gaps {
            self.damaged(found, *gap, "no valid frame; the frames after it were read");
        }
        if let Some(tail) = walk.tail {
            let what = "no valid frame, nor any after it; perhaps a torn write that was never \
                        acknowledged";
            self.damaged(found, tail, what);
        }
        self.index.add_used(found.number, (walk.end as u64).saturating_sub(LABEL_SPACE));
    }

    fn damaged(&mut self, found: &Found, stretch: Stretch, what: &str) {
        self.index.segment(found.number).damaged = true;
        self.report.damage.push(Damage {
            file: found.name.clone(),
            offset: stretch.start as u64,
            octets: stretch.end.saturating_sub(stretch.start) as u64,
            what: what.into(),
        });
    }
}

/// Writes each run of valid frames again, and nothing else: what could not be read stays as it is.
fn renew(file: &dyn DiskFile, octets: &[u8], walk: &Walk) -> io::Result<()> {
    let mut start = LABEL_SPACE as usize;
    let ends = walk.gaps.iter().map(|gap| (gap.start, gap.end)).chain([(walk.end, walk.end)]);
    for (end, next) in ends {
        if let Some(run) = octets.get(start..end).filter(|run| !run.is_empty()) {
            file.write_at(start as u64, run)?;
        }
        start = next;
    }
    Ok(())
}

/// Gives the room back that a segment never used, so that a start costs what was written and not
/// what was laid out. Only zeros go, and only where nothing was lost: an old segment is never
/// written to again.
fn trim(file: &dyn DiskFile, size: usize, walk: &Walk) -> io::Result<()> {
    let used = walk.end.next_multiple_of(LABEL_SPACE as usize);
    if used < size && walk.tail.is_none() && walk.gaps.is_empty() {
        file.shrink(used as u64)?;
    }
    Ok(())
}

const READ_OCTETS: usize = 1 << 20;
const RETRY_OCTETS: usize = 4096;

/// Reads a whole file. What the disk cannot read comes back as zeros, and is listed.
fn read_all(file: &dyn DiskFile) -> io::Result<(Vec<u8>, Vec<Stretch>)> {
    let mut octets = vec![0; usize::try_from(file.size()?).map_err(io::Error::other)?];
    let mut unread = Vec::new();
    let mut at = 0;
    for part in octets.chunks_mut(READ_OCTETS) {
        if file.read_at(at as u64, part).is_err() {
            let mut start = at;
            for small in part.chunks_mut(RETRY_OCTETS) {
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

/// Checks that each staged body is there, and sweeps those that belong to no message.
fn check_content(disk: &dyn Disk, names: &[String], replay: &mut Replay) -> Result<(), OpenError> {
    let there: BTreeSet<_> = names.iter().filter_map(|name| content_id(name)).collect();
    for stored in replay.index.scan() {
        if !replay.index.get(stored.id).is_some_and(|entry| entry.place.staged) {
            continue;
        }
        let file = content_name(stored.id);
        let size = if there.contains(&stored.id) { disk.open(&file)?.size()? } else { 0 };
        if size != stored.size {
            let what = format!("the body should have {} octets", stored.size);
            replay.report.damage.push(Damage { file, offset: 0, octets: size, what });
        }
    }
    for id in there {
        if replay.index.get(id).is_some_and(|entry| entry.place.staged) {
            continue;
        }
        let name = content_name(id);
        if replay.report.damage.is_empty() {
            disk.remove(&name)?;
        } else {
            // The record that names it may be among what could not be read.
            replay.report.set_aside.push(set_aside(disk, &name)?);
        }
    }
    Ok(())
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
