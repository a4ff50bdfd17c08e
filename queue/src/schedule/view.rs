//! What the operator sees: what a message waits for, the state of a site, who was served.

use std::sync::Arc;

use super::Scheduler;
use super::books::Tenant;
use super::entry::{Place, UNIT};
use super::flow::Standing;
use super::gate::Closed;
use super::job::{Job, RouteId, SiteId};
use super::rate::Pacer;
use super::site::{PAUSE_MS_MAX, Shut, Site};
use crate::id::MessageId;

/// What keeps a job from being delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Waits {
    /// The operator's release.
    Held,
    /// Its time, in milliseconds since the epoch.
    Until(u64),
    /// Its turn at its site, or a free slot.
    Turn,
    /// The end of the route's pause, or of the pause of everything.
    Paused,
    /// The result of an attempt under way.
    Result,
    /// The end of its site's outage.
    Outage(OutageState),
    /// A transaction at its site to end: as much as that bears is under way.
    Window(u32),
    /// Its site's rate: when the next message may go, and the reply that taught it, if one did.
    Rate(u64, Option<Arc<str>>),
    /// Its route: as much as it may have is under way, or until then.
    Route(Option<u64>),
    /// Its tenant: as much as it may have is under way, or until then.
    Tenant(Option<u64>),
}

/// An outage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutageState {
    /// Since when.
    pub since_ms: u64,
    /// When it is looked at next; none while that is under way.
    pub probe_ms: Option<u64>,
    /// Looks that failed.
    pub probes: u32,
    /// What is wrong.
    pub reply: Arc<str>,
}

/// A learned rate.
#[derive(Clone, PartialEq, Debug)]
pub struct RateState {
    /// Messages per second, now.
    pub per_s: f64,
    /// What it bore when it complained last.
    pub ceiling_per_s: f64,
    /// Nothing before this time; 0 is at once.
    pub closed_until_ms: u64,
    /// What it complained with.
    pub reply: Arc<str>,
}

/// The state of a site.
#[derive(Clone, PartialEq, Debug)]
pub struct SiteState {
    /// Transactions under way.
    pub assigned: u32,
    /// As many as it bears by now.
    pub window: u32,
    /// It carried out a transaction lately.
    pub proven: bool,
    /// It can't be reached.
    pub outage: Option<OutageState>,
    /// It complained of a rate.
    pub rate: Option<RateState>,
}

/// What a restart should not have to learn again of a site.
#[derive(Clone, PartialEq, Debug)]
pub struct Learned {
    /// As many transactions at a time as it bears.
    pub window: u32,
    /// What it bore when it complained of a rate, per second, until when it was closed then, and
    /// the complaint.
    pub rate: Option<(f64, u64, Arc<str>)>,
}

/// What a tenant got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// Who.
    pub tenant: Arc<str>,
    /// Jobs of it that are here.
    pub jobs: u32,
    /// Transactions under way.
    pub assigned: u32,
    /// What was picked for it: 1 for each transaction, a tenth for each recipient, 1 for each 256 KiB.
    pub served: u64,
    /// Of this, where other tenants waited for a turn at the same site.
    pub contended: u64,
}

impl Scheduler {
    /// The jobs of a message, and what each waits for.
    pub fn why(&self, id: MessageId, now_ms: u64) -> Vec<(Job, Waits)> {
        let keys = self.keys(id).into_iter();
        keys.map(|key| (self.job(key), self.waits(key, now_ms))).collect()
    }

    fn waits(&self, key: u32, now_ms: u64) -> Waits {
        let entry = &self.jobs[key];
        match entry.place() {
            Place::Held => Waits::Held,
            Place::Waiting => Waits::Until(entry.due_ms()),
            Place::Assigned | Place::Withdrawn => Waits::Result,
            Place::Ready if self.options.paused => Waits::Paused,
            Place::Ready => self.waits_ready(entry.flow, now_ms),
        }
    }

    fn waits_ready(&self, stream: u32, now_ms: u64) -> Waits {
        let route = &self.routes[self.flows.slab[stream].route];
        let closed = |closed: Option<Closed>| match closed {
            Some(Closed::Until(at_ms)) => Some(at_ms),
            _ => None,
        };
        match route.gate.as_ref().and_then(|gate| gate.closed(now_ms)) {
            Some(Closed::Paused) => return Waits::Paused,
            gate if self.flows.slab[stream].standing == Standing::Blocked => {
                return Waits::Route(closed(gate));
            }
            _ => {}
        }
        let site = &self.sites[route.site];
        if let Some(outage) = site.outage_state() {
            return Waits::Outage(outage);
        }
        let tenant = &self.flows.slab[self.flows.slab[stream].parent];
        if tenant.standing == Standing::Blocked {
            return Waits::Tenant(closed(self.tenants.slab[tenant.key].gate.closed(now_ms)));
        }
        match site.shut(&self.options.site, now_ms) {
            Some(Shut::Full) => Waits::Window(site.assigned),
            Some(Shut::Until(at_ms)) => {
                Waits::Rate(at_ms, site.pacer().map(|pacer| Arc::clone(&pacer.reply)))
            }
            Some(Shut::Empty | Shut::Outage(_)) | None => Waits::Turn,
        }
    }

    /// Jobs of a route that are ready, attempts under way, and jobs in all.
    pub fn load(&self, route: RouteId) -> (usize, usize, usize) {
        if route.0 >= self.routes.used() {
            return (0, 0, 0);
        }
        let route = &self.routes[route.0];
        (route.ready as usize, route.assigned as usize, route.jobs as usize)
    }

    /// The state of a site.
    pub fn site(&self, site: SiteId, now_ms: u64) -> Option<SiteState> {
        if site.0 >= self.sites.used() {
            return None;
        }
        let known = &self.sites[site.0];
        let max = known.limits(&self.options.site).concurrency_max;
        Some(SiteState {
            assigned: known.assigned,
            window: known.window.size(max),
            proven: known.is_proven(now_ms),
            outage: known.outage_state(),
            rate: known.pacer().map(Pacer::state),
        })
    }

    /// What a restart should not have to learn again of a site; none of one that nothing was
    /// learned of.
    pub fn learned(&self, site: SiteId) -> Option<Learned> {
        if site.0 >= self.sites.used() {
            return None;
        }
        let known = &self.sites[site.0];
        let rate = known.pacer().map(Pacer::state);
        let rate = rate.map(|rate| (rate.ceiling_per_s, rate.closed_until_ms, rate.reply));
        let learned = Learned { window: known.window.size(u32::MAX), rate };
        (learned != Learned { window: Site::default().window.size(u32::MAX), rate: None })
            .then_some(learned)
    }

    /// On whose account a message is, as far as it is here.
    pub fn tenants_of(&self, id: MessageId) -> Vec<Arc<str>> {
        let tenant = |key: u32| {
            let tenant = self.flows.path(self.jobs[key].flow).tenant;
            Arc::clone(&self.tenants.slab[tenant].name)
        };
        let mut tenants: Vec<Arc<str>> = self.keys(id).into_iter().map(tenant).collect();
        tenants.dedup();
        tenants
    }

    /// Sites that can't be reached.
    pub fn outages(&self) -> usize {
        self.outages as usize
    }

    /// Jobs of a tenant.
    pub fn backlog(&self, tenant: &str) -> usize {
        self.tenants.find(tenant).map_or(0, |tenant| self.tenants.slab[tenant].jobs as usize)
    }

    /// What each tenant with something here got.
    pub fn shares(&self) -> impl Iterator<Item = Share> {
        self.tenants.iter().map(|tenant: &Tenant| Share {
            tenant: Arc::clone(&tenant.name),
            jobs: tenant.jobs,
            assigned: tenant.gate.assigned,
            served: tenant.served / u64::from(UNIT),
            contended: tenant.contended / u64::from(UNIT),
        })
    }
}

impl Site {
    fn outage_state(&self) -> Option<OutageState> {
        let outage = self.outage()?;
        Some(OutageState {
            since_ms: outage.since_ms,
            probe_ms: (!outage.probing).then_some(outage.probe_ms),
            probes: outage.probes,
            reply: Arc::clone(&outage.reply),
        })
    }

    /// Starts where it was before a restart.
    pub(super) fn restore(&mut self, learned: Learned, now_ms: u64) {
        self.window.restore(learned.window);
        if let Some((ceiling, closed_until_ms, reply)) = learned.rate {
            let mut pacer = Pacer::restore(ceiling, now_ms, reply);
            pacer.closed_until_ms = closed_until_ms.min(now_ms + PAUSE_MS_MAX);
            self.rare().pacer = Some(pacer);
        }
    }
}
