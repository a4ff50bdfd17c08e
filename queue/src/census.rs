//! What a live message waits for, and how many wait for the same.

use crate::entry::Stored;
use crate::mark::Mark;

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
        Self::among(stored.held, stored.recipients.iter().map(Mark::of), true)
    }

    /// That of a message with these states; without any known, nobody has tried it.
    pub(crate) fn among(held: bool, marks: impl Iterator<Item = Mark>, known: bool) -> Self {
        if held {
            return Self::Held;
        }
        if !known {
            return Self::Active;
        }
        let mut standing = Self::Failed;
        for mark in marks {
            match mark {
                Mark::Pending { attempts: 0, .. } => return Self::Active,
                Mark::Pending { .. } => standing = Self::Deferred,
                Mark::Delivered | Mark::Taken | Mark::Failed { .. } => {}
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
