//! The dispatcher's figures: attempts as they begin and end, and the load of destinations.
//!
//! Promises that a question for the load names a bounded number of destinations, whatever mail comes.

use std::cmp::Reverse;
use std::time::Duration;

use angarium_queue::schedule::{Assignment, Decision};

use super::record::Record;
use super::tally::Tally;
use super::{Busiest, Destinations, Dispatcher, RouteLoad};
use crate::delivery::outcome::Outcome;
use crate::metric::{self, Transport};
use crate::route::{self, Destination};

/// An attempt begins.
pub(super) fn started(assignment: &Assignment) {
    metric::QUEUE_WAIT.observe_time((), Duration::from_millis(assignment.waited_ms));
}

/// An attempt has come to its end.
pub(super) fn settled(record: &Record<'_>, destination: &Destination, tally: &mut Tally) {
    let transport = transport(destination);
    let took_ms = record.now_ms.saturating_sub(record.assignment.started_ms);
    metric::DELIVERY_TIME.observe_time(transport, Duration::from_millis(took_ms));
    let counts = tally.counts(destination);
    for (_, outcome) in &record.delivery.outcomes {
        let result = match (outcome, record.decision) {
            (Outcome::Delivered(_), _) => metric::Outcome::Delivered,
            (Outcome::Failed(_), _) => metric::Outcome::Failed,
            (Outcome::Deferred(_), Decision::Expired) => metric::Outcome::Expired,
            (Outcome::Deferred(_), _) => metric::Outcome::Deferred,
        };
        metric::DELIVERY_ATTEMPTS.add((transport, result), 1);
        counts.add(result);
    }
}

fn transport(destination: &Destination) -> Transport {
    match destination {
        Destination::Hop(hop, _) => match hop.transport {
            route::next_hop::Transport::Lmtp => Transport::Lmtp,
            route::next_hop::Transport::Smtp => Transport::Smtp,
        },
        Destination::Discard | Destination::Reject | Destination::Unroutable => Transport::None,
    }
}

impl Dispatcher {
    /// The load of the `count` destinations that have the most to do, and all attempts.
    pub(super) fn told(&self, count: usize) -> Destinations {
        Destinations { busiest: self.busiest(count), attempts: self.attempts.clone() }
    }

    /// One walk over those that were ever used; only those named cost more.
    fn busiest(&self, count: usize) -> Busiest {
        let load = |(destination, &route)| (self.scheduler.load(route), destination);
        let loads = self.route_ids.iter().map(load);
        let mut busiest = busiest(loads.filter(|(load, _)| *load != (0, 0)).collect(), count);
        for load in &mut busiest.first {
            load.paused = self.pauses.contains(&load.destination);
        }
        busiest
    }
}

fn busiest(mut loads: Vec<((usize, usize), &Destination)>, count: usize) -> Busiest {
    let to_do =
        |&((ready, assigned), _): &((usize, usize), &Destination)| Reverse(ready + assigned);
    if count < loads.len() {
        loads.select_nth_unstable_by_key(count, to_do);
    }
    let others = loads.split_off(count.min(loads.len()));
    loads.sort_unstable_by(|a, b| to_do(a).cmp(&to_do(b)).then_with(|| a.1.cmp(b.1)));
    let mut first: Vec<RouteLoad> = Vec::new();
    for ((ready, assigned), destination) in loads {
        let destination = destination.to_string();
        // Two that differ in the handling of mail alone have one name.
        match first.iter_mut().find(|load| load.destination == destination) {
            Some(load) => {
                (load.ready, load.assigned) = (load.ready + ready, load.assigned + assigned)
            }
            None => first.push(RouteLoad { destination, ready, assigned, paused: false }),
        }
    }
    Busiest {
        first,
        other_ready: others.iter().map(|((ready, _), _)| ready).sum(),
        other_assigned: others.iter().map(|((_, assigned), _)| assigned).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_are_named_and_the_others_added_up() {
        let hops: Vec<Destination> = (1..=9)
            .map(|port| {
                let hop = format!("smtp://h.example:{port}").parse().unwrap();
                Destination::Hop(hop, route::Handling::default())
            })
            .collect();
        let loads = || hops.iter().enumerate().map(|(ready, hop)| ((ready, 1), hop)).collect();
        let two = busiest(loads(), 2);
        let named: Vec<(&str, usize)> =
            two.first.iter().map(|load| (load.destination.as_str(), load.ready)).collect();
        assert_eq!(named, [("smtp://h.example:9", 8), ("smtp://h.example:8", 7)]);
        assert_eq!((two.other_ready, two.other_assigned), (21, 7));
        assert_eq!(busiest(loads(), 0).other_ready, 36);
        let all = busiest(loads(), 50);
        assert_eq!((all.first.len(), all.other_ready, all.other_assigned), (9, 0, 0));
        assert_eq!(busiest(Vec::new(), 50), Busiest::default());
    }

    #[test]
    fn what_has_one_name_is_told_once() {
        use route::Handling;
        let hop = || "smtp://h.example:25".parse().unwrap();
        let other = Handling { eight_bit: route::EightBit::Send, ..Handling::default() };
        assert_ne!(other, Handling::default());
        let two = [Destination::Hop(hop(), Handling::default()), Destination::Hop(hop(), other)];
        let told = busiest(two.iter().map(|hop| ((2, 1), hop)).collect(), 50);
        let loads: Vec<_> = told.first.iter().map(|load| (load.ready, load.assigned)).collect();
        assert_eq!(loads, [(4, 2)]);
    }
}
