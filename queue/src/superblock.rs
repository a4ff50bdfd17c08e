//! The superblock: whose spool this is, how often it was started, its secret, and where its log
//! begins.
//!
//! Promises: the next epoch is durable before anything else is written, so that no two starts share
//! an epoch (and with it, identifiers). Two slots are written in turn: a torn write leaves the
//! other. Both lost, it is made anew from the segments' labels, which carry the same facts.
//! Refuses: another shard, another version, an exhausted epoch, and a spool in which neither a slot
//! nor a label can be read.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::id::EPOCH_MAX;
use crate::label::{BLOCK, LABEL_OCTETS, Label, Use, VERSION};
use crate::open::OpenError;

pub(crate) const NAME: &str = "superblock";
const SLOTS: u64 = 2;
/// Octets of both slots.
pub(crate) const OCTETS: u64 = SLOTS * BLOCK;

/// What a start of the spool owns it by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) shard: u8,
    pub(crate) epoch: u32,
    pub(crate) secret: u64,
}

/// What the segments' labels testify to.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Witness {
    /// The newest readable label's epoch and secret.
    pub(crate) newest: Option<(u32, u64)>,
    /// Some segment holds something.
    pub(crate) any: bool,
}

/// The superblock of a claimed spool.
pub(crate) struct Superblock {
    file: Arc<dyn DiskFile>,
    label: Label,
    /// The slot to be written next.
    slot: u64,
}

/// What the superblock says of the log before this start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    /// The number of the oldest group that counts.
    pub(crate) first: u64,
    /// Both slots could be read, so that this is the latest.
    pub(crate) sure: bool,
    /// Neither could: the segments alone tell of the spool.
    pub(crate) lost: bool,
}

/// What the slots and the labels say together.
struct Known {
    slots: [Option<Label>; SLOTS as usize],
    /// The newest slot.
    best: Option<Label>,
    /// The last start's.
    epoch: u32,
    secret: Option<u64>,
    sure: bool,
    lost: bool,
}

impl Known {
    fn read(disk: &dyn Disk, witness: Witness) -> Result<Self, OpenError> {
        let slots = read(disk)?;
        let best = slots.iter().flatten().max_by_key(|label| label.serial).copied();
        if let Some(label) = slots.iter().flatten().find(|label| label.version != VERSION) {
            return Err(OpenError::Version(label.version));
        }
        let known = best.map(|label| (label.epoch, label.secret));
        if known.is_none() && witness.newest.is_none() && witness.any {
            return Err(OpenError::Unreadable);
        }
        // The labels matter when the newest slot was damaged: its epoch has been used.
        let epoch = known.map_or(0, |k| k.0).max(witness.newest.map_or(0, |w| w.0));
        let secret = known.or(witness.newest).map(|known| known.1);
        let sure = known.is_none() && !witness.any || slots.iter().all(Option::is_some);
        let lost = known.is_none() && witness.any;
        Ok(Self { slots, best, epoch, secret, sure, lost })
    }

    fn last(&self) -> Last {
        let first = self.best.map_or(1, |label| label.first);
        Last { first, sure: self.sure, lost: self.lost }
    }
}

/// What the last start owned the spool by, without a claim: nothing is written.
pub(crate) fn look(disk: &dyn Disk, witness: Witness) -> Result<(Claim, Last), OpenError> {
    let known = Known::read(disk, witness)?;
    let shard = known.best.map_or(0, |label| label.slot as u8);
    let claim = Claim { shard, epoch: known.epoch, secret: known.secret.unwrap_or_default() };
    Ok((claim, known.last()))
}

impl Superblock {
    /// Takes the next epoch, `least` at the lowest, and makes it durable.
    pub(crate) fn claim(
        disk: &dyn Disk,
        shard: u8,
        least: u32,
        witness: Witness,
    ) -> Result<(Self, Last), OpenError> {
        let known = Known::read(disk, witness)?;
        let (best, last) = (known.best, known.epoch);
        if let Some(label) = best.filter(|label| label.slot != u32::from(shard)) {
            return Err(OpenError::Shard { found: label.slot, expected: shard });
        }
        if last >= EPOCH_MAX {
            return Err(OpenError::Exhausted);
        }
        let file = open_or_create(disk)?;
        let secret = known.secret.unwrap_or_else(new_secret);
        let first = known.last().first;
        let serial = best.map_or(0, |label| label.serial);
        let label = Label {
            version: VERSION,
            usage: Use::Superblock,
            slot: u32::from(shard),
            epoch: (last + 1).max(least),
            secret,
            serial,
            first,
            size: SLOTS * BLOCK,
        };
        let newest_is_first =
            known.slots.first().is_some_and(|slot| *slot == best && best.is_some());
        let mut superblock = Self { file, label, slot: u64::from(newest_is_first) };
        superblock.write(first)?;
        // With it, the names that the run before left in the system's cache become durable.
        disk.sync_dir()?;
        Ok((superblock, known.last()))
    }

    pub(crate) fn owner(&self) -> Claim {
        let Label { epoch, secret, .. } = self.label;
        Claim { shard: self.label.slot as u8, epoch, secret }
    }

    /// Makes durable that the log begins with this group.
    pub(crate) fn write(&mut self, first: u64) -> io::Result<()> {
        self.label.first = first;
        self.label.serial += 1;
        self.file.write_at(self.slot * BLOCK, &self.label.encode())?;
        self.file.sync()?;
        self.slot = 1 - self.slot;
        Ok(())
    }
}

/// Both slots, as far as they can be read; none of them in a directory without a superblock.
pub(crate) fn read(disk: &dyn Disk) -> io::Result<[Option<Label>; SLOTS as usize]> {
    let file = match disk.open(NAME) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok([None, None]),
        other => other?,
    };
    Ok([read_slot(&*file, 0), read_slot(&*file, 1)])
}

fn open_or_create(disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
    match disk.open(NAME) {
        Err(error) if error.kind() == ErrorKind::NotFound => disk.create(NAME, SLOTS * BLOCK),
        other => other,
    }
}

/// An unreadable slot is a damaged slot: the other one is there for that.
fn read_slot(file: &dyn DiskFile, slot: u64) -> Option<Label> {
    let mut octets = [0; LABEL_OCTETS];
    file.read_at(slot * BLOCK, &mut octets).ok()?;
    Label::decode(&octets)
        .filter(|label| label.usage == Use::Superblock || label.version != VERSION)
}

/// A number that no sender of mail can guess: the standard library's hash keys come from the
/// operating system's generator.
fn new_secret() -> u64 {
    RandomState::new().hash_one(0u8)
}
