//! What a tenant or a route may have under way, and the line of those that wait for it.
//!
//! A flow that finds a gate closed waits in its line and nowhere else, and is woken when something
//! opens it: so that a hundred thousand of them cost nothing until then.

use super::list::List;
use super::rate::{Bucket, Rate};

/// A gate.
#[derive(Default, Debug)]
pub(super) struct Gate {
    /// Transactions under way.
    pub(super) assigned: u32,
    /// Most of them, if that is bounded.
    pub(super) concurrency_max: Option<u32>,
    /// Most messages in a time, if that is bounded.
    pub(super) rate: Option<Rate>,
    bucket: Bucket,
    /// By the operator.
    pub(super) paused: bool,
    /// When it was opened by the operator last.
    pub(super) resumed_ms: u64,
    /// Flows that wait.
    pub(super) line: List,
    /// When it looks at its rate again; 0 is never.
    pub(super) wakes_ms: u64,
}

/// Why a gate is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closed {
    /// The operator paused it.
    Paused,
    /// As much as may be is under way.
    Full,
    /// Until then, by its rate.
    Until(u64),
}

impl Gate {
    pub(super) fn new(concurrency_max: Option<u32>, rate: Option<Rate>) -> Self {
        Self { concurrency_max, rate, ..Self::default() }
    }

    pub(super) fn closed(&self, now_ms: u64) -> Option<Closed> {
        if self.paused {
            return Some(Closed::Paused);
        }
        if self.concurrency_max.is_some_and(|max| self.assigned >= max) {
            return Some(Closed::Full);
        }
        let opens_ms = self.rate.map(|rate| self.bucket.opens_ms(rate.gap_us()))?;
        (opens_ms > now_ms).then_some(Closed::Until(opens_ms))
    }

    /// A transaction starts.
    pub(super) fn start(&mut self, now_ms: u64) {
        self.assigned += 1;
        if let Some(rate) = self.rate {
            self.bucket.take(rate.gap_us(), now_ms);
        }
    }

    /// A transaction ended.
    pub(super) fn end(&mut self) {
        self.assigned = self.assigned.saturating_sub(1);
    }

    /// A message that was counted did not go.
    pub(super) fn give_back(&mut self) {
        if let Some(rate) = self.rate {
            self.bucket.give_back(rate.gap_us());
        }
    }

    /// Nothing it remembers would be missed.
    pub(super) fn is_idle(&self, now_ms: u64) -> bool {
        self.assigned == 0 && self.line.is_empty() && self.bucket.is_idle(now_ms)
    }
}
