//! The scheduler: which job is delivered next, and when a deferred one is tried again.
//!
//! Pure: no clock, no I/O, no thread; times are milliseconds since the epoch and come in as
//! arguments, randomness comes from a seed, so a recorded trace replays exactly.
//!
//! Jobs stand in flows (class, band, tenant, stream), flows take turns within a site, and sites
//! share the slots:
//!
//! ```text
//! slots ─▶ site with the fewest under way ─▶ class ─▶ band ─▶ tenant ─▶ stream ─▶ job ─▶ transaction
//! ```
//!
//! Promises:
//! - nobody waits behind somebody else's mail: flows that have something to do at a site share it
//!   by their weights, whatever any of them queues, and one that just came goes first;
//! - a site that is slow, full, throttled or dead holds nothing but its own mail, and costs nothing
//!   while it waits;
//! - nothing is tried before its time, no route, tenant or site gets more than it may have, and
//!   each recipient ends once;
//! - nothing expires without an attempt, or a probe of its site, that failed after its time, unless its
//!   sender set a deadline and wants it back then;
//! - what is to be released at a time comes at that time;
//! - every call is a bounded number of steps, whatever is queued. Those that name a message take as
//!   many steps as it has jobs, and moving a route takes one for each tenant and each flow of its
//!   site with ready jobs.
//!
//! A job is in one place at a time: ready, waiting, assigned or held.

mod ahead;
mod backoff;
mod books;
mod chains;
mod entry;
mod flow;
mod gate;
mod job;
mod list;
mod messages;
mod notice;
mod operate;
mod outage;
mod pick;
mod place;
mod prefetch;
mod rate;
mod settle;
mod site;
mod slab;
mod slots;
mod timing;
mod view;
mod wheel;
mod window;

use std::collections::{BTreeSet, VecDeque};

use crate::id::MessageId;
pub use backoff::Backoff;
pub use books::TenantLimits;
use books::{Latest, Route, Tenants};
use entry::{Detail, Entry, Place};
use flow::Flows;
pub use job::{
    Assignment, Attempt, Band, Class, Decision, Job, JobKey, Limit, Pace, Recipients, RouteId,
    Scope, SiteId, TenantId, Verdict,
};
use list::List;
use messages::Messages;
pub use notice::Notice;
use notice::Sweeps;
pub use pick::Pick;
use rate::Bucket;
pub use rate::Rate;
pub use site::Limits;
use site::Site;
use slab::Slab;
use slots::Slots;
pub use timing::{Deadline, Timing};
pub use view::{Learned, OutageState, RateState, Share, SiteState, Waits};
use wheel::Wheel;

/// Most steps of one call that does not name a message.
pub const STEPS_MAX: u32 = 512;

/// The bounds and times of a scheduler.
#[derive(Clone, Debug)]
pub struct Options {
    /// When to try again.
    pub backoff: Backoff,
    /// How long messages are tried, by the class a job names; the last one for all further.
    pub lifetimes_ms: Vec<u64>,
    /// Ages at which a message that still waits is told of.
    pub warnings_ms: Vec<u64>,
    /// Longest time after which a site that can't be reached is looked at again, in milliseconds.
    pub probe_delay_max_ms: u64,
    /// Most assignments at a time.
    pub slots_max: u32,
    /// Most messages in a time, of all together.
    pub rate: Option<Rate>,
    /// What a site may have that has no limits of its own.
    pub site: Limits,
    /// What a tenant may have that has no limits of its own.
    pub tenant: TenantLimits,
    /// Pick nothing.
    pub paused: bool,
}

/// What is looked at again at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Site(u32),
    Route(u32),
    Tenant(u32),
    Deadline(u32),
    Warning(u32),
}

/// The scheduler. Owned by one task.
#[derive(Debug)]
pub struct Scheduler {
    options: Options,
    random: fastrand::Rng,
    jobs: Slab<Entry>,
    details: Slab<Detail>,
    messages: Messages,
    wheel: Wheel,
    flows: Flows,
    sites: Slab<Site>,
    routes: Slab<Route>,
    /// By route.
    latest: Slab<Latest>,
    tenants: Tenants,
    slots: Slots,
    /// Tenants with flows that wait for slots.
    short: List,
    timers: BTreeSet<(u64, Timer)>,
    /// Closed sites that are to be looked at.
    probes: VecDeque<u32>,
    /// Sites in an outage.
    outages: u32,
    /// Of everything.
    bucket: Bucket,
    sweeps: Sweeps,
    steps: u32,
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(options: Options, seed: u64) -> Self {
        let slots = Slots::new(options.slots_max);
        let sweeps = Sweeps::new(&options);
        Self {
            options,
            random: fastrand::Rng::with_seed(seed),
            jobs: Slab::new(),
            details: Slab::new(),
            messages: Messages::default(),
            wheel: Wheel::new(0),
            flows: Flows::new(),
            sites: Slab::new(),
            routes: Slab::new(),
            latest: Slab::new(),
            tenants: Tenants::new(),
            slots,
            short: List::default(),
            timers: BTreeSet::new(),
            probes: VecDeque::new(),
            outages: 0,
            bucket: Bucket::default(),
            sweeps,
            steps: 0,
        }
    }

    /// Changes bounds and times; what is due already keeps its time. Looks at every site.
    pub fn set_options(&mut self, options: Options, now_ms: u64) {
        self.slots.max = options.slots_max;
        self.sweeps.reset(&options);
        self.tenants.apply_limits(&options.tenant);
        self.options = options;
        for tenant in 0..self.tenants.slab.used() {
            self.wake(now_ms, Timer::Tenant(tenant));
        }
        for site in 0..self.sites.used() {
            self.refresh(site, now_ms);
        }
    }

    /// Tells which site a route leads to, and what it may have of its own; anew if that changed:
    /// its queue goes along. Comes before the first job of a route.
    pub fn set_route(&mut self, route: RouteId, site: SiteId, limits: Option<Limits>, now_ms: u64) {
        self.reach_route(route.0);
        self.sites.reach(site.0);
        self.routes[route.0].set_limits(limits);
        let before = std::mem::replace(&mut self.routes[route.0].site, site.0);
        if before != site.0 && before != slab::NONE {
            self.move_ready(route.0, before, now_ms);
        }
        self.wake_route(route.0, now_ms);
    }

    /// Sets what a site may have of its own; none for what the options say.
    pub fn set_site(&mut self, site: SiteId, limits: Option<Limits>, now_ms: u64) {
        self.sites.reach(site.0);
        if limits.is_some() || self.sites[site.0].rare.is_some() {
            self.sites[site.0].rare().limits = limits;
        }
        self.refresh(site.0, now_ms);
    }

    /// The number of a tenant, for a job that is enqueued next.
    pub fn tenant(&mut self, name: &str) -> TenantId {
        TenantId(self.tenants.intern(name, &self.options.tenant))
    }

    /// Sets what a tenant may have of its own; none for what the options say.
    pub fn set_tenant(&mut self, name: &str, limits: Option<TenantLimits>, now_ms: u64) {
        self.tenants.set_limits(name, limits);
        self.tenants.apply_limits(&self.options.tenant);
        if let Some(tenant) = self.tenants.find(name) {
            self.wake(now_ms, Timer::Tenant(tenant));
        }
    }

    /// Takes a job.
    pub fn enqueue(&mut self, job: Job, now_ms: u64) -> JobKey {
        self.steps = 1;
        let place = match job.held {
            true => Place::Held,
            false if job.due_ms > now_ms => Place::Waiting,
            false => Place::Ready,
        };
        let key = self.store(job, place);
        self.settle_in(key, now_ms);
        JobKey(key)
    }

    /// Assignments under way.
    pub fn assigned(&self) -> usize {
        self.slots.assigned as usize
    }

    /// Jobs in all.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// There is no job.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counted steps of the last call.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The first job of a message, and all its others.
    fn keys(&self, id: MessageId) -> Vec<u32> {
        let first = self.messages.first(id.as_u64());
        let next = |&key: &u32| {
            let detail = self.jobs[key].detail()?;
            Some(self.details[detail].siblings.next).filter(|&next| next != slab::NONE)
        };
        std::iter::successors(first, next).collect()
    }
}

#[cfg(test)]
mod tests;
