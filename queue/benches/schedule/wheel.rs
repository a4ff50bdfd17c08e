//! The wheel by itself: a job that waits is taken out and put in with another time.

#![allow(dead_code, reason = "the scheduler's own sources, of which this uses a part")]

#[path = "../../src/schedule/prefetch.rs"]
mod prefetch;
#[path = "../../src/schedule/slab.rs"]
mod slab;
#[path = "../../src/schedule/wheel.rs"]
mod turning;

use slab::{Link, Linked, Slab};
use turning::Wheel;

#[derive(Default)]
struct Waiting {
    link: Link,
    due_ms: u64,
    /// As large as a job.
    _rest: [u64; 3],
}

impl Linked for Waiting {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// A wheel in which so many wait, for up to three hours.
pub(crate) struct Rig {
    wheel: Wheel,
    slab: Slab<Waiting>,
    random: fastrand::Rng,
    count: u32,
}

const SPAN_MS: u64 = 3 * 3_600_000;

impl Rig {
    pub(crate) fn new(count: u32) -> Self {
        let mut rig = Self {
            wheel: Wheel::new(0),
            slab: Slab::new(),
            random: fastrand::Rng::with_seed(4),
            count,
        };
        for _ in 0..count {
            let due_ms = rig.random.u64(0..SPAN_MS);
            let slot = rig.slab.insert(Waiting { due_ms, ..Waiting::default() });
            rig.wheel.insert(&mut rig.slab, slot, due_ms);
        }
        rig
    }

    /// Cancels and inserts so many times.
    pub(crate) fn turn(&mut self, count: u64) {
        for _ in 0..count {
            let slot = self.random.u32(0..self.count);
            self.wheel.cancel(&mut self.slab, slot);
            let due_ms = self.random.u64(0..SPAN_MS);
            self.slab[slot].due_ms = due_ms;
            self.wheel.insert(&mut self.slab, slot, due_ms);
        }
    }
}
