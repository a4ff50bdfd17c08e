//! Messages to jobs: one per destination that a message's recipients have.
//!
//! Promises that only recipients still pending become part of a job, and that a reload routes
//! everything anew, also what was under way if it comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use angarium_queue::entry::{RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{Assignment, Band, Class, Deadline, Job, Pace, Timing};
use angarium_queue::spool::Standing;
use bytes::Bytes;

use super::{Dispatcher, Kept, Recorded, Setting, Settings, tell_tenants};
use crate::envelope::{Envelope, Origin};
use crate::event;
use crate::intake::Accepted;
use crate::net::clock;
use crate::route::{Destination, Handling};
use crate::syntax::parameter::deadline::Mode;
use crate::syntax::stream::stream;

/// Tags of jobs that were routed by different configurations.
const TAGS: u8 = 4;

impl Dispatcher {
    /// Takes up a message that was just accepted.
    pub(super) fn enqueue_accepted(&mut self, message: &Accepted) {
        // The operator may have been faster than the news.
        let Some(standing) = self.spool.standing(message.id) else { return };
        let count = u32::try_from(message.envelope.recipients.len()).unwrap_or(u32::MAX);
        let pending: Vec<Pending> = (0..count).map(Pending::new).collect();
        let arrival = Arrival {
            id: message.id,
            arrived_ms: message.arrived_ms,
            held: standing == Standing::Held,
            tenant: Arc::clone(&message.tenant),
            size: message.size,
        };
        self.enqueue(&arrival, Some(&message.envelope), &pending, clock::now_ms());
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

    /// Routes messages anew, as far as no attempt of them is under way.
    pub(super) fn route_anew(&mut self, kept: Vec<Kept>) {
        let now_ms = clock::now_ms();
        for Kept { stored, envelope } in kept {
            let jobs = self.scheduler.take_message(stored.id, now_ms);
            if jobs.is_empty() {
                continue;
            }
            let envelope = decoded(stored.id, envelope.map_err(|error| error.to_string()));
            for job in jobs {
                self.enqueue_job(&job, &stored.tenant, envelope.as_ref(), now_ms);
            }
        }
    }

    fn enqueue_pending(&mut self, stored: &Stored, envelope: Option<&Envelope>) {
        let pending = |(index, state): (usize, &RecipientState)| match state {
            RecipientState::Pending { attempts, due_ms, .. } => Some(Pending {
                index: u32::try_from(index).ok()?,
                attempts: *attempts,
                due_ms: *due_ms,
            }),
            RecipientState::Delivered
            | RecipientState::Taken { .. }
            | RecipientState::Failed { .. } => None,
        };
        let pending: Vec<Pending> =
            stored.recipients.iter().enumerate().filter_map(pending).collect();
        self.enqueue(&Arrival::of(stored), envelope, &pending, clock::now_ms());
    }

    /// What the operator did to a message is recorded, or was refused.
    pub(super) fn recorded(&mut self, recorded: Recorded) {
        match recorded {
            Recorded::Revived(id) => self.enqueue_revived(id),
            Recorded::Ended(id) => {
                self.ending.remove(&id);
                self.withdraw(id);
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

    /// Takes a message out of the scheduler.
    fn withdraw(&mut self, id: MessageId) {
        let now_ms = clock::now_ms();
        let tenants = self.scheduler.tenants_of(id);
        self.scheduler.withdraw(id, now_ms);
        for tenant in tenants {
            self.backlog.set(&tenant, self.scheduler.backlog(&tenant));
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
        let envelope = self.envelope(id);
        self.enqueue(&Arrival::of(&stored), envelope.as_ref(), &pending, clock::now_ms());
    }

    /// A reload: what waits is routed by the new table when its turn comes, or when
    /// [`route_anew`](super::route_anew) comes to it.
    pub(super) fn reload(&mut self, settings: Settings) {
        let now_ms = clock::now_ms();
        let named: Vec<String> = self.settings.tenants.named().map(str::to_owned).collect();
        self.settings = settings;
        self.tag = (self.tag + 1) % TAGS;
        self.scheduler.set_options(self.settings.options.clone(), now_ms);
        tell_tenants(&mut self.scheduler, &self.settings.tenants, &named, now_ms);
        let table = Arc::clone(&self.settings.table);
        let mut setting = Setting {
            scheduler: &mut self.scheduler,
            table: &table,
            pauses: &self.pauses,
            memory: &mut self.memory,
            now_ms,
        };
        self.sites.tell_all(&mut setting);
    }

    /// Routes one job anew that just came back.
    pub(super) fn reroute(&mut self, assignment: &Assignment, now_ms: u64) {
        if let Some(job) = self.scheduler.take(assignment.key, now_ms) {
            let envelope = self.envelope(job.id);
            self.enqueue_job(&job, &assignment.tenant, envelope.as_ref(), now_ms);
        }
    }

    /// Remembers the way out that the operator chose for a message; empty is none.
    pub(super) fn set_via(&mut self, id: MessageId, via: &str) {
        match via.parse() {
            Ok(hop) => drop(self.vias.insert(id, hop)),
            Err(_) => drop(self.vias.remove(&id)),
        }
    }

    /// Routes a job that was taken out of the scheduler.
    pub(super) fn enqueue_job(
        &mut self,
        job: &Job,
        tenant: &Arc<str>,
        envelope: Option<&Envelope>,
        now_ms: u64,
    ) {
        let pending: Vec<Pending> = job
            .recipients
            .iter()
            .map(|&index| Pending { index, attempts: job.attempts, due_ms: job.due_ms })
            .collect();
        let arrival = Arrival {
            id: job.id,
            arrived_ms: job.arrived_ms,
            held: job.held,
            tenant: Arc::clone(tenant),
            size: job.size,
        };
        self.enqueue(&arrival, envelope, &pending, now_ms);
    }

    /// One job per destination; recipients of an envelope that can't be read stay together, and
    /// the attempt says what is wrong.
    fn enqueue(
        &mut self,
        arrival: &Arrival,
        envelope: Option<&Envelope>,
        pending: &[Pending],
        now_ms: u64,
    ) {
        let mut by_destination: BTreeMap<Destination, Vec<&Pending>> = BTreeMap::new();
        for recipient in pending {
            let destination = self.destination(arrival.id, envelope, recipient.index);
            by_destination.entry(destination).or_default().push(recipient);
        }
        let origin = envelope.map_or(Origin::Stranger, |envelope| envelope.origin);
        let timing = timing(envelope, arrival.arrived_ms);
        // What never was put off waits for its release.
        let due_ms = |pending: &Pending| match pending.due_ms {
            0 => timing.release_ms,
            due_ms => due_ms,
        };
        let table = Arc::clone(&self.settings.table);
        for (destination, recipients) in by_destination {
            let mut setting = Setting {
                scheduler: &mut self.scheduler,
                table: &table,
                pauses: &self.pauses,
                memory: &mut self.memory,
                now_ms,
            };
            let route = self.sites.route(destination, &mut setting);
            let job = Job {
                id: arrival.id,
                route,
                tenant: self.scheduler.tenant(&arrival.tenant),
                class: class(origin),
                band: envelope.map_or(Band::Normal, band),
                stream: envelope.map_or(0, |envelope| stream(&envelope.reverse_path)),
                // Exchangers of strangers are not looked up yet, so every route is a configured one.
                pace: Pace::NextHop,
                attempts: recipients.iter().map(|pending| pending.attempts).max().unwrap_or(0),
                due_ms: recipients.iter().map(|pending| due_ms(pending)).min().unwrap_or(0),
                recipients: recipients.iter().map(|pending| pending.index).collect(),
                size: arrival.size,
                arrived_ms: arrival.arrived_ms,
                lifetime: usize::from(origin == Origin::Report),
                timing,
                held: arrival.held,
                tag: self.tag,
            };
            self.scheduler.enqueue(job, now_ms);
        }
        self.backlog.set(&arrival.tenant, self.scheduler.backlog(&arrival.tenant));
    }

    /// Where a recipient's mail goes now.
    fn destination(&self, id: MessageId, envelope: Option<&Envelope>, index: u32) -> Destination {
        if let Some(via) = self.vias.get(&id) {
            let security = self.settings.table.security(via);
            return Destination::Hop(via.clone(), Handling { security, ..Handling::default() });
        }
        let recipient = envelope.and_then(|envelope| envelope.recipients.get(index as usize));
        recipient.map_or(Destination::Unroutable, |recipient| {
            self.settings.table.destination(&recipient.address)
        })
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

fn class(origin: Origin) -> Class {
    match origin {
        Origin::Relay => Class::Submitted,
        Origin::Stranger => Class::Inbound,
        Origin::Report => Class::Report,
    }
}

/// The six levels that RFC 6710 5 asks for; one between goes up to the next. Who is not known gets
/// no place before others by a deadline, and has got no priority above the usual.
fn band(envelope: &Envelope) -> Band {
    if envelope.origin == Origin::Relay && envelope.parameters.deadline.is_some() {
        return Band::Urgent;
    }
    match envelope.parameters.priority.unwrap_or_default().level() {
        5.. => Band::Highest,
        3 | 4 => Band::High,
        1 | 2 => Band::Raised,
        -1 | 0 => Band::Normal,
        -3 | -2 => Band::Lowered,
        ..=-4 => Band::Low,
    }
}

/// The times that the sender of a message set.
fn timing(envelope: Option<&Envelope>, arrived_ms: u64) -> Timing {
    let release_ms = envelope.map_or(arrived_ms, |envelope| envelope.released_ms(arrived_ms));
    let release_ms = if release_ms > arrived_ms { release_ms } else { 0 };
    let deadline = envelope.and_then(|envelope| envelope.parameters.deadline);
    let deadline = deadline.map(|deadline| Deadline {
        at_ms: deadline.at_ms(arrived_ms),
        ends: deadline.mode == Mode::Return,
    });
    Timing { release_ms, deadline }
}

/// What all jobs of a message share.
struct Arrival {
    id: MessageId,
    arrived_ms: u64,
    held: bool,
    tenant: Arc<str>,
    size: u64,
}

impl Arrival {
    fn of(stored: &Stored) -> Self {
        Self {
            id: stored.id,
            arrived_ms: stored.arrived_ms,
            held: stored.held,
            tenant: Arc::clone(&stored.tenant),
            size: stored.size,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::parameter::Parameter;
    use crate::syntax::parameter::MailParameters;

    fn envelope(words: &str, origin: Origin) -> Envelope {
        let parameters = MailParameters::parse(words, Parameter::named).unwrap();
        Envelope { parameters, origin, ..Envelope::default() }
    }

    #[test]
    fn levels_between_go_up_and_a_strangers_deadline_lifts_nothing() {
        let of = |words: &str| band(&envelope(words, Origin::Relay));
        for (levels, expected) in [
            (5..=9, Band::Highest),
            (3..=4, Band::High),
            (1..=2, Band::Raised),
            (-1..=0, Band::Normal),
            (-3..=-2, Band::Lowered),
            (-9..=-4, Band::Low),
        ] {
            levels.for_each(|level| assert_eq!(of(&format!("MT-PRIORITY={level}")), expected));
        }
        assert_eq!((of(""), of("BY=9;R MT-PRIORITY=-4")), (Band::Normal, Band::Urgent));
        assert_eq!(band(&envelope("BY=9;N", Origin::Stranger)), Band::Normal);
    }

    #[test]
    fn times_count_from_the_arrival() {
        let of = |words: &str| timing(Some(&envelope(words, Origin::Relay)), 5_000);
        assert_eq!(of(""), Timing::default());
        assert_eq!(of("HOLDFOR=60").release_ms, 65_000);
        assert_eq!(of("HOLDUNTIL=1970-01-01T00:01:00Z").release_ms, 60_000);
        assert_eq!(of("HOLDUNTIL=1970-01-01T00:00:01Z"), Timing::default(), "it is over");
        let deadline = |at_ms, ends| Some(Deadline { at_ms, ends });
        assert_eq!(of("BY=60;R").deadline, deadline(65_000, true));
        assert_eq!(of("BY=-3;NT").deadline, deadline(2_000, false));
    }
}
