//! Two kinds of syncs on one disk: the log's, for which somebody waits, and those of large bodies.
//!
//! Promises that the log never waits here, and that a large body waits for one group at most. While
//! groups follow one another, large bodies go in small pieces in between; alone, in large ones.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::shared::lock;

/// Octets that a large body may leave unsynced when nothing else is written, and beside groups.
const PIECE_ALONE: u64 = 1 << 20;
const PIECE_BESIDE: u64 = 128 << 10;
/// How long it leaves the disk to groups after each piece.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(crate) struct Traffic {
    log: Mutex<Groups>,
    calm: Condvar,
}

#[derive(Default)]
struct Groups {
    /// Groups of the log so far.
    count: u64,
    /// One of them is being written.
    busy: bool,
}

impl Traffic {
    /// A group is about to be written.
    pub(crate) fn group_begins(&self) {
        let mut log = lock(&self.log);
        log.count = log.count.wrapping_add(1);
        log.busy = true;
    }

    /// It is on the disk, or has failed.
    pub(crate) fn group_ends(&self) {
        lock(&self.log).busy = false;
        self.calm.notify_all();
    }

    /// Groups so far.
    pub(crate) fn groups(&self) -> u64 {
        lock(&self.log).count
    }

    /// How much of a body may wait for a sync, when so many groups had been written at its last one.
    pub(crate) fn piece(&self, seen: u64) -> u64 {
        if self.groups() == seen { PIECE_ALONE } else { PIECE_BESIDE }
    }

    /// Leaves the disk to the log if it was used since `seen` groups had been written: for a moment,
    /// and until the group that is being written is there. Answers how many there were so far.
    pub(crate) fn give_way(&self, seen: u64) -> u64 {
        if self.groups() != seen {
            thread::sleep(PAUSE);
        }
        let log = lock(&self.log);
        let now = log.count;
        let same = |log: &mut Groups| log.busy && log.count == now;
        let log = self.calm.wait_while(log, same).unwrap_or_else(PoisonError::into_inner);
        log.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_small_beside_groups_alone() {
        let traffic = Traffic::default();
        let seen = traffic.groups();
        assert_eq!(traffic.piece(seen), PIECE_ALONE);
        traffic.group_begins();
        assert_eq!(traffic.piece(seen), PIECE_BESIDE);
        traffic.group_ends();
        assert_eq!(traffic.piece(traffic.give_way(seen)), PIECE_ALONE);
    }

    #[test]
    fn a_body_waits_for_one_group_and_no_more() {
        let traffic = Traffic::default();
        traffic.group_begins();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| traffic.give_way(1));
            traffic.group_ends();
            // The next may begin before who waits has woken, or has begun to wait.
            traffic.group_begins();
            while !waiting.is_finished() {
                traffic.group_ends();
            }
            assert!((1..=2).contains(&waiting.join().unwrap()));
        });
    }
}
