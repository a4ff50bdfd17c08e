//! Messages to jobs: one per destination that a message's recipients have.
//!
//! Promises that only recipients still pending become part of a job, and that a reload routes
//! everything anew, also what was under way if it comes back.

use std::collections::BTreeMap;

use angarium_queue::entry::{RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{Job, JobKey, Pace, RouteId};
use angarium_queue::spool::Standing;
use bytes::Bytes;

use super::{Dispatcher, Kept, Recorded, Settings};
use crate::envelope::{Envelope, Origin};
use crate::event;
use crate::intake::Accepted;
use crate::net::clock;
use crate::route::{Destination, Handling};

impl Dispatcher {
    /// Takes up a message that was just accepted.
    pub(super) fn enqueue_accepted(&mut self, message: &Accepted) {
        // The operator may have been faster than the news.
        let Some(standing) = self.spool.standing(message.id) else { return };
        let count = u32::try_from(message.envelope.recipients.len()).unwrap_or(u32::MAX);
        let pending: Vec<Pending> = (0..count).map(Pending::new).collect();
        let (id, arrived_ms) = (message.id, message.arrived_ms);
        let arrival = Arrival { id, arrived_ms, held: standing == Standing::Held };
        self.enqueue(arrival, Some(&message.envelope), &pending, clock::now_ms());
    }

    /// Takes up messages that the spool held at the start.
    pub(super) fn take_up(&mut self, kept: Vec<Kept>) {
        for Kept { stored, envelope } in kept {
            self.set_via(stored.id, &stored.via);
            let envelope = decoded(stored.id, envelope.map_err(|error| error.to_string()));
            self.enqueue_pending(&stored, envelope.as_ref());
            self.note_owed(&stored);
        }
    }

    fn enqueue_pending(&mut self, stored: &Stored, envelope: Option<&Envelope>) {
        let pending = |(index, state): (usize, &RecipientState)| match state {
            RecipientState::Pending { attempts, due_ms, .. } => Some(Pending {
                index: u32::try_from(index).ok()?,
                attempts: *attempts,
                due_ms: *due_ms,
            }),
            RecipientState::Delivered | RecipientState::Failed { .. } => None,
        };
        let pending: Vec<Pending> =
            stored.recipients.iter().enumerate().filter_map(pending).collect();
        let arrival = Arrival { id: stored.id, arrived_ms: stored.arrived_ms, held: stored.held };
        self.enqueue(arrival, envelope, &pending, clock::now_ms());
    }

    /// What the operator did to a message is recorded, or was refused.
    pub(super) fn recorded(&mut self, recorded: Recorded) {
        match recorded {
            Recorded::Revived(id) => self.enqueue_revived(id),
            Recorded::Ended(id) => {
                self.ending.remove(&id);
                self.scheduler.withdraw(id);
                self.owe(id);
            }
            Recorded::Refused(id) => {
                self.ending.remove(&id);
                if !self.spool.get(id).is_some_and(|stored| stored.held) {
                    self.scheduler.release_hold(id, clock::now_ms());
                }
            }
        }
    }

    fn enqueue_revived(&mut self, id: MessageId) {
        let Some(indices) = self.reviving.remove(&id) else { return };
        let Some(stored) = self.spool.get(id) else { return };
        let revived = |index: &u32| {
            let state = stored.recipients.get(*index as usize);
            matches!(state, Some(RecipientState::Pending { .. }))
        };
        let pending: Vec<Pending> = indices.into_iter().filter(revived).map(Pending::new).collect();
        let arrival = Arrival { id, arrived_ms: stored.arrived_ms, held: stored.held };
        let envelope = self.envelope(id);
        self.enqueue(arrival, envelope.as_ref(), &pending, clock::now_ms());
    }

    /// A reload: everything that waits is routed by the new table.
    pub(super) fn reload(&mut self, settings: Settings) {
        let now_ms = clock::now_ms();
        self.settings = settings;
        self.reloaded_ms = now_ms;
        self.scheduler.set_options(self.settings.options.clone());
        for job in self.scheduler.take_all() {
            self.enqueue_job(&job, now_ms);
        }
    }

    /// Routes one job anew, after an attempt that began before a reload.
    pub(super) fn reroute(&mut self, key: JobKey, now_ms: u64) {
        if let Some(job) = self.scheduler.take(key) {
            self.enqueue_job(&job, now_ms);
        }
    }

    /// Remembers the way out that the operator chose for a message; empty is none.
    pub(super) fn set_via(&mut self, id: MessageId, via: &str) {
        match via.parse() {
            Ok(hop) => drop(self.vias.insert(id, Destination::Hop(hop, Handling::default()))),
            Err(_) => drop(self.vias.remove(&id)),
        }
    }

    pub(super) fn enqueue_job(&mut self, job: &Job, now_ms: u64) {
        let pending: Vec<Pending> = job
            .recipients
            .iter()
            .map(|&index| Pending { index, attempts: job.attempts, due_ms: job.due_ms })
            .collect();
        let arrival = Arrival { id: job.id, arrived_ms: job.arrived_ms, held: job.held };
        let envelope = self.envelope(job.id);
        self.enqueue(arrival, envelope.as_ref(), &pending, now_ms);
    }

    /// One job per destination; recipients of an envelope that can't be read stay together, and
    /// the attempt says what is wrong.
    fn enqueue(
        &mut self,
        arrival: Arrival,
        envelope: Option<&Envelope>,
        pending: &[Pending],
        now_ms: u64,
    ) {
        let mut by_destination: BTreeMap<Destination, Vec<&Pending>> = BTreeMap::new();
        let via = self.vias.get(&arrival.id).cloned();
        for recipient in pending {
            let address = envelope
                .and_then(|envelope| envelope.recipients.get(recipient.index as usize))
                .map(|recipient| &recipient.address);
            let by_table = || {
                address.map_or(Destination::Unroutable, |address| {
                    self.settings.table.destination(address)
                })
            };
            let destination = via.clone().unwrap_or_else(by_table);
            by_destination.entry(destination).or_default().push(recipient);
        }
        let own_report = envelope.is_some_and(|envelope| envelope.origin == Origin::Report);
        for (destination, recipients) in by_destination {
            let job = Job {
                id: arrival.id,
                route: self.route_id(destination),
                // Exchangers of strangers are not looked up yet, so every route is a configured one.
                pace: Pace::NextHop,
                attempts: recipients.iter().map(|pending| pending.attempts).max().unwrap_or(0),
                due_ms: recipients.iter().map(|pending| pending.due_ms).min().unwrap_or(0),
                recipients: recipients.iter().map(|pending| pending.index).collect(),
                arrived_ms: arrival.arrived_ms,
                lifetime_ms: own_report.then_some(self.settings.report_lifetime_ms),
                held: arrival.held,
            };
            self.scheduler.enqueue(job, now_ms);
        }
    }

    fn route_id(&mut self, destination: Destination) -> RouteId {
        let next = RouteId(u32::try_from(self.destinations.len()).unwrap_or(u32::MAX));
        let id = *self.route_ids.entry(destination.clone()).or_insert(next);
        if id == next {
            self.scheduler.set_paused(id, self.pauses.contains(&destination.to_string()));
            self.destinations.push(destination);
        }
        id
    }

    pub(super) fn envelope(&self, id: MessageId) -> Option<Envelope> {
        decoded(id, self.spool.envelope(id).map_err(|error| error.to_string()))
    }
}

fn decoded(id: MessageId, octets: Result<Bytes, String>) -> Option<Envelope> {
    match octets.and_then(|octets| Envelope::decode(&octets)) {
        Ok(envelope) => Some(envelope),
        Err(why) => {
            event::unreadable(id, why);
            None
        }
    }
}

/// What all jobs of a message share.
#[derive(Clone, Copy)]
struct Arrival {
    id: MessageId,
    arrived_ms: u64,
    held: bool,
}

/// A recipient to be delivered.
struct Pending {
    index: u32,
    attempts: u32,
    due_ms: u64,
}

impl Pending {
    fn new(index: u32) -> Self {
        Self { index, attempts: 0, due_ms: 0 }
    }
}
