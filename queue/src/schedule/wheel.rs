//! When waiting jobs are due: a wheel whose far slots are coarse, so that nothing is ever moved
//! from slot to slot.
//!
//! Promises that a job comes at its time or up to an eighth of its delay later, never before; that
//! inserting and cancelling cost the same whatever waits; and that what comes due together is
//! handed out one by one.

use super::slab::{Link, Linked, Slab};

/// The finest step.
const TICK_BITS: u32 = 4;
/// What is due within this time comes within a step of it.
pub(super) const EXACT_MS: u64 = 60 << TICK_BITS;
const LEVELS: usize = 9;
const SLOT_BITS: u32 = 6;
const SLOTS: u64 = 1 << SLOT_BITS;
/// Each level is so many bits coarser than the one before.
const LEVEL_BITS: u32 = 3;
/// Numbers from here on are heads of lists, not slots of the slab.
const HEADS: u32 = u32::MAX - (LEVELS as u32 * SLOTS as u32) - 1;
/// The list of what is due.
const DUE: u32 = HEADS + LEVELS as u32 * SLOTS as u32;

/// The wheel. Its lists are rings closed by a head, so that leaving one needs no word about which.
#[derive(Debug)]
pub(super) struct Wheel {
    heads: Vec<Link>,
    /// Slots that may hold something, by level.
    occupied: [u64; LEVELS],
    tick: u64,
}

impl Wheel {
    /// An empty wheel that stands at this time.
    pub(super) fn new(now_ms: u64) -> Self {
        let heads = (HEADS..=DUE).map(|head| Link { prev: head, next: head }).collect();
        Self { heads, occupied: [0; LEVELS], tick: now_ms >> TICK_BITS }
    }

    /// Puts in a slot of the slab that is in no list.
    pub(super) fn insert<T: Linked>(&mut self, slab: &mut Slab<T>, slot: u32, due_ms: u64) {
        let due = due_ms.div_ceil(1 << TICK_BITS);
        if due <= self.tick {
            return self.link_before(slab, slot, DUE);
        }
        let (level, index) = self.place(due);
        if let Some(occupied) = self.occupied.get_mut(level) {
            *occupied |= 1 << index;
        }
        self.link_before(slab, slot, HEADS + level as u32 * SLOTS as u32 + index as u32);
    }

    /// Takes out a slot that was put in and has not been handed out.
    pub(super) fn cancel<T: Linked>(&mut self, slab: &mut Slab<T>, slot: u32) {
        let Link { prev, next } = std::mem::take(slab[slot].link());
        self.link(slab, prev).next = next;
        self.link(slab, next).prev = prev;
    }

    /// Moves on to this time. At most `LEVELS * SLOTS` steps, and none per job.
    pub(super) fn advance<T: Linked>(&mut self, slab: &mut Slab<T>, now_ms: u64) {
        let now = now_ms >> TICK_BITS;
        if now <= self.tick {
            return;
        }
        for level in 0..LEVELS {
            let shift = level as u32 * LEVEL_BITS;
            let (from, to) = (self.tick >> shift, now >> shift);
            let mut passed = window(from + 1, to);
            if let Some(occupied) = self.occupied.get_mut(level) {
                passed &= *occupied;
                *occupied &= !passed;
            }
            while passed != 0 {
                let index = passed.trailing_zeros();
                passed &= passed - 1;
                self.splice(slab, HEADS + level as u32 * SLOTS as u32 + index);
            }
        }
        self.tick = now;
    }

    /// The next of what is due. It may have come early from the farthest slot: whoever takes it
    /// looks at its time.
    pub(super) fn take<T: Linked>(&mut self, slab: &mut Slab<T>) -> Option<u32> {
        let first = self.head(DUE).next;
        if first == DUE {
            return None;
        }
        self.cancel(slab, first);
        Some(first)
    }

    /// Something is due.
    pub(super) fn has_due(&self) -> bool {
        self.heads.last().is_some_and(|due| due.next != DUE)
    }

    /// When to advance next, in milliseconds; an empty slot may be named.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let next = |(level, occupied): (usize, &u64)| {
            let shift = level as u32 * LEVEL_BITS;
            let at = self.tick >> shift;
            let ahead = occupied.rotate_right(((at + 1) % SLOTS) as u32).trailing_zeros();
            (*occupied != 0).then(|| (at + 1 + u64::from(ahead)) << (shift + TICK_BITS))
        };
        if self.has_due() {
            return Some(self.tick << TICK_BITS);
        }
        self.occupied.iter().enumerate().filter_map(next).min()
    }

    /// The first time that is not over.
    pub(super) fn soonest_ms(&self) -> u64 {
        (self.tick + 1) << TICK_BITS
    }

    /// The level and slot of a tick to come; what is too far goes to the farthest.
    fn place(&self, due: u64) -> (usize, u64) {
        let delay = due - self.tick;
        for level in 0..LEVELS {
            let shift = level as u32 * LEVEL_BITS;
            if delay < (SLOTS - 1) << shift {
                return (level, due.div_ceil(1 << shift) % SLOTS);
            }
        }
        let shift = (LEVELS as u32 - 1) * LEVEL_BITS;
        (LEVELS - 1, ((self.tick >> shift) + SLOTS - 1) % SLOTS)
    }

    fn splice<T: Linked>(&mut self, slab: &mut Slab<T>, from: u32) {
        let Link { prev: last, next: first } = *self.head(from);
        if first == from {
            return;
        }
        *self.head(from) = Link { prev: from, next: from };
        let end = std::mem::replace(&mut self.head(DUE).prev, last);
        self.link(slab, end).next = first;
        self.link(slab, first).prev = end;
        self.link(slab, last).next = DUE;
    }

    fn link_before<T: Linked>(&mut self, slab: &mut Slab<T>, slot: u32, head: u32) {
        let last = std::mem::replace(&mut self.head(head).prev, slot);
        self.link(slab, last).next = slot;
        *slab[slot].link() = Link { prev: last, next: head };
    }

    fn link<'a, T: Linked>(&'a mut self, slab: &'a mut Slab<T>, slot: u32) -> &'a mut Link {
        if slot >= HEADS { self.head(slot) } else { slab[slot].link() }
    }

    #[allow(clippy::indexing_slicing, reason = "there is a head for each number from HEADS to DUE")]
    fn head(&mut self, head: u32) -> &mut Link {
        &mut self.heads[(head - HEADS) as usize]
    }
}

/// The slots of these steps of a level, as bits.
fn window(from: u64, to: u64) -> u64 {
    if to < from {
        return 0;
    }
    let count = (to - from + 1).min(SLOTS);
    let bits = if count == SLOTS { u64::MAX } else { (1 << count) - 1 };
    bits.rotate_left((from % SLOTS) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Item {
        link: Link,
        due_ms: u64,
    }

    impl Linked for Item {
        fn link(&mut self) -> &mut Link {
            &mut self.link
        }
    }

    struct Rig {
        wheel: Wheel,
        slab: Slab<Item>,
    }

    impl Rig {
        fn insert(&mut self, due_ms: u64) -> u32 {
            let slot = self.slab.insert(Item { due_ms, ..Item::default() });
            self.wheel.insert(&mut self.slab, slot, due_ms);
            slot
        }

        fn due(&mut self, now_ms: u64) -> Vec<u64> {
            self.wheel.advance(&mut self.slab, now_ms);
            let mut due = Vec::new();
            while let Some(slot) = self.wheel.take(&mut self.slab) {
                due.push(self.slab.remove(slot).due_ms);
            }
            due
        }
    }

    fn rig(now_ms: u64) -> Rig {
        Rig { wheel: Wheel::new(now_ms), slab: Slab::new() }
    }

    #[test]
    fn each_comes_at_its_time_and_hardly_later() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..50 {
            let start_ms = random.u64(0..1 << 41);
            let mut rig = rig(start_ms);
            let mut open: Vec<(u64, u64)> = Vec::new();
            let mut now_ms = start_ms;
            for _ in 0..200 {
                let bits = random.u32(1..34);
                let delay_ms = random.u64(0..1 << bits);
                open.push((now_ms + delay_ms, now_ms));
                rig.insert(now_ms + delay_ms);
                let before_ms = now_ms;
                let bits = random.u32(1..20);
                now_ms = match rig.wheel.next_ms() {
                    Some(next_ms) if random.bool() => next_ms.max(now_ms),
                    _ => now_ms + random.u64(0..1 << bits),
                };
                for due_ms in rig.due(now_ms) {
                    assert!(due_ms <= now_ms, "round {round}: early by {}", due_ms - now_ms);
                    let at = open.iter().position(|&(due, _)| due == due_ms).unwrap();
                    let (_, put_ms) = open.swap_remove(at);
                    let late_ms = before_ms.saturating_sub(due_ms);
                    assert!(late_ms <= 32 + (due_ms - put_ms) / 7, "late by {late_ms} ms");
                }
            }
            let mut rest = rig.due(now_ms + (1 << 40));
            rest.sort_unstable();
            let mut expected: Vec<u64> = open.iter().map(|&(due_ms, _)| due_ms).collect();
            expected.sort_unstable();
            assert_eq!(rest, expected);
        }
    }

    #[test]
    fn what_was_cancelled_never_comes() {
        let mut rig = rig(1000);
        let slots: Vec<u32> = (0..100).map(|at| rig.insert(1000 + at * 37)).collect();
        rig.wheel.advance(&mut rig.slab, 2000);
        for &slot in slots.iter().step_by(2) {
            rig.wheel.cancel(&mut rig.slab, slot);
        }
        let due = rig.due(1 << 30);
        assert_eq!(due.len(), 50);
        assert!(due.iter().all(|due_ms| (due_ms - 1000) / 37 % 2 == 1));
        assert_eq!(rig.wheel.next_ms(), None);
    }

    #[test]
    fn what_is_too_far_comes_early_and_can_be_put_back() {
        let mut rig = rig(0);
        let far_ms = 1 << 40;
        rig.insert(far_ms);
        let mut laps = 0;
        loop {
            let next_ms = rig.wheel.next_ms().unwrap();
            rig.wheel.advance(&mut rig.slab, next_ms);
            let Some(slot) = rig.wheel.take(&mut rig.slab) else { continue };
            laps += 1;
            if rig.slab[slot].due_ms <= next_ms {
                assert!(next_ms - far_ms < far_ms / 7);
                break;
            }
            rig.wheel.insert(&mut rig.slab, slot, far_ms);
        }
        assert!(laps < 100, "{laps}");
    }
}
