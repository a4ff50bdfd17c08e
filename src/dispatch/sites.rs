//! Destinations and next hops, by the numbers that the scheduler knows them by.
//!
//! Promises one number for each as long as the daemon runs, and that what the configuration allows a
//! destination is told to the scheduler when it is used first and when it changes. Destinations
//! of one next hop that differ in their handling are routes to one site.

use std::collections::HashMap;

use angarium_queue::schedule::{self, RouteId, Scheduler, SiteId};

use super::Pauses;
use super::learned::Memory;
use crate::route::limit::Limits;
use crate::route::next_hop::NextHop;
use crate::route::{Destination, Handling, Table};

/// All destinations that were used since the start.
#[derive(Debug, Default)]
pub(super) struct Sites {
    destinations: Vec<Destination>,
    routes: HashMap<Destination, RouteId>,
    /// By its destination without any handling.
    sites: HashMap<Destination, SiteId>,
    names: Vec<String>,
}

impl Sites {
    /// The route to a destination; known to the scheduler from now on.
    pub(super) fn route(&mut self, destination: Destination, setting: &mut Setting<'_>) -> RouteId {
        if let Some(&known) = self.routes.get(&destination) {
            return known;
        }
        let route = RouteId(u32::try_from(self.destinations.len()).unwrap_or(u32::MAX));
        self.site(&destination, setting);
        self.routes.insert(destination.clone(), route);
        self.destinations.push(destination.clone());
        self.tell_route(route, &destination, setting);
        let paused = setting.pauses.contains(&destination.to_string());
        setting.scheduler.set_paused(route, paused, setting.now_ms);
        route
    }

    /// The configuration may allow other things now.
    pub(super) fn tell_all(&self, setting: &mut Setting<'_>) {
        for (destination, &site) in &self.sites {
            tell_site(site, destination, setting);
        }
        for (destination, &route) in &self.routes {
            self.tell_route(route, destination, setting);
        }
    }

    /// Where a route leads.
    pub(super) fn destination(&self, route: RouteId) -> Destination {
        let destination = self.destinations.get(route.0 as usize);
        destination.cloned().unwrap_or(Destination::Unroutable)
    }

    /// All routes with their destinations, in no order.
    pub(super) fn routes(&self) -> impl Iterator<Item = (&Destination, RouteId)> {
        self.routes.iter().map(|(destination, &route)| (destination, route))
    }

    /// All sites with their names.
    pub(super) fn all(&self) -> impl Iterator<Item = (SiteId, &str)> {
        (0..).map(SiteId).zip(self.names.iter().map(String::as_str))
    }

    /// The site of a destination that was used.
    pub(super) fn site_of(&self, destination: &Destination) -> Option<SiteId> {
        self.sites.get(&bare(destination)).copied()
    }

    fn site(&mut self, destination: &Destination, setting: &mut Setting<'_>) -> SiteId {
        let bare = bare(destination);
        let next = SiteId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        let site = *self.sites.entry(bare.clone()).or_insert(next);
        if site == next {
            let name = bare.to_string();
            tell_site(site, &bare, setting);
            if let Some(learned) = setting.memory.take(&name) {
                setting.scheduler.learn(site, learned, setting.now_ms);
            }
            self.names.push(name);
        }
        site
    }

    fn tell_route(&self, route: RouteId, destination: &Destination, setting: &mut Setting<'_>) {
        let Some(site) = self.site_of(destination) else { return };
        let own = match destination {
            Destination::Hop(_, Handling { limits, .. }) => *limits,
            _ => Limits::default(),
        };
        // A route whose own limits are those of its site needs no gate.
        let limits =
            (own != Limits::default()).then(|| scheduled(setting.table.limits(destination)));
        setting.scheduler.set_route(route, site, limits, setting.now_ms);
    }
}

/// Where numbers are given out.
pub(super) struct Setting<'a> {
    pub(super) scheduler: &'a mut Scheduler,
    pub(super) table: &'a Table,
    pub(super) pauses: &'a Pauses,
    pub(super) memory: &'a mut Memory,
    pub(super) now_ms: u64,
}

fn tell_site(site: SiteId, destination: &Destination, setting: &mut Setting<'_>) {
    let limits = match destination {
        Destination::Hop(next_hop, _) => site_limits(setting.table, next_hop),
        // Nothing is connected to.
        _ => None,
    };
    setting.scheduler.set_site(site, limits, setting.now_ms);
}

/// The limits of a next hop, where they are not those of all.
fn site_limits(table: &Table, next_hop: &NextHop) -> Option<schedule::Limits> {
    let limits = table.site_limits(next_hop);
    (limits != table.every_site()).then(|| scheduled(limits))
}

/// Limits as the scheduler knows them.
pub fn scheduled(limits: Limits) -> schedule::Limits {
    schedule::Limits {
        concurrency_max: limits.concurrency.unwrap_or(u32::MAX),
        recipients_max: limits.recipients_per_transaction.unwrap_or(RECIPIENTS_MAX),
        rate: limits.rate.map(rate),
    }
}

/// What every server must take (rfc5321bis 4.5.3.1.8).
const RECIPIENTS_MAX: u32 = 100;

/// A rate as the scheduler knows it.
pub fn rate(rate: crate::route::limit::Rate) -> schedule::Rate {
    schedule::Rate { count: rate.count, per_ms: rate.per_ms }
}

fn bare(destination: &Destination) -> Destination {
    match destination {
        Destination::Hop(next_hop, _) => Destination::Hop(next_hop.clone(), Handling::default()),
        other => other.clone(),
    }
}
