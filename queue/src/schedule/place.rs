//! Where a job stands: into its flow's line, the wheel, or nowhere, and out again.
//!
//! Promises that flows, sites and listings follow at once: a site is listed exactly while something
//! of it can be picked.

use super::flow::{self, Level, Path, Standing};
use smallvec::smallvec;

use super::entry::{Entry, Place};
use super::job::{Job, Recipients};
use super::list::List;
use super::site::Shut;
use super::slab::NONE;
use super::slots::bucket;
use super::{Detail, Scheduler, Timer};

/// A message to more recipients than so many transactions take is big.
const BIG_TRANSACTIONS: usize = 8;
/// So long a tenant without jobs keeps its number.
const TENANT_MEMORY_MS: u64 = 1_000;

impl Scheduler {
    /// Keeps a job, in no list yet.
    pub(super) fn store(&mut self, job: Job, place: Place) -> u32 {
        let route = job.route.0;
        let latest = self.fetch_route(route);
        let big = job.recipients.len() > BIG_TRANSACTIONS
            && job.recipients.len() / BIG_TRANSACTIONS > self.recipients_max(route);
        let path = Path {
            site: self.routes[route].site,
            route,
            class: job.class,
            band: job.band,
            tenant: job.tenant.0,
            stream: flow::stream(job.stream, big.then(|| job.id.as_u64())),
        };
        let stream = self.flows.stream(&path, latest);
        self.latest[route].0 = stream;
        self.jobs.prefetch(self.flows.slab[stream].rings.old.tail);
        let key = self.jobs.insert(Entry::new(&job, stream, place));
        self.count_in(stream);
        self.sweeps.came(job.id);
        self.link_message(key);
        if job.recipients.len() != 1 {
            let detail = self.detail(key);
            self.details[detail].recipients = job.recipients;
        }
        self.set_timing(key, job.timing);
        key
    }

    /// Makes a route exist.
    pub(super) fn reach_route(&mut self, route: u32) {
        self.routes.reach(route);
        self.latest.reach(route);
    }

    /// Most recipients of a transaction of this route.
    pub(super) fn recipients_max(&self, route: u32) -> usize {
        let route = &self.routes[route];
        let of_site = || self.sites[route.site].limits(&self.options.site).recipients_max;
        let max = if route.recipients_max > 0 { route.recipients_max } else { of_site() };
        max.max(1) as usize
    }

    /// A part of a job, for the recipients given, that is being tried.
    pub(super) fn store_part(&mut self, of: u32, recipients: Recipients) -> u32 {
        let part = self.jobs[of].part();
        let stream = part.flow;
        let key = self.jobs.insert(part);
        self.jobs[key].set_recipient(NONE);
        self.count_in(stream);
        self.link_message(key);
        self.set_recipients(key, recipients);
        self.set_timing(key, self.timing(of));
        key
    }

    /// The recipients of a job.
    pub(super) fn recipients(&self, key: u32) -> Recipients {
        let entry = &self.jobs[key];
        match entry.detail() {
            Some(detail) => self.details[detail].recipients.clone(),
            None => smallvec![entry.recipient()],
        }
    }

    /// A job's recipients are these.
    pub(super) fn is_for(&self, key: u32, recipients: &[u32]) -> bool {
        let entry = &self.jobs[key];
        match entry.detail() {
            Some(detail) => self.details[detail].recipients[..] == *recipients,
            None => recipients == [entry.recipient()],
        }
    }

    /// How many recipients a job has.
    pub(super) fn recipient_count(&self, key: u32) -> usize {
        let detail = self.jobs[key].detail();
        detail.map_or(1, |detail| self.details[detail].recipients.len())
    }

    pub(super) fn set_recipients(&mut self, key: u32, recipients: Recipients) {
        match (self.jobs[key].detail(), recipients.as_slice()) {
            (None, [only]) => self.jobs[key].set_recipient(*only),
            _ => {
                let detail = self.detail(key);
                self.details[detail].recipients = recipients;
            }
        }
    }

    /// Puts a job that is in no list where its place says.
    pub(super) fn settle_in(&mut self, key: u32, now_ms: u64) {
        match self.jobs[key].place() {
            Place::Ready => self.make_ready(key, false, now_ms),
            Place::Waiting => {
                let at_ms = self.wheel_ms(key, now_ms);
                self.wheel.insert(&mut self.jobs, key, at_ms);
            }
            Place::Assigned | Place::Withdrawn | Place::Held => {}
        }
    }

    /// Takes a job out of the list it is in, and gives it another place.
    pub(super) fn put(&mut self, key: u32, place: Place, now_ms: u64) {
        self.take_out(key, now_ms);
        self.jobs[key].set_place(place);
        self.settle_in(key, now_ms);
    }

    /// Takes a job out of the list it is in.
    pub(super) fn take_out(&mut self, key: u32, now_ms: u64) {
        match self.jobs[key].place() {
            Place::Waiting => self.wheel.cancel(&mut self.jobs, key),
            Place::Ready => {
                let stream = self.jobs[key].flow;
                self.flows.slab[stream].rings.old.unlink(&mut self.jobs, key);
                self.left(stream);
                self.refresh(self.flows.site(stream), now_ms);
            }
            Place::Assigned | Place::Withdrawn | Place::Held => {}
        }
    }

    /// Puts a job into its flow's line, at its front or its end.
    pub(super) fn make_ready(&mut self, key: u32, front: bool, now_ms: u64) {
        self.jobs[key].set_place(Place::Ready);
        let stream = self.jobs[key].flow;
        let line = &mut self.flows.slab[stream].rings.old;
        match front {
            true => line.push_front(&mut self.jobs, key),
            false => line.push_back(&mut self.jobs, key),
        }
        let route = self.flows.slab[stream].route;
        self.routes[route].ready += 1;
        if self.flows.slab[stream].standing == Standing::Idle {
            let site = self.routes[route].site;
            if self.flows.site(stream) != site {
                self.flows.adopt(stream, site);
            }
            self.activate(stream);
            self.refresh(site, now_ms);
        }
    }

    /// One job has left the line of a stream.
    pub(super) fn left(&mut self, stream: u32) {
        let route = self.flows.slab[stream].route;
        self.routes[route].ready -= 1;
        if self.flows.slab[stream].rings.old.is_empty() {
            self.deactivate(stream, false);
        }
    }

    /// Forgets a job, wherever it is.
    pub(super) fn forget(&mut self, key: u32, now_ms: u64) {
        self.take_out(key, now_ms);
        self.unlink_message(key);
        self.unwatch(key);
        let entry = self.jobs.remove(key);
        if let Some(detail) = entry.detail() {
            self.details.remove(detail);
        }
        self.count_out(entry.flow, now_ms);
    }

    fn count_in(&mut self, stream: u32) {
        let flow = &mut self.flows.slab[stream];
        flow.users += 1;
        self.routes[flow.route].jobs += 1;
        self.tenants.slab[flow.tenant].jobs += 1;
    }

    fn count_out(&mut self, stream: u32, now_ms: u64) {
        let flow = &self.flows.slab[stream];
        let (route, tenant) = (flow.route, flow.tenant);
        self.routes[route].jobs -= 1;
        self.flows.release(stream);
        self.tenants.slab[tenant].jobs -= 1;
        if self.tenants.slab[tenant].jobs == 0 {
            let kept_until_ms = now_ms + TENANT_MEMORY_MS;
            self.tenants.slab[tenant].kept_until_ms = kept_until_ms;
            self.wake(kept_until_ms, Timer::Tenant(tenant));
        }
    }

    /// Forgets a tenant that has had nothing here for a while, once its rate has been paid.
    pub(super) fn retire_tenant(&mut self, tenant: u32, now_ms: u64) {
        let known = &self.tenants.slab[tenant];
        if known.jobs > 0 || known.kept_until_ms == 0 {
            return;
        }
        if now_ms < known.kept_until_ms {
            return self.wake(known.kept_until_ms, Timer::Tenant(tenant));
        }
        if !known.gate.is_idle(now_ms) {
            return self.wake(now_ms + TENANT_MEMORY_MS, Timer::Tenant(tenant));
        }
        if known.in_line {
            self.short.unlink(&mut self.tenants.slab, tenant);
        }
        self.tenants.forget(tenant);
    }

    /// Makes a flow with something to do take turns, and all above it.
    pub(super) fn activate(&mut self, flow: u32) {
        if self.flows.slab[flow].level == Level::Stream {
            let site = self.flows.site(flow);
            let site = &mut self.sites[site];
            site.streams += 1;
            site.only = flow;
        }
        let mut at = flow;
        while self.flows.slab[at].standing == Standing::Idle {
            let (level, parent) = (self.flows.slab[at].level, self.flows.slab[at].parent);
            let mut rings = self.rings(level, parent);
            self.flows.join(&mut rings, at);
            self.set_rings(level, parent, rings);
            if level == Level::Class {
                return;
            }
            at = parent;
        }
    }

    /// Makes a flow take no turns, as it has nothing to do or is held up, and all above it that have
    /// nothing else.
    pub(super) fn deactivate(&mut self, flow: u32, held_up: bool) {
        let is_stream = self.flows.slab[flow].level == Level::Stream;
        if is_stream && self.flows.slab[flow].standing != Standing::Blocked {
            let site = self.flows.site(flow);
            let site = &mut self.sites[site];
            site.streams -= 1;
            site.only = NONE;
        }
        let mut at = flow;
        loop {
            let (level, parent) = (self.flows.slab[at].level, self.flows.slab[at].parent);
            if self.flows.slab[at].standing == Standing::Blocked {
                self.leave_line(at);
                return;
            }
            let mut rings = self.rings(level, parent);
            self.flows.leave(&mut rings, at, held_up);
            self.set_rings(level, parent, rings);
            if level == Level::Class || !rings.is_empty() {
                return;
            }
            at = parent;
        }
    }

    /// Lists a site where it belongs now.
    pub(super) fn refresh(&mut self, site: u32, now_ms: u64) {
        let known = &self.sites[site];
        let listing = match known.shut(&self.options.site, now_ms) {
            None => Some((known.is_proven(now_ms), bucket(known.assigned))),
            Some(Shut::Until(at_ms) | Shut::Outage(at_ms)) => {
                self.wake(at_ms, Timer::Site(site));
                None
            }
            Some(Shut::Empty | Shut::Full) => None,
        };
        self.slots.relist(&mut self.sites, site, listing);
    }

    /// Has something looked at again at a time.
    pub(super) fn wake(&mut self, at_ms: u64, timer: Timer) {
        let wakes_ms = match timer {
            Timer::Site(site) => &mut self.sites[site].rare().wakes_ms,
            Timer::Route(route) => &mut self.routes[route].gate().wakes_ms,
            Timer::Tenant(tenant) => &mut self.tenants.slab[tenant].gate.wakes_ms,
            Timer::Deadline(_) | Timer::Warning(_) => return,
        };
        if at_ms < u64::MAX && (*wakes_ms == 0 || at_ms < *wakes_ms) {
            *wakes_ms = at_ms;
            self.timers.insert((at_ms, timer));
        }
    }

    pub(super) fn rings(&self, level: Level, parent: u32) -> flow::Rings {
        match level {
            Level::Class => self.sites[parent].rings,
            _ => self.flows.slab[parent].rings,
        }
    }

    pub(super) fn set_rings(&mut self, level: Level, parent: u32, rings: flow::Rings) {
        match level {
            Level::Class => self.sites[parent].rings = rings,
            _ => self.flows.slab[parent].rings = rings,
        }
    }

    /// The line a flow waits in when it is blocked.
    pub(super) fn line(&mut self, flow: u32) -> &mut List {
        let flow = &self.flows.slab[flow];
        match flow.level {
            Level::Stream => &mut self.routes[flow.route].gate().line,
            _ => &mut self.tenants.slab[flow.key].gate.line,
        }
    }

    fn leave_line(&mut self, flow: u32) {
        let mut line = *self.line(flow);
        line.unlink(&mut self.flows.slab, flow);
        *self.line(flow) = line;
        self.flows.rest(flow);
    }

    /// The detail of a job, made if it has none.
    pub(super) fn detail(&mut self, key: u32) -> u32 {
        if let Some(detail) = self.jobs[key].detail() {
            return detail;
        }
        let detail = self.details.insert(Detail::new(smallvec![self.jobs[key].recipient()]));
        self.jobs[key].set_detail(detail);
        detail
    }

    /// Puts a job first among those of its message.
    fn link_message(&mut self, key: u32) {
        let id = self.jobs[key].id;
        let Some(first) = self.messages.set(id, key) else { return };
        let (detail, of_first) = (self.detail(key), self.detail(first));
        self.details[detail].siblings.next = first;
        self.details[of_first].siblings.prev = key;
    }

    fn unlink_message(&mut self, key: u32) {
        let id = self.jobs[key].id;
        let siblings = self.jobs[key].detail().map(|detail| self.details[detail].siblings);
        let siblings = siblings.unwrap_or_default();
        if siblings.next != NONE {
            let next = self.detail(siblings.next);
            self.details[next].siblings.prev = siblings.prev;
        }
        match (siblings.prev, siblings.next) {
            (NONE, NONE) => self.messages.remove(id),
            (NONE, next) => drop(self.messages.set(id, next)),
            (prev, next) => {
                let prev = self.detail(prev);
                self.details[prev].siblings.next = next;
            }
        }
    }
}
