//! Large bodies: in blocks of segments of their own, on the disk before their message is appended.
//!
//! Promises: [`Writing::finish`] answers only when the whole body is durable. A block is used by
//! one body at a time; it is free again when the message that names it has durably ended, or when
//! the body is dropped before a message named it. After a failed sync, no body with octets in that
//! segment is called durable, and none of its blocks is used again in this run.
//! All calls block on the disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::disk::{DiskFile, read_exact_at};
use crate::label::{BLOCK, Label, Use};
use crate::pool::{Need, Pool, Taken};
use crate::record::Extent;
use crate::shared::lock;
use crate::traffic::Traffic;

const BLOCK_MAX: u64 = 256 << 10;
const BLOCKS_PER_SEGMENT: u64 = 64;
/// Octets of a block in a segment of this size.
pub(crate) fn block_octets(size: u64) -> u64 {
    (size / BLOCKS_PER_SEGMENT / BLOCK * BLOCK).clamp(BLOCK, BLOCK_MAX)
}

/// Blocks in a segment of this size; the label stands before the first.
pub(crate) fn blocks_in(size: u64) -> u32 {
    (size.saturating_sub(BLOCK) / block_octets(size)) as u32
}

/// Where a block begins.
pub(crate) fn block_offset(size: u64, block: u32) -> u64 {
    BLOCK + u64::from(block) * block_octets(size)
}

/// A file whose syncs are one at a time: the system tells of a failed one only once.
struct Gate {
    file: Arc<dyn DiskFile>,
    failed: Mutex<bool>,
}

impl Gate {
    fn sync(&self) -> io::Result<()> {
        let mut failed = lock(&self.failed);
        if *failed {
            return Err(io::Error::other("an earlier sync of the segment failed"));
        }
        let synced = self.file.sync();
        *failed = synced.is_err();
        synced
    }
}

struct Segment {
    size: u64,
    /// To be written before the first block of this run. One that was read need not be durable: the
    /// run before may have ended after a failed sync.
    label: Option<Label>,
    /// Bodies in each block. After damage, two messages may name one.
    users: Vec<u16>,
    used: u32,
    /// Nothing new is put here.
    kept: bool,
    gate: Arc<Gate>,
}

impl Segment {
    fn new(label: Label, kept: bool, file: Arc<dyn DiskFile>) -> Self {
        let size = label.size;
        let users = vec![0; blocks_in(size) as usize];
        let gate = Arc::new(Gate { file, failed: Mutex::new(false) });
        Self { size, label: Some(label), users, used: 0, kept, gate }
    }

    fn add(&mut self, block: u32) {
        if let Some(users) = self.users.get_mut(block as usize) {
            self.used += u32::from(*users == 0);
            *users = users.saturating_add(1);
        }
    }

    fn release(&mut self, block: u32) {
        if let Some(users) = self.users.get_mut(block as usize).filter(|users| **users > 0) {
            *users -= 1;
            self.used -= u32::from(*users == 0);
        }
    }

    /// A free block, the one behind `near` if that is free.
    fn find(&self, near: Option<u32>) -> Option<u32> {
        if self.kept || *lock(&self.gate.failed) {
            return None;
        }
        let is_free = |block: &u32| self.users.get(*block as usize) == Some(&0);
        let next = near.map(|near| near + 1).filter(is_free);
        next.or_else(|| (0..self.users.len() as u32).find(is_free))
    }
}

/// A block that was given out.
struct Given {
    slot: u32,
    block: u32,
    size: u64,
    gate: Arc<Gate>,
    /// To be written before the block.
    label: Option<Label>,
}

impl Given {
    fn extent(&self) -> Extent {
        Extent { slot: self.slot, block: self.block, blocks: 1 }
    }
}

/// A bulk segment without a body in it.
pub(crate) struct Emptied {
    pub(crate) slot: u32,
    pub(crate) size: u64,
    pub(crate) kept: bool,
}

/// All bulk segments.
pub(crate) struct Bulk {
    pool: Arc<Pool>,
    pub(crate) traffic: Traffic,
    segments: Mutex<BTreeMap<u32, Segment>>,
}

impl Bulk {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, traffic: Traffic::default(), segments: Mutex::new(BTreeMap::new()) }
    }

    /// Takes over a segment of an earlier start.
    pub(crate) fn adopt(&self, label: &Label, kept: bool) -> io::Result<()> {
        let file = self.pool.file(label.slot)?;
        lock(&self.segments).insert(label.slot, Segment::new(*label, kept, file));
        Ok(())
    }

    /// Counts a body in its blocks. Blocks that are not there are nobody's: reading them tells.
    pub(crate) fn use_blocks(&self, extent: &Extent) {
        self.each(extent, Segment::add);
    }

    /// One body less in these blocks.
    pub(crate) fn release(&self, extents: &[Extent]) {
        extents.iter().for_each(|extent| self.each(extent, Segment::release));
    }

    fn each(&self, extent: &Extent, change: fn(&mut Segment, u32)) {
        if let Some(segment) = lock(&self.segments).get_mut(&extent.slot) {
            let end = extent.block.saturating_add(extent.blocks).min(blocks_in(segment.size));
            (extent.block..end).for_each(|block| change(segment, block));
        }
    }

    /// The size of a bulk segment; `None` for what is none.
    pub(crate) fn size(&self, slot: u32) -> Option<u64> {
        lock(&self.segments).get(&slot).map(|segment| segment.size)
    }

    /// The size of a bulk segment, and its file; `None` for what is none.
    fn file(&self, slot: u32) -> Option<(u64, Arc<Gate>)> {
        lock(&self.segments).get(&slot).map(|segment| (segment.size, segment.gate.clone()))
    }

    /// Takes segments without a body out, but for one that new bodies can use.
    pub(crate) fn take_emptied(&self) -> Vec<Emptied> {
        let mut segments = lock(&self.segments);
        let is_empty = |segment: &Segment| segment.used == 0 && !*lock(&segment.gate.failed);
        let usable = |segment: &Segment| is_empty(segment) && !segment.kept;
        let stays = segments.iter().find(|(_, segment)| usable(segment)).map(|(slot, _)| *slot);
        let empty =
            segments.iter().filter(|(slot, segment)| is_empty(segment) && Some(**slot) != stays);
        let emptied = empty.map(|(slot, s)| Emptied { slot: *slot, size: s.size, kept: s.kept });
        let emptied: Vec<_> = emptied.collect();
        emptied.iter().for_each(|emptied| drop(segments.remove(&emptied.slot)));
        emptied
    }

    /// A block for the next part of a body, behind its last one if that can be.
    fn give(&self, near: Option<&Given>) -> io::Result<Given> {
        let given = match self.find(near) {
            Some(given) => given,
            None => {
                let Taken { slot, size, file } = self.pool.take(Need::Mail)?;
                let label = self.pool.label(Use::Bulk, slot, size, 0);
                lock(&self.segments).insert(slot, Segment::new(label, false, file));
                self.find(None).ok_or_else(crate::pool::full)?
            }
        };
        if let Err(error) = self.write_label(&given) {
            self.release(&[given.extent()]);
            return Err(error);
        }
        Ok(given)
    }

    /// The label is durable with the first sync of the body: until then nobody names a block.
    fn write_label(&self, given: &Given) -> io::Result<()> {
        let Some(label) = given.label else { return Ok(()) };
        given.gate.file.write_at(0, &label.encode())?;
        if let Some(segment) = lock(&self.segments).get_mut(&given.slot) {
            segment.label = None;
        }
        Ok(())
    }

    fn find(&self, near: Option<&Given>) -> Option<Given> {
        let mut segments = lock(&self.segments);
        let beside =
            near.filter(|near| segments.get(&near.slot).is_some_and(|s| s.find(None).is_some()));
        let (slot, block) = match beside {
            Some(near) => (near.slot, segments.get(&near.slot)?.find(Some(near.block))?),
            None => segments.iter().find_map(|(slot, s)| Some((*slot, s.find(None)?)))?,
        };
        let segment = segments.get_mut(&slot)?;
        segment.add(block);
        let Segment { size, label, .. } = *segment;
        Some(Given { slot, block, size, gate: segment.gate.clone(), label })
    }
}

/// Blocks that belong to no message yet; released when dropped, unless they were kept.
pub(crate) struct Blocks {
    bulk: Arc<Bulk>,
    extents: Vec<Extent>,
    kept: AtomicBool,
}

impl Blocks {
    pub(crate) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// They stay used when this is dropped.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    fn push(&mut self, slot: u32, block: u32) {
        match self.extents.last_mut() {
            Some(last) if last.slot == slot && last.block + last.blocks == block => {
                last.blocks += 1
            }
            _ => self.extents.push(Extent { slot, block, blocks: 1 }),
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            self.bulk.release(&self.extents);
        }
    }
}

/// A body that is being written. Dropping it frees its blocks.
pub(crate) struct Writing {
    blocks: Blocks,
    current: Option<Given>,
    /// Octets in the current block.
    filled: u64,
    unsynced: u64,
    /// Groups of the log at the last sync.
    groups: u64,
}

impl Writing {
    pub(crate) fn new(bulk: Arc<Bulk>) -> Self {
        let blocks = Blocks { bulk, extents: Vec::new(), kept: AtomicBool::new(false) };
        let groups = blocks.bulk.traffic.groups();
        Self { blocks, current: None, filled: 0, unsynced: 0, groups }
    }

    pub(crate) fn write(&mut self, part: &[u8]) -> io::Result<()> {
        let mut rest = part;
        while !rest.is_empty() {
            let octets = self.write_some(rest)?;
            rest = rest.get(octets..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes what the current block still takes.
    fn write_some(&mut self, part: &[u8]) -> io::Result<usize> {
        let room = |given: &Given, filled| block_octets(given.size) - filled;
        let full = self.current.as_ref().is_none_or(|given| room(given, self.filled) == 0);
        if full {
            let next = self.blocks.bulk.give(self.current.as_ref())?;
            self.blocks.push(next.slot, next.block);
            if self.current.as_ref().is_some_and(|before| before.slot != next.slot) {
                self.sync()?;
            }
            self.current = Some(next);
            self.filled = 0;
        }
        let Some(given) = &self.current else { return Err(crate::pool::full()) };
        let piece =
            self.blocks.bulk.traffic.piece(self.groups).saturating_sub(self.unsynced).max(1);
        let octets = part.len().min(room(given, self.filled).min(piece) as usize);
        let offset = block_offset(given.size, given.block) + self.filled;
        given.gate.file.write_at(offset, part.get(..octets).unwrap_or_default())?;
        self.filled += octets as u64;
        self.unsynced += octets as u64;
        if octets as u64 >= piece {
            self.sync()?;
        }
        Ok(octets)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        let Some(given) = &self.current else { return Ok(()) };
        self.groups = self.blocks.bulk.traffic.give_way(self.groups);
        given.gate.sync()
    }

    /// What was written, from its beginning.
    pub(crate) fn read_back(&self) -> io::Result<Vec<u8>> {
        let extents = self.blocks.extents.iter();
        let places = extents.flat_map(|extent| {
            (extent.block..extent.block + extent.blocks).map(|block| (extent.slot, block))
        });
        let mut places = places.peekable();
        let mut octets = Vec::new();
        while let Some((slot, block)) = places.next() {
            let gone = || io::Error::other("a segment of the body is gone");
            let (size, gate) = self.blocks.bulk.file(slot).ok_or_else(gone)?;
            let filled = if places.peek().is_none() { self.filled } else { block_octets(size) };
            let begin = octets.len();
            octets.resize(begin + filled as usize, 0);
            let part = octets.get_mut(begin..).unwrap_or_default();
            read_exact_at(&*gate.file, block_offset(size, block), part)?;
        }
        Ok(octets)
    }

    /// Answers when all of it is durable.
    pub(crate) fn finish(mut self) -> io::Result<Blocks> {
        self.sync()?;
        Ok(self.blocks)
    }
}

#[cfg(test)]
mod tests;
