//! Slots by number, in chunks: growing moves nothing, and a slot that was freed is used again.
//!
//! A number that is out of range or of a freed slot is a fault of the scheduler itself: the first
//! panics, the second reads a default value.

use std::ops::{Index, IndexMut};

use super::prefetch::prefetch;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Its neighbours in the list it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { prev: NONE, next: NONE }
    }
}

/// What can stand in a list, and in a slab.
pub(super) trait Linked: Default {
    /// Its neighbours.
    fn link(&mut self) -> &mut Link;
}

/// Numbered slots.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
    /// The first of the freed slots, chained by their links.
    free: u32,
    /// Slots ever used.
    used: u32,
    len: u32,
}

impl<T: Default> Slab<T> {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE, used: 0, len: 0 }
    }

    /// How many slots hold something.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Numbers from 0 up to this were given out.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Makes slots up to and including `slot` exist; for numbers that somebody else gives out.
    pub(super) fn reach(&mut self, slot: u32) {
        while self.used <= slot {
            self.extend();
            self.len += 1;
        }
    }

    /// Has a slot brought into the cache, as it is read soon; any number may be given.
    #[inline]
    pub(super) fn prefetch(&self, slot: u32) {
        let chunk = self.chunks.get((slot >> CHUNK_BITS) as usize);
        if let Some(value) = chunk.and_then(|chunk| chunk.get(slot as usize & (CHUNK - 1))) {
            prefetch(value);
        }
    }

    fn extend(&mut self) -> u32 {
        let slot = self.used;
        if slot as usize == self.chunks.len() << CHUNK_BITS {
            let chunk: Box<[T]> = (0..CHUNK).map(|_| T::default()).collect();
            // It has as many as the type says.
            self.chunks.extend(chunk.try_into().ok());
        }
        self.used += 1;
        slot
    }
}

impl<T: Linked> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let slot = match self.free {
            NONE => self.extend(),
            slot => {
                self.free = self[slot].link().next;
                slot
            }
        };
        self.len += 1;
        self[slot] = value;
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) -> T {
        let value = std::mem::take(&mut self[slot]);
        self[slot].link().next = self.free;
        self.free = slot;
        self.len -= 1;
        value
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[allow(clippy::indexing_slicing, reason = "this slab gave out the number")]
    #[inline]
    fn index(&self, slot: u32) -> &T {
        &self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize & (CHUNK - 1)]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[allow(clippy::indexing_slicing, reason = "this slab gave out the number")]
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize & (CHUNK - 1)]
    }
}
