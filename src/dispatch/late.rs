//! What waits too long: its sender is told, or it is given up.
//!
//! Promises that a message which waits for a next hop that can't be reached is told of and ends like
//! one that was tried and deferred, at a pace that leaves room for other mail.

use std::sync::Arc;
use std::time::Duration;

use angarium_queue::entry::Change;
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{Assignment, Decision, Job, Notice, Waits};

use super::Dispatcher;
use super::notify::Order;
use crate::agent::Delivery;
use crate::delivery::outcome::Outcome;
use crate::net::clock;
use crate::report::Action;

/// Reports of this kind made at a time.
const REPORTS_MAX: usize = 16;
/// Looked at in one go.
const NOTICES_MAX: usize = 32;
/// How often it is looked whether something has become too old.
const LOOK_TIME: Duration = Duration::from_millis(500);

impl Dispatcher {
    /// Sees to what waits too long; how long until it is looked at again.
    pub(super) fn tell_of_waiting(&mut self) -> Duration {
        let now_ms = clock::now_ms();
        if self.stopping || self.scheduler.is_empty() {
            return Duration::from_secs(3600);
        }
        for _ in 0..NOTICES_MAX {
            // The end of a report wakes the dispatcher.
            if self.reports.len() >= REPORTS_MAX {
                break;
            }
            match self.scheduler.notice(now_ms) {
                Some(Notice::Waiting(id)) => self.warn(id, now_ms),
                Some(Notice::Expired(job)) => self.expire(&job, now_ms),
                // Nothing asks for a deadline yet.
                Some(Notice::Late(..)) => {}
                None => return LOOK_TIME,
            }
        }
        Duration::from_millis(1)
    }

    /// The sender of a message is told that it waits, if anybody is to be told.
    fn warn(&mut self, id: MessageId, now_ms: u64) {
        if self.telling.contains_key(&id) {
            return;
        }
        let waiting = self.scheduler.why(id, now_ms);
        let held = waiting.iter().any(|(_, waits)| matches!(waits, Waits::Held | Waits::Paused));
        if held || waiting.is_empty() {
            return;
        }
        let changes: Vec<(u32, Change)> = waiting.iter().flat_map(deferred).collect();
        let arrived_ms = waiting.iter().map(|(job, _)| job.arrived_ms).min().unwrap_or(now_ms);
        let lifetime_ms = self.settings.options.lifetimes_ms.first().copied().unwrap_or(0);
        let until_ms = arrived_ms.saturating_add(lifetime_ms);
        let action = Action::Delayed { until_ms };
        self.order(Order { id, action, changes, remote: None, attempted_ms: None, again: false });
    }

    /// A job ends while its next hop can't be reached.
    fn expire(&mut self, job: &Assignment, now_ms: u64) {
        let site = self.scheduler.site(job.site, now_ms);
        let outage = site.and_then(|site| site.outage);
        let reason = outage.map_or_else(|| "it could not be reached".into(), |outage| outage.reply);
        let outcome = Outcome::Deferred(reason.to_string());
        let delivery = Delivery {
            envelope: self.envelope(job.id),
            outcomes: job.recipients.iter().map(|&index| (index, outcome.clone())).collect(),
            finding: Default::default(),
        };
        self.note(job, &delivery, Decision::Expired, now_ms);
    }
}

/// The recipients of a job, with what keeps them.
fn deferred((job, waits): &(Job, Waits)) -> Vec<(u32, Change)> {
    let reason: Arc<str> = match waits {
        Waits::Outage(outage) => Arc::clone(&outage.reply),
        Waits::Rate(_, Some(reply)) => Arc::clone(reply),
        // What the last attempt was told stands with the message.
        _ => "".into(),
    };
    let (attempts, due_ms) = (job.attempts, job.due_ms);
    let change = || Change::Deferred { attempts, due_ms, reason: Arc::clone(&reason) };
    job.recipients.iter().map(|&index| (index, change())).collect()
}
