//! The segments of the log in memory: their order, their seals, and what is alive in each.
//!
//! Promises that live octets fall only by what is told here, and that the oldest segment is found
//! without a search.

use std::collections::{BTreeMap, HashMap};

use crate::label::Label;
use crate::seal::Seal;

/// What is known of one segment of the log.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) label: Label,
    pub(crate) seal: Seal,
    /// Octets of the records and bodies of its live messages.
    pub(crate) live: u64,
    /// How many they are.
    pub(crate) messages: u64,
    /// Something in it could not be read: it is kept when it would be freed.
    pub(crate) damaged: bool,
}

#[derive(Default)]
pub(crate) struct Segments {
    by_slot: HashMap<u32, Segment>,
    /// The slots in the order of the log.
    order: BTreeMap<u64, u32>,
    size: u64,
    live: u64,
}

impl Segments {
    pub(crate) fn add(&mut self, label: Label) {
        let seal = label.seal();
        self.order.insert(label.serial, label.slot);
        self.size += label.size;
        let segment = Segment { label, seal, live: 0, messages: 0, damaged: false };
        self.by_slot.insert(label.slot, segment);
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Segment> {
        self.by_slot.get(&slot)
    }

    pub(crate) fn oldest(&self) -> Option<&Segment> {
        let (_, slot) = self.order.first_key_value()?;
        self.by_slot.get(slot)
    }

    pub(crate) fn second_oldest(&self) -> Option<&Segment> {
        self.by_slot.get(self.order.values().nth(1)?)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// More of the log is dead or empty than alive.
    pub(crate) fn mostly_dead(&self) -> bool {
        self.size.saturating_sub(self.live) > self.live
    }

    pub(crate) fn mark_damaged(&mut self, slot: u32) {
        if let Some(segment) = self.by_slot.get_mut(&slot) {
            segment.damaged = true;
        }
    }

    pub(crate) fn forget(&mut self, slot: u32) {
        if let Some(segment) = self.by_slot.remove(&slot) {
            self.order.remove(&segment.label.serial);
            self.size = self.size.saturating_sub(segment.label.size);
            self.live = self.live.saturating_sub(segment.live);
        }
    }

    /// A message lies there from now on.
    pub(crate) fn enliven(&mut self, slot: u32, octets: u32) {
        if let Some(segment) = self.by_slot.get_mut(&slot) {
            segment.live += u64::from(octets);
            segment.messages += 1;
            self.live += u64::from(octets);
        }
    }

    /// A message lies there no more.
    pub(crate) fn deaden(&mut self, slot: u32, octets: u32) {
        if let Some(segment) = self.by_slot.get_mut(&slot) {
            segment.live = segment.live.saturating_sub(u64::from(octets));
            segment.messages = segment.messages.saturating_sub(1);
            self.live = self.live.saturating_sub(u64::from(octets));
        }
    }

    /// Takes over the segments of another start.
    pub(crate) fn join(&mut self, mut others: Self) {
        self.size += others.size;
        self.live += others.live;
        self.order.append(&mut others.order);
        self.by_slot.extend(others.by_slot);
    }
}
