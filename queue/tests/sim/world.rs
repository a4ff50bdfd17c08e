//! The event loop: sources hand mail to a discipline, receivers end what it starts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;

use super::discipline::{Attempt, Discipline, Kind, Next, Notice, Outcome, Setup, Start};
use super::ledger::Ledger;
use super::receiver::Receiver;
use super::source::Source;

/// Notices are fetched in portions, so often.
const NOTICES_EVERY_US: u64 = 100_000;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize),
    Finish(usize),
    Probed(u32, bool),
    Move(u32, u32),
    Notices,
    Wake,
}

/// One run.
pub struct World {
    pub now_us: u64,
    pub ledger: Ledger,
    pub receivers: Vec<Receiver>,
    pub discipline: Box<dyn Discipline>,
    /// Probes sent.
    pub probes: u64,
    /// Microseconds of all transactions that have ended.
    pub busy_us: u64,
    /// Transactions now, and the most there were.
    pub open: usize,
    pub open_max: usize,
    slots_max: usize,
    sources: Vec<Source>,
    rng: Rng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    events_count: u64,
    running: Vec<Option<(Start, Attempt, u64)>>,
    free: Vec<usize>,
    wake_ms: Option<u64>,
    /// Notices in each portion.
    notices: usize,
}

impl World {
    /// A discipline before receivers; a site for each.
    pub fn new(kind: Kind, setup: &Setup, receivers: Vec<Receiver>) -> Self {
        assert_eq!(receivers.len(), setup.sites_count(), "a receiver for each site");
        Self {
            now_us: 0,
            ledger: Ledger::default(),
            receivers,
            discipline: kind.build(setup),
            probes: 0,
            busy_us: 0,
            open: 0,
            open_max: 0,
            slots_max: if kind == Kind::Ready { usize::MAX } else { setup.slots },
            sources: Vec::new(),
            rng: Rng::with_seed(setup.seed),
            events: BinaryHeap::new(),
            events_count: 0,
            running: Vec::new(),
            free: Vec::new(),
            wake_ms: None,
            notices: 0,
        }
    }

    pub fn add(&mut self, source: Source) {
        self.at(source.next_us, Event::Arrive(self.sources.len()));
        self.sources.push(source);
    }

    /// No more mail comes.
    pub fn close(&mut self) {
        self.sources.iter_mut().for_each(Source::close);
    }

    /// Fetches so many notices a second.
    pub fn fetch_notices(&mut self, per_s: usize) {
        self.notices = (per_s * NOTICES_EVERY_US as usize / 1_000_000).max(1);
        self.at(0, Event::Notices);
    }

    /// Binds a route to another site at this time.
    pub fn move_route(&mut self, at_us: u64, route: u32, site: u32) {
        self.at(at_us, Event::Move(route, site));
    }

    /// Runs until this time, or until this holds.
    pub fn run(&mut self, until_us: u64, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let due = self.events.peek().is_some_and(|Reverse((at_us, ..))| *at_us <= until_us);
            let Some(Reverse((at_us, _, event))) = due.then(|| self.events.pop()).flatten() else {
                self.now_us = until_us;
                return;
            };
            self.now_us = at_us;
            self.handle(event);
            self.dispatch();
        }
    }

    fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.events_count += 1;
        self.events.push(Reverse((at_us, self.events_count, event)));
    }

    fn handle(&mut self, event: Event) {
        let now_ms = self.now_ms();
        match event {
            Event::Arrive(source) => self.arrive(source),
            Event::Finish(running) => self.finish(running),
            Event::Probed(site, answers) => self.discipline.probed(site, answers, now_ms),
            Event::Move(route, site) => self.discipline.set_route(route, site, now_ms),
            Event::Notices => self.take_notices(),
            Event::Wake => {
                if self.wake_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                    self.wake_ms = None;
                }
            }
        }
    }

    fn arrive(&mut self, index: usize) {
        while let Some(mail) = self.sources[index].take(self.now_us, &mut self.rng) {
            let number = self.ledger.arrived(mail);
            self.discipline.enqueue(number, self.ledger.mail(number), self.now_us / 1000);
        }
        if !self.sources[index].ended() {
            self.at(self.sources[index].next_us, Event::Arrive(index));
        }
    }

    fn dispatch(&mut self) {
        loop {
            match self.discipline.next(self.now_ms()) {
                Next::Start(start) => self.start(start),
                Next::Probe(site) => {
                    self.probes += 1;
                    let (takes_us, answers) = self.receivers[site as usize].probe(self.now_us);
                    self.at(self.now_us + takes_us, Event::Probed(site, answers));
                }
                Next::WakeAt(at_ms) => return self.wake_at(at_ms),
                Next::Idle => return,
            }
        }
    }

    fn wake_at(&mut self, at_ms: u64) {
        assert!(at_ms > self.now_ms(), "it wants to be asked again at once");
        if self.wake_ms.is_none_or(|wake_ms| at_ms < wake_ms) {
            self.wake_ms = Some(at_ms);
            self.at(at_ms * 1000, Event::Wake);
        }
    }

    fn start(&mut self, start: Start) {
        self.ledger.started(&start, self.now_us);
        let receiver = &mut self.receivers[start.site as usize];
        let (takes_us, attempt) = receiver.begin(&start, self.now_us, &mut self.rng);
        self.open += 1;
        self.open_max = self.open_max.max(self.open);
        assert!(self.open <= self.slots_max, "more than the slots at a time");
        let entry = Some((start, attempt, takes_us));
        let running = match self.free.pop() {
            Some(place) => {
                self.running[place] = entry;
                place
            }
            None => {
                self.running.push(entry);
                self.running.len() - 1
            }
        };
        self.at(self.now_us + takes_us, Event::Finish(running));
    }

    fn finish(&mut self, running: usize) {
        let (start, attempt, took_us) = self.running[running].take().unwrap();
        self.free.push(running);
        self.open -= 1;
        self.busy_us += took_us;
        self.receivers[start.site as usize].end();
        let now_us = self.now_us;
        self.ledger.tried(start.mail, attempt.verdict);
        let number = start.mail;
        for recipient in &start.recipients {
            if !attempt.deferred.contains(recipient) {
                self.ledger.ended(number, *recipient, true, now_us);
            }
        }
        if self.discipline.result(start, &attempt, now_us / 1000) == Outcome::Expired {
            for recipient in attempt.deferred {
                self.ledger.ended(number, recipient, false, now_us);
            }
        }
    }

    fn take_notices(&mut self) {
        self.at(self.now_us + NOTICES_EVERY_US, Event::Notices);
        for _ in 0..self.notices {
            match self.discipline.notice(self.now_us / 1000) {
                Some(Notice::Expired(number, recipients)) => {
                    for recipient in recipients {
                        self.ledger.ended(number, recipient, false, self.now_us);
                    }
                }
                Some(Notice::Waiting(number)) => self.ledger.flow_of(number).warned += 1,
                Some(Notice::Late(_)) => {}
                None => return,
            }
        }
    }
}
