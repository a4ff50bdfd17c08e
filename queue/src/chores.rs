//! Housekeeping: footers, freeing what is dead, moving what is alive, segments laid by.
//!
//! Only the oldest segment of the log is ever freed, and that is durable before the next: so a
//! record that ends a message always outlives the message's own record, and nothing comes back from
//! the dead. When most of the log is dead, what is alive in the oldest segment moves forward, a
//! little at a time; it is read and checked here, and the writer only copies it. A segment in which
//! something could not be read is set aside, not used again (I6).

use std::io;
use std::sync::{Arc, PoisonError};

use crate::label::segment_name;
use crate::log::Sealing;
use crate::read::read_moving;
use crate::recovery::set_aside;
use crate::shared::{Shared, lock};
use crate::superblock::Superblock;

/// Segments of the log that are kept without a thought of moving anything.
const SEGMENTS_AT_EASE: usize = 4;
/// What may move at once: octets, and messages.
const MOVE_OCTETS: u64 = 1 << 20;
const MOVE_MESSAGES: usize = 256;

pub(crate) struct Chores {
    shared: Arc<Shared>,
    superblock: Superblock,
    /// A freeing may not be durable: were another to follow, a message could come back. Nothing
    /// is freed any more until the next start.
    stopped: bool,
    /// A segment from which a message could not be read.
    stuck: Option<u32>,
    /// Names that files were set aside under.
    pub(crate) set_aside: Vec<String>,
    /// Where the search for live messages of the oldest segment goes on.
    search: Search,
}

/// A search through the records of one segment.
#[derive(Default)]
struct Search {
    slot: Option<u32>,
    records: Vec<u32>,
}

impl Chores {
    pub(crate) fn new(shared: Arc<Shared>, superblock: Superblock) -> Self {
        Self {
            shared,
            superblock,
            stopped: false,
            stuck: None,
            set_aside: Vec::new(),
            search: Search::default(),
        }
    }

    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        loop {
            let mut errands = lock(&self.shared.errands);
            while !(errands.wanted || errands.closing || !errands.sealing.is_empty()) {
                let woken = self.shared.errand.wait(errands);
                errands = woken.unwrap_or_else(PoisonError::into_inner);
            }
            errands.wanted = false;
            let closing = errands.closing;
            drop(errands);
            self.work();
            if closing && lock(&self.shared.errands).sealing.is_empty() {
                return;
            }
        }
    }

    /// Does all there is to do now.
    pub(crate) fn work(&mut self) {
        let (sealing, recovered, half_full) = {
            let mut errands = lock(&self.shared.errands);
            (std::mem::take(&mut errands.sealing), errands.recovered, errands.half_full)
        };
        for sealing in sealing {
            // Without a footer the next start reads the whole segment, that is all.
            let _ = self.seal(sealing);
        }
        if recovered {
            while !self.stopped {
                match self.free_oldest() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => self.stopped = true,
                }
            }
            self.free_bulk();
            self.move_forward();
        }
        self.shared.pool.keep_up();
        if half_full && self.shared.options.background {
            self.shared.pool.prepare();
        }
    }

    fn seal(&self, sealing: Sealing) -> io::Result<()> {
        let Sealing { label, footer, last } = sealing;
        let Some((offset, octets)) = footer.finish(&label.seal(), label.size, last) else {
            return Ok(());
        };
        let file = self.shared.pool.file(label.slot)?;
        file.write_at(offset, &octets)?;
        file.sync()
    }

    fn free_oldest(&mut self) -> io::Result<bool> {
        let (oldest, next) = {
            let errands = lock(&self.shared.errands);
            // A footer that came later would fall into the next use of the segment.
            let in_use = |slot| {
                let mut sealing = errands.sealing.iter();
                errands.active == Some(slot) || sealing.any(|sealing| sealing.label.slot == slot)
            };
            let index = lock(&self.shared.index);
            let Some(oldest) = index.segments.oldest() else { return Ok(false) };
            let free = oldest.messages == 0 && !in_use(oldest.label.slot);
            let Some(next) = index.segments.second_oldest().filter(|_| free) else {
                return Ok(false);
            };
            (oldest.clone(), next.label.first)
        };
        let (slot, size) = (oldest.label.slot, oldest.label.size);
        if oldest.damaged {
            // Out of reach first: the next start uses again what lies before the log.
            self.keep(slot)?;
        }
        // From now on the log begins behind it, whatever becomes of its label.
        self.superblock.write(next)?;
        // Before it is given back: the writer may use it again at once, under the same number.
        lock(&self.shared.index).segments.forget(slot);
        if !oldest.damaged {
            self.shared.pool.give_back(slot, size)?;
        }
        Ok(true)
    }

    /// Sets a segment aside, durably.
    fn keep(&mut self, slot: u32) -> io::Result<()> {
        let disk = &*self.shared.disk;
        self.set_aside.push(set_aside(disk, &segment_name(slot))?);
        self.shared.pool.forget(slot);
        disk.sync_dir()
    }

    /// Gives bulk segments back in which no body is left.
    fn free_bulk(&mut self) {
        for emptied in self.shared.bulk.take_emptied() {
            // What fails is neither used nor lost: the next start finds it as it is.
            let _ = if emptied.kept {
                self.keep(emptied.slot)
            } else {
                self.shared.pool.give_back(emptied.slot, emptied.size)
            };
        }
    }

    /// Hands live messages of the oldest segment to the writer, when that is worth its while.
    fn move_forward(&mut self) {
        let moving = lock(&self.shared.errands).moving;
        if self.stopped || moving {
            return;
        }
        let Some((slot, void)) = self.worth_moving() else { return };
        if self.search.slot != Some(slot) {
            let Ok(records) = crate::recovery::messages_in(&self.shared, slot, void) else {
                self.stuck = Some(slot);
                return;
            };
            self.search = Search { slot: Some(slot), records };
        }
        let mut moves = Vec::new();
        let mut octets = 0;
        while octets < MOVE_OCTETS && moves.len() < MOVE_MESSAGES {
            let Some(offset) = self.search.records.pop() else { break };
            match read_moving(&self.shared, slot, offset) {
                Ok(Some(moving)) => {
                    octets += moving.body.len() as u64 + moving.envelope.len() as u64;
                    moves.push(moving);
                }
                Ok(None) => {}
                Err(_) => self.stuck = Some(slot),
            }
        }
        if moves.is_empty() {
            // What is still alive there has been changed under way; look again another time.
            self.search = Search::default();
            return;
        }
        lock(&self.shared.errands).moving = true;
        lock(&self.shared.queue).moves = moves;
        self.shared.wake.notify_one();
    }

    /// The oldest segment, if it should be emptied, and the first group of the one behind it.
    fn worth_moving(&self) -> Option<(u32, u64)> {
        let active = lock(&self.shared.errands).active;
        let index = lock(&self.shared.index);
        if index.segments.len() <= SEGMENTS_AT_EASE || !index.segments.mostly_dead() {
            return None;
        }
        let oldest = index.segments.oldest().filter(|oldest| oldest.messages > 0)?;
        let slot = oldest.label.slot;
        let void = index.segments.second_oldest()?.label.first;
        (Some(slot) != active && self.stuck != Some(slot)).then_some((slot, void))
    }
}
