//! The pool of segments: files of one size that are made once and used again and again.
//!
//! Promises: a segment has its name only with a durable label in it, so that one without a label is
//! damage and never the work of a crash; the name is durable before the segment is used; it is
//! given out to one user at a time; the last free one is for control records alone (I8). What
//! writes into a segment that was written before creates, grows and renames nothing, so the file
//! system's journal stays out of the way of a sync. Files stay open, up to a bound.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile, is_full};
use crate::label::{BLOCK, Label, Use, VERSION, segment_name};
use crate::shared::lock;
use crate::superblock::Claim;

/// In front of the number of a segment that has no label yet; a crash may leave such a file.
pub(crate) const UNBORN: &str = "new-";

/// Segments that stay open at once.
const OPEN_MAX: usize = 512;
/// Free segments that are kept, and one more for each so many in use.
const FREE_KEPT: usize = 4;
const FREE_KEPT_PER: usize = 4;
/// Octets that are written and synced at once when a segment is filled.
const FILL_OCTETS: usize = 1 << 20;

/// What a segment is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Records that no more mail depends on: may take the last one.
    Control,
    /// More mail.
    Mail,
}

/// A segment that was given out. Its label is still the old one.
pub(crate) struct Taken {
    pub(crate) slot: u32,
    pub(crate) size: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

#[derive(Clone, Copy, Debug)]
struct Free {
    size: u64,
    /// It has been written in full.
    filled: bool,
}

struct State {
    free: BTreeMap<u32, Free>,
    next: u32,
    /// Segments that exist, free or not.
    total: usize,
    files: HashMap<u32, Arc<dyn DiskFile>>,
}

pub(crate) struct Pool {
    disk: Arc<dyn Disk>,
    claim: Claim,
    size: u64,
    /// Octets of a segment that is only for control records, on a full disk.
    short: u64,
    serial: AtomicU64,
    state: Mutex<State>,
}

impl Pool {
    /// A pool with no segment yet; new ones have slots and serials from these on.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        claim: Claim,
        (size, short): (u64, u64),
        next: u32,
        serial: u64,
    ) -> Self {
        let state = State { free: BTreeMap::new(), next, total: 0, files: HashMap::new() };
        let (serial, state) = (AtomicU64::new(serial), Mutex::new(state));
        Self { disk, claim, size, short, serial, state }
    }

    /// A segment that is there and in use.
    pub(crate) fn count_used(&self) {
        lock(&self.state).total += 1;
    }

    /// A segment that may be used from now on; one that is too small for any use is removed.
    pub(crate) fn add_free(&self, slot: u32, size: u64) {
        if size < self.short {
            // Nothing is in it. What fails now is tried again at the next start.
            let _ = self.disk.remove(&segment_name(slot));
            return;
        }
        let mut state = lock(&self.state);
        state.total += 1;
        // Most were used, and the label of one that never was does not say so.
        state.free.insert(slot, Free { size, filled: true });
    }

    /// A label for a new use of a segment.
    pub(crate) fn label(&self, usage: Use, slot: u32, size: u64, first: u64) -> Label {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let Claim { epoch, secret, .. } = self.claim;
        Label { version: VERSION, usage, slot, epoch, secret, serial, first, size }
    }

    /// The file of a segment.
    pub(crate) fn file(&self, slot: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = lock(&self.state).files.get(&slot) {
            return Ok(file.clone());
        }
        let file = self.disk.open(&segment_name(slot))?;
        let mut state = lock(&self.state);
        if state.files.len() >= OPEN_MAX {
            // Any will do: which one is asked for next, nobody knows.
            state.files.clear();
        }
        Ok(state.files.entry(slot).or_insert(file).clone())
    }

    /// A segment to be used: a free one, else a new one.
    ///
    /// # Errors
    /// `StorageFull` when only what is kept for control records is left.
    pub(crate) fn take(&self, need: Need) -> io::Result<Taken> {
        let spare = if need == Need::Control { 0 } else { 1 };
        while let Some((slot, free)) = self.pop(spare, need) {
            if self.disk.is_linked(&segment_name(slot))? {
                self.leave_to_others(slot)?;
                continue;
            }
            return Ok(Taken { slot, size: free.size, file: self.file(slot)? });
        }
        match self.create(self.size) {
            Err(error) if need == Need::Control && is_full(&error) => self.create(self.short),
            other => other,
        }
    }

    fn pop(&self, spare: usize, need: Need) -> Option<(u32, Free)> {
        let mut state = lock(&self.state);
        if state.free.len() <= spare {
            return None;
        }
        // Filled ones first; short ones are for control records alone.
        let fits = |free: &Free| need == Need::Control || free.size >= self.size;
        let best = state.free.iter().filter(|(_, free)| fits(free));
        let slot = *best.max_by_key(|(slot, free)| (free.filled, u32::MAX - **slot))?.0;
        state.free.remove(&slot).map(|free| (slot, free))
    }

    fn create(&self, size: u64) -> io::Result<Taken> {
        let slot = {
            let mut state = lock(&self.state);
            let slot = state.next;
            state.next = slot.checked_add(1).ok_or_else(|| io::Error::other("no slot is left"))?;
            slot
        };
        let (unborn, name) = (format!("{UNBORN}{slot:08}"), segment_name(slot));
        let file = self.disk.create(&unborn, size)?;
        let label = self.label(Use::Free, slot, size, 0).encode();
        // Its length must last as well: the one that is kept for a full disk is of use only then.
        let labelled = file.write_at(0, &label).and_then(|()| file.sync());
        let born = labelled.and_then(|()| self.disk.rename(&unborn, &name));
        if let Err(error) = born.and_then(|()| self.disk.sync_dir()) {
            // Under one name or the other.
            let _ = self.disk.remove(&unborn).or_else(|_| self.disk.remove(&name));
            return Err(error);
        }
        lock(&self.state).total += 1;
        Ok(Taken { slot, size, file })
    }

    /// Free segments that new mail may use.
    pub(crate) fn ready(&self) -> u64 {
        lock(&self.state).free.len().saturating_sub(1) as u64
    }

    /// Takes a segment back that nothing depends on: durably free first, then for everybody.
    pub(crate) fn give_back(&self, slot: u32, size: u64) -> io::Result<()> {
        if self.disk.is_linked(&segment_name(slot))? {
            return self.leave_to_others(slot);
        }
        let file = self.file(slot)?;
        file.write_at(0, &self.label(Use::Free, slot, size, 0).encode())?;
        file.sync()?;
        lock(&self.state).free.insert(slot, Free { size, filled: true });
        Ok(())
    }

    /// Gives up a segment that has another name: somebody's copy, which must stay as it is.
    fn leave_to_others(&self, slot: u32) -> io::Result<()> {
        self.disk.remove(&segment_name(slot))?;
        self.forget(slot);
        self.disk.sync_dir()
    }

    /// A segment that has been renamed: the pool knows it no more.
    pub(crate) fn forget(&self, slot: u32) {
        let mut state = lock(&self.state);
        state.files.remove(&slot);
        state.total = state.total.saturating_sub(1);
    }

    /// Sees to it that a free segment lies by for a full disk, and that there are not too many.
    pub(crate) fn keep_up(&self) {
        let (free, total) = {
            let state = lock(&self.state);
            (state.free.len(), state.total)
        };
        if free == 0 {
            // Without room there is none for now; it is tried again when space comes back.
            let made = self.create(self.size).or_else(|error| {
                if is_full(&error) { self.create(self.short) } else { Err(error) }
            });
            if let Ok(taken) = made {
                let free = Free { size: taken.size, filled: false };
                lock(&self.state).free.insert(taken.slot, free);
            }
        }
        if free > FREE_KEPT + (total - free) / FREE_KEPT_PER {
            self.return_one();
        }
    }

    /// Gives the room of one free segment back to the file system.
    fn return_one(&self) {
        let slot = {
            let mut state = lock(&self.state);
            let slot = state.free.pop_last().map(|(slot, _)| slot);
            if let Some(slot) = slot {
                state.files.remove(&slot);
            }
            slot
        };
        let removed = slot.map(|slot| self.disk.remove(&segment_name(slot)));
        if matches!(removed, Some(Ok(()))) {
            let mut state = lock(&self.state);
            state.total = state.total.saturating_sub(1);
        }
    }

    /// Writes one free segment in full, so that its first use is as fast as any later one; answers
    /// whether there was one to fill.
    pub(crate) fn fill_one(&self) -> bool {
        let unfilled = |state: &State| {
            let (slot, free) = state.free.iter().find(|(_, free)| !free.filled)?;
            Some((*slot, *free))
        };
        let taken = {
            let mut state = lock(&self.state);
            // Never the last one: it must be there when the disk is full.
            let found = (state.free.len() > 1).then(|| unfilled(&state)).flatten();
            if let Some((slot, _)) = found {
                state.free.remove(&slot);
            }
            found
        };
        let Some((slot, free)) = taken else { return false };
        let filled = self.file(slot).and_then(|file| fill(&*file, free.size)).is_ok();
        lock(&self.state).free.insert(slot, Free { filled, ..free });
        filled
    }

    /// Makes a segment ahead of its need, if none lies ready.
    pub(crate) fn prepare(&self) {
        let ready = lock(&self.state).free.len() > 1;
        if !ready && let Ok(taken) = self.create(self.size) {
            lock(&self.state).free.insert(taken.slot, Free { size: taken.size, filled: false });
        }
        self.fill_one();
    }
}

/// Piece by piece, so that a small sync beside it waits for little.
fn fill(file: &dyn DiskFile, size: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_OCTETS];
    let mut at = BLOCK;
    while at < size {
        let octets = (size - at).min(FILL_OCTETS as u64) as usize;
        file.write_at(at, zeros.get(..octets).unwrap_or_default())?;
        file.sync()?;
        at += octets as u64;
    }
    Ok(())
}

/// The error of a disk without room.
pub(crate) fn full() -> io::Error {
    ErrorKind::StorageFull.into()
}

#[cfg(test)]
mod tests;
