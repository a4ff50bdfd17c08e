//! The dispatcher's figures: attempts as they begin and end, and the load of destinations.
//!
//! Promises that a question for the load names a bounded number of destinations, whatever mail comes.

use std::cmp::Reverse;
use std::time::Duration;

use angarium_queue::schedule::{Assignment, Decision, RouteId};

use super::record::Record;
use super::tally::Tally;
use super::{Busiest, Destinations, Dispatcher, RouteLoad, RouteState};
use crate::delivery::outcome::Outcome;
use crate::metric::{self, Transport};
use crate::net::clock;
use crate::route::limit::Limits;
use crate::route::{self, Destination, Handling};

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
            route::next_hop::Transport::Smtp | route::next_hop::Transport::Smtps => Transport::Smtp,
        },
        Destination::Discard | Destination::Reject | Destination::Unroutable => Transport::None,
    }
}

impl Dispatcher {
    /// The load of the `count` destinations that have the most to do, and all attempts.
    pub(super) fn told(&mut self, count: usize) -> Destinations {
        // Who asks for nothing only sees whether anybody answers.
        if count > 0 {
            self.shares.measure(self.scheduler.shares());
        }
        Destinations {
            busiest: self.busiest(count),
            attempts: self.attempts.clone(),
            shares: self.shares.clone(),
            outages: self.scheduler.outages(),
        }
    }

    /// The load of every destination that was used, in the order of their names.
    pub(super) fn loads(&self) -> Vec<RouteLoad> {
        let mut loads: Vec<_> =
            self.sites.routes().map(|(destination, route)| self.load(destination, route)).collect();
        loads.sort_by(|a, b| a.destination.cmp(&b.destination));
        loads
    }

    /// What is known of the destinations with this name.
    pub(super) fn route_states(&self, name: &str) -> Vec<RouteState> {
        let now_ms = clock::now_ms();
        let named = |(destination, _): &(&Destination, _)| destination.to_string() == name;
        let table = &self.settings.table;
        let state = |(destination, route): (&Destination, RouteId)| {
            let site = self.sites.site_of(destination)?;
            let site = self.scheduler.site(site, now_ms)?;
            let (handling, site_limits) = match destination {
                Destination::Hop(hop, handling) => (handling.clone(), table.site_limits(hop)),
                _ => (Handling::default(), Limits::default()),
            };
            let (load, limits) = (self.load(destination, route), table.limits(destination));
            Some(RouteState { load, site, handling, limits, site_limits })
        };
        self.sites.routes().filter(named).filter_map(state).collect()
    }

    fn load(&self, destination: &Destination, route: RouteId) -> RouteLoad {
        let (ready, assigned, jobs) = self.scheduler.load(route);
        let site = self.sites.site_of(destination);
        let state = site.and_then(|site| self.scheduler.site(site, clock::now_ms()));
        let (outage, rate) = state.map_or((None, None), |state| (state.outage, state.rate));
        RouteLoad {
            destination: destination.to_string(),
            ready,
            assigned,
            jobs,
            paused: self.scheduler.is_paused(route),
            outage,
            rate,
        }
    }

    /// One walk over those that were ever used; only those named cost more.
    fn busiest(&self, count: usize) -> Busiest {
        let load = |(destination, route)| {
            let (ready, assigned, _) = self.scheduler.load(route);
            ((ready, assigned), destination)
        };
        let loads = self.sites.routes().map(load);
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
            None => {
                first.push(RouteLoad { destination, ready, assigned, ..RouteLoad::default() });
            }
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
                Destination::Hop(hop, Handling::default())
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
        let hop = || "smtp://h.example:25".parse().unwrap();
        let other = Handling { eight_bit: route::EightBit::Send, ..Handling::default() };
        assert_ne!(other, Handling::default());
        let two = [Destination::Hop(hop(), Handling::default()), Destination::Hop(hop(), other)];
        let told = busiest(two.iter().map(|hop| ((2, 1), hop)).collect(), 50);
        let loads: Vec<_> = told.first.iter().map(|load| (load.ready, load.assigned)).collect();
        assert_eq!(loads, [(4, 2)]);
    }
}
