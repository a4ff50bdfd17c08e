//! What is kept in memory of a recipient's state, and of where things lie: numbers, no text.
//!
//! The last reply stays on the disk; a state knows the record that has it. A state changes as
//! [`RecipientState`] says: what has ended never changes again (I4).

use std::sync::Arc;

use crate::entry::RecipientState;

/// Where a record stands: the slot, and the offset in the segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Place {
    pub(crate) slot: u32,
    pub(crate) offset: u32,
}

/// A recipient's state without the reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Pending { attempts: u32, due_ms: u64 },
    Delivered,
    Taken,
    Failed { expired: bool, report_owed: bool },
}

impl Mark {
    /// Of a recipient that nobody has tried.
    pub(crate) const FRESH: Self = Self::Pending { attempts: 0, due_ms: 0 };

    pub(crate) fn of(state: &RecipientState) -> Self {
        match *state {
            RecipientState::Pending { attempts, due_ms, .. } => Self::Pending { attempts, due_ms },
            RecipientState::Delivered => Self::Delivered,
            RecipientState::Taken { .. } => Self::Taken,
            RecipientState::Failed { expired, report_owed, .. } => {
                Self::Failed { expired, report_owed }
            }
        }
    }

    /// The state with its last reply.
    pub(crate) fn state(self, reason: Option<Arc<str>>) -> RecipientState {
        match self {
            Self::Pending { attempts, due_ms } => {
                RecipientState::Pending { attempts, due_ms, reason }
            }
            Self::Delivered => RecipientState::Delivered,
            Self::Taken => RecipientState::Taken { reason: reason.unwrap_or_else(|| "".into()) },
            Self::Failed { expired, report_owed } => {
                let reason = reason.unwrap_or_else(|| "".into());
                RecipientState::Failed { expired, reason, report_owed }
            }
        }
    }

    /// Nothing is left to do for it.
    pub(crate) fn is_ended(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed { report_owed: false, .. })
    }
}

/// A recipient's state, and the record that tells its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) mark: Mark,
    pub(crate) told_at: Place,
}

impl State {
    pub(crate) const FRESH: Self =
        Self { mark: Mark::FRESH, told_at: Place { slot: 0, offset: 0 } };

    /// Moves on, unless it has ended.
    pub(crate) fn apply(&mut self, mark: Mark, told_at: Place) {
        if !self.mark.is_ended() {
            *self = Self { mark, told_at };
        }
    }
}
