//! A hash table through the slots of a slab that grows by one bucket at a time.
//!
//! Promises that no insertion ever moves more than one bucket: there is no moment in which a
//! million entries are hashed anew. The slots keep the chains; the table keeps four octets for each.

use super::slab::NONE;

const SMALLEST: usize = 64;
const CHUNK_BITS: u32 = 12;

/// Slots that have a key and stand in a chain.
pub(super) trait Chained {
    /// The key's hash.
    fn hash(&self, slot: u32) -> u32;
    /// The next in its chain.
    fn next(&self, slot: u32) -> u32;
    /// Sets the next in its chain.
    fn set_next(&mut self, slot: u32, next: u32);
}

/// The buckets.
#[derive(Debug)]
pub(super) struct Chains {
    chunks: Vec<Vec<u32>>,
    buckets: usize,
    len: usize,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self { chunks: vec![vec![NONE; SMALLEST]], buckets: SMALLEST, len: 0 }
    }

    /// The slot with this hash for which `is_it` holds.
    pub(super) fn find(
        &self,
        slots: &impl Chained,
        hash: u32,
        is_it: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut slot = self.head(self.bucket(hash));
        while slot != NONE && !is_it(slot) {
            slot = slots.next(slot);
        }
        (slot != NONE).then_some(slot)
    }

    pub(super) fn insert(&mut self, slots: &mut impl Chained, slot: u32) {
        self.len += 1;
        if self.len > self.buckets {
            self.split(slots);
        }
        let bucket = self.bucket(slots.hash(slot));
        slots.set_next(slot, self.head(bucket));
        self.set_head(bucket, slot);
    }

    /// Takes out a slot that is in the table.
    pub(super) fn remove(&mut self, slots: &mut impl Chained, slot: u32) {
        self.len -= 1;
        let bucket = self.bucket(slots.hash(slot));
        let after = slots.next(slot);
        let mut at = self.head(bucket);
        if at == slot {
            return self.set_head(bucket, after);
        }
        while at != NONE {
            let next = slots.next(at);
            if next == slot {
                return slots.set_next(at, after);
            }
            at = next;
        }
    }

    /// Divides the next bucket in turn between itself and a new one.
    fn split(&mut self, slots: &mut impl Chained) {
        let new = self.buckets;
        let old = new - (1 << new.ilog2());
        self.buckets += 1;
        if new >> CHUNK_BITS == self.chunks.len() {
            self.chunks.push(Vec::new());
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(NONE);
        }
        let mut slot = self.head(old);
        self.set_head(old, NONE);
        while slot != NONE {
            let next = slots.next(slot);
            let bucket = self.bucket(slots.hash(slot));
            slots.set_next(slot, self.head(bucket));
            self.set_head(bucket, slot);
            slot = next;
        }
    }

    fn bucket(&self, hash: u32) -> usize {
        let round = self.buckets.next_power_of_two();
        let bucket = hash as usize & (round - 1);
        if bucket < self.buckets { bucket } else { bucket - round / 2 }
    }

    fn head(&self, bucket: usize) -> u32 {
        let chunk = self.chunks.get(bucket >> CHUNK_BITS);
        chunk.and_then(|chunk| chunk.get(bucket & ((1 << CHUNK_BITS) - 1))).copied().unwrap_or(NONE)
    }

    fn set_head(&mut self, bucket: usize, slot: u32) {
        let chunk = self.chunks.get_mut(bucket >> CHUNK_BITS);
        if let Some(head) = chunk.and_then(|chunk| chunk.get_mut(bucket & ((1 << CHUNK_BITS) - 1)))
        {
            *head = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Keys(Vec<(u64, u32)>);

    impl Keys {
        fn hash_of(key: u64) -> u32 {
            (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
        }
    }

    impl Chained for Keys {
        fn hash(&self, slot: u32) -> u32 {
            Self::hash_of(self.0[slot as usize].0)
        }

        fn next(&self, slot: u32) -> u32 {
            self.0[slot as usize].1
        }

        fn set_next(&mut self, slot: u32, next: u32) {
            self.0[slot as usize].1 = next;
        }
    }

    #[test]
    fn finds_all_that_is_in_and_nothing_else() {
        let (mut keys, mut chains) = (Keys::default(), Chains::new());
        let find = |keys: &Keys, chains: &Chains, key: u64| {
            chains.find(keys, Keys::hash_of(key), |slot| keys.0[slot as usize].0 == key)
        };
        for slot in 0..20_000u32 {
            keys.0.push((u64::from(slot) * 3, NONE));
            chains.insert(&mut keys, slot);
        }
        for slot in (0..20_000).step_by(3) {
            chains.remove(&mut keys, slot);
        }
        for slot in 0..20_000u32 {
            let found = find(&keys, &chains, u64::from(slot) * 3);
            assert_eq!(found, (slot % 3 != 0).then_some(slot));
            assert_eq!(find(&keys, &chains, u64::from(slot) * 3 + 1), None);
        }
    }

    #[test]
    fn chains_stay_short() {
        let (mut keys, mut chains) = (Keys::default(), Chains::new());
        for slot in 0..100_000u32 {
            keys.0.push((u64::from(slot), NONE));
            chains.insert(&mut keys, slot);
        }
        let length = |bucket| {
            let first = Some(chains.head(bucket)).filter(|&slot| slot != NONE);
            std::iter::successors(first, |&slot| Some(keys.next(slot)).filter(|&slot| slot != NONE))
                .count()
        };
        assert!((0..chains.buckets).map(length).max().unwrap() < 16);
    }
}
