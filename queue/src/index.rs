//! The index in memory: where each live message lies, and what each segment still holds.
//!
//! The writer feeds it what became durable, recovery feeds it what it reads: the same records by
//! the same path, so that a restart cannot come to another result than the run before it.
//! Records that repeat, come late or name unknown messages change nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::census::Census;
use crate::entry::{Change, Stored};
use crate::id::MessageId;
use crate::record::{Place, Record};

pub(crate) struct Entry {
    pub(crate) stored: Stored,
    pub(crate) place: Place,
}

/// What is known of one segment.
#[derive(Default)]
pub(crate) struct Segment {
    /// Octets written, the label not counted.
    pub(crate) used: u64,
    /// Octets of the records of its live messages.
    pub(crate) live: u64,
    /// Its live messages.
    pub(crate) ids: BTreeSet<MessageId>,
    /// Something in it could not be read: it is kept when it would be freed.
    pub(crate) damaged: bool,
}

#[derive(Default)]
pub(crate) struct Index {
    entries: HashMap<MessageId, Entry>,
    segments: BTreeMap<u32, Segment>,
    used: u64,
    live: u64,
    census: Census,
    /// Messages that have ended and whose content file may go.
    content_freed: Vec<MessageId>,
    /// During recovery: what has ended, so that a second copy does not bring it back.
    ended: Option<HashSet<MessageId>>,
}

impl Index {
    pub(crate) fn for_recovery() -> Self {
        Self { ended: Some(HashSet::new()), ..Self::default() }
    }

    pub(crate) fn recovery_done(&mut self) {
        self.ended = None;
        self.content_freed.clear();
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(crate) fn census(&self) -> &Census {
        &self.census
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every live message, in the order of the identifiers.
    pub(crate) fn scan(&self) -> Vec<Stored> {
        let mut all: Vec<_> = self.entries.values().map(|entry| entry.stored.clone()).collect();
        all.sort_by_key(|stored| stored.id);
        all
    }

    pub(crate) fn segment(&mut self, number: u32) -> &mut Segment {
        self.segments.entry(number).or_default()
    }

    /// Counts octets written to a segment.
    pub(crate) fn add_used(&mut self, number: u32, octets: u64) {
        self.segment(number).used += octets;
        self.used += octets;
    }

    pub(crate) fn oldest(&self) -> Option<(u32, &Segment)> {
        self.segments.first_key_value().map(|(number, segment)| (*number, segment))
    }

    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// More of what is on the disk is dead than alive.
    pub(crate) fn mostly_dead(&self) -> bool {
        self.used.saturating_sub(self.live) > self.live
    }

    pub(crate) fn forget_segment(&mut self, number: u32) {
        if let Some(segment) = self.segments.remove(&number) {
            self.used = self.used.saturating_sub(segment.used);
        }
    }

    pub(crate) fn take_content_freed(&mut self) -> Vec<MessageId> {
        std::mem::take(&mut self.content_freed)
    }

    /// Takes in one durable record.
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::Append(stored, place) => self.append(stored, place),
            Record::Moved(stored, place) => self.moved(stored, place),
            Record::Update(id, changes) => self.update(id, &changes),
            Record::Hold(id) => self.set_held(id, true),
            Record::Release(id) => self.set_held(id, false),
            Record::Remove(id) => self.end(id),
            Record::Told(id, at_ms) => self.told(id, at_ms),
            Record::Via(id, via) => self.via(id, via),
        }
    }

    fn append(&mut self, stored: Stored, place: Place) {
        let id = stored.id;
        if self.has_ended(id) {
            return;
        }
        if self.entries.contains_key(&id) {
            // A group that was written again after a failed sync: the later copy is the durable
            // one, what has happened since the first is kept.
            return self.relocate(id, place);
        }
        let ended = stored.is_ended();
        self.insert(stored, place);
        if ended {
            self.end(id);
        }
    }

    fn moved(&mut self, stored: Stored, place: Place) {
        let id = stored.id;
        if self.has_ended(id) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&id) else {
            return self.insert(stored, place);
        };
        self.census.leave(&entry.stored);
        entry.stored.held = stored.held;
        entry.stored.told_ms = entry.stored.told_ms.max(stored.told_ms);
        entry.stored.via = stored.via;
        for (known, moved) in entry.stored.recipients.iter_mut().zip(stored.recipients) {
            if !known.is_ended() {
                *known = moved;
            }
        }
        self.census.enter(&entry.stored);
        self.relocate(id, place);
    }

    fn update(&mut self, id: MessageId, changes: &[(u32, Change)]) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.census.leave(&entry.stored);
        for (recipient, change) in changes {
            if let Some(state) = entry.stored.recipients.get_mut(*recipient as usize) {
                state.apply(change);
            }
        }
        self.census.enter(&entry.stored);
        if entry.stored.is_ended() {
            self.end(id);
        }
    }

    fn set_held(&mut self, id: MessageId, held: bool) {
        if let Some(entry) = self.entries.get_mut(&id) {
            self.census.leave(&entry.stored);
            entry.stored.held = held;
            self.census.enter(&entry.stored);
        }
    }

    fn told(&mut self, id: MessageId, at_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.stored.told_ms = entry.stored.told_ms.max(at_ms);
        }
    }

    fn via(&mut self, id: MessageId, via: Arc<str>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.stored.via = via;
        }
    }

    fn end(&mut self, id: MessageId) {
        if let Some(ended) = &mut self.ended {
            ended.insert(id);
        }
        if let Some(entry) = self.entries.remove(&id) {
            self.leave(id, &entry.place);
            self.census.leave(&entry.stored);
            if entry.place.staged {
                self.content_freed.push(id);
            }
        }
    }

    fn has_ended(&self, id: MessageId) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.contains(&id))
    }

    fn insert(&mut self, stored: Stored, place: Place) {
        self.enter(stored.id, &place);
        self.census.enter(&stored);
        self.entries.insert(stored.id, Entry { stored, place });
    }

    fn relocate(&mut self, id: MessageId, place: Place) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let left = std::mem::replace(&mut entry.place, place);
        self.leave(id, &left);
        self.enter(id, &place);
    }

    fn enter(&mut self, id: MessageId, place: &Place) {
        let segment = self.segment(place.segment);
        segment.live += place.octets;
        segment.ids.insert(id);
        self.live += place.octets;
    }

    fn leave(&mut self, id: MessageId, place: &Place) {
        let segment = self.segment(place.segment);
        segment.live = segment.live.saturating_sub(place.octets);
        segment.ids.remove(&id);
        self.live = self.live.saturating_sub(place.octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::RecipientState;

    fn at(segment: u32) -> Place {
        Place {
            segment,
            at: 0,
            envelope_octets: 0,
            envelope_crc: 0,
            body_crc: 0,
            staged: true,
            octets: 10,
        }
    }

    fn stored(number: u64, states: &[RecipientState]) -> Stored {
        Stored {
            id: MessageId::from_u64(number),
            arrived_ms: 0,
            size: 0,
            held: false,
            told_ms: 0,
            via: "".into(),
            tenant: "t".into(),
            recipients: states.to_vec(),
        }
    }

    fn update(number: u64, recipient: u32) -> Record {
        Record::Update(MessageId::from_u64(number), vec![(recipient, Change::Delivered)])
    }

    #[test]
    fn a_second_copy_brings_nothing_back() {
        for end in [update(1, 0), Record::Remove(MessageId::from_u64(1))] {
            let mut index = Index::for_recovery();
            index.apply(Record::Append(stored(1, &[RecipientState::fresh()]), at(1)));
            index.apply(end);
            index.apply(Record::Append(stored(1, &[RecipientState::fresh()]), at(2)));
            index.apply(Record::Moved(stored(1, &[RecipientState::fresh()]), at(3)));
            assert_eq!(index.len(), 0);
            assert!(index.segments.values().all(|s| s.ids.is_empty() && s.live == 0));
        }
    }

    #[test]
    fn a_second_copy_takes_the_place_and_keeps_the_states() {
        let fresh = [RecipientState::fresh(), RecipientState::fresh()];
        let mut index = Index::for_recovery();
        index.apply(Record::Append(stored(1, &fresh), at(1)));
        index.apply(update(1, 1));
        index.apply(Record::Append(stored(1, &fresh), at(2)));
        index.apply(Record::Moved(stored(1, &fresh), at(3)));
        let entry = index.get(MessageId::from_u64(1)).unwrap();
        assert_eq!(entry.stored.recipients[1], RecipientState::Delivered);
        assert_eq!(entry.place.segment, 3);
        assert_eq!(index.segment(1).ids.len() + index.segment(2).ids.len(), 0);
        assert_eq!((index.segment(3).live, index.live), (10, 10));
    }

    #[test]
    fn the_census_follows_every_change() {
        let mut index = Index::default();
        let counts = |index: &Index| index.census().counts().map(|(_, count)| count.messages);
        for number in [1, 2] {
            let fresh = [RecipientState::fresh(), RecipientState::fresh()];
            index.apply(Record::Append(stored(number, &fresh), at(1)));
        }
        assert_eq!(counts(&index), [2, 0, 0, 0]);
        let id = MessageId::from_u64(1);
        let deferred = Change::Deferred { attempts: 1, due_ms: 5, reason: "450".into() };
        index.apply(Record::Update(id, vec![(0, deferred.clone())]));
        assert_eq!(counts(&index), [2, 0, 0, 0], "the other recipient was not tried yet");
        index.apply(Record::Update(id, vec![(1, deferred.clone())]));
        assert_eq!(counts(&index), [1, 1, 0, 0]);
        index.apply(Record::Hold(id));
        assert_eq!(counts(&index), [1, 0, 1, 0]);
        index.apply(Record::Release(id));
        let failed = Change::Failed { expired: true, reason: "450".into(), report_owed: true };
        index.apply(Record::Update(id, vec![(0, failed.clone()), (1, failed)]));
        assert_eq!(counts(&index), [1, 0, 0, 1]);
        let mut moved = stored(1, &[RecipientState::fresh(), RecipientState::Delivered]);
        moved.recipients[0].apply(&deferred);
        index.apply(Record::Moved(moved, at(2)));
        assert_eq!(counts(&index), [1, 1, 0, 0]);
        let oldest = index.census().counts()[1].1.oldest_arrived_ms;
        assert_eq!(oldest, Some(0));
        index.apply(Record::Update(id, vec![(0, Change::Delivered)]));
        index.apply(Record::Remove(MessageId::from_u64(2)));
        assert_eq!(counts(&index), [0; 4]);
    }

    #[test]
    fn the_last_report_of_a_delay_is_remembered() {
        let mut index = Index::default();
        let message = stored(1, &[RecipientState::fresh()]);
        index.apply(Record::Append(message.clone(), at(1)));
        for at_ms in [7, 9, 8] {
            index.apply(Record::Told(message.id, at_ms));
        }
        // A copy that moves may carry what was known before.
        index.apply(Record::Moved(message.clone(), at(2)));
        assert_eq!(index.get(message.id).unwrap().stored.told_ms, 9);
    }

    #[test]
    fn strangers_and_wrong_recipients_change_nothing() {
        let mut index = Index::default();
        index.apply(Record::Append(stored(1, &[RecipientState::fresh()]), at(1)));
        let before = index.scan();
        let stranger = MessageId::from_u64(2);
        index.apply(update(1, 7));
        index.apply(update(2, 0));
        index.apply(Record::Hold(stranger));
        index.apply(Record::Remove(stranger));
        index.apply(Record::Told(stranger, 5));
        assert_eq!(index.scan(), before);
        assert!(index.take_content_freed().is_empty());
        // Without recipients, nothing is left to do from the start.
        index.apply(Record::Append(stored(3, &[]), at(1)));
        assert_eq!(index.scan(), before);
        assert_eq!(index.take_content_freed(), [MessageId::from_u64(3)]);
    }
}
