//! The dispatcher's figures: attempts as they begin and end, and the load of destinations.
//!
//! Promises that a question for the load names a bounded number of destinations, whatever mail comes.

use std::cmp::Reverse;
use std::time::Duration;

use angarium_queue::schedule::{Assignment, Decision};

use super::record::Record;
use super::{Busiest, Dispatcher, RouteLoad};
use crate::delivery::outcome::Outcome;
use crate::metric::{self, Transport};
use crate::route::{self, Destination};

/// An attempt begins.
pub(super) fn started(assignment: &Assignment) {
    metric::QUEUE_WAIT.observe_time((), Duration::from_millis(assignment.waited_ms));
}

/// An attempt has come to its end.
pub(super) fn settled(record: &Record<'_>, destination: &Destination) {
    let transport = transport(destination);
    let took_ms = record.now_ms.saturating_sub(record.assignment.started_ms);
    metric::DELIVERY_TIME.observe_time(transport, Duration::from_millis(took_ms));
    for (_, outcome) in &record.delivery.outcomes {
        let result = match (outcome, record.decision) {
            (Outcome::Delivered(_), _) => metric::Outcome::Delivered,
            (Outcome::Failed(_), _) => metric::Outcome::Failed,
            (Outcome::Deferred(_), Decision::Expired) => metric::Outcome::Expired,
            (Outcome::Deferred(_), _) => metric::Outcome::Deferred,
        };
        metric::DELIVERY_ATTEMPTS.add((transport, result), 1);
    }
}

fn transport(destination: &Destination) -> Transport {
    match destination {
        Destination::Hop(hop) => match hop.transport {
            route::next_hop::Transport::Lmtp => Transport::Lmtp,
            route::next_hop::Transport::Smtp => Transport::Smtp,
        },
        Destination::Discard | Destination::Reject | Destination::Unroutable => Transport::None,
    }
}

impl Dispatcher {
    /// The load of the `count` destinations that have the most to do. One walk over those that were
    /// ever used; only those named cost memory.
    pub(super) fn busiest(&self, count: usize) -> Busiest {
        let load = |(destination, &route)| (self.scheduler.load(route), destination);
        let mut loads: Vec<((usize, usize), &Destination)> =
            self.route_ids.iter().map(load).filter(|(load, _)| *load != (0, 0)).collect();
        let most = |&((ready, assigned), destination): &((usize, usize), &Destination)| {
            (Reverse(ready + assigned), destination.clone())
        };
        if count < loads.len() && count > 0 {
            loads.select_nth_unstable_by_key(count, |((ready, assigned), _)| {
                Reverse(ready + assigned)
            });
        }
        let others = loads.split_off(count.min(loads.len()));
        loads.sort_by_cached_key(most);
        let first = loads.into_iter().map(|((ready, assigned), destination)| {
            let route = self.route_ids.get(destination);
            RouteLoad {
                destination: destination.to_string(),
                ready,
                assigned,
                paused: route.is_some_and(|&route| self.scheduler.is_paused(route)),
            }
        });
        Busiest {
            first: first.collect(),
            other_ready: others.iter().map(|((ready, _), _)| ready).sum(),
            other_assigned: others.iter().map(|((_, assigned), _)| assigned).sum(),
        }
    }
}
