//! Walking through a segment of the log: which groups and records in it are whole.
//!
//! The number of a group proves that all groups before it were durable, as the next is written only
//! after the sync of the last. So a group that is not whole is damage when a later one is there, in
//! this segment or in the next, and what can be read of it is kept; when none is, it may be a torn
//! write that was never acknowledged, and all of it is dropped. Reading never panics, whatever the
//! octets.

use crate::input::Input;
use crate::label::{BLOCK, Label, Use, VERSION};
use crate::record::{self, BORDER, HEAD, Meaning, Written};
use crate::seal::Seal;

/// Octets in front of a group's records.
pub(crate) const GROUP_HEAD: usize = 32;

/// What a group begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHead {
    /// Records in it.
    pub(crate) count: u32,
    /// One more than that of the group before it, whatever the segment.
    pub(crate) number: u64,
    /// Of the segment; with the epoch, it tells a segment whose label is lost.
    pub(crate) serial: u64,
    pub(crate) epoch: u32,
    /// Octets of the group, head included, up to its last record.
    pub(crate) octets: u32,
}

impl GroupHead {
    pub(crate) fn encode(&self, seal: &Seal, offset: u64) -> [u8; GROUP_HEAD] {
        let mut head = [0; GROUP_HEAD];
        let fields = [
            &self.count.to_le_bytes()[..],
            &self.number.to_le_bytes(),
            &self.serial.to_le_bytes(),
            &self.epoch.to_le_bytes(),
            &self.octets.to_le_bytes(),
        ]
        .concat();
        let crc = seal.crc(offset, &fields);
        let (place, rest) = head.split_at_mut(4);
        place.copy_from_slice(&crc.to_le_bytes());
        rest.copy_from_slice(&fields);
        head
    }

    /// Its fields, and the checksum that they should have.
    fn decode(octets: &[u8]) -> Option<(u32, Self)> {
        let mut input = Input::new(octets.get(..GROUP_HEAD)?);
        let crc = input.u32()?;
        let (count, number, serial) = (input.u32()?, input.u64()?, input.u64()?);
        let (epoch, octets) = (input.u32()?, input.u32()?);
        Some((crc, Self { count, number, serial, epoch, octets }))
    }

    fn checked(seal: &Seal, offset: u64, octets: &[u8]) -> Option<Self> {
        let (crc, head) = Self::decode(octets)?;
        let whole = head.octets as usize >= GROUP_HEAD
            && seal.crc(offset, octets.get(4..GROUP_HEAD)?) == crc;
        whole.then_some(head)
    }
}

/// A stretch of a segment: from the first octet to before the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What a walk through a segment found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Every record that counts.
    pub(crate) records: Vec<Written>,
    /// The number of the last group that counts, or that was there before damage.
    pub(crate) last: Option<u64>,
    /// The last whole group.
    pub(crate) last_group: Option<Stretch>,
    /// What was durable once and is not whole.
    pub(crate) damage: Vec<(Stretch, String)>,
    /// A group that is not whole, and none after it; at the least, as its head may be lost.
    pub(crate) torn: Option<Stretch>,
}

/// A group whose head is whole.
struct Seen {
    at: usize,
    end: usize,
    number: u64,
    /// Its records, if all are whole.
    records: Option<Vec<Written>>,
}

/// Finds the records of a segment, whose whole content is given. Groups from `void` on don't count;
/// those before it were durable. Without a later segment it is the highest number.
pub(crate) fn walk(label: &Label, seal: &Seal, segment: &[u8], void: u64) -> Walk {
    let (groups, stop) = groups(seal, segment, void);
    let is_newest = void == u64::MAX;
    let mut found = Walk::default();
    let mut end = BLOCK as usize;
    let mut next = label.first;
    let count = groups.len();
    for (place, group) in groups.into_iter().enumerate() {
        if group.at > end || group.number != next {
            let gap = Stretch { start: end, end: group.at };
            found.salvage_missing(seal, segment, gap, next, group.number);
        }
        let here = Stretch { start: group.at, end: group.end };
        match group.records {
            Some(records) => {
                found.records.extend(records);
                found.last_group = Some(here);
            }
            None if is_newest && place + 1 == count => {
                found.torn = Some(here);
                return found;
            }
            None => {
                let what = "a group is damaged; its other records were read";
                found.damage.push((here, what.into()));
                salvage(seal, segment, here, &mut found.records);
            }
        }
        found.last = Some(group.number);
        next = group.number.saturating_add(1);
        end = group.end.next_multiple_of(BLOCK as usize);
    }
    if is_newest {
        found.torn = headless(seal, segment, end);
    } else if next < void {
        let gap = Stretch { start: end.min(stop), end: stop };
        found.salvage_missing(seal, segment, gap, next, void);
        found.last = Some(void - 1);
    }
    found
}

impl Walk {
    /// What can be read of groups that were durable, and whose heads are not there.
    fn salvage_missing(&mut self, seal: &Seal, segment: &[u8], gap: Stretch, from: u64, to: u64) {
        let last = to.saturating_sub(1);
        let what =
            format!("groups {from} to {last} are missing; single records may have been read");
        self.damage.push((gap, what));
        salvage(seal, segment, gap, &mut self.records);
    }
}

/// The first record of a group that has lost its head.
fn headless(seal: &Seal, segment: &[u8], at: usize) -> Option<Stretch> {
    let (written, _) = record_at(seal, segment, at.checked_add(GROUP_HEAD)?)?;
    Some(Stretch { start: at, end: at + GROUP_HEAD + written.octets })
}

/// The groups that count, and where the void ones begin.
fn groups(seal: &Seal, segment: &[u8], void: u64) -> (Vec<Seen>, usize) {
    let mut all = Vec::new();
    let mut at = BLOCK as usize;
    while let Some(rest) = segment.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(head) = GroupHead::checked(seal, at as u64, rest) else {
            at += BLOCK as usize;
            continue;
        };
        if head.number >= void {
            return (all, at);
        }
        let end = at.saturating_add(head.octets as usize).min(segment.len());
        let records = whole_records(seal, segment, at, end, head);
        all.push(Seen { at, end, number: head.number, records });
        at = end.next_multiple_of(BLOCK as usize);
    }
    (all, segment.len())
}

/// The records of a group, if every one of them is whole, with its body.
fn whole_records(
    seal: &Seal,
    segment: &[u8],
    at: usize,
    end: usize,
    head: GroupHead,
) -> Option<Vec<Written>> {
    let mut records = Vec::new();
    let mut next = at + GROUP_HEAD;
    while next < end {
        let (written, whole) = record_at(seal, segment.get(..end)?, next)?;
        if !whole {
            return None;
        }
        next += (written.octets + written.body).next_multiple_of(BORDER);
        records.push(written);
    }
    (records.len() == head.count as usize && end - at == head.octets as usize).then_some(records)
}

/// The record at this place, and whether its body is whole, too.
pub(crate) fn record_at(seal: &Seal, segment: &[u8], at: usize) -> Option<(Written, bool)> {
    let rest = segment.get(at..)?;
    let record = record::checked(seal, at as u64, rest)?;
    let (body, crc) = match record::decode(record)? {
        Meaning::Append(message) | Meaning::Moved(message) if message.extents.is_none() => {
            (usize::try_from(message.size).ok()?, message.body_crc)
        }
        _ => (0, 0),
    };
    let written = Written { offset: at as u64, octets: record.len(), body };
    let octets = rest.get(record.len()..record.len().checked_add(body)?);
    Some((written, octets.is_some_and(|octets| body == 0 || crc32fast::hash(octets) == crc)))
}

/// Octets that are checked in vain for each octet that is searched; then only short records are
/// looked for. A body may be full of what looks like the heads of long ones.
const VAIN: usize = 16;
const SHORT: usize = 4096;

/// Finds single records that are whole. One whose body is damaged is kept: it is told when read.
fn salvage(seal: &Seal, segment: &[u8], stretch: Stretch, records: &mut Vec<Written>) {
    let Some(octets) = segment.get(..stretch.end) else { return };
    let mut at = stretch.start;
    let mut vain = octets.len().saturating_sub(at).saturating_mul(VAIN);
    while at + HEAD <= stretch.end {
        let rest = octets.get(at..).unwrap_or_default();
        let claimed = record::claimed_octets(rest).filter(|claimed| *claimed <= rest.len());
        let claimed = claimed.unwrap_or_default();
        if claimed > SHORT && claimed > vain {
            at += BORDER;
            continue;
        }
        match record_at(seal, octets, at) {
            Some((written, true)) => {
                at += (written.octets + written.body).next_multiple_of(BORDER);
                records.push(written);
            }
            Some((written, false)) => {
                at += written.octets.next_multiple_of(BORDER);
                records.push(written);
            }
            None => {
                vain = vain.saturating_sub(claimed);
                at += BORDER;
            }
        }
    }
}

/// Makes the label of a segment anew from the groups in it, whose heads repeat what matters. Groups
/// before `begin` are no part of the log: an earlier use of the slot left them.
pub(crate) fn find_label(secret: u64, slot: u32, segment: &[u8], begin: u64) -> Option<Label> {
    (BLOCK as usize..segment.len()).step_by(BLOCK as usize).find_map(|at| {
        let octets = segment.get(at..)?;
        let (_, head) = GroupHead::decode(octets).filter(|(_, head)| head.number >= begin)?;
        let label = Label {
            version: VERSION,
            usage: Use::Log,
            slot,
            epoch: head.epoch,
            secret,
            serial: head.serial,
            first: head.number,
            size: segment.len() as u64,
        };
        GroupHead::checked(&label.seal(), at as u64, octets).map(|_| label)
    })
}

#[cfg(test)]
mod tests;
