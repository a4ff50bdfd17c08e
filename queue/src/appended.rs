//! Which messages were appended since this start: a repeated append changes nothing.
//!
//! Ranges of counters, so that a long run with few gaps takes little memory.

use std::collections::BTreeMap;

use crate::id::MessageId;
use crate::superblock::Claim;

pub(crate) struct Appended {
    claim: Claim,
    /// First counter of a range, and the one after its last.
    ranges: BTreeMap<u64, u64>,
}

impl Appended {
    pub(crate) fn new(claim: Claim) -> Self {
        Self { claim, ranges: BTreeMap::new() }
    }

    fn is_ours(&self, id: MessageId) -> bool {
        id.shard() == self.claim.shard && id.epoch() == self.claim.epoch
    }

    /// An owner appends its own messages alone; a copy of a spool adopts those of earlier owners.
    pub(crate) fn may_append(&self, id: MessageId, adopt: bool) -> bool {
        let earlier = id.shard() == self.claim.shard && id.epoch() < self.claim.epoch;
        self.is_ours(id) || adopt && earlier
    }

    pub(crate) fn contains(&self, id: MessageId) -> bool {
        let before = self.ranges.range(..=id.counter()).next_back();
        self.is_ours(id) && before.is_some_and(|(_, end)| id.counter() < *end)
    }

    /// Takes note of a message that has become durable.
    pub(crate) fn note(&mut self, id: MessageId) {
        let counter = id.counter();
        if !self.is_ours(id) || self.contains(id) {
            return;
        }
        let end = self.ranges.remove(&(counter + 1)).unwrap_or(counter + 1);
        match self.ranges.range_mut(..=counter).next_back() {
            Some((_, last)) if *last == counter => *last = end,
            _ => {
                self.ranges.insert(counter, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ranges_join_whatever_the_order() {
        let mut appended = Appended::new(Claim { shard: 1, epoch: 2, secret: 3 });
        let id = |counter| MessageId::new(1, 2, counter).unwrap();
        let mut noted = HashSet::new();
        for counter in [5, 3, 4, 9, 0, 1, 8, 5, 3] {
            appended.note(id(counter));
            noted.insert(counter);
            for probe in 0..12 {
                assert_eq!(appended.contains(id(probe)), noted.contains(&probe));
            }
        }
        assert_eq!(appended.ranges, BTreeMap::from([(0, 2), (3, 6), (8, 10)]));
        assert!(!appended.contains(MessageId::new(1, 3, 4).unwrap()));
    }

    #[test]
    fn only_a_copy_adopts_and_only_from_before() {
        let appended = Appended::new(Claim { shard: 1, epoch: 2, secret: 3 });
        let id = |shard, epoch| MessageId::new(shard, epoch, 0).unwrap();
        assert!(appended.may_append(id(1, 2), false) && !appended.may_append(id(1, 1), false));
        assert!(appended.may_append(id(1, 1), true) && !appended.may_append(id(1, 3), true));
        assert!(!appended.may_append(id(2, 1), true));
    }
}
