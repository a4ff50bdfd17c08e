//! What grew too old while it waited: a cursor for each age, over the messages in the order they
//! were accepted.
//!
//! Promises no memory per message, and that nothing expires here but what waits for a site whose
//! probe failed after the deadline, after the message was due, and after its route was resumed. A
//! message may be told of twice after a restart or a reload: whoever is told looks what was said.

use std::collections::VecDeque;

use super::entry::Place;
use super::job::{Assignment, JobKey, SiteId};
use super::{Options, STEPS_MAX, Scheduler};
use crate::id::MessageId;

/// How long after its end a round over what is too old begins again.
const ROUND_MS: u64 = 30_000;

/// What somebody should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A job's time is over while its site can't be reached. It is forgotten; the last attempt, as
    /// which the last failed probe counts, began at its `started_ms`.
    Expired(Assignment),
    /// A message has waited for the time after which its sender should know.
    Waiting(MessageId),
    /// A job is not delivered at its deadline, and goes on.
    Late(JobKey, MessageId),
    /// A job is not delivered at its deadline, and was to end then. It is forgotten.
    Ended(Assignment),
}

/// Up to where messages were looked at for one age.
#[derive(Debug)]
struct Cursor {
    age_ms: u64,
    next: MessageId,
    /// Not before this time.
    resumes_ms: u64,
}

/// All cursors.
#[derive(Debug)]
pub(super) struct Sweeps {
    expiry: Vec<Cursor>,
    warnings: Vec<Cursor>,
    /// What timers found.
    found: VecDeque<Notice>,
}

impl Sweeps {
    pub(super) fn new(options: &Options) -> Self {
        let cursor = |&age_ms: &u64| Cursor { age_ms, next: MessageId::from_u64(0), resumes_ms: 0 };
        Self {
            expiry: options.lifetimes_ms.iter().map(cursor).collect(),
            warnings: options.warnings_ms.iter().map(cursor).collect(),
            found: VecDeque::new(),
        }
    }

    /// Ages changed; what is late stays late.
    pub(super) fn reset(&mut self, options: &Options) {
        let found = std::mem::take(&mut self.found);
        *self = Self { found, ..Self::new(options) };
    }

    /// A message came: it may be older than those that were looked at.
    pub(super) fn came(&mut self, id: MessageId) {
        for cursor in self.expiry.iter_mut().chain(&mut self.warnings) {
            cursor.next = cursor.next.min(id);
        }
    }

    pub(super) fn late(&mut self, key: JobKey, id: MessageId) {
        self.found.push_back(Notice::Late(key, id));
    }

    pub(super) fn ended(&mut self, job: Assignment) {
        self.found.push_back(Notice::Ended(job));
    }

    pub(super) fn waiting(&mut self, id: MessageId) {
        self.found.push_back(Notice::Waiting(id));
    }
}

impl Scheduler {
    /// There is nothing of which anybody should know, now or later.
    pub fn is_silent(&self) -> bool {
        self.is_empty() && self.sweeps.found.is_empty()
    }

    /// The next thing that somebody should know; none for now, or until the steps of another call
    /// find one. Whoever asks decides how fast such mail leaves.
    pub fn notice(&mut self, now_ms: u64) -> Option<Notice> {
        self.steps = 0;
        if let Some(found) = self.sweeps.found.pop_front() {
            return Some(found);
        }
        for at in 0..self.sweeps.warnings.len() {
            if let Some(id) = self.next_warning(at, now_ms) {
                return Some(Notice::Waiting(id));
            }
        }
        for class in 0..self.sweeps.expiry.len() {
            if self.outages > 0
                && let Some(key) = self.next_expired(class, now_ms)
            {
                return Some(self.expire(key, now_ms));
            }
        }
        None
    }

    fn next_warning(&mut self, at: usize, now_ms: u64) -> Option<MessageId> {
        while self.steps < STEPS_MAX / 2 {
            let cursor = self.sweeps.warnings.get(at)?;
            let (id, key) = self.messages.from(cursor.next)?;
            if self.timing(key).release_ms > 0 {
                // It has times of its own.
                self.steps += 1;
                self.sweeps.warnings.get_mut(at)?.next = after(id);
                continue;
            }
            let entry = &self.jobs[key];
            if now_ms.saturating_sub(entry.arrived_ms()) < cursor.age_ms
                && entry.arrived_ms() <= now_ms
            {
                return None;
            }
            let old = entry.arrived_ms().saturating_add(cursor.age_ms) <= now_ms;
            self.steps += 1;
            self.sweeps.warnings.get_mut(at)?.next = after(id);
            if old {
                return Some(id);
            }
        }
        None
    }

    fn next_expired(&mut self, class: usize, now_ms: u64) -> Option<u32> {
        while self.steps < STEPS_MAX {
            let cursor = self.sweeps.expiry.get(class)?;
            if cursor.resumes_ms > now_ms {
                return None;
            }
            self.steps += 1;
            let old = |entry: &super::Entry| {
                entry.arrived_ms() > now_ms || now_ms - entry.arrived_ms() >= cursor.age_ms
            };
            let next = self.messages.from(cursor.next);
            let Some((id, _)) = next.filter(|&(_, key)| old(&self.jobs[key])) else {
                let cursor = self.sweeps.expiry.get_mut(class)?;
                (cursor.next, cursor.resumes_ms) = (MessageId::from_u64(0), now_ms + ROUND_MS);
                return None;
            };
            let found = self.keys(id).into_iter().find(|&key| self.is_over(key, class));
            if found.is_some() {
                return found;
            }
            self.sweeps.expiry.get_mut(class)?.next = after(id);
        }
        None
    }

    /// A job waits for a site of which a probe failed after the job's time was over.
    fn is_over(&self, key: u32, class: usize) -> bool {
        let entry = &self.jobs[key];
        let last = self.sweeps.expiry.len() - 1;
        if entry.lifetime().min(last) != class
            || !matches!(entry.place(), Place::Ready | Place::Waiting)
        {
            return false;
        }
        let route = &self.routes[self.flows.slab[entry.flow].route];
        let gate = route.gate.as_ref();
        let resumed_ms = gate.map_or(0, |gate| gate.resumed_ms);
        let over_ms = self.since_ms(key).saturating_add(self.lifetime_ms(class));
        let since_ms = over_ms.max(entry.due_ms()).max(resumed_ms);
        let paused = gate.is_some_and(|gate| gate.paused);
        let outage = self.sites[route.site].outage();
        !paused && outage.is_some_and(|outage| outage.failed_ms >= since_ms)
    }

    fn expire(&mut self, key: u32, now_ms: u64) -> Notice {
        let site = self.routes[self.flows.slab[self.jobs[key].flow].route].site;
        let mut job = self.assignment(key, SiteId(site), self.recipients(key));
        job.started_ms = self.sites[job.site.0].outage().map_or(now_ms, |outage| outage.failed_ms);
        self.forget(key, now_ms);
        Notice::Expired(job)
    }
}

fn after(id: MessageId) -> MessageId {
    MessageId::from_u64(id.as_u64().saturating_add(1))
}
