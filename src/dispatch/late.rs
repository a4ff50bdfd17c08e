//! What waits too long: its sender is told, or it is given up.
//!
//! Promises that a message which waits for a next hop that can't be reached is told of and ends like
//! one that was tried and deferred, at a pace that leaves room for other mail; and that messages of
//! one sender that come due at about the same time make one report. What is gathered when we stop
//! comes due again at the next start.

use std::sync::Arc;
use std::time::Duration;

use angarium_queue::entry::RecipientState;
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{Assignment, Decision, Job, Notice, Recipients, Waits};

use super::gather::{Group, Sender};
use super::notify::Trouble;
use super::warn::{self, Delayed, Told, Warned, Warning};
use super::{Dispatcher, Made};
use crate::agent::Delivery;
use crate::delivery::outcome::Outcome;
use crate::event;
use crate::net::clock;
use crate::syntax::path::ReversePath;

/// Reports of this kind made at a time.
const REPORTS_MAX: usize = 16;
/// Looked at in one go.
const NOTICES_MAX: usize = 32;
/// Why a message ends at its deadline.
const LATE: &str = "5.4.7 the time that was set for it is over";
/// How often it is looked whether something has become too old.
const LOOK_TIME: Duration = Duration::from_millis(500);

impl Dispatcher {
    /// Sees to what waits too long; how long until it is looked at again.
    pub(super) fn tell_of_waiting(&mut self) -> Duration {
        let now_ms = clock::now_ms();
        if self.stopping || self.scheduler.is_silent() {
            return Duration::from_secs(3600);
        }
        for _ in 0..NOTICES_MAX {
            // The end of a report wakes the dispatcher.
            if self.reports.len() >= REPORTS_MAX {
                break;
            }
            if let Some(group) = self.gathered.due(now_ms) {
                self.tell(group, now_ms);
                continue;
            }
            match self.scheduler.notice(now_ms) {
                Some(Notice::Waiting(id)) => self.gather(id, now_ms),
                Some(Notice::Expired(job)) => self.expire(&job, now_ms),
                Some(Notice::Ended(job)) => self.end_late(&job, now_ms),
                Some(Notice::Late(_, id)) => self.gather(id, now_ms),
                None => return LOOK_TIME,
            }
        }
        Duration::from_millis(1)
    }

    /// The sender of a message is to be told that it waits, if anybody is.
    fn gather(&mut self, id: MessageId, now_ms: u64) {
        if self.gathered.contains(id) || self.delayed(id, now_ms).is_none() {
            return;
        }
        let Some(stored) = self.spool.get(id) else { return };
        let Some(envelope) = self.envelope(id) else { return };
        if !warn::is_to_be_told(&self.settings.report, &envelope, &stored, now_ms) {
            return;
        }
        let ReversePath::Mailbox(reverse_path) = envelope.reverse_path else { return };
        let sender = Sender { tenant: stored.tenant, reverse_path };
        if let Some(group) = self.gathered.add(sender, id, now_ms) {
            self.tell(group, now_ms);
        }
    }

    /// Has a report made of those that still wait.
    fn tell(&mut self, Group { sender, ids }: Group, now_ms: u64) {
        // While another report is made, it is not known what was told.
        let (busy, ids): (Vec<_>, Vec<_>) =
            ids.into_iter().partition(|id| self.telling.contains_key(id));
        self.tell_later(Group { sender: sender.clone(), ids: busy }, now_ms);
        let messages: Vec<_> = ids.into_iter().filter_map(|id| self.delayed(id, now_ms)).collect();
        if messages.is_empty() {
            return;
        }
        for delayed in &messages {
            *self.telling.entry(delayed.id).or_default() += 1;
        }
        let (spool, settings) = (self.spool.clone(), self.settings.report.clone());
        let warning = Warning { sender, messages };
        self.reports.spawn(async { Made::Delay(warn::warn(spool, settings, warning).await) });
    }

    /// Without a place to wait, they come due again at the next start.
    fn tell_later(&mut self, group: Group, now_ms: u64) {
        let first = group.ids.first().copied();
        if !self.gathered.put_back(group, now_ms)
            && let Some(first) = first
        {
            event::report_put_off(first, "delayed", "too many wait to be told of");
        }
    }

    /// What there is to tell of a message; none if it ended, or is held up by us and not
    /// late.
    fn delayed(&self, id: MessageId, now_ms: u64) -> Option<Delayed> {
        let waiting = self.scheduler.why(id, now_ms);
        let held = waiting.iter().any(|(_, waits)| matches!(waits, Waits::Held));
        let paused = waiting.iter().any(|(_, waits)| matches!(waits, Waits::Paused));
        let held = held || paused && !self.is_late(id, now_ms);
        let since = |(job, _): &(Job, Waits)| job.arrived_ms.max(job.timing.release_ms);
        let since_ms = waiting.iter().map(since).min()?;
        let lifetime_ms = self.settings.options.lifetimes_ms.first().copied().unwrap_or(0);
        let until_ms = since_ms.saturating_add(lifetime_ms);
        let reasons = waiting.into_iter().filter_map(reason).collect();
        (!held).then_some(Delayed { id, until_ms, reasons })
    }

    /// Whether the sender wants to hear now that a message is late, whoever holds it up.
    fn is_late(&self, id: MessageId, now_ms: u64) -> bool {
        let stored = self.spool.get(id);
        let known = stored.and_then(|stored| Some((self.envelope(id)?, stored)));
        known.is_some_and(|(envelope, stored)| warn::is_late(&envelope, &stored, now_ms))
    }

    /// Takes a report of delays that was made, or could not be.
    pub(super) fn delay_told(&mut self, Warned { warning, result }: Warned) {
        let ids: Vec<_> = warning.messages.iter().map(|delayed| delayed.id).collect();
        for id in &ids {
            self.end_telling(*id);
        }
        let why = match result {
            Ok(Told { report, of }) => {
                for (id, recipients) in of {
                    self.log_reported(&report, id, "delayed", recipients);
                }
                return self.enqueue_accepted(&report);
            }
            Err(Trouble::Gone | Trouble::Unwanted) => return,
            Err(Trouble::Unreadable(why)) => why,
            Err(Trouble::Refused(error)) => error.to_string(),
        };
        if let Some(first) = ids.first() {
            event::report_put_off(first, "delayed", why);
        }
        self.tell_later(Group { sender: warning.sender, ids }, clock::now_ms());
    }

    /// A job ends at the deadline that its sender set.
    fn end_late(&mut self, job: &Assignment, now_ms: u64) {
        let states = self.spool.get(job.id).map(|stored| stored.recipients).unwrap_or_default();
        let outcome = |index: &u32| {
            let last = match states.get(*index as usize) {
                Some(RecipientState::Pending { reason: Some(reason), .. }) => {
                    format!("; the last attempt: {reason}")
                }
                _ => String::new(),
            };
            (*index, Outcome::Deferred(format!("{LATE}{last}")))
        };
        let delivery = Delivery {
            envelope: self.envelope(job.id),
            outcomes: job.recipients.iter().map(outcome).collect(),
            finding: Default::default(),
            unreported: Vec::new(),
            traced: Vec::new(),
            tls: None,
        };
        self.note(job, &delivery, Decision::Expired, now_ms);
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
            unreported: Vec::new(),
            traced: Vec::new(),
            tls: None,
        };
        self.note(job, &delivery, Decision::Expired, now_ms);
    }
}

/// The recipients of a job with what keeps them, where that is not the reply to their last attempt.
fn reason((job, waits): (Job, Waits)) -> Option<(Recipients, Arc<str>)> {
    let reason = match waits {
        Waits::Outage(outage) => outage.reply,
        Waits::Rate(_, Some(reply)) => reply,
        _ => return None,
    };
    Some((job.recipients, reason))
}
