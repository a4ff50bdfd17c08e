//! What an attempt leaves to be told, and what is still owed.
//!
//! Promises one report for each message and attempt that failed for good, and one where it is to be
//! told that it succeeded. Where it can't be made, what is owed is recorded first, and the report is tried again at every start and every
//! minute: neither lost, nor made twice, as the report and the end of what it owes are one batch.

use std::collections::hash_map::Entry;
use std::time::Duration;

use angarium_queue::entry::{Change, RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::Assignment;
use angarium_queue::spool::Op;
use tokio::task::JoinError;

use super::notify::{Notified, Order, Trouble, notify};
use super::{Dispatcher, Made, record};
use crate::agent::Delivery;
use crate::event;
use crate::intake::Accepted;
use crate::net::clock;
use crate::report::Action;
use crate::route::Destination;
use crate::route::next_hop::Place;

/// How often reports that are owed are tried again.
const ROUND_MS: u64 = 60_000;
/// Reports that were owed made at a time.
const REPORTS_MAX: usize = 16;

impl Dispatcher {
    /// Records what an attempt came to: what is to be told of goes with its report, the rest goes
    /// now.
    pub(super) fn conclude(
        &mut self,
        assignment: &Assignment,
        delivery: &Delivery,
        changes: Vec<(u32, Change)>,
    ) {
        let id = assignment.id;
        let (mut failed, mut rest): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(is_owed_failure);
        let taken: Vec<_> = rest.iter().filter(|(_, change)| is_taken(change)).cloned().collect();
        if delivery.envelope.is_none() && !failed.is_empty() {
            // Who is to be told stands where nobody can read it now.
            self.owed.insert(id);
            rest.append(&mut failed);
        }
        self.record_changes(id, rest);
        let remote = remote(&self.sites.destination(assignment.route));
        let attempted_ms = Some(assignment.started_ms);
        let order = Order {
            id,
            action: Action::Failed,
            changes: failed,
            remote,
            attempted_ms,
            again: false,
        };
        // What failed ends with the report, and is till then what it was before. What was taken must
        // not be sent again, whatever becomes of the report, so that is recorded.
        self.order_each(Order { changes: taken, again: true, ..order.clone() });
        self.order_each(order);
    }

    /// Has the report of an owed message made without delay.
    pub(super) fn owe(&mut self, id: MessageId) {
        self.owed.insert(id);
        self.next_round_ms = clock::now_ms();
    }

    /// Has a report made of each thing that there is to tell.
    fn order_each(&mut self, order: Order) {
        for action in [Action::Failed, Action::Relayed, Action::Delivered] {
            let tells = |(_, change): &&(u32, Change)| action_of(change) == Some(action);
            let changes: Vec<_> = order.changes.iter().filter(tells).cloned().collect();
            if !changes.is_empty() {
                self.order(Order { action, changes, ..order.clone() });
            }
        }
    }

    fn order(&mut self, order: Order) {
        let (spool, settings) = (self.spool.clone(), self.settings.report.clone());
        *self.telling.entry(order.id).or_default() += 1;
        self.reports.spawn(async { Made::Told(notify(spool, settings, order).await) });
    }

    fn record_changes(&self, id: MessageId, changes: Vec<(u32, Change)>) {
        if !changes.is_empty() {
            self.spool.record(vec![Op::Update { id, changes }]);
        }
    }

    /// Takes a report that was made, or could not be. One that panicked is our bug: its messages
    /// stay as they were recorded, and are taken up again at the next start.
    pub(super) fn notified(&mut self, made: Result<Made, JoinError>) {
        match made {
            Ok(Made::Told(notified)) => self.told_of(notified),
            Ok(Made::Delay(warned)) => self.delay_told(warned),
            Err(error) => event::trouble("a report ended abnormally", error),
        }
    }

    fn told_of(&mut self, Notified { order, result }: Notified) {
        self.end_telling(order.id);
        match result {
            Ok(report) => {
                self.settle_owed(order.id);
                self.log_reported(&report, order.id, order.action.word(), order.changes.len());
                self.enqueue_accepted(&report);
            }
            Err(trouble) => self.put_off(order, &trouble),
        }
    }

    /// A report about this message is not being made any more.
    pub(super) fn end_telling(&mut self, id: MessageId) {
        if let Entry::Occupied(mut telling) = self.telling.entry(id) {
            *telling.get_mut() -= 1;
            if *telling.get() == 0 {
                telling.remove();
            }
        }
    }

    pub(super) fn log_reported(
        &self,
        report: &Accepted,
        of: MessageId,
        action: &str,
        recipients: usize,
    ) {
        if let Some(to) = report.envelope.recipients.first().map(|to| &to.address) {
            let next_hop = self.settings.table.destination(to);
            event::reported(report.id, of, to, action, recipients, next_hop);
        }
    }

    fn put_off(&mut self, order: Order, trouble: &Trouble) {
        let why = match trouble {
            Trouble::Gone => {
                self.owed.remove(&order.id);
                return;
            }
            Trouble::Unwanted => {
                self.owed.remove(&order.id);
                return self.record_changes(order.id, order.ended());
            }
            Trouble::Unreadable(why) => why.clone(),
            Trouble::Refused(error) => error.to_string(),
        };
        event::report_put_off(order.id, order.action.word(), why);
        if self.owed.is_empty() {
            self.next_round_ms = clock::now_ms() + ROUND_MS;
        }
        self.owed.insert(order.id);
        if !order.again {
            self.record_changes(order.id, order.changes);
        }
    }

    /// Forgets that something is owed, if nothing is.
    fn settle_owed(&mut self, id: MessageId) {
        let owes = |stored: Stored| stored.recipients.iter().any(|state| owed(state).is_some());
        if !self.spool.get(id).is_some_and(owes) {
            self.owed.remove(&id);
        }
    }

    /// Takes note of what the spool held at the start.
    pub(super) fn note_owed(&mut self, stored: &Stored) {
        if stored.recipients.iter().any(|state| owed(state).is_some()) {
            self.owed.insert(stored.id);
        }
    }

    /// Tries again what could not be told; how long until the next round.
    pub(super) fn start_owed_reports(&mut self) -> Duration {
        if self.stopping || (self.owed.is_empty() && self.owed_round.is_empty()) {
            return Duration::from_secs(3600);
        }
        let now_ms = clock::now_ms();
        if now_ms >= self.next_round_ms {
            self.next_round_ms = now_ms + ROUND_MS;
            self.owed_round = self.owed.iter().rev().copied().collect();
        }
        while self.reports.len() < REPORTS_MAX
            && let Some(id) = self.owed_round.pop()
        {
            self.try_again(id);
        }
        Duration::from_millis(self.next_round_ms.saturating_sub(now_ms).max(1))
    }

    fn try_again(&mut self, id: MessageId) {
        if self.telling.contains_key(&id) || self.reviving.contains_key(&id) {
            return;
        }
        let Some(stored) = self.spool.get(id) else {
            self.owed.remove(&id);
            return;
        };
        let change = |(index, state): (usize, &RecipientState)| {
            Some((u32::try_from(index).ok()?, owed(state)?))
        };
        let changes: Vec<_> = stored.recipients.iter().enumerate().filter_map(change).collect();
        // What was put off a moment ago may not be recorded yet; it is met in the next round.
        let (action, remote, attempted_ms) = (Action::Failed, None, None);
        self.order_each(Order { id, action, changes, remote, attempted_ms, again: true });
    }
}

/// What is owed of a recipient.
fn owed(state: &RecipientState) -> Option<Change> {
    match state {
        RecipientState::Failed { expired, reason, report_owed: true } => {
            Some(Change::Failed { expired: *expired, reason: reason.clone(), report_owed: true })
        }
        RecipientState::Taken { reason } => Some(Change::Taken { reason: reason.clone() }),
        _ => None,
    }
}

/// What is to be told of a change.
fn action_of(change: &Change) -> Option<Action> {
    match change {
        Change::Failed { report_owed: true, .. } => Some(Action::Failed),
        Change::Taken { reason } => Some(record::told(reason).0),
        _ => None,
    }
}

fn is_owed_failure((_, change): &(u32, Change)) -> bool {
    matches!(change, Change::Failed { report_owed: true, .. })
}

fn is_taken(change: &Change) -> bool {
    matches!(change, Change::Taken { .. })
}

/// The host of a destination, as RFC 3464 names it; a path of this machine is nobody's business.
fn remote(destination: &Destination) -> Option<String> {
    let Destination::Hop(next_hop, _) = destination else { return None };
    match &next_hop.place {
        Place::Tcp { host, .. } => match host.parse() {
            Ok(address) => Some(crate::syntax::header::address_literal(address)),
            Err(_) => Some(host.clone()),
        },
        Place::Unix(_) => None,
    }
}
