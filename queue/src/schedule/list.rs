//! Doubly linked lists through the slots of a slab: every step costs the same.
//!
//! A list is two numbers; who owns it keeps it beside the slab, or in a slot of the slab itself.

use super::slab::{Link, Linked, NONE, Slab};

/// The ends of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct List {
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl List {
    pub(super) fn is_empty(self) -> bool {
        self.head == NONE
    }

    /// There is exactly one.
    pub(super) fn is_single(self) -> bool {
        self.head == self.tail && self.head != NONE
    }

    pub(super) fn push_back<T: Linked>(&mut self, slab: &mut Slab<T>, slot: u32) {
        *slab[slot].link() = Link { prev: self.tail, next: NONE };
        match self.tail {
            NONE => self.head = slot,
            tail => slab[tail].link().next = slot,
        }
        self.tail = slot;
    }

    pub(super) fn push_front<T: Linked>(&mut self, slab: &mut Slab<T>, slot: u32) {
        *slab[slot].link() = Link { prev: NONE, next: self.head };
        match self.head {
            NONE => self.tail = slot,
            head => slab[head].link().prev = slot,
        }
        self.head = slot;
    }

    /// Takes out a slot that is in this list. What follows the head is not touched when that
    /// leaves: what the head says of the one before it is never read.
    pub(super) fn unlink<T: Linked>(&mut self, slab: &mut Slab<T>, slot: u32) {
        let Link { prev, next } = std::mem::take(slab[slot].link());
        if slot == self.head {
            self.head = next;
            if next == NONE {
                self.tail = NONE;
            }
            return;
        }
        slab[prev].link().next = next;
        match next {
            NONE => self.tail = prev,
            next => slab[next].link().prev = prev,
        }
    }

    pub(super) fn pop_front<T: Linked>(&mut self, slab: &mut Slab<T>) -> Option<u32> {
        let head = self.head;
        if head == NONE {
            return None;
        }
        self.unlink(slab, head);
        Some(head)
    }
}
