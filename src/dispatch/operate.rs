//! The operator's verbs on one message.
//!
//! Promises that a verb takes effect at once and is answered when it is durable, and that reviving a
//! failed recipient twice delivers to it once.

use std::sync::Arc;

use angarium_queue::entry::{Change, RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{Job, RouteId, Waits};
use angarium_queue::spool::{CommitError, Op};
use tokio::sync::oneshot;

use super::{Dispatcher, Recorded, Verb, Waiting};
use crate::event;
use crate::net::clock;
use crate::report::due::{self, Event};
use crate::route::Destination;

type Answer = oneshot::Sender<Result<bool, CommitError>>;

impl Dispatcher {
    pub(super) fn operate(&mut self, id: MessageId, verb: Verb, answer: Answer) {
        let Some(stored) = self.spool.get(id) else {
            return drop(answer.send(Ok(false)));
        };
        let now_ms = clock::now_ms();
        let ops = match verb {
            Verb::Hold => {
                event::operated(id, "hold");
                self.scheduler.hold(id, now_ms);
                vec![Op::Hold(id)]
            }
            Verb::Release => {
                event::operated(id, "release");
                self.scheduler.release_hold(id, now_ms);
                let early = !stored.held && self.scheduler.release_now(id, now_ms);
                vec![if early { released(&stored, now_ms) } else { Op::Release(id) }]
            }
            Verb::Expire => {
                event::operated(id, "expire");
                return self.end(
                    &stored,
                    Op::Update { id, changes: self.expired(&stored) },
                    answer,
                );
            }
            Verb::Reroute(hop) => {
                event::operated(id, "reroute");
                let via = hop.as_ref().map_or_else(String::new, ToString::to_string);
                self.set_via(id, &via);
                // An attempt under way comes back to the new way as well.
                let envelope = self.envelope(id);
                for job in self.scheduler.take_message(id, now_ms) {
                    self.enqueue_job(&job, &stored.tenant, envelope.as_ref(), now_ms);
                }
                vec![Op::Via(id, via.into())]
            }
            Verb::Remove => {
                event::operated(id, "rm");
                return self.end(&stored, Op::Remove(id), answer);
            }
            Verb::Retry => {
                event::operated(id, "retry");
                self.scheduler.retry(id, now_ms);
                return self.revive(&stored, now_ms, answer);
            }
        };
        self.spool.commit(ops, Box::new(move |result| drop(answer.send(result.map(|()| true)))));
    }

    /// Ends a message: it is tried no more from now on, and goes once that is recorded. If the
    /// spool refuses the record, it is what it was.
    fn end(&mut self, stored: &Stored, op: Op, answer: Answer) {
        let (id, record) = (stored.id, self.record.clone());
        self.scheduler.hold(id, clock::now_ms());
        self.ending.insert(id);
        let done = move |result: Result<(), CommitError>| {
            // The dispatcher is gone only when the daemon stops; the next start looks for what is
            // owed.
            let _ = record.send(match result {
                Ok(()) => Recorded::Ended(id),
                Err(_) => Recorded::Refused(id),
            });
            drop(answer.send(result.map(|()| true)));
        };
        self.spool.commit(vec![op], Box::new(done));
    }

    /// Gives up every recipient that is still pending, with the last reason there is.
    fn expired(&self, stored: &Stored) -> Vec<(u32, Change)> {
        let envelope = self.envelope(stored.id);
        let is_wanted = |index| {
            envelope.as_ref().is_none_or(|known| due::is_wanted(known, index, Event::Failure))
        };
        let expire = |(index, state): (usize, &RecipientState)| {
            let RecipientState::Pending { reason, .. } = state else { return None };
            let reason =
                reason.clone().unwrap_or_else(|| Arc::from("given up before it was tried"));
            let index = u32::try_from(index).ok()?;
            let report_owed = is_wanted(index);
            Some((index, Change::Failed { expired: true, reason, report_owed }))
        };
        stored.recipients.iter().enumerate().filter_map(expire).collect()
    }

    /// What each part of a message waits for.
    pub(super) fn why(&self, id: MessageId) -> Vec<Waiting> {
        let waiting = |(job, waits): (Job, Waits)| {
            let lifetimes_ms = &self.settings.options.lifetimes_ms;
            let since_ms = job.arrived_ms.max(job.timing.release_ms);
            let lifetime_ms = lifetimes_ms.get(job.lifetime).or(lifetimes_ms.last());
            Waiting {
                destination: self.sites.destination(job.route).to_string(),
                recipients: job.recipients.to_vec(),
                waits,
                deadline_ms: since_ms.saturating_add(lifetime_ms.copied().unwrap_or(0)),
                release_ms: job.timing.release_ms,
            }
        };
        self.scheduler.why(id, clock::now_ms()).into_iter().map(waiting).collect()
    }

    /// Pauses a destination, whether mail waits for it by now or not.
    pub(super) fn pause(&mut self, destination: &str, paused: bool) -> std::io::Result<()> {
        let named = |(known, _): &(&Destination, RouteId)| known.to_string() == destination;
        let routes: Vec<RouteId> = self.sites.routes().filter(named).map(|(_, id)| id).collect();
        for route in routes {
            self.scheduler.set_paused(route, paused, clock::now_ms());
        }
        self.pauses.set(destination, paused)
    }

    /// Brings back what failed and is waiting for its report.
    fn revive(&mut self, stored: &Stored, now_ms: u64, answer: Answer) {
        let failed = |(index, state): (usize, &RecipientState)| match state {
            RecipientState::Failed { reason, report_owed: true, .. } => {
                Some((u32::try_from(index).ok()?, Arc::clone(reason)))
            }
            _ => None,
        };
        let failed: Vec<_> = stored.recipients.iter().enumerate().filter_map(failed).collect();
        let busy = self.reviving.contains_key(&stored.id) || self.telling.contains_key(&stored.id);
        if failed.is_empty() || busy {
            return drop(answer.send(Ok(true)));
        }
        self.reviving.insert(stored.id, failed.iter().map(|(index, _)| *index).collect());
        let change =
            |(index, reason)| (index, Change::Deferred { attempts: 0, due_ms: now_ms, reason });
        let changes = failed.into_iter().map(change).collect();
        let (id, revive) = (stored.id, self.record.clone());
        let done = move |result: Result<(), CommitError>| {
            // Told of a refusal too: those still failed are passed over. The dispatcher is gone only
            // when the daemon stops.
            let _ = revive.send(Recorded::Revived(id));
            drop(answer.send(result.map(|()| true)));
        };
        self.spool.commit(vec![Op::Update { id, changes }], Box::new(done));
    }
}

/// What waited for the release that its sender set is due now, also after a restart.
fn released(stored: &Stored, now_ms: u64) -> Op {
    let due = |(index, state): (usize, &RecipientState)| {
        let RecipientState::Pending { attempts: 0, due_ms: 0, .. } = state else { return None };
        let reason = Arc::from("released by the operator before its time");
        Some((u32::try_from(index).ok()?, Change::Deferred { attempts: 0, due_ms: now_ms, reason }))
    };
    let changes = stored.recipients.iter().enumerate().filter_map(due).collect();
    Op::Update { id: stored.id, changes }
}
