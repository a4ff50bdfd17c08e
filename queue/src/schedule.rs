//! The scheduler: which job is delivered next, and when a deferred one is tried again.
//!
//! Pure: no clock, no I/O, no thread; times are milliseconds since the epoch and come in as
//! arguments, randomness comes from a seed, so a recorded trace replays exactly.
//!
//! Promises: within a route first in, first out; at most `route_concurrency` assignments of a route
//! and `assignments_max` in all at a time; routes with work take turns; nothing expires without a
//! failed attempt that started after its deadline, however long a stop, a pause or a hold lasted;
//! what an outage of a route deferred is tried as soon as the route works again.
//! A job is in one place at a time: ready, waiting, assigned or held.

mod backoff;

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::id::MessageId;
use backoff::Failed;
pub use backoff::{Backoff, Pace};

/// A next hop, or whatever else shares a fate and a limit, by a number its owner gives out densely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteId(pub u32);

/// The recipients of one message that leave by one route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// The message.
    pub id: MessageId,
    /// The way it leaves.
    pub route: RouteId,
    /// Which retry schedule applies.
    pub pace: Pace,
    /// Indices of the recipients.
    pub recipients: Vec<u32>,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// Not before this time; 0 is at once.
    pub due_ms: u64,
    /// When the message was accepted.
    pub arrived_ms: u64,
    /// How long it is tried from then on; none is as long as the options say.
    pub lifetime_ms: Option<u64>,
    /// Waits for the operator.
    pub held: bool,
}

/// A job's place in the scheduler; never reused for another job while anyone may hold it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct JobKey(u64);

/// A job to deliver now. It goes back by `result` or `release`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The job.
    pub key: JobKey,
    /// The message.
    pub id: MessageId,
    /// The way it leaves.
    pub route: RouteId,
    /// Indices of the recipients.
    pub recipients: Vec<u32>,
    /// Failed attempts before this one.
    pub attempts: u32,
    /// When it was picked.
    pub started_ms: u64,
    /// How long it could have been picked before: since it was due, or had come.
    pub waited_ms: u64,
}

/// What to do next.
#[derive(PartialEq, Eq, Debug)]
pub enum Pick {
    /// Deliver this.
    Assignment(Assignment),
    /// Nothing now; ask again at this time, or after the next event.
    WakeAt(u64),
    /// Nothing until an event.
    Idle,
}

/// What an attempt came to, as far as the scheduler cares.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Attempt {
    /// The recipients that it did not settle.
    pub deferred: Vec<u32>,
    /// The route itself failed, before it was told of the message.
    pub outage: bool,
}

/// What keeps a job from being delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// The operator's release.
    Held,
    /// Its time, in milliseconds since the epoch.
    Until(u64),
    /// Its turn in its route.
    Turn,
    /// The end of the route's pause, or of the pause of everything.
    Paused,
    /// The result of an attempt under way.
    Result,
}

/// What becomes of the recipients that an attempt deferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// There were none: the job is over.
    Done,
    /// They are tried again.
    Retry {
        /// Failed attempts by now.
        attempts: u32,
        /// The next one is due then.
        due_ms: u64,
    },
    /// Their time is over.
    Expired,
    /// The job was withdrawn meanwhile.
    Withdrawn,
}

/// The bounds and times of a scheduler.
#[derive(Clone, Debug)]
pub struct Options {
    /// When to try again, and when to give up.
    pub backoff: Backoff,
    /// Most assignments of one route at a time.
    pub route_concurrency: usize,
    /// Most assignments in all at a time.
    pub assignments_max: usize,
    /// Pick nothing.
    pub paused: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Ready,
    Waiting,
    Assigned,
    /// Assigned, and to be forgotten at its result.
    Withdrawn,
    Held,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    place: Place,
    /// In its route's list of what an outage deferred.
    parked: bool,
}

#[derive(Debug, Default)]
struct Route {
    ready: VecDeque<JobKey>,
    assigned: usize,
    /// In the ring of routes that may be picked from.
    in_ring: bool,
    paused: bool,
    /// What its outage deferred.
    parked: Vec<JobKey>,
}

/// The scheduler. Owned by one task; every call is a small step.
#[derive(Debug)]
pub struct Scheduler {
    options: Options,
    random: fastrand::Rng,
    jobs: HashMap<JobKey, Entry>,
    next_key: u64,
    of_message: HashMap<MessageId, Vec<JobKey>>,
    routes: Vec<Route>,
    ring: VecDeque<RouteId>,
    waiting: BTreeMap<(u64, JobKey), ()>,
    assigned: usize,
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(options: Options, seed: u64) -> Self {
        Self {
            options,
            random: fastrand::Rng::with_seed(seed),
            jobs: HashMap::new(),
            next_key: 0,
            of_message: HashMap::new(),
            routes: Vec::new(),
            ring: VecDeque::new(),
            waiting: BTreeMap::new(),
            assigned: 0,
        }
    }

    /// Changes bounds and times; what is due already keeps its time.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
        for number in 0..self.routes.len() {
            self.offer(RouteId(u32::try_from(number).unwrap_or(u32::MAX)));
        }
    }

    /// Takes a job.
    pub fn enqueue(&mut self, job: Job, now_ms: u64) -> JobKey {
        let key = JobKey(self.next_key);
        self.next_key += 1;
        self.of_message.entry(job.id).or_default().push(key);
        let place = match job.held {
            true => Place::Held,
            false if job.due_ms > now_ms => Place::Waiting,
            false => Place::Ready,
        };
        self.jobs.insert(key, Entry { job, place, parked: false });
        self.settle(key, place);
        key
    }

    /// The next thing to do. Call it until it gives no assignment.
    pub fn next(&mut self, now_ms: u64) -> Pick {
        self.timer(now_ms);
        if !self.options.paused && self.assigned < self.options.assignments_max {
            while let Some(route) = self.ring.pop_front() {
                if let Some(assignment) = self.pick(route, now_ms) {
                    return Pick::Assignment(assignment);
                }
            }
        }
        match self.waiting.first_key_value() {
            Some((&(due_ms, _), ())) => Pick::WakeAt(due_ms),
            None => Pick::Idle,
        }
    }

    /// Moves what is due by now to the end of its route's line.
    pub fn timer(&mut self, now_ms: u64) {
        while let Some((&(due_ms, key), ())) = self.waiting.first_key_value() {
            if due_ms > now_ms {
                return;
            }
            self.waiting.pop_first();
            self.place(key, Place::Ready);
        }
    }

    /// Ends an attempt.
    pub fn result(&mut self, assignment: &Assignment, attempt: Attempt, now_ms: u64) -> Decision {
        if !attempt.outage {
            self.unpark(assignment.route, now_ms);
        }
        let usual_lifetime_ms = self.options.backoff.lifetime_ms;
        let Some(entry) = self.give_back(assignment) else { return Decision::Withdrawn };
        if attempt.deferred.is_empty() {
            self.forget(assignment.key);
            return Decision::Done;
        }
        let job = &entry.job;
        let lifetime_ms = job.lifetime_ms.unwrap_or(usual_lifetime_ms);
        let failed = Failed {
            pace: job.pace,
            attempts: job.attempts + 1,
            deadline_ms: job.arrived_ms.saturating_add(lifetime_ms),
            started_ms: assignment.started_ms,
        };
        let Some(due_ms) = self.options.backoff.after(&failed, now_ms, &mut self.random) else {
            self.forget(assignment.key);
            return Decision::Expired;
        };
        let attempts = failed.attempts;
        if let Some(Entry { job, .. }) = self.jobs.get_mut(&assignment.key) {
            (job.recipients, job.attempts, job.due_ms) = (attempt.deferred, attempts, due_ms);
            let place = if job.held { Place::Held } else { Place::Waiting };
            self.place(assignment.key, place);
        }
        if attempt.outage {
            self.park(assignment.route, assignment.key);
        }
        Decision::Retry { attempts, due_ms }
    }

    /// Gives a pick back as if it had not happened; it goes first in its line.
    pub fn release(&mut self, assignment: &Assignment) {
        let Some(entry) = self.give_back(assignment) else { return };
        if entry.job.held {
            return self.place(assignment.key, Place::Held);
        }
        entry.place = Place::Ready;
        self.route(assignment.route).ready.push_front(assignment.key);
        self.offer(assignment.route);
    }

    /// The operator holds a message: no attempt starts until `release_hold`.
    pub fn hold(&mut self, id: MessageId) {
        for key in self.keys(id) {
            let Some(entry) = self.jobs.get_mut(&key) else { continue };
            entry.job.held = true;
            if matches!(entry.place, Place::Ready | Place::Waiting) {
                self.place(key, Place::Held);
            }
        }
    }

    /// Ends a hold; the message goes on where it was in its schedule.
    pub fn release_hold(&mut self, id: MessageId, now_ms: u64) {
        for key in self.keys(id) {
            let Some(entry) = self.jobs.get_mut(&key) else { continue };
            entry.job.held = false;
            let due = entry.job.due_ms <= now_ms;
            if entry.place == Place::Held {
                self.place(key, if due { Place::Ready } else { Place::Waiting });
            }
        }
    }

    /// Makes a waiting message due now; false if none of its jobs was waiting.
    pub fn retry(&mut self, id: MessageId, now_ms: u64) -> bool {
        let mut found = false;
        for key in self.keys(id) {
            let Some(entry) = self.jobs.get_mut(&key) else { continue };
            if entry.place == Place::Waiting {
                found = true;
                self.waiting.remove(&(entry.job.due_ms, key));
                entry.job.due_ms = now_ms;
                self.place(key, Place::Ready);
            }
        }
        found
    }

    /// Forgets a message; results of attempts under way will be `Withdrawn`.
    pub fn withdraw(&mut self, id: MessageId) {
        for key in self.keys(id) {
            let Some(entry) = self.jobs.get_mut(&key) else { continue };
            if matches!(entry.place, Place::Assigned | Place::Withdrawn) {
                entry.place = Place::Withdrawn;
            } else {
                self.forget(key);
            }
        }
    }

    /// Pauses a route, or lets it go on; attempts under way end as they would.
    pub fn set_paused(&mut self, route: RouteId, paused: bool) {
        self.route(route).paused = paused;
        self.offer(route);
    }

    /// Whether a route is paused.
    pub fn is_paused(&self, route: RouteId) -> bool {
        self.routes.get(route.0 as usize).is_some_and(|route| route.paused)
    }

    /// The jobs of a message, and what each waits for.
    pub fn why(&self, id: MessageId) -> Vec<(&Job, Waits)> {
        let keys = self.of_message.get(&id).map(Vec::as_slice).unwrap_or_default();
        let entries = keys.iter().filter_map(|key| self.jobs.get(key));
        entries.map(|entry| (&entry.job, self.waits(entry))).collect()
    }

    fn waits(&self, entry: &Entry) -> Waits {
        match entry.place {
            Place::Held => Waits::Held,
            Place::Waiting => Waits::Until(entry.job.due_ms),
            Place::Assigned | Place::Withdrawn => Waits::Result,
            Place::Ready if self.options.paused || self.is_paused(entry.job.route) => Waits::Paused,
            Place::Ready => Waits::Turn,
        }
    }

    /// Takes a job out, if no attempt of it is under way: to enqueue it on other routes.
    pub fn take(&mut self, key: JobKey) -> Option<Job> {
        let entry = self.jobs.get(&key)?;
        if matches!(entry.place, Place::Assigned | Place::Withdrawn) {
            return None;
        }
        let job = entry.job.clone();
        self.forget(key);
        Some(job)
    }

    /// Takes out the jobs of a message of which no attempt is under way.
    pub fn take_message(&mut self, id: MessageId) -> Vec<Job> {
        self.keys(id).into_iter().filter_map(|key| self.take(key)).collect()
    }

    /// Takes out all jobs of which no attempt is under way, in the order they came.
    pub fn take_all(&mut self) -> Vec<Job> {
        let mut keys: Vec<JobKey> = self.jobs.keys().copied().collect();
        keys.sort_unstable();
        let jobs = keys.into_iter().filter_map(|key| self.take(key)).collect();
        for route in &mut self.routes {
            route.ready.clear();
            route.parked.clear();
        }
        jobs
    }

    /// Jobs of a route that are ready, and attempts under way.
    pub fn load(&self, route: RouteId) -> (usize, usize) {
        let route = self.routes.get(route.0 as usize);
        route.map_or((0, 0), |route| (route.ready.len(), route.assigned))
    }

    /// Attempts under way in all.
    pub fn assigned(&self) -> usize {
        self.assigned
    }

    fn pick(&mut self, id: RouteId, now_ms: u64) -> Option<Assignment> {
        self.route(id).in_ring = false;
        if self.route(id).paused || self.route(id).assigned >= self.options.route_concurrency {
            return None;
        }
        // Keys of jobs that were held or withdrawn since are passed over.
        while let Some(key) = self.route(id).ready.pop_front() {
            let Some(entry) = self.jobs.get_mut(&key) else { continue };
            if entry.place != Place::Ready {
                continue;
            }
            entry.place = Place::Assigned;
            let job = &entry.job;
            let assignment = Assignment {
                key,
                id: job.id,
                route: id,
                recipients: job.recipients.clone(),
                attempts: job.attempts,
                started_ms: now_ms,
                waited_ms: now_ms.saturating_sub(job.due_ms.max(job.arrived_ms)),
            };
            self.assigned += 1;
            self.route(id).assigned += 1;
            self.offer(id);
            return Some(assignment);
        }
        None
    }

    /// Takes an assignment off the books; its entry, unless it was withdrawn.
    fn give_back(&mut self, assignment: &Assignment) -> Option<&mut Entry> {
        let place = self.jobs.get(&assignment.key)?.place;
        if !matches!(place, Place::Assigned | Place::Withdrawn) {
            return None;
        }
        self.assigned -= 1;
        self.route(assignment.route).assigned -= 1;
        self.offer(assignment.route);
        if place == Place::Withdrawn {
            self.forget(assignment.key);
        }
        self.jobs.get_mut(&assignment.key)
    }

    /// Moves a job. A key left behind in its route's line is passed over when it is met.
    fn place(&mut self, key: JobKey, place: Place) {
        let Some(entry) = self.jobs.get_mut(&key) else { return };
        let was = std::mem::replace(&mut entry.place, place);
        let due_ms = entry.job.due_ms;
        if was == Place::Waiting {
            self.waiting.remove(&(due_ms, key));
        }
        self.settle(key, place);
    }

    fn settle(&mut self, key: JobKey, place: Place) {
        let Some(entry) = self.jobs.get(&key) else { return };
        let (due_ms, route) = (entry.job.due_ms, entry.job.route);
        match place {
            Place::Ready => {
                self.route(route).ready.push_back(key);
                self.offer(route);
            }
            Place::Waiting => drop(self.waiting.insert((due_ms, key), ())),
            _ => {}
        }
    }

    /// Puts a route into the ring if something of it can be picked.
    fn offer(&mut self, id: RouteId) {
        let concurrency = self.options.route_concurrency;
        let route = self.route(id);
        let has_work = !route.ready.is_empty() && route.assigned < concurrency;
        if has_work && !route.in_ring && !route.paused {
            route.in_ring = true;
            self.ring.push_back(id);
        }
    }

    fn park(&mut self, route: RouteId, key: JobKey) {
        let Some(entry) = self.jobs.get_mut(&key) else { return };
        if !std::mem::replace(&mut entry.parked, true) {
            self.route(route).parked.push(key);
        }
    }

    /// The route works: what its outage deferred need not wait for its time.
    fn unpark(&mut self, route: RouteId, now_ms: u64) {
        for key in std::mem::take(&mut self.route(route).parked) {
            let Some(entry) = self.jobs.get_mut(&key) else { continue };
            entry.parked = false;
            if entry.place == Place::Waiting {
                self.waiting.remove(&(entry.job.due_ms, key));
                entry.job.due_ms = now_ms;
                self.place(key, Place::Ready);
            }
        }
    }

    fn forget(&mut self, key: JobKey) {
        self.place(key, Place::Withdrawn);
        let Some(entry) = self.jobs.remove(&key) else { return };
        if let Some(keys) = self.of_message.get_mut(&entry.job.id) {
            keys.retain(|&other| other != key);
            if keys.is_empty() {
                self.of_message.remove(&entry.job.id);
            }
        }
    }

    fn keys(&self, id: MessageId) -> Vec<JobKey> {
        self.of_message.get(&id).cloned().unwrap_or_default()
    }

    fn route(&mut self, id: RouteId) -> &mut Route {
        let number = id.0 as usize;
        if self.routes.len() <= number {
            self.routes.resize_with(number + 1, Route::default);
        }
        // The line above made room for it.
        #[allow(clippy::indexing_slicing, reason = "resized to hold it just above")]
        &mut self.routes[number]
    }
}

#[cfg(test)]
mod tests;
