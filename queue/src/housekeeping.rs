//! Getting space back: content files of ended messages, and the oldest segments.
//!
//! Only the oldest segment is ever freed, and the removal is durable before the next: so a record
//! that ends a message always outlives the message's own record, and nothing comes back from the
//! dead. When most of the log is dead, what is alive in the oldest segment moves forward, a little
//! with each group. A segment in which something could not be read is set aside, not removed (I6).

use std::io;

use crate::content::content_name;
use crate::entry::Stored;
use crate::log::segment_name;
use crate::read::read_message;
use crate::record::{Moving, Place};
use crate::recovery::set_aside;
use crate::shared::{Shared, lock};

/// Segments that are kept without a thought of moving anything.
const SEGMENTS_AT_EASE: usize = 4;
/// What one group may move: octets, and messages.
const MOVE_OCTETS: u64 = 1 << 20;
const MOVE_MESSAGES: usize = 64;

#[derive(Default)]
pub(crate) struct Housekeeping {
    /// A removal may not be durable: were another to follow, a message could come back. Nothing
    /// is freed any more until the next start.
    stopped: bool,
    /// A segment from which a message could not be read.
    stuck: Option<u32>,
    /// Names that files were set aside under.
    pub(crate) set_aside: Vec<String>,
}

impl Housekeeping {
    /// Frees what the last group has made free; answers whether there was anything.
    pub(crate) fn after_group(&mut self, shared: &Shared, active: Option<u32>) -> bool {
        let ended = lock(&shared.index).take_content_freed();
        let mut freed = !ended.is_empty();
        for id in ended {
            // Should it fail or be lost, recovery sweeps what no message names.
            let _ = shared.disk.remove(&content_name(id));
        }
        while !self.stopped {
            match self.free_oldest(shared, active) {
                Ok(true) => freed = true,
                Ok(false) => break,
                Err(_) => self.stopped = true,
            }
        }
        freed
    }

    fn free_oldest(&mut self, shared: &Shared, active: Option<u32>) -> io::Result<bool> {
        let index = lock(&shared.index);
        let (number, damaged) = match index.oldest() {
            Some((number, segment)) if segment.ids.is_empty() && Some(number) != active => {
                (number, segment.damaged)
            }
            _ => return Ok(false),
        };
        drop(index);
        let name = segment_name(number);
        if damaged {
            self.set_aside.push(set_aside(&*shared.disk, &name)?);
        } else {
            shared.disk.remove(&name)?;
        }
        shared.disk.sync_dir()?;
        lock(&shared.index).forget_segment(number);
        Ok(true)
    }

    /// The messages that the next group shall move forward, in at most so many octets.
    pub(crate) fn plan(
        &mut self,
        shared: &Shared,
        active: Option<u32>,
        octets_max: u64,
    ) -> Vec<Moving> {
        let mut movings = Vec::new();
        if self.stopped {
            return movings;
        }
        let Some((number, chosen)) = choose(shared, active, octets_max.min(MOVE_OCTETS)) else {
            return movings;
        };
        if self.stuck == Some(number) {
            return movings;
        }
        for (stored, from) in chosen {
            let Ok(octets) = read_message(&*shared.disk, &from, stored.size) else {
                self.stuck = Some(number);
                break;
            };
            let (envelope, body) =
                octets.split_at((from.envelope_octets as usize).min(octets.len()));
            let whole = crc32fast::hash(envelope) == from.envelope_crc
                && (from.staged || crc32fast::hash(body) == from.body_crc);
            if !whole {
                // It moves with its checksums, and so stays recognisable as damaged; the octets
                // it was read from are kept.
                lock(&shared.index).segment(number).damaged = true;
            }
            movings.push(Moving { stored, from, octets });
        }
        movings
    }
}

type Chosen = Vec<(Stored, Place)>;

/// What is to move from the oldest segment, when moving is worth its while.
fn choose(shared: &Shared, active: Option<u32>, octets_max: u64) -> Option<(u32, Chosen)> {
    let index = lock(&shared.index);
    if index.segments() <= SEGMENTS_AT_EASE || !index.mostly_dead() {
        return None;
    }
    let (number, segment) = index.oldest().filter(|(number, _)| Some(*number) != active)?;
    let mut chosen = Vec::new();
    let mut octets = 0;
    for id in segment.ids.iter().take(MOVE_MESSAGES) {
        let entry = index.get(*id)?;
        // One message may always move, however large: else it would hold its segment for ever.
        if octets + entry.place.octets > octets_max && !chosen.is_empty() {
            break;
        }
        octets += entry.place.octets;
        chosen.push((entry.stored.clone(), entry.place));
    }
    Some((number, chosen))
}
