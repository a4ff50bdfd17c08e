//! How many messages there are of each standing, and since when: kept as they change, not counted.
//!
//! Promises that each live message is in exactly one place, so that a question costs the same for
//! ten messages and for ten million.

use std::collections::BTreeSet;

use crate::entry::{RecipientState, Stored};
use crate::id::MessageId;

/// What a live message is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Its first attempt: some recipient was not deferred yet.
    Active,
    /// Another attempt.
    Deferred,
    /// The operator.
    Held,
    /// The report that it owes: no recipient is to be tried any more.
    Failed,
}

impl Standing {
    /// Every standing, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Active, Self::Deferred, Self::Held, Self::Failed];

    /// The standing of a message; a hold comes before all others.
    pub fn of(stored: &Stored) -> Self {
        if stored.held {
            return Self::Held;
        }
        let mut standing = Self::Failed;
        for recipient in &stored.recipients {
            match recipient {
                RecipientState::Pending { attempts: 0, .. } => return Self::Active,
                RecipientState::Pending { .. } => standing = Self::Deferred,
                RecipientState::Delivered | RecipientState::Failed { .. } => {}
            }
        }
        standing
    }
}

/// The messages of one standing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Count {
    /// How many there are.
    pub messages: usize,
    /// When the oldest of them arrived, in ms since the epoch; none without any.
    pub oldest_arrived_ms: Option<u64>,
}

/// Every live message, by its standing and its arrival.
#[derive(Default)]
pub(crate) struct Census([BTreeSet<(u64, MessageId)>; Standing::ALL.len()]);

impl Census {
    pub(crate) fn enter(&mut self, stored: &Stored) {
        if let Some(messages) = self.0.get_mut(Standing::of(stored) as usize) {
            messages.insert((stored.arrived_ms, stored.id));
        }
    }

    /// Takes a message out, as it stands now.
    pub(crate) fn leave(&mut self, stored: &Stored) {
        if let Some(messages) = self.0.get_mut(Standing::of(stored) as usize) {
            messages.remove(&(stored.arrived_ms, stored.id));
        }
    }

    pub(crate) fn counts(&self) -> [(Standing, Count); Standing::ALL.len()] {
        Standing::ALL.map(|standing| {
            let count = self.0.get(standing as usize).map(|messages| Count {
                messages: messages.len(),
                oldest_arrived_ms: messages.first().map(|(arrived_ms, _)| *arrived_ms),
            });
            (standing, count.unwrap_or_default())
        })
    }
}
