//! The superblock: whose spool this is, how often it was started, and its secret.
//!
//! Promises: the next epoch is durable before anything else is written, so that no two starts share
//! an epoch (and with it, identifiers). Two slots are written in turn: a torn write leaves the
//! other. Both lost, it is made anew from the segments' labels, which carry the same facts.
//! Refuses: another shard, a newer version, an exhausted epoch, and a spool in which neither a slot
//! nor a label can be read.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::frame::{Kind, LABEL_OCTETS, Label, VERSION};
use crate::id::EPOCH_MAX;
use crate::open::OpenError;

const NAME: &str = "superblock";
const SLOT_SPACE: u64 = 4096;

/// What a start of the spool owns it by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) shard: u8,
    pub(crate) epoch: u32,
    pub(crate) secret: u64,
}

/// What the segments' labels testify to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Witness {
    /// The newest readable label's epoch and secret.
    pub(crate) newest: Option<(u32, u64)>,
    /// Some segment holds something.
    pub(crate) any: bool,
}

/// Takes the next epoch and makes it durable.
pub(crate) fn claim(disk: &dyn Disk, shard: u8, witness: Witness) -> Result<Claim, OpenError> {
    let file = open_or_create(disk)?;
    let slots = [read_slot(&*file, 0)?, read_slot(&*file, 1)?];
    let best = slots.iter().flatten().max_by_key(|label| label.epoch);
    if let Some(label) = slots.iter().flatten().find(|label| label.version != VERSION) {
        return Err(OpenError::Version(label.version));
    }
    if let Some(label) = best.filter(|label| label.number != u32::from(shard)) {
        return Err(OpenError::Shard { found: label.number, expected: shard });
    }
    let known = best.map(|label| (label.epoch, label.secret));
    if known.is_none() && witness.newest.is_none() && witness.any {
        return Err(OpenError::Unreadable);
    }
    // The labels matter when the newest slot was damaged: its epoch has been used.
    let last = known.map_or(0, |k| k.0).max(witness.newest.map_or(0, |w| w.0));
    if last >= EPOCH_MAX {
        return Err(OpenError::Exhausted);
    }
    let secret = known.or(witness.newest).map_or_else(new_secret, |known| known.1);
    let claim = Claim { shard, epoch: last + 1, secret };
    let keep_first = slots[0].is_some_and(|label| Some(label.epoch) == best.map(|b| b.epoch));
    write_slot(&*file, u64::from(keep_first), claim)?;
    // With it, the names that the run before left in the system's cache become durable.
    disk.sync_dir()?;
    Ok(claim)
}

fn open_or_create(disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
    match disk.open(NAME) {
        Err(error) if error.kind() == ErrorKind::NotFound => disk.create(NAME, 2 * SLOT_SPACE),
        other => other,
    }
}

fn read_slot(file: &dyn DiskFile, slot: u64) -> io::Result<Option<Label>> {
    let mut octets = [0; LABEL_OCTETS];
    // An unreadable slot is a damaged slot: the other one is there for that.
    match file.read_at(slot * SLOT_SPACE, &mut octets) {
        Ok(_) => Ok(Label::decode(Kind::Superblock, &octets)),
        Err(_) => Ok(None),
    }
}

fn write_slot(file: &dyn DiskFile, slot: u64, claim: Claim) -> io::Result<()> {
    let (number, epoch, secret) = (u32::from(claim.shard), claim.epoch, claim.secret);
    let label = Label { version: VERSION, number, epoch, secret };
    file.write_at(slot * SLOT_SPACE, &label.encode(Kind::Superblock))?;
    file.sync()
}

/// A number that no sender of mail can guess: the standard library's hash keys come from the
/// operating system's generator.
fn new_secret() -> u64 {
    RandomState::new().hash_one(0u8)
}
