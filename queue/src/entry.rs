//! What the spool knows of a message in memory, and how a recipient's state may change.
//!
//! Promises: a recipient that has ended never changes again, whatever arrives late or twice (I4).
//! A change that may not happen is ignored, not an error: a repeated completion is harmless.

use std::sync::Arc;

use crate::id::MessageId;

/// Where one recipient of a message stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// Still to be delivered.
    Pending {
        /// Failed attempts so far.
        attempts: u32,
        /// When to try next, in ms since the epoch; 0 means at once.
        due_ms: u64,
        /// The last reply, when there was one.
        reason: Option<Arc<str>>,
    },
    /// The next hop took it. An end.
    Delivered,
    /// The next hop took it, and the sender has yet to be told. No end.
    Taken {
        /// What is to be told.
        reason: Arc<str>,
    },
    /// Given up. An end, unless a report is owed.
    Failed {
        /// Given up because of its age, not because of a permanent reply.
        expired: bool,
        /// The last reply.
        reason: Arc<str>,
        /// The sender has yet to be told.
        report_owed: bool,
    },
}

impl RecipientState {
    /// The state of a recipient nobody has tried yet.
    pub fn fresh() -> Self {
        Self::Pending { attempts: 0, due_ms: 0, reason: None }
    }

    /// Nothing is left to do for it.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Delivered | Self::Failed { report_owed: false, .. })
    }

    /// Makes the change, or ignores it when this recipient has ended.
    pub fn apply(&mut self, change: &Change) {
        if self.is_ended() {
            return;
        }
        *self = match change.clone() {
            Change::Delivered => Self::Delivered,
            Change::Taken { reason } => Self::Taken { reason },
            Change::Deferred { attempts, due_ms, reason } => {
                Self::Pending { attempts, due_ms, reason: Some(reason) }
            }
            Change::Failed { expired, reason, report_owed } => {
                Self::Failed { expired, reason, report_owed }
            }
        };
    }
}

/// The outcome that moves a recipient from one state to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The next hop took it.
    Delivered,
    /// The next hop took it, and the sender has yet to be told; a later `Delivered` closes it.
    Taken {
        /// What is to be told.
        reason: Arc<str>,
    },
    /// Put off; also brings a recipient whose report is still owed back to pending.
    Deferred {
        /// Failed attempts so far.
        attempts: u32,
        /// When to try next, in ms since the epoch.
        due_ms: u64,
        /// The reply that put it off.
        reason: Arc<str>,
    },
    /// Given up.
    Failed {
        /// Because of its age.
        expired: bool,
        /// The last reply.
        reason: Arc<str>,
        /// The sender has yet to be told; a later `Failed` without it closes the recipient.
        report_owed: bool,
    },
}

/// A live message, without its envelope and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its identifier.
    pub id: MessageId,
    /// When it was accepted, in ms since the epoch.
    pub arrived_ms: u64,
    /// Octets of the body.
    pub size: u64,
    /// The operator holds it.
    pub held: bool,
    /// When its sender was last told that it is delayed, in ms since the epoch; 0 is never.
    pub told_ms: u64,
    /// The way out that the operator chose; empty if none was.
    pub via: Arc<str>,
    /// On whose account it is.
    pub tenant: Arc<str>,
    /// One state per recipient, in the order of the envelope.
    pub recipients: Vec<RecipientState>,
}

impl Stored {
    /// Every recipient has ended, and no report is owed.
    pub fn is_ended(&self) -> bool {
        self.recipients.iter().all(RecipientState::is_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(report_owed: bool) -> Change {
        Change::Failed { expired: false, reason: "550 no".into(), report_owed }
    }

    #[test]
    fn an_end_is_final() {
        for end in [Change::Delivered, failed(false)] {
            let mut state = RecipientState::fresh();
            state.apply(&end);
            let ended = state.clone();
            assert!(ended.is_ended());
            let deferred = Change::Deferred { attempts: 1, due_ms: 2, reason: "450".into() };
            for late in [Change::Delivered, failed(true), failed(false), deferred] {
                state.apply(&late);
                assert_eq!(state, ended);
            }
        }
    }

    #[test]
    fn an_owed_report_is_no_end() {
        let mut state = RecipientState::fresh();
        state.apply(&failed(true));
        assert!(!state.is_ended());
        state.apply(&Change::Deferred { attempts: 0, due_ms: 9, reason: "retry".into() });
        assert!(matches!(state, RecipientState::Pending { attempts: 0, due_ms: 9, .. }));
        state.apply(&failed(true));
        state.apply(&failed(false));
        assert!(state.is_ended());
    }
    #[test]
    fn what_was_taken_ends_when_it_was_told() {
        let mut state = RecipientState::fresh();
        state.apply(&Change::Taken { reason: "250 ok".into() });
        assert_eq!(state, RecipientState::Taken { reason: "250 ok".into() });
        assert!(!state.is_ended());
        state.apply(&Change::Delivered);
        assert_eq!(state, RecipientState::Delivered);
    }
}
