//! A receiver: how long it takes, what it refuses, when it is out.

use std::collections::HashMap;

use fastrand::Rng;

use super::SECOND;
use super::chance::Time;
use super::discipline::{Attempt, Start, Verdict};

/// How long a refused connection, and one that is turned away by a reply, take.
const REFUSED_US: u64 = 1_000;
const TURNED_AWAY_US: u64 = 10_000;
/// How long a sender waits for a connection that hangs.
pub const HANGING_US: u64 = 30 * SECOND;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outage {
    Refused,
    Hanging,
}

/// One exchanger set. The default takes everything at once in 20 ms.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub service: Time,
    /// Transactions it works on at a time, the others wait there; 0 for any number.
    pub servers: usize,
    /// Connections beyond are turned away; 0 for any number.
    pub connections_max: u32,
    /// From when on so many transactions a second are taken; none before the first.
    pub limits: Vec<(u64, f64)>,
    /// How long a message it has not seen is put off.
    pub greylist_us: u64,
    /// From, to.
    pub outages: Vec<(u64, u64, Outage)>,
    /// Share of the connections that fail: some exchangers of the set are dead.
    pub failing: f64,
    pub state: State,
}

/// What a receiver remembers.
#[derive(Clone, Debug, Default)]
pub struct State {
    free_at_us: Vec<u64>,
    open: u32,
    /// Transactions taken and not yet made up for by the passing of time.
    level: f64,
    levelled_us: u64,
    seen_us: HashMap<u32, u64>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            service: Time::Constant(20_000),
            servers: 0,
            connections_max: 0,
            limits: Vec::new(),
            greylist_us: 0,
            outages: Vec::new(),
            failing: 0.0,
            state: State::default(),
        }
    }
}

impl Receiver {
    pub fn new(service: Time) -> Self {
        Self { service, ..Self::default() }
    }

    /// Out from here to there.
    pub fn out(mut self, from_us: u64, to_us: u64, outage: Outage) -> Self {
        self.outages.push((from_us, to_us, outage));
        self
    }

    pub fn outage(&self, now_us: u64) -> Option<Outage> {
        let covers = |(from, to, _): &&(u64, u64, Outage)| (*from..*to).contains(&now_us);
        self.outages.iter().find(covers).map(|(_, _, outage)| *outage)
    }

    /// Transactions a second it takes now; none for any number.
    pub fn limit(&self, now_us: u64) -> Option<f64> {
        self.limits.iter().rev().find(|(from, _)| *from <= now_us).map(|(_, rate)| *rate)
    }

    /// Begins a transaction: how long it takes, and how it will have gone.
    pub fn begin(&mut self, start: &Start, now_us: u64, rng: &mut Rng) -> (u64, Attempt) {
        self.state.open += 1;
        let all = |verdict| Attempt { verdict, deferred: start.recipients.clone() };
        match self.outage(now_us) {
            Some(Outage::Refused) => return (REFUSED_US, all(Verdict::Unreachable)),
            Some(Outage::Hanging) => return (HANGING_US, all(Verdict::Unreachable)),
            None => {}
        }
        if self.failing > 0.0 && rng.f64() < self.failing {
            return (TURNED_AWAY_US, all(Verdict::Unreachable));
        }
        let crowded = self.connections_max > 0 && self.state.open > self.connections_max;
        if crowded {
            return (TURNED_AWAY_US, all(Verdict::TurnedAway));
        }
        if !self.is_taken(now_us) {
            return (TURNED_AWAY_US, all(Verdict::Limited));
        }
        if self.greylist_us > 0 {
            let seen = *self.state.seen_us.entry(start.mail).or_insert(now_us);
            if now_us < seen + self.greylist_us {
                return (TURNED_AWAY_US, all(Verdict::Served));
            }
        }
        let end_us = self.serve(now_us, rng);
        (end_us - now_us, Attempt { verdict: Verdict::Served, deferred: Vec::new() })
    }

    /// A transaction has ended.
    pub fn end(&mut self) {
        self.state.open -= 1;
    }

    /// Whether a probe that begins now is answered, and after how long.
    pub fn probe(&self, now_us: u64) -> (u64, bool) {
        match self.outage(now_us) {
            Some(Outage::Refused) => (REFUSED_US, false),
            Some(Outage::Hanging) => (HANGING_US, false),
            None => (TURNED_AWAY_US, true),
        }
    }

    /// Takes one in, if there were no more than a second's worth of late.
    fn is_taken(&mut self, now_us: u64) -> bool {
        let Some(rate) = self.limit(now_us) else { return true };
        let passed_s = (now_us - self.state.levelled_us) as f64 / SECOND as f64;
        let level = (self.state.level - rate * passed_s).max(0.0);
        self.state.levelled_us = now_us;
        let taken = rate > 0.0 && level + 1.0 <= rate.max(1.0);
        self.state.level = level + f64::from(u8::from(taken));
        taken
    }

    /// When a transaction that comes now is through.
    fn serve(&mut self, now_us: u64, rng: &mut Rng) -> u64 {
        let takes_us = self.service.draw(rng);
        if self.servers == 0 {
            return now_us + takes_us;
        }
        self.state.free_at_us.resize(self.servers, 0);
        let free = self.state.free_at_us.iter_mut().min().unwrap();
        *free = (*free).max(now_us) + takes_us;
        *free
    }
}
