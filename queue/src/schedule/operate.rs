//! The operator's verbs: on one message as many steps as it has jobs.

use super::Scheduler;
use super::entry::Place;
use super::flow::Level;
use super::gate::Closed;
use super::job::{Job, JobKey, RouteId, SiteId, TenantId};
use super::slab::NONE;
use crate::id::MessageId;

impl Scheduler {
    /// The operator holds a message: no attempt starts until `release_hold`.
    pub fn hold(&mut self, id: MessageId, now_ms: u64) {
        for key in self.keys(id) {
            self.jobs[key].set_held(true);
            if matches!(self.jobs[key].place(), Place::Ready | Place::Waiting) {
                self.put(key, Place::Held, now_ms);
            }
        }
    }

    /// Ends a hold; the message goes on where it was in its schedule.
    pub fn release_hold(&mut self, id: MessageId, now_ms: u64) {
        for key in self.keys(id) {
            self.jobs[key].set_held(false);
            if self.jobs[key].place() != Place::Held {
                continue;
            }
            // What failed while it was held says nothing of it.
            let due_ms = self.jobs[key].due_ms().max(now_ms);
            self.jobs[key].set_due_ms(due_ms);
            self.put(key, if due_ms > now_ms { Place::Waiting } else { Place::Ready }, now_ms);
            self.watch(key);
        }
    }

    /// Makes a waiting message due now, and looks at its site if that can't be reached; false if it
    /// waited for neither. One that its sender has not released yet goes on waiting.
    pub fn retry(&mut self, id: MessageId, now_ms: u64) -> bool {
        let mut found = false;
        for key in self.keys(id) {
            let site = self.routes[self.flows.slab[self.jobs[key].flow].route].site;
            let outage = self.sites[site].outage().is_some();
            match self.jobs[key].place() {
                Place::Waiting if self.is_unreleased(key) => continue,
                Place::Waiting => {
                    self.take_out(key, now_ms);
                    self.jobs[key].set_due_ms(now_ms);
                    self.make_ready(key, false, now_ms);
                    found = true;
                }
                Place::Ready => found |= outage,
                Place::Assigned | Place::Withdrawn | Place::Held => continue,
            }
            self.hurry_probe(site, now_ms);
        }
        found
    }

    /// Forgets a message; results of attempts under way will be `Withdrawn`.
    pub fn withdraw(&mut self, id: MessageId, now_ms: u64) {
        for key in self.keys(id) {
            match self.jobs[key].place() {
                Place::Assigned => self.jobs[key].set_place(Place::Withdrawn),
                Place::Withdrawn => {}
                Place::Ready | Place::Waiting | Place::Held => self.forget(key, now_ms),
            }
        }
    }

    /// Takes a job out, if no attempt of it is under way: to enqueue it on other routes.
    pub fn take(&mut self, key: JobKey, now_ms: u64) -> Option<Job> {
        let known = key.0 < self.jobs.used() && !self.jobs[key.0].is_vacant();
        if !known || matches!(self.jobs[key.0].place(), Place::Assigned | Place::Withdrawn) {
            return None;
        }
        let job = self.job(key.0);
        self.forget(key.0, now_ms);
        Some(job)
    }

    /// Takes out the jobs of a message of which no attempt is under way.
    pub fn take_message(&mut self, id: MessageId, now_ms: u64) -> Vec<Job> {
        let keys = self.keys(id).into_iter();
        keys.filter_map(|key| self.take(JobKey(key), now_ms)).collect()
    }

    /// Pauses a route, or lets it go on; attempts under way end as they would.
    pub fn set_paused(&mut self, route: RouteId, paused: bool, now_ms: u64) {
        self.reach_route(route.0);
        if !paused && !self.is_paused(route) {
            return;
        }
        let gate = self.routes[route.0].gate();
        gate.paused = paused;
        if !paused {
            gate.resumed_ms = now_ms;
        }
        self.wake_route(route.0, now_ms);
    }

    /// Whether a route is paused.
    pub fn is_paused(&self, route: RouteId) -> bool {
        let gate = (route.0 < self.routes.used()).then(|| self.routes[route.0].gate.as_ref());
        gate.flatten().is_some_and(|gate| gate.closed(u64::MAX) == Some(Closed::Paused))
    }

    /// A job as its owner knows it.
    pub(super) fn job(&self, key: u32) -> Job {
        let entry = &self.jobs[key];
        let path = self.flows.path(entry.flow);
        Job {
            id: entry.message(),
            route: RouteId(path.route),
            tenant: TenantId(path.tenant),
            class: path.class,
            band: path.band,
            stream: u64::from(path.stream),
            pace: entry.pace(),
            recipients: self.recipients(key),
            size: entry.size(),
            attempts: u32::from(entry.attempts),
            due_ms: entry.due_ms(),
            arrived_ms: entry.arrived_ms(),
            lifetime: entry.lifetime(),
            timing: self.timing(key),
            held: entry.is_held(),
            tag: entry.tag(),
        }
    }

    /// Moves what is ready of a route from its former site to its present one. What is not ready, or
    /// waits for its route, follows when it gets so.
    pub(super) fn move_ready(&mut self, route: u32, from: u32, now_ms: u64) {
        let to = self.routes[route].site;
        for stream in self.ready_streams(route, from) {
            self.deactivate(stream, true);
            self.flows.adopt(stream, to);
            self.activate(stream);
        }
        self.refresh(from, now_ms);
        self.refresh(to, now_ms);
    }

    fn ready_streams(&self, route: u32, site: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut open = vec![(Level::Class, site)];
        for tenant in 0..self.tenants.slab.used() {
            let mut at = self.tenants.slab[tenant].gate.line.head;
            while at != NONE {
                if self.flows.site(at) == site {
                    open.push((Level::Stream, at));
                }
                at = self.flows.slab[at].next();
            }
        }
        while let Some((level, parent)) = open.pop() {
            let rings = self.rings(level, parent);
            for mut at in [rings.fresh.head, rings.old.head] {
                while at != NONE {
                    match level {
                        Level::Class => open.push((Level::Band, at)),
                        Level::Band => open.push((Level::Tenant, at)),
                        Level::Tenant => open.push((Level::Stream, at)),
                        Level::Stream if self.flows.slab[at].route == route => found.push(at),
                        Level::Stream => {}
                    }
                    at = self.flows.slab[at].next();
                }
            }
        }
        found
    }

    /// The learned and configured state that a site starts with.
    pub fn learn(&mut self, site: SiteId, learned: super::Learned, now_ms: u64) {
        self.sites.reach(site.0);
        self.sites[site.0].restore(learned, now_ms);
        self.refresh(site.0, now_ms);
    }
}
