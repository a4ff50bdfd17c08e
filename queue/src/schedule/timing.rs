//! The times that a sender sets: when a message is released, and by when it is to be delivered.
//!
//! Promises that a release comes within a tick of its time, never before, however far away it is;
//! that lifetime and warnings count from it; that a deadline is told once; and that a job which ends
//! at its deadline is not picked after that, and leaves by a notice if nobody is trying it or holds
//! it, else when that is over.

use super::entry::Place;
use super::job::{JobKey, SiteId};
use super::{Scheduler, Timer};
use crate::id::MessageId;

/// By when a job is to be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    /// In milliseconds since the epoch.
    pub at_ms: u64,
    /// The job ends then, tried or not; otherwise somebody is told, and it goes on.
    pub ends: bool,
}

/// The times that the sender of a message set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Timing {
    /// When the message is released: its lifetime and its warnings count from then. 0 where that is
    /// its arrival. A job is not due before.
    pub release_ms: u64,
    /// By when it is to be delivered.
    pub deadline: Option<Deadline>,
}

impl Scheduler {
    /// Sets the times of a job that has none.
    pub(super) fn set_timing(&mut self, key: u32, timing: Timing) {
        if timing == Timing::default() {
            return;
        }
        let detail = self.detail(key);
        self.details[detail].timing = timing;
        self.watch(key);
        if timing.release_ms > 0 {
            self.timers.extend(self.warnings(key));
        }
    }

    /// Has a deadline looked at when it comes, also one that had come while that could not end its
    /// job.
    pub(super) fn watch(&mut self, key: u32) {
        if let Some(deadline) = self.timing(key).deadline {
            self.timers.insert((deadline.at_ms, Timer::Deadline(key)));
        }
    }

    /// Forgets when a job is to be looked at.
    pub(super) fn unwatch(&mut self, key: u32) {
        let timing = self.timing(key);
        if let Some(deadline) = timing.deadline {
            self.timers.remove(&(deadline.at_ms, Timer::Deadline(key)));
        }
        if timing.release_ms > 0 {
            for timer in self.warnings(key) {
                self.timers.remove(&timer);
            }
        }
    }

    /// When it is told that a job still waits which its sender released later than it came.
    fn warnings(&self, key: u32) -> Vec<(u64, Timer)> {
        let release_ms = self.timing(key).release_ms;
        let ages_ms = self.options.warnings_ms.iter();
        ages_ms.map(|age_ms| (release_ms.saturating_add(*age_ms), Timer::Warning(key))).collect()
    }

    /// A job has waited too long since its release.
    pub(super) fn warn(&mut self, key: u32) {
        // A reload may have left a time of a job that ended.
        if !self.jobs[key].is_vacant() {
            self.sweeps.waiting(self.jobs[key].message());
        }
    }

    /// The times that the sender of a job set.
    pub(super) fn timing(&self, key: u32) -> Timing {
        self.jobs[key].detail().map(|detail| self.details[detail].timing).unwrap_or_default()
    }

    /// From when the lifetime of a job counts.
    pub(super) fn since_ms(&self, key: u32) -> u64 {
        self.jobs[key].arrived_ms().max(self.timing(key).release_ms)
    }

    /// A job waits for the release that its sender set.
    pub(super) fn is_unreleased(&self, key: u32) -> bool {
        let (entry, release_ms) = (&self.jobs[key], self.timing(key).release_ms);
        release_ms > 0 && entry.place() == Place::Waiting && entry.due_ms() == release_ms
    }

    /// Whether nobody wants a job delivered any more.
    pub(super) fn is_too_late(&self, key: u32, now_ms: u64) -> bool {
        let deadline = self.timing(key).deadline;
        deadline.is_some_and(|deadline| deadline.ends && deadline.at_ms <= now_ms)
    }

    /// The deadline of a job has come.
    pub(super) fn late(&mut self, key: u32, now_ms: u64) {
        let Some(detail) = self.jobs[key].detail() else { return };
        match (self.details[detail].timing.deadline, self.jobs[key].place()) {
            (None, _) => {}
            (Some(deadline), _) if !deadline.ends => {
                self.details[detail].timing.deadline = None;
                self.sweeps.late(JobKey(key), self.jobs[key].message());
            }
            (Some(_), Place::Ready | Place::Waiting) => {
                let site = self.routes[self.flows.slab[self.jobs[key].flow].route].site;
                let job = self.assignment(key, SiteId(site), self.recipients(key));
                self.sweeps.ended(super::Assignment { started_ms: now_ms, ..job });
                self.forget(key, now_ms);
            }
            // What is under way may still succeed, and what the operator holds waits for them.
            (Some(_), Place::Assigned | Place::Withdrawn | Place::Held) => {}
        }
    }

    /// Releases a message before its sender's time; false if none of it waited for that.
    pub fn release_now(&mut self, id: MessageId, now_ms: u64) -> bool {
        let unreleased = |key: &u32| self.is_unreleased(*key);
        let keys: Vec<u32> = self.keys(id).into_iter().filter(unreleased).collect();
        for &key in &keys {
            self.take_out(key, now_ms);
            self.jobs[key].set_due_ms(now_ms);
            self.make_ready(key, false, now_ms);
        }
        !keys.is_empty()
    }

    /// Where in the wheel a job goes. The wheel is late by up to an eighth of a delay, which is
    /// welcome for a retry; a release goes to its time by a few steps, each an eighth short of it.
    pub(super) fn wheel_ms(&self, key: u32, now_ms: u64) -> u64 {
        let due_ms = self.jobs[key].due_ms();
        let left_ms = due_ms.saturating_sub(now_ms);
        if left_ms < super::wheel::EXACT_MS || !self.is_unreleased(key) {
            return due_ms;
        }
        due_ms - left_ms / 8
    }
}
