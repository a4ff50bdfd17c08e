//! KumoMTA's queues: a capped ready queue for each site, and one wheel for what it has no room for.
//!
//! After its sources and documentation, at default settings: each recipient is a message; a ready
//! queue is first in, first out and holds 1,024; what finds it full is timed anew, anywhere in the
//! next 60 s; the wheel is popped every 3 s; connections follow the length of the ready queue up to
//! their limit; 100 failures to connect in a row put the whole ready queue off; a retry comes after
//! 20 minutes, twice as late each time. No limit holds for all sites together, and nothing is
//! learned from replies: that is left to a daemon beside it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use fastrand::Rng;

use super::discipline::{Attempt, Batch, Discipline, Mail, Next, Outcome, Setup, Start, Verdict};

const READY_MAX: usize = 1024;
const OVERFLOW_MS: u64 = 60_000;
const POP_MS: u64 = 3_000;
const RETRY_MS: u64 = 1_200_000;
const JITTER_MAX_MS: u64 = 60_000;
const FAILURES_MAX: u32 = 100;
/// How fast the wanted connections rise with the ready queue.
const RISE: f64 = 0.023;

#[derive(Default)]
struct Site {
    ready: VecDeque<Batch>,
    connections: u32,
    /// Connections whose last message has just ended.
    idle: u32,
    failures: u32,
    listed: bool,
}

pub struct Ready {
    connections_max: u32,
    lifetime_ms: u64,
    sites_of_routes: Vec<u32>,
    routes: Vec<u32>,
    sites: Vec<Site>,
    /// Sites that may have something to start.
    changed: VecDeque<usize>,
    wheel: BinaryHeap<Reverse<(u64, u64)>>,
    waits: HashMap<u64, Batch>,
    pop_at_ms: u64,
    open: HashMap<u64, (Batch, u64)>,
    count: u64,
    rng: Rng,
}

impl Ready {
    pub fn new(setup: &Setup) -> Self {
        Self {
            connections_max: setup.concurrency,
            lifetime_ms: setup.lifetime_ms,
            sites_of_routes: setup.sites.clone(),
            routes: Vec::new(),
            sites: (0..setup.sites_count()).map(|_| Site::default()).collect(),
            changed: VecDeque::new(),
            wheel: BinaryHeap::new(),
            waits: HashMap::new(),
            pop_at_ms: 0,
            open: HashMap::new(),
            count: 0,
            rng: Rng::with_seed(setup.seed),
        }
    }

    fn wait(&mut self, batch: Batch, due_ms: u64) {
        self.count += 1;
        self.waits.insert(self.count, batch);
        self.wheel.push(Reverse((due_ms, self.count)));
    }

    fn make_ready(&mut self, batch: Batch, now_ms: u64) {
        let route = self.routes[batch.mail as usize];
        let site = self.sites_of_routes[route as usize] as usize;
        if self.sites[site].ready.len() >= READY_MAX {
            let due_ms = now_ms + self.rng.u64(0..OVERFLOW_MS);
            return self.wait(batch, due_ms);
        }
        self.sites[site].ready.push_back(batch);
        self.changed(site);
    }

    fn changed(&mut self, site: usize) {
        if !self.sites[site].listed {
            self.sites[site].listed = true;
            self.changed.push_back(site);
        }
    }

    fn pop(&mut self, now_ms: u64) {
        if now_ms < self.pop_at_ms {
            return;
        }
        self.pop_at_ms = now_ms - now_ms % POP_MS + POP_MS;
        while let Some(Reverse((_, key))) = self.wheel.peek().filter(|w| w.0.0 <= now_ms) {
            let batch = self.waits.remove(key).unwrap();
            self.wheel.pop();
            self.make_ready(batch, now_ms);
        }
    }

    fn retry(&mut self, batch: Batch, now_ms: u64) {
        let delay_ms = RETRY_MS << (batch.attempts - 1).min(12);
        let jitter_ms = (delay_ms / 20).min(JITTER_MAX_MS);
        let due_ms = now_ms + delay_ms + self.rng.u64(0..jitter_ms) - jitter_ms / 2;
        self.wait(batch, due_ms);
    }

    /// Puts the whole ready queue off.
    fn put_off(&mut self, site: usize, now_ms: u64) {
        self.sites[site].failures = 0;
        for mut batch in std::mem::take(&mut self.sites[site].ready) {
            batch.attempts += 1;
            self.retry(batch, now_ms);
        }
    }

    fn start(&mut self, at: usize, now_ms: u64) -> Option<Start> {
        let wanted = f64::from(self.connections_max)
            * (1.0 - (-RISE * self.sites[at].ready.len() as f64).exp());
        let site = &mut self.sites[at];
        if site.idle == 0 && f64::from(site.connections) >= wanted.ceil() {
            return None;
        }
        let mut batch = site.ready.pop_front()?;
        site.connections += u32::from(site.idle == 0);
        site.idle = site.idle.saturating_sub(1);
        self.count += 1;
        let recipients = std::mem::take(&mut batch.recipients);
        let (mail, token) = (batch.mail, self.count);
        self.open.insert(token, (batch, now_ms));
        Some(Start { mail, site: at as u32, recipients, token })
    }
}

impl Discipline for Ready {
    fn enqueue(&mut self, number: u32, mail: &Mail, now_ms: u64) {
        assert_eq!(self.routes.len(), number as usize);
        self.routes.push(mail.route);
        for recipient in 0..mail.recipients {
            let recipients = vec![recipient];
            let batch =
                Batch { recipients, ..Batch::whole(number, &Mail { recipients: 0, ..*mail }) };
            let due_ms = mail.due_us.div_ceil(1000);
            if due_ms > now_ms {
                self.wait(batch, due_ms);
            } else {
                self.make_ready(batch, now_ms);
            }
        }
    }

    fn next(&mut self, now_ms: u64) -> Next {
        self.pop(now_ms);
        while let Some(site) = self.changed.front().copied() {
            if let Some(start) = self.start(site, now_ms) {
                return Next::Start(start);
            }
            // Those for which nothing is ready close.
            self.sites[site].connections -= self.sites[site].idle;
            self.sites[site].idle = 0;
            self.sites[site].listed = false;
            self.changed.pop_front();
        }
        self.wheel.peek().map_or(Next::Idle, |_| Next::WakeAt(self.pop_at_ms))
    }

    fn result(&mut self, start: Start, attempt: &Attempt, now_ms: u64) -> Outcome {
        let (batch, started_ms) = self.open.remove(&start.token).unwrap();
        let site = start.site as usize;
        if attempt.verdict == Verdict::Served {
            self.sites[site].idle += 1;
        } else {
            self.sites[site].connections -= 1;
        }
        if matches!(attempt.verdict, Verdict::Unreachable | Verdict::TurnedAway) {
            self.sites[site].failures += 1;
            if self.sites[site].failures >= FAILURES_MAX {
                self.put_off(site, now_ms);
            }
        } else {
            self.sites[site].failures = 0;
        }
        self.changed(site);
        if attempt.deferred.is_empty() {
            return Outcome::Kept;
        }
        let too_old = started_ms >= batch.arrived_ms + self.lifetime_ms;
        let Some(again) = batch.again(&attempt.deferred, too_old) else {
            return Outcome::Expired;
        };
        self.retry(again, now_ms);
        Outcome::Kept
    }

    fn set_route(&mut self, route: u32, site: u32, _now_ms: u64) {
        self.sites_of_routes[route as usize] = site;
    }
}
