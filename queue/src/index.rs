//! The index in memory: where each live message lies, and what has become of its recipients.
//!
//! The writer feeds it what became durable, recovery feeds it what it reads: the same records by
//! the same path, so that a restart cannot come to another result than the run before it.
//! Records that repeat, come late or name unknown messages change nothing.

mod page;
mod segments;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use page::{Pages, Row};
pub(crate) use segments::Segments;

use crate::census::{Count, Standing};
use crate::id::MessageId;
use crate::mark::{Place, State};
use crate::record::{Changes, Extent, Meaning, Message};

/// What is known of a message beyond its row; most have nothing of it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Extra {
    /// One for each recipient; empty while nobody has tried any.
    pub(crate) states: Box<[State]>,
    pub(crate) told_ms: u64,
    pub(crate) via: Option<Arc<str>>,
    /// Where the body lies, when it lies apart.
    pub(crate) extents: Box<[Extent]>,
}

/// A message as the index has it at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: MessageId,
    pub(crate) row: Row,
    pub(crate) extra: Extra,
}

impl Known {
    /// The state of a recipient.
    pub(crate) fn state(&self, recipient: usize) -> State {
        self.extra.states.get(recipient).copied().unwrap_or(State::FRESH)
    }
}

#[derive(Default)]
pub(crate) struct Index {
    pages: Pages,
    extras: BTreeMap<MessageId, Box<Extra>>,
    pub(crate) segments: Segments,
    /// Blocks of messages that have ended.
    freed: Vec<Extent>,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn contains(&self, id: MessageId) -> bool {
        self.pages.get(id).is_some()
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<Known> {
        self.pages.get(id).map(|row| self.known(id, row))
    }

    fn known(&self, id: MessageId, row: &Row) -> Known {
        let extra = row.has_extra().then(|| self.extras.get(&id)).flatten();
        Known { id, row: *row, extra: extra.map(|extra| (**extra).clone()).unwrap_or_default() }
    }

    /// The next messages behind this identifier, in order.
    pub(crate) fn after(&self, id: Option<MessageId>, most: usize) -> Vec<Known> {
        self.pages.after(id).take(most).map(|(id, row)| self.known(id, row)).collect()
    }

    pub(crate) fn census(&self) -> [(Standing, Count); Standing::ALL.len()] {
        self.pages.census(|id, row| self.standing(id, row))
    }

    pub(crate) fn standing_of(&self, id: MessageId) -> Option<Standing> {
        self.pages.get(id).map(|row| self.standing(id, row))
    }

    fn standing(&self, id: MessageId, row: &Row) -> Standing {
        let extra = row.has_extra().then(|| self.extras.get(&id)).flatten();
        standing(row, extra.map(|extra| &**extra))
    }

    /// The blocks of messages that have ended since this was last asked.
    pub(crate) fn take_freed(&mut self) -> Vec<Extent> {
        std::mem::take(&mut self.freed)
    }

    /// The blocks of all live messages.
    pub(crate) fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.extras.values().flat_map(|extra| extra.extents.iter())
    }

    /// Takes over what an earlier start left: no message of it is known here.
    pub(crate) fn join(&mut self, others: Self) {
        self.pages.join(others.pages);
        self.extras.extend(others.extras);
        self.segments.join(others.segments);
        // Blocks of what had ended were never counted as used.
    }

    /// Takes in one durable record, which takes so many octets with the body behind it.
    pub(crate) fn apply(&mut self, meaning: &Meaning<'_>, place: Place, octets: u32) {
        match meaning {
            Meaning::Append(message) => self.append(message, place, octets),
            Meaning::Moved(message) => self.moved(message, place, octets),
            Meaning::Update(id, changes) => self.update(*id, changes, place),
            Meaning::Hold(id) => self.set_held(*id, true),
            Meaning::Release(id) => self.set_held(*id, false),
            Meaning::Remove(id) => self.end(*id),
            Meaning::Told(id, at_ms) => {
                self.with_extra(*id, |extra| extra.told_ms = extra.told_ms.max(*at_ms));
            }
            Meaning::Via(id, via) => {
                let via = (!via.is_empty()).then(|| Arc::from(*via));
                self.with_extra(*id, |extra| extra.via = via);
            }
        }
    }

    fn append(&mut self, message: &Message<'_>, place: Place, octets: u32) {
        if self.contains(message.id) || message.recipients == 0 {
            self.freed.extend(message.extents.iter().flatten().filter(|_| message.recipients == 0));
            return;
        }
        let extents = message.extents.clone().unwrap_or_default().into();
        self.insert(message, place, octets, Extra { extents, ..Extra::default() });
    }

    fn moved(&mut self, message: &Message<'_>, place: Place, octets: u32) {
        let before = self.get(message.id);
        let states = message.states().flatten().enumerate().map(|(recipient, told)| {
            let told_at = if told.reason.is_some() { place } else { Place::default() };
            match before.as_ref().map(|known| known.state(recipient)) {
                // The reply lies here from now on, also that of an end.
                Some(state) if state.mark.is_ended() && state.mark != told.mark => state,
                _ => State { mark: told.mark, told_at },
            }
        });
        let states: Box<[State]> = states.collect();
        let fresh = states.iter().all(|state| *state == State::FRESH);
        let extra = Extra {
            states: if fresh { Box::default() } else { states },
            told_ms: message.told_ms.max(before.map_or(0, |known| known.extra.told_ms)),
            via: (!message.via.is_empty()).then(|| Arc::from(message.via)),
            extents: message.extents.clone().unwrap_or_default().into(),
        };
        self.take_out(message.id);
        self.insert(message, place, octets, extra);
    }

    fn insert(&mut self, message: &Message<'_>, place: Place, octets: u32, extra: Extra) {
        let id = message.id;
        let mut row = Row::new(place, octets, message.recipients, message.arrived_ms);
        row.set_held(message.held);
        row.set_extra(extra != Extra::default());
        self.pages.insert(id, row, standing(&row, Some(&extra)));
        if row.has_extra() {
            self.extras.insert(id, Box::new(extra));
        }
        self.segments.enliven(place.slot, octets);
    }

    fn take_out(&mut self, id: MessageId) -> Option<(Row, Extra)> {
        let row = *self.pages.get(id)?;
        let standing = self.standing(id, &row);
        self.pages.remove(id, standing);
        self.segments.deaden(row.place.slot, row.octets);
        let extra = row.has_extra().then(|| self.extras.remove(&id)).flatten();
        Some((row, extra.map(|extra| *extra).unwrap_or_default()))
    }

    fn end(&mut self, id: MessageId) {
        if let Some((_, extra)) = self.take_out(id) {
            self.freed.extend(extra.extents);
        }
    }

    fn update(&mut self, id: MessageId, changes: &Changes<'_>, place: Place) {
        let Some(row) = self.pages.get(id) else { return };
        let recipients = row.recipients as usize;
        // A message with one recipient that has ended is the common case: it needs no memory.
        let mut changes = changes.iter().flatten();
        let first = changes.next();
        if recipients == 1
            && !row.has_extra()
            && first.is_some_and(|(who, told)| who == 0 && told.mark.is_ended())
        {
            return self.end(id);
        }
        let mut ended = false;
        self.with_extra(id, |extra| {
            if extra.states.is_empty() {
                extra.states = vec![State::FRESH; recipients].into();
            }
            for (recipient, told) in first.into_iter().chain(changes) {
                if let Some(state) = extra.states.get_mut(recipient as usize) {
                    let told_at = if told.reason.is_some() { place } else { Place::default() };
                    state.apply(told.mark, told_at);
                }
            }
            ended = extra.states.iter().all(|state| state.mark.is_ended());
        });
        if ended {
            self.end(id);
        }
    }

    fn set_held(&mut self, id: MessageId, held: bool) {
        let Some(row) = self.pages.get(id).copied() else { return };
        let before = self.standing(id, &row);
        if let Some(row) = self.pages.get_mut(id) {
            row.set_held(held);
        }
        self.restand(id, before);
    }

    fn with_extra(&mut self, id: MessageId, change: impl FnOnce(&mut Extra)) {
        let Some(row) = self.pages.get(id).copied() else { return };
        let before = self.standing(id, &row);
        let extra = self.extras.entry(id).or_default();
        change(extra);
        let needed = **extra != Extra::default();
        if !needed {
            self.extras.remove(&id);
        }
        if let Some(row) = self.pages.get_mut(id) {
            row.set_extra(needed);
        }
        self.restand(id, before);
    }

    fn restand(&mut self, id: MessageId, before: Standing) {
        if let Some(row) = self.pages.get(id).copied() {
            let now = self.standing(id, &row);
            self.pages.restand(id, before, now);
        }
    }
}

fn standing(row: &Row, extra: Option<&Extra>) -> Standing {
    let states = extra.map(|extra| &*extra.states).unwrap_or_default();
    Standing::among(row.is_held(), states.iter().map(|state| state.mark), !states.is_empty())
}

#[cfg(test)]
mod tests;
