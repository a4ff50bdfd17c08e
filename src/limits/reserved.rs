//! What a transaction counts before its end.
//!
//! Promises that nobody gets past a limit by many transactions at a time: what may come to a message
//! counts from the beginning. What comes to none is given back, however it ended.

use std::sync::Arc;

use super::Limits;
use crate::policy::quota::{Act, SLOT_MS_MIN};
use crate::registry::reply::Reply;

/// What one transaction of a user counts. Dropping it gives that back.
#[derive(Debug)]
pub struct Reserved {
    limits: Arc<Limits>,
    user: Box<str>,
    /// What was counted, how often, and when, to the slot.
    taken: Vec<(Act, u32, u64)>,
}

impl Reserved {
    /// Nothing yet.
    pub fn new(limits: Arc<Limits>, user: &str) -> Self {
        Self { limits, user: user.into(), taken: Vec::new() }
    }

    /// Counts its message.
    ///
    /// # Errors
    /// The refusal, where it is one too many.
    pub fn take_message(&mut self, now_ms: u64) -> Result<(), Reply> {
        self.limits.take_message(&self.user, now_ms)?;
        self.note(Act::Message, now_ms);
        Ok(())
    }

    /// Counts a recipient; whether it is in a domain of ours.
    ///
    /// # Errors
    /// The refusal, where it is one too many.
    pub fn take_recipient(&mut self, is_local: bool, now_ms: u64) -> Result<(), Reply> {
        if self.limits.take_recipient(&self.user, is_local, now_ms)? {
            self.note(Act::Recipient, now_ms);
        }
        Ok(())
    }

    /// The message is sent: all of it counts.
    pub fn keep(mut self) {
        self.taken.clear();
    }

    fn note(&mut self, act: Act, now_ms: u64) {
        let at_ms = now_ms - now_ms % SLOT_MS_MIN;
        match self.taken.last_mut() {
            Some((last, count, when)) if (*last, *when) == (act, at_ms) => *count += 1,
            _ => self.taken.push((act, 1, at_ms)),
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for (act, count, at_ms) in self.taken.drain(..) {
            self.limits.give_back(&self.user, act, count, at_ms);
        }
    }
}
