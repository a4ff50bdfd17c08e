//! What the segments' labels say of a spool: which are the log and in which order, which hold
//! bodies, which are free.
//!
//! Promises that a segment without a label is never taken for free: the groups in it make its label
//! anew, or nobody may use it. Writes nothing.

use std::collections::BTreeSet;

use super::{SET_ASIDE, Walked, damage, read_all};
use crate::disk::Disk;
use crate::label::{BLOCK, Label, Use, VERSION, segment_name, segment_slot};
use crate::open::{OpenError, Recovery};
use crate::superblock::{Claim, Last, Witness};
use crate::walk::{Stretch, find_label};

/// A segment of the log, before its records are looked at.
#[derive(Debug)]
pub(crate) struct LogSegment {
    pub(crate) label: Label,
    /// Groups of this number or higher in it don't count.
    pub(crate) void: u64,
    /// Its label was made anew.
    pub(super) relabelled: bool,
}

/// What the first step found.
pub(crate) struct Begun {
    pub(crate) claim: Claim,
    pub(super) last: Last,
    /// In the order of the log.
    pub(crate) log: Vec<LogSegment>,
    pub(crate) bulk: Vec<Label>,
    /// Slot and size of segments that are free.
    pub(crate) free: Vec<(u32, u64)>,
    pub(crate) next_slot: u32,
    pub(crate) next_serial: u64,
    /// The number of the next group.
    pub(crate) number: u64,
    pub(super) report: Recovery,
    /// What was read of the newest segment.
    pub(super) newest: Option<Walked>,
    /// Segments of which nothing can be told: nobody may use them.
    pub(crate) unknown: Vec<u32>,
}

/// The labels of all segments.
pub(super) struct Survey {
    labels: Vec<Label>,
    /// Slots without a label.
    unlabelled: Vec<u32>,
    next_slot: u32,
}

impl Survey {
    pub(super) fn take(disk: &dyn Disk) -> Result<Self, OpenError> {
        let names = disk.list()?;
        if names.iter().any(|name| name.ends_with(".log")) {
            return Err(OpenError::Version(1));
        }
        let slots: BTreeSet<u32> = names.iter().filter_map(|name| segment_slot(name)).collect();
        let mut labels = Vec::new();
        let mut unlabelled = Vec::new();
        for slot in &slots {
            match read_label(disk, *slot)? {
                Found::Label(label) => labels.push(label),
                Found::Damaged => unlabelled.push(*slot),
            }
        }
        let kept = names.iter().filter_map(|name| segment_slot(name.strip_prefix(SET_ASIDE)?));
        let next_slot = slots.iter().copied().chain(kept).max().unwrap_or(0) + 1;
        Ok(Self { labels, unlabelled, next_slot })
    }

    pub(super) fn witness(&self) -> Witness {
        let newest = self.labels.iter().max_by_key(|label| label.epoch);
        Witness {
            newest: newest.map(|label| (label.epoch, label.secret)),
            any: !self.labels.is_empty() || !self.unlabelled.is_empty(),
        }
    }

    /// Says of each segment what it is.
    pub(super) fn sorted(
        self,
        disk: &dyn Disk,
        claim: Claim,
        last: Last,
    ) -> Result<Begun, OpenError> {
        let Self { mut labels, unlabelled, next_slot } = self;
        let mut begun = Begun {
            claim,
            last,
            log: Vec::new(),
            bulk: Vec::new(),
            free: Vec::new(),
            next_slot,
            next_serial: labels.iter().map(|label| label.serial).max().unwrap_or(0) + 1,
            number: last.first,
            report: Recovery::default(),
            newest: None,
            unknown: Vec::new(),
        };
        begun.relabel(disk, unlabelled, &mut labels)?;
        begun.sort(labels);
        Ok(begun)
    }
}

enum Found {
    Label(Label),
    Damaged,
}

fn read_label(disk: &dyn Disk, slot: u32) -> Result<Found, OpenError> {
    let file = disk.open(&segment_name(slot))?;
    let size = file.size()?;
    let mut octets = vec![0; BLOCK as usize];
    let Ok(read) = file.read_at(0, &mut octets) else { return Ok(Found::Damaged) };
    octets.truncate(read);
    match Label::decode(&octets).filter(|label| label.slot == slot) {
        Some(label) if label.version != VERSION => Err(OpenError::Version(label.version)),
        Some(label) => Ok(Found::Label(Label { size, ..label })),
        None => Ok(Found::Damaged),
    }
}

impl Begun {
    /// Finds out what segments without a label are, by the groups in them.
    fn relabel(
        &mut self,
        disk: &dyn Disk,
        unlabelled: Vec<u32>,
        labels: &mut Vec<Label>,
    ) -> Result<(), OpenError> {
        for slot in unlabelled {
            let (octets, _) = read_all(&*disk.open(&segment_name(slot))?)?;
            let stretch = Stretch { start: 0, end: (BLOCK as usize).min(octets.len()) };
            match find_label(self.claim.secret, slot, &octets, self.last.first) {
                Some(label) => {
                    self.damaged(
                        slot,
                        stretch,
                        "the segment's label is damaged; its groups were read",
                    );
                    self.next_serial = self.next_serial.max(label.serial + 1);
                    labels.push(label);
                    self.log.push(LogSegment { label, void: 0, relabelled: true });
                }
                None => {
                    let stretch = Stretch { start: 0, end: octets.len() };
                    self.damaged(
                        slot,
                        stretch,
                        "the segment's label is damaged, and no group is whole",
                    );
                    self.unknown.push(slot);
                }
            }
        }
        Ok(())
    }

    fn sort(&mut self, labels: Vec<Label>) {
        let relabelled: BTreeSet<u32> = self.log.drain(..).map(|s| s.label.slot).collect();
        for label in labels {
            match label.usage {
                Use::Log => {
                    let relabelled = relabelled.contains(&label.slot);
                    self.log.push(LogSegment { label, void: u64::MAX, relabelled });
                }
                Use::Bulk | Use::Kept => self.bulk.push(label),
                Use::Free | Use::Superblock => self.free.push((label.slot, label.size)),
            }
        }
        self.log.sort_by_key(|segment| segment.label.serial);
        let mut void = u64::MAX;
        for segment in self.log.iter_mut().rev() {
            segment.void = void;
            void = void.min(segment.label.first);
        }
        // What lies before the beginning of the log was freed, although its label does not say so;
        // perhaps the label of what came behind it never became durable.
        let begin = self.last.first;
        let is_gone = |it: &mut LogSegment| it.label.first < begin || it.void <= begin;
        for gone in self.log.extract_if(.., is_gone) {
            // Groups in a segment without a label may be older than its last use, which can be any.
            if gone.relabelled {
                self.unknown.push(gone.label.slot);
            } else {
                self.free.push((gone.label.slot, gone.label.size));
            }
        }
    }

    fn damaged(&mut self, slot: u32, stretch: Stretch, what: &str) {
        self.report.damage.push(damage(slot, stretch, what));
    }
}
