//! Plain first in, first out with a limit on all transactions.
//!
//! It knows no site, no tenant and no size. What is deferred comes back after five minutes, and
//! twice as late each time up to an hour.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::discipline::{Attempt, Batch, Discipline, Mail, Next, Outcome, Setup, Start};

const FIRST_MS: u64 = 300_000;
const LONGEST_MS: u64 = 3_600_000;

pub struct Fifo {
    slots: usize,
    recipients_max: usize,
    lifetime_ms: u64,
    sites: Vec<u32>,
    routes: Vec<u32>,
    ready: VecDeque<Batch>,
    waiting: BinaryHeap<Reverse<(u64, u64)>>,
    waits: HashMap<u64, Batch>,
    open: HashMap<u64, (Batch, u64)>,
    count: u64,
}

impl Fifo {
    pub fn new(setup: &Setup) -> Self {
        Self {
            slots: setup.slots_in_all(),
            recipients_max: setup.recipients_max,
            lifetime_ms: setup.lifetime_ms,
            sites: setup.sites.clone(),
            routes: Vec::new(),
            ready: VecDeque::new(),
            waiting: BinaryHeap::new(),
            waits: HashMap::new(),
            open: HashMap::new(),
            count: 0,
        }
    }

    fn wait(&mut self, batch: Batch, due_ms: u64) {
        self.count += 1;
        self.waits.insert(self.count, batch);
        self.waiting.push(Reverse((due_ms, self.count)));
    }
}

impl Discipline for Fifo {
    fn enqueue(&mut self, number: u32, mail: &Mail, now_ms: u64) {
        assert_eq!(self.routes.len(), number as usize);
        self.routes.push(mail.route);
        let due_ms = mail.due_us.div_ceil(1000);
        if due_ms > now_ms {
            self.wait(Batch::whole(number, mail), due_ms);
        } else {
            self.ready.push_back(Batch::whole(number, mail));
        }
    }

    fn next(&mut self, now_ms: u64) -> Next {
        while let Some(Reverse((_, key))) = self.waiting.peek().filter(|w| w.0.0 <= now_ms) {
            self.ready.push_back(self.waits.remove(key).unwrap());
            self.waiting.pop();
        }
        if self.open.len() < self.slots
            && let Some(first) = self.ready.front_mut()
        {
            let (mail, attempts, arrived_ms) = (first.mail, first.attempts, first.arrived_ms);
            let recipients = first.cut(self.recipients_max);
            if first.recipients.is_empty() {
                self.ready.pop_front();
            }
            self.count += 1;
            let token = self.count;
            let batch = Batch { mail, attempts, arrived_ms, recipients: Vec::new() };
            self.open.insert(token, (batch, now_ms));
            let site = self.sites[self.routes[mail as usize] as usize];
            return Next::Start(Start { mail, site, recipients, token });
        }
        self.waiting.peek().map_or(Next::Idle, |Reverse((due_ms, _))| Next::WakeAt(*due_ms))
    }

    fn result(&mut self, start: Start, attempt: &Attempt, now_ms: u64) -> Outcome {
        let (batch, started_ms) = self.open.remove(&start.token).unwrap();
        if attempt.deferred.is_empty() {
            return Outcome::Kept;
        }
        let too_old = started_ms >= batch.arrived_ms + self.lifetime_ms;
        let Some(again) = batch.again(&attempt.deferred, too_old) else {
            return Outcome::Expired;
        };
        let delay_ms = (FIRST_MS << (again.attempts - 1).min(8)).min(LONGEST_MS);
        self.wait(again, now_ms + delay_ms);
        Outcome::Kept
    }

    fn set_route(&mut self, route: u32, site: u32, _now_ms: u64) {
        self.sites[route as usize] = site;
    }
}
