//! The next thing to do: a transaction, a probe, or to wait.
//!
//! Promises that each call moves on: when its steps are used up it says so, and what it found out
//! until then is kept.

use std::sync::Arc;

use super::entry::Place;
use super::flow::{Level, Standing, class_of};
use super::gate::Closed;
use super::job::{Assignment, JobKey, Recipients, RouteId, SiteId};
use super::list::List;
use super::slots::bucket;
use super::{STEPS_MAX, Scheduler, Timer};

/// What to do next.
#[derive(PartialEq, Eq, Debug)]
pub enum Pick {
    /// Deliver this.
    Assignment(Assignment),
    /// See whether a site answers: connect by this route, greet it, and hang up or keep the
    /// connection. Goes back by `probed`.
    Probe(SiteId, RouteId),
    /// The steps of one call are used up: call again.
    Again,
    /// Nothing now; ask again at this time, or after the next event.
    WakeAt(u64),
    /// Nothing until an event.
    Idle,
}

/// Flows of tenants over their share that are let go on when one slot is free.
const LET_GO: usize = 4;
/// Tenants over their share that are looked at when nobody else wants a slot.
const LEFT_OVER_MAX: usize = 64;

impl Scheduler {
    /// The next thing to do. Call it until there is nothing.
    pub fn next(&mut self, now_ms: u64) -> Pick {
        let calm = self.timer(now_ms);
        if let Some(probe) = self.next_probe() {
            return probe;
        }
        let gap_us = self.options.rate.map(super::Rate::gap_us);
        let opens_ms = gap_us.map_or(0, |gap_us| self.bucket.opens_ms(gap_us));
        if !self.options.paused && opens_ms <= now_ms {
            while let Some(site) = self.slots.choose() {
                if self.steps >= STEPS_MAX {
                    return Pick::Again;
                }
                if let Some(assignment) = self.pick(site, now_ms) {
                    return Pick::Assignment(assignment);
                }
            }
        }
        if !calm || !self.options.paused && opens_ms <= now_ms && self.wake_left_over(now_ms) {
            return Pick::Again;
        }
        let timer = self.timers.first().map(|&(at_ms, _)| at_ms);
        let open = (opens_ms > now_ms).then_some(opens_ms);
        let short = self.slots.pressed_until(now_ms).filter(|_| !self.short.is_empty());
        let times = [timer, self.wheel.next_ms(), open, short];
        match times.into_iter().flatten().min() {
            Some(at_ms) => Pick::WakeAt(at_ms.max(now_ms + 1)),
            None => Pick::Idle,
        }
    }

    /// Lets go on what is due by now; false if there is more of it than one call takes.
    pub fn timer(&mut self, now_ms: u64) -> bool {
        self.steps = 0;
        self.wheel.advance(&mut self.jobs, now_ms);
        while self.steps < STEPS_MAX / 4 {
            let Some(key) = self.wheel.take(&mut self.jobs) else { break };
            self.steps += 1;
            if self.jobs[key].due_ms() > now_ms {
                // It was too far away for the wheel, or the clock was set back.
                let at_ms = self.wheel_ms(key, now_ms).max(self.wheel.soonest_ms());
                self.wheel.insert(&mut self.jobs, key, at_ms);
            } else {
                self.make_ready(key, false, now_ms);
            }
        }
        while self.steps < STEPS_MAX / 2 {
            let Some(&(at_ms, timer)) = self.timers.first() else { break };
            if at_ms > now_ms {
                break;
            }
            self.steps += 1;
            self.timers.pop_first();
            self.fire(timer, now_ms);
        }
        let timers_due = self.timers.first().is_some_and(|&(at_ms, _)| at_ms <= now_ms);
        !self.wheel.has_due() && !timers_due
    }

    fn fire(&mut self, timer: Timer, now_ms: u64) {
        match timer {
            Timer::Site(site) => {
                self.sites[site].rare().wakes_ms = 0;
                self.plan_probe(site, now_ms);
                self.refresh(site, now_ms);
            }
            Timer::Route(route) => {
                self.routes[route].gate().wakes_ms = 0;
                self.wake_route(route, now_ms);
            }
            Timer::Tenant(tenant) => {
                self.tenants.slab[tenant].gate.wakes_ms = 0;
                self.wake_tenant(tenant, now_ms);
                self.retire_tenant(tenant, now_ms);
            }
            Timer::Deadline(key) => self.late(key, now_ms),
            Timer::Warning(key) => self.warn(key),
        }
    }

    /// A transaction of this site; none if it can't be picked from after all, or steps are used up.
    fn pick(&mut self, site: u32, now_ms: u64) -> Option<Assignment> {
        let proven = self.sites[site].is_proven(now_ms);
        if self.sites[site].listing != Some((proven, bucket(self.sites[site].assigned))) {
            // Its last success is too long ago by now.
            self.steps += 1;
            self.refresh(site, now_ms);
            return None;
        }
        self.look_ahead(site);
        let alone = self.only_stream(site, now_ms);
        let Some(stream) = alone.or_else(|| self.descend(site, now_ms)) else {
            self.refresh(site, now_ms);
            // Its flows are in debt, or one of them waits elsewhere now: others go first.
            self.slots.requeue(&mut self.sites, site);
            return None;
        };
        let contended = alone.is_none() && self.is_contended(stream);
        let first = self.flows.slab[stream].rings.old.head;
        if self.is_too_late(first, now_ms) {
            self.steps += 1;
            self.late(first, now_ms);
            return None;
        }
        let waited_ms = {
            let entry = &self.jobs[first];
            now_ms.saturating_sub(entry.due_ms().max(entry.arrived_ms()))
        };
        // Paid before its flow may leave the turns: who owes nothing then is fresh when it is back.
        let max = self.recipients_max(self.flows.slab[stream].route);
        let cost = self.jobs[first].cost(self.recipient_count(first).min(max));
        if alone.is_some() {
            self.flows.charge_alone(stream, cost as i32);
        } else {
            self.flows.take_turn(stream, &mut self.sites[site].rings);
            self.flows.charge(stream, cost as i32);
        }
        let (key, recipients) = self.cut(first, stream, max);
        self.jobs[key].set_place(Place::Assigned);
        self.jobs[key].set_unproven(!proven);
        self.start(site, stream, cost, contended, now_ms);
        self.refresh(site, now_ms);
        let assignment = self.assignment(key, SiteId(site), recipients);
        Some(Assignment { started_ms: now_ms, waited_ms, ..assignment })
    }

    /// A job as a transaction for these recipients; at no time.
    pub(super) fn assignment(&self, key: u32, site: SiteId, recipients: Recipients) -> Assignment {
        let entry = &self.jobs[key];
        let flow = &self.flows.slab[entry.flow];
        Assignment {
            key: JobKey(key),
            id: entry.message(),
            route: RouteId(flow.route),
            site,
            class: class_of(flow.lane),
            tenant: Arc::clone(&self.tenants.slab[flow.tenant].name),
            recipients,
            attempts: u32::from(entry.attempts),
            started_ms: 0,
            waited_ms: 0,
            tag: entry.tag(),
        }
    }

    /// The stream of a site with only one, which needs no turns; none if it may not go on.
    fn only_stream(&mut self, site: u32, now_ms: u64) -> Option<u32> {
        let stream = self.sites[site].only_stream()?;
        self.steps += 1;
        let flow = &self.flows.slab[stream];
        let (route, tenant) = (&self.routes[flow.route], flow.tenant);
        let free = route.site == site
            && route.gate.as_ref().is_none_or(|gate| gate.closed(now_ms).is_none())
            && self.tenants.slab[tenant].gate.closed(now_ms).is_none()
            && !self.is_over_share(tenant, site, now_ms);
        free.then_some(stream)
    }

    /// From a site to the stream whose turn it is. Flows that may not go on wait elsewhere.
    fn descend(&mut self, site: u32, now_ms: u64) -> Option<u32> {
        let (mut level, mut parent) = (Level::Class, site);
        loop {
            let mut rings = self.rings(level, parent);
            let (turn, turned) = self.flows.turn(&mut rings, &mut self.steps);
            if turned {
                self.set_rings(level, parent, rings);
            }
            let flow = turn?;
            level = match level {
                Level::Class => Level::Band,
                Level::Band => Level::Tenant,
                Level::Tenant if self.holds_up_tenant(flow, site, now_ms) => return None,
                Level::Tenant => Level::Stream,
                Level::Stream if self.holds_up_route(flow, site, now_ms) => return None,
                Level::Stream => return Some(flow),
            };
            parent = flow;
        }
    }

    /// Sends a flow to its tenant's line, if that may have no more.
    fn holds_up_tenant(&mut self, flow: u32, site: u32, now_ms: u64) -> bool {
        let tenant = self.flows.slab[flow].key;
        let closed = self.tenants.slab[tenant].gate.closed(now_ms);
        let short = self.is_over_share(tenant, site, now_ms);
        if closed.is_none() && !short {
            return false;
        }
        self.block(flow);
        if let Some(Closed::Until(at_ms)) = closed {
            self.wake(at_ms, Timer::Tenant(tenant));
        }
        let known = &mut self.tenants.slab[tenant];
        if closed.is_none() && !std::mem::replace(&mut known.in_line, true) {
            self.short.push_back(&mut self.tenants.slab, tenant);
        }
        true
    }

    /// Where slots are scarce, a tenant may have its part of them.
    fn is_over_share(&self, tenant: u32, site: u32, now_ms: u64) -> bool {
        let known = &self.tenants.slab[tenant];
        let active = self.tenants.active + u32::from(known.gate.assigned == 0);
        let has = (known.gate.assigned, known.unproven);
        self.slots.is_over_share(self.sites[site].is_proven(now_ms), has, active, now_ms)
    }

    /// Sends a stream to its route's line if that may have no more, or to the route's new site.
    fn holds_up_route(&mut self, stream: u32, site: u32, now_ms: u64) -> bool {
        let route = self.flows.slab[stream].route;
        let moved_to = self.routes[route].site;
        if moved_to != site {
            self.deactivate(stream, true);
            self.flows.adopt(stream, moved_to);
            self.activate(stream);
            self.refresh(moved_to, now_ms);
            return true;
        }
        let Some(closed) = self.routes[route].gate.as_ref().and_then(|gate| gate.closed(now_ms))
        else {
            return false;
        };
        self.block(stream);
        if let Closed::Until(at_ms) = closed {
            self.wake(at_ms, Timer::Route(route));
        }
        true
    }

    /// Puts a flow into the line of what it waits for.
    fn block(&mut self, flow: u32) {
        self.deactivate(flow, true);
        let mut line = *self.line(flow);
        line.push_back(&mut self.flows.slab, flow);
        *self.line(flow) = line;
        self.flows.slab[flow].standing = Standing::Blocked;
    }

    /// Lets flows of a tenant go on, as many as it may have now.
    pub(super) fn wake_tenant(&mut self, tenant: u32, now_ms: u64) {
        for _ in 0..LET_GO {
            let gate = &self.tenants.slab[tenant].gate;
            let flow = gate.line.head;
            if gate.line.is_empty() {
                return;
            }
            match gate.closed(now_ms) {
                None if !self.is_over_share(tenant, self.flows.site(flow), now_ms) => {
                    self.unblock(flow, now_ms);
                }
                None => {
                    // Another of its flows may be of a site that proved itself.
                    let mut line = *self.line(flow);
                    line.unlink(&mut self.flows.slab, flow);
                    line.push_back(&mut self.flows.slab, flow);
                    *self.line(flow) = line;
                }
                Some(Closed::Until(at_ms)) => return self.wake(at_ms, Timer::Tenant(tenant)),
                Some(_) => return,
            }
        }
        if !self.tenants.slab[tenant].in_line {
            // The rest follows; a gate with a rate will close before.
            self.wake(now_ms + 1, Timer::Tenant(tenant));
        }
    }

    /// Lets flows of a route go on, as many as it may have now.
    pub(super) fn wake_route(&mut self, route: u32, now_ms: u64) {
        for _ in 0..LET_GO {
            let Some(gate) = &self.routes[route].gate else { return };
            let flow = gate.line.head;
            if gate.line.is_empty() {
                return;
            }
            match gate.closed(now_ms) {
                None => self.unblock(flow, now_ms),
                Some(Closed::Until(at_ms)) => return self.wake(at_ms, Timer::Route(route)),
                Some(_) => return,
            }
        }
        self.wake(now_ms + 1, Timer::Route(route));
    }

    /// A slot is free: tenants that were over their share get it, by turns.
    pub(super) fn wake_short(&mut self, now_ms: u64) {
        let Some(tenant) = self.short.pop_front(&mut self.tenants.slab) else { return };
        self.wake_tenant(tenant, now_ms);
        let known = &mut self.tenants.slab[tenant];
        known.in_line = !known.gate.line.is_empty();
        if known.in_line {
            self.short.push_back(&mut self.tenants.slab, tenant);
        }
    }

    /// Nobody took the free slots: whoever waits for one is looked at, once; whether somebody can go
    /// on. No end of a transaction need come soon.
    fn wake_left_over(&mut self, now_ms: u64) -> bool {
        if self.slots.assigned >= self.slots.max {
            return false;
        }
        let last = self.short.tail;
        for _ in 0..LEFT_OVER_MAX {
            let first = self.short.head;
            self.wake_short(now_ms);
            if first == last {
                break;
            }
        }
        self.slots.choose().is_some()
    }

    fn unblock(&mut self, flow: u32, now_ms: u64) {
        let mut line = *self.line(flow);
        line.unlink(&mut self.flows.slab, flow);
        *self.line(flow) = line;
        self.flows.slab[flow].standing = Standing::Idle;
        if self.flows.slab[flow].level == Level::Stream {
            let site = self.routes[self.flows.slab[flow].route].site;
            if self.flows.site(flow) != site {
                self.flows.adopt(flow, site);
            }
        }
        self.activate(flow);
        let site = self.flows.site(flow);
        self.refresh(site, now_ms);
    }

    /// Somebody else waits for a turn beside this stream.
    fn is_contended(&self, stream: u32) -> bool {
        let tenant = self.flows.slab[stream].parent;
        let rings = self.flows.slab[self.flows.slab[tenant].parent].rings;
        let many = |list: List| !list.is_empty() && !list.is_single();
        !rings.fresh.is_empty() && !rings.old.is_empty() || many(rings.fresh) || many(rings.old)
    }

    /// Takes the first job of a stream, or as much of it as one transaction takes.
    fn cut(&mut self, first: u32, stream: u32, max: usize) -> (u32, Recipients) {
        let mut recipients = self.recipients(first);
        if recipients.len() <= max {
            self.flows.slab[stream].rings.old.unlink(&mut self.jobs, first);
            self.left(stream);
            return (first, recipients);
        }
        let rest = recipients.drain(max..).collect();
        self.set_recipients(first, rest);
        (self.store_part(first, recipients.clone()), recipients)
    }

    /// Books a transaction that starts.
    fn start(&mut self, site: u32, stream: u32, cost: u32, contended: bool, now_ms: u64) {
        let proven = self.sites[site].is_proven(now_ms);
        self.slots.start(proven, now_ms);
        if let Some(rate) = self.options.rate {
            self.bucket.take(rate.gap_us(), now_ms);
        }
        self.sites[site].start(&self.options.site, now_ms);
        let flow = &self.flows.slab[stream];
        let route = &mut self.routes[flow.route];
        route.assigned += 1;
        if let Some(gate) = &mut route.gate {
            gate.start(now_ms);
        }
        let tenant = &mut self.tenants.slab[flow.tenant];
        self.tenants.active += u32::from(tenant.gate.assigned == 0);
        tenant.gate.start(now_ms);
        tenant.unproven += u32::from(!proven);
        tenant.served += u64::from(cost);
        tenant.contended += if contended { u64::from(cost) } else { 0 };
    }
}
