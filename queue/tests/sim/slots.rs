//! Postfix's queue manager: preemptive slots, windows with feedback, one transport.
//!
//! After its sources and SCHEDULER_README, at default settings: at most 20,000 messages active, the
//! rest waits in incoming; the window of a destination begins at 5, goes up by one a success and
//! down by one a failure to connect, and the destination is dead for 300 s when the failures since
//! the last success make a cohort; what is deferred is looked for every 300 s and due after its
//! age, between 300 s and 4,000 s. All recipients of an active message are in memory.

mod jobs;

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::discipline::{Attempt, Batch, Discipline, Mail, Next, Outcome, Setup, Start, Verdict};
use jobs::{Job, Jobs};

const ACTIVE_MAX: usize = 20_000;
const WINDOW_FIRST: u32 = 5;
const COHORTS_MAX: f64 = 1.0;
const BACKOFF_MIN_MS: u64 = 300_000;
const BACKOFF_MAX_MS: u64 = 4_000_000;
const SCAN_MS: u64 = 300_000;

/// A destination.
#[derive(Default)]
struct Site {
    window: u32,
    busy: u32,
    /// Jobs with entries for it.
    todo: BTreeSet<usize>,
    fail_cohorts: f64,
    blocker_tag: u64,
    dead: bool,
}

/// A message that is not active.
struct Waiting {
    message: u32,
    arrived_ms: u64,
    batches: Vec<Batch>,
}

pub struct Slots {
    slots: usize,
    recipients_max: usize,
    window_first: u32,
    window_max: u32,
    lifetime_ms: u64,
    sites_of_routes: Vec<u32>,
    routes: Vec<u32>,
    sites: Vec<Site>,
    jobs: Jobs,
    active: usize,
    incoming: VecDeque<Waiting>,
    /// Found by the scan of the deferred queue.
    found: VecDeque<Waiting>,
    turn_of_found: bool,
    deferred: Vec<(u64, Waiting)>,
    scan_at_ms: u64,
    dead_until: BTreeSet<(u64, usize)>,
    open: HashMap<u64, (usize, usize, Batch)>,
    count: u64,
}

impl Slots {
    pub fn new(setup: &Setup) -> Self {
        let window_first = WINDOW_FIRST.min(setup.concurrency);
        let site = || Site { window: window_first, ..Site::default() };
        Self {
            slots: setup.slots_in_all(),
            recipients_max: setup.recipients_max,
            window_first,
            window_max: setup.concurrency,
            lifetime_ms: setup.lifetime_ms,
            sites_of_routes: setup.sites.clone(),
            routes: Vec::new(),
            sites: (0..setup.sites_count()).map(|_| site()).collect(),
            jobs: Jobs::default(),
            active: 0,
            incoming: VecDeque::new(),
            found: VecDeque::new(),
            turn_of_found: false,
            deferred: Vec::new(),
            scan_at_ms: SCAN_MS,
            dead_until: BTreeSet::new(),
            open: HashMap::new(),
            count: 0,
        }
    }

    fn site_of(&self, mail: u32) -> usize {
        self.sites_of_routes[self.routes[mail as usize] as usize] as usize
    }

    fn timers(&mut self, now_ms: u64) {
        while let Some(first) = self.dead_until.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.dead_until.remove(&first);
            self.sites[first.1] = Site {
                window: self.window_first,
                busy: self.sites[first.1].busy,
                ..Site::default()
            };
        }
        if now_ms >= self.scan_at_ms {
            self.scan_at_ms = now_ms + SCAN_MS;
            let due = self.deferred.extract_if(.., |(due_ms, _)| *due_ms <= now_ms);
            self.found.extend(due.map(|(_, waiting)| waiting));
        }
    }

    /// Fills the active queue, from incoming and deferred in turn.
    fn feed(&mut self, now_ms: u64) {
        while self.active < ACTIVE_MAX {
            self.turn_of_found = !self.turn_of_found;
            let (first, second) = (&mut self.found, &mut self.incoming);
            let waiting = if self.turn_of_found {
                first.pop_front().or_else(|| second.pop_front())
            } else {
                second.pop_front().or_else(|| first.pop_front())
            };
            let Some(waiting) = waiting else { return };
            self.activate(waiting, now_ms);
        }
    }

    fn activate(&mut self, waiting: Waiting, now_ms: u64) {
        let mut job = Job::new(waiting.message, waiting.arrived_ms, now_ms);
        for mut batch in waiting.batches {
            let site = self.site_of(batch.mail);
            if self.sites[site].dead {
                job.deferred.push(batch);
                continue;
            }
            while !batch.recipients.is_empty() {
                let recipients = batch.cut(self.recipients_max);
                job.add(site, Batch { recipients, ..batch });
            }
        }
        if job.entries == 0 {
            return self.defer(job, now_ms);
        }
        let sites: Vec<usize> = job.peers.iter().map(|peer| peer.site).collect();
        let job = self.jobs.insert(job);
        self.active += 1;
        for site in sites {
            self.sites[site].todo.insert(job);
        }
    }

    /// The job is through; what is left of it waits.
    fn defer(&mut self, job: Job, now_ms: u64) {
        if job.deferred.is_empty() {
            return;
        }
        let age_ms = now_ms - job.arrived_ms;
        let due_ms = now_ms + age_ms.clamp(BACKOFF_MIN_MS, BACKOFF_MAX_MS);
        let Job { message, arrived_ms, deferred: batches, .. } = job;
        self.deferred.push((due_ms, Waiting { message, arrived_ms, batches }));
    }

    fn end_if_through(&mut self, job: usize, now_ms: u64) {
        let state = self.jobs.get(job);
        if state.open == 0 && state.selected == state.entries {
            let job = self.jobs.remove(job);
            self.active -= 1;
            self.defer(job, now_ms);
        }
    }

    fn unthrottle(&mut self, site: usize) {
        let window_max = self.window_max;
        let state = &mut self.sites[site];
        if state.dead {
            return;
        }
        state.fail_cohorts = 0.0;
        if state.window < window_max && state.window < state.busy + self.window_first {
            state.window += 1;
        }
    }

    fn throttle(&mut self, site: usize, now_ms: u64) {
        let state = &mut self.sites[site];
        if state.dead {
            return;
        }
        state.fail_cohorts += 1.0 / f64::from(state.window);
        if state.fail_cohorts < COHORTS_MAX {
            state.window = (state.window - 1).max(1);
            return;
        }
        state.window = 0;
        state.dead = true;
        self.dead_until.insert((now_ms + BACKOFF_MIN_MS, site));
        for job in std::mem::take(&mut state.todo) {
            let state = self.jobs.get(job);
            let at = state.peers.iter().position(|peer| peer.site == site).unwrap();
            let peer = state.peers.remove(at).unwrap();
            state.selected += peer.entries.len() as i64;
            state.deferred.extend(peer.entries);
            self.end_if_through(job, now_ms);
        }
    }

    /// A destination that blocked may take more.
    fn unblock(&mut self, site: usize) {
        let state = &mut self.sites[site];
        if state.blocker_tag != self.jobs.blocker_tag() {
            return;
        }
        if state.window > state.busy && !state.todo.is_empty() {
            self.jobs.unblock();
        }
        if state.window > state.busy || state.dead {
            state.blocker_tag = 0;
        }
    }

    fn select(&mut self, now_ms: u64) -> Option<Start> {
        let tag = self.jobs.blocker_tag();
        let has_room = |site: usize| self.sites[site].window > self.sites[site].busy;
        let mut blocked = Vec::new();
        let selected = self.jobs.select(now_ms, has_room, |site| blocked.push(site));
        for site in blocked {
            self.sites[site].blocker_tag = tag;
        }
        let (job, site, mut batch) = selected?;
        self.sites[site].busy += 1;
        if !self.jobs.get(job).peers.iter().any(|peer| peer.site == site) {
            self.sites[site].todo.remove(&job);
        }
        self.count += 1;
        let recipients = std::mem::take(&mut batch.recipients);
        let (mail, token) = (batch.mail, self.count);
        self.open.insert(token, (job, site, batch));
        Some(Start { mail, site: site as u32, recipients, token })
    }
}

impl Discipline for Slots {
    fn enqueue(&mut self, number: u32, mail: &Mail, _now_ms: u64) {
        assert_eq!(self.routes.len(), number as usize);
        self.routes.push(mail.route);
        let batch = Batch::whole(number, mail);
        match self.incoming.back_mut().filter(|last| last.message == mail.message) {
            Some(last) => last.batches.push(batch),
            None => self.incoming.push_back(Waiting {
                message: mail.message,
                arrived_ms: mail.arrived_us / 1000,
                batches: vec![batch],
            }),
        }
    }

    fn next(&mut self, now_ms: u64) -> Next {
        self.timers(now_ms);
        self.feed(now_ms);
        if self.open.len() < self.slots
            && let Some(start) = self.select(now_ms)
        {
            return Next::Start(start);
        }
        let scan = (!self.deferred.is_empty()).then_some(self.scan_at_ms);
        let dead = self.dead_until.first().map(|(at_ms, _)| *at_ms);
        scan.into_iter().chain(dead).min().map_or(Next::Idle, Next::WakeAt)
    }

    fn result(&mut self, start: Start, attempt: &Attempt, now_ms: u64) -> Outcome {
        let (job, site, batch) = self.open.remove(&start.token).unwrap();
        self.sites[site].busy -= 1;
        match attempt.verdict {
            Verdict::Unreachable | Verdict::TurnedAway | Verdict::Broken => {
                self.throttle(site, now_ms)
            }
            // A 4yz after the handshake says nothing of the destination.
            Verdict::Served | Verdict::Limited => self.unthrottle(site),
        }
        let mut outcome = Outcome::Kept;
        let too_old = now_ms >= batch.arrived_ms + self.lifetime_ms;
        let state = self.jobs.get(job);
        state.open -= 1;
        if !attempt.deferred.is_empty() {
            match batch.again(&attempt.deferred, too_old) {
                Some(again) => state.deferred.push(again),
                None => outcome = Outcome::Expired,
            }
        }
        self.end_if_through(job, now_ms);
        self.unblock(site);
        outcome
    }

    fn set_route(&mut self, route: u32, site: u32, _now_ms: u64) {
        self.sites_of_routes[route as usize] = site;
    }
}
