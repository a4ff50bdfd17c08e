//! Rates: what was configured, and what a site's refusals taught.
//!
//! A learned rate is a function of what the site last bore and of the time since it complained:
//! seven tenths of it at once, back to nearly all of it within seconds, there for a while, then
//! ever faster beyond it, until it complains again. Time in which nobody wanted to send does not
//! count. Complaints about one round of transactions count once. A site that takes nothing at all
//! since it complained is left alone for a while, ever longer: a receiver that counts by the second
//! or the minute takes nothing until that is over, whatever its rate.

use std::sync::Arc;

use super::view::RateState;

/// So many messages in so long a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Messages.
    pub count: u32,
    /// Milliseconds.
    pub per_ms: u64,
}

/// Messages that may come late by this, together.
const SLACK_US: u64 = 10_000;

/// A gap between messages, kept on average.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Bucket {
    /// When the next would be due if all came evenly, in microseconds.
    next_us: u64,
}

impl Bucket {
    /// When the next may go.
    pub(super) fn opens_ms(&self, gap_us: u64) -> u64 {
        self.next_us.saturating_sub(SLACK_US.max(gap_us)).div_ceil(1000)
    }

    /// One goes.
    pub(super) fn take(&mut self, gap_us: u64, now_ms: u64) {
        self.next_us = self.next_us.max(now_ms.saturating_mul(1000)).saturating_add(gap_us);
    }

    /// One that went did not.
    pub(super) fn give_back(&mut self, gap_us: u64) {
        self.next_us = self.next_us.saturating_sub(gap_us);
    }

    /// Nothing that went is remembered any more.
    pub(super) fn is_idle(&self, now_ms: u64) -> bool {
        self.next_us <= now_ms.saturating_mul(1000)
    }
}

impl Rate {
    /// Between two messages, in microseconds.
    pub(super) fn gap_us(self) -> u64 {
        (self.per_ms.saturating_mul(1000) / u64::from(self.count.max(1))).max(1)
    }
}

/// How many were taken in the last second.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Meter {
    /// The low bits of its number.
    second: u16,
    count: u16,
    before: u16,
}

impl Meter {
    pub(super) fn add(&mut self, now_ms: u64) {
        self.turn(now_ms);
        self.count = self.count.saturating_add(1);
    }

    /// Per second.
    pub(super) fn rate(&mut self, now_ms: u64) -> f64 {
        self.turn(now_ms);
        let rest = 1.0 - (now_ms % 1000) as f64 / 1000.0;
        f64::from(self.before) * rest + f64::from(self.count)
    }

    fn turn(&mut self, now_ms: u64) {
        let second = (now_ms / 1000) as u16;
        if second != self.second {
            self.before = if second == self.second.wrapping_add(1) { self.count } else { 0 };
            (self.second, self.count) = (second, 0);
        }
    }
}

/// At once after a complaint.
const AFTER_COMPLAINT: f64 = 0.7;
/// What it comes back to.
const PLATEAU: f64 = 0.96;
/// How long it takes to come back.
const RECOVERY_MS: f64 = 2_000.0;
/// How long it stays there.
const PLATEAU_MS: f64 = 8_000.0;
/// The first second beyond adds this share; each further one half as much again.
const PROBE: f64 = 0.01;
const PROBE_GROWTH: f64 = 1.5;
/// The slowest: one in ten minutes.
const RATE_MIN: f64 = 1.0 / 600.0;
/// No site bears more, per second.
const RATE_MAX: f64 = 1e5;
/// A site that took nothing yet tells nothing of what it bears.
const RATE_FIRST: f64 = 1.0;
/// How long a site that takes nothing is left alone first, and at most.
const HOLD_MS: u64 = 100;
const HOLD_MS_MAX: u64 = 60_000;
/// Answers after which the share that was taken tells something.
const SAMPLE: u32 = 8;
/// Longer than this without a message does not count as time of sending.
const IDLE_MS: u64 = 1_000;
/// Without a complaint for so long, the limit is forgotten once it is far from being met.
const MEMORY_MS: u64 = 3_600_000;

/// The learned rate of one site.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    /// What it last bore, per second.
    ceiling: f64,
    /// Time of sending since it complained.
    spent_ms: f64,
    used_ms: u64,
    complained_ms: u64,
    taken: u32,
    refused: u32,
    /// How long it was left alone last.
    hold_ms: u64,
    /// Nothing before this time.
    pub(super) closed_until_ms: u64,
    /// What it complained with.
    pub(super) reply: Arc<str>,
}

impl Pacer {
    /// A site complained first, when it had taken `measured` per second.
    pub(super) fn new(measured: f64, now_ms: u64, reply: Arc<str>) -> Self {
        Self {
            ceiling: measured.max(RATE_FIRST),
            spent_ms: 0.0,
            used_ms: now_ms,
            complained_ms: now_ms,
            taken: 0,
            refused: 0,
            hold_ms: 0,
            closed_until_ms: 0,
            reply,
        }
    }

    /// What it may be sent now, per second.
    pub(super) fn rate(&self) -> f64 {
        let share = if self.spent_ms < RECOVERY_MS {
            AFTER_COMPLAINT + (PLATEAU - AFTER_COMPLAINT) * self.spent_ms / RECOVERY_MS
        } else {
            let beyond_s = (self.spent_ms - RECOVERY_MS - PLATEAU_MS).max(0.0) / 1000.0;
            PLATEAU + PROBE * (PROBE_GROWTH.powf(beyond_s.min(60.0)) - 1.0) / (PROBE_GROWTH - 1.0)
        };
        (self.ceiling * share).max(RATE_MIN)
    }

    /// Between two messages, in microseconds.
    pub(super) fn gap_us(&self) -> u64 {
        (1e6 / self.rate()) as u64
    }

    /// Starts where it was before a restart.
    pub(super) fn restore(ceiling: f64, now_ms: u64, reply: Arc<str>) -> Self {
        let ceiling = if ceiling.is_nan() { RATE_MIN } else { ceiling.clamp(RATE_MIN, RATE_MAX) };
        Self { ceiling, ..Self::new(0.0, now_ms, reply) }
    }

    /// A message is sent.
    pub(super) fn send(&mut self, now_ms: u64) {
        let idle_ms = IDLE_MS.max(2 * self.gap_us() / 1000);
        let passed_ms = now_ms.saturating_sub(self.used_ms).min(idle_ms);
        self.used_ms = self.used_ms.max(now_ms);
        self.spent_ms += passed_ms as f64;
    }

    /// A message was taken.
    pub(super) fn take(&mut self, started_ms: u64) {
        if started_ms >= self.complained_ms {
            self.taken += 1;
        }
    }

    /// The site complains of a message that was sent to it at `started_ms`.
    pub(super) fn complain(
        &mut self,
        measured: f64,
        started_ms: u64,
        now_ms: u64,
        reply: Arc<str>,
    ) {
        self.reply = reply;
        if started_ms < self.complained_ms {
            return;
        }
        if self.taken == 0 {
            self.complained_ms = now_ms + 1;
            self.hold_ms = (2 * self.hold_ms).clamp(HOLD_MS, HOLD_MS_MAX);
            self.closed_until_ms = self.closed_until_ms.max(now_ms + self.hold_ms);
            return;
        }
        self.hold_ms = 0;
        self.refused += 1;
        let sent = self.taken + self.refused;
        let rate = self.rate();
        // What was taken since the last complaint tells more than a second that began before it.
        let share = f64::from(self.taken) / f64::from(sent);
        let borne = if sent >= SAMPLE { (rate * share).min(measured) } else { measured };
        // A sample is no proof of much less: the fall is at most to a quarter.
        self.ceiling = borne.clamp(rate / 4.0, rate).max(RATE_MIN);
        (self.spent_ms, self.taken, self.refused) = (0.0, 0, 0);
        self.complained_ms = now_ms + 1;
    }

    /// As it is shown.
    pub(super) fn state(&self) -> RateState {
        RateState {
            per_s: self.rate(),
            ceiling_per_s: self.ceiling,
            closed_until_ms: self.closed_until_ms,
            reply: Arc::clone(&self.reply),
        }
    }

    /// Nothing is left of the limit that it could teach.
    pub(super) fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.complained_ms.max(self.closed_until_ms)) > MEMORY_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_keeps_its_gap_on_average() {
        let gap_us = Rate { count: 32, per_ms: 1000 }.gap_us();
        let (mut bucket, mut now_ms, mut sent) = (Bucket::default(), 5_000, 0);
        while now_ms < 15_000 {
            now_ms = now_ms.max(bucket.opens_ms(gap_us));
            bucket.take(gap_us, now_ms);
            sent += 1;
        }
        assert!((320..=323).contains(&sent), "{sent}");
        assert!(!bucket.is_idle(now_ms) && bucket.is_idle(now_ms + 1000));
    }

    #[test]
    fn a_meter_tells_the_last_second() {
        let mut meter = Meter::default();
        (0..3000).for_each(|at| meter.add(10_000 + at));
        assert!((meter.rate(12_999) - 1000.0).abs() < 2.0);
        assert!((meter.rate(13_500) - 500.0).abs() < 2.0);
        assert!(meter.rate(15_500) < 1.0);
    }

    #[test]
    fn a_learned_rate_falls_comes_back_stays_and_probes() {
        let mut pacer = Pacer::new(100.0, 0, "450".into());
        assert!((pacer.rate() - 70.0).abs() < 0.1);
        let mut now_ms = 0;
        let mut at = |seconds: u64, pacer: &mut Pacer| {
            while now_ms < seconds * 1000 {
                now_ms += 10;
                pacer.send(now_ms);
            }
            pacer.rate()
        };
        assert!((at(2, &mut pacer) - 96.0).abs() < 0.5);
        assert!((at(9, &mut pacer) - 96.0).abs() < 0.5);
        assert!(at(13, &mut pacer) > 99.0);
        assert!(at(20, &mut pacer) > 150.0);
        let before = pacer.rate();
        pacer.send(now_ms + 1_000_000);
        assert!(pacer.rate() < before * 2.0, "idle time does not count");
    }

    #[test]
    fn a_site_that_takes_nothing_is_left_alone_and_bears_no_less() {
        let mut pacer = Pacer::new(100.0, 1000, "450".into());
        pacer.complain(100.0, 1010, 1020, "450".into());
        assert_eq!(pacer.closed_until_ms, 1120);
        pacer.complain(100.0, 1121, 1130, "450".into());
        assert_eq!(pacer.closed_until_ms, 1330);
        assert!((pacer.rate() - 70.0).abs() < 0.1);
        pacer.take(1331);
        pacer.complain(30.0, 1340, 1350, "450".into());
        assert_eq!(pacer.closed_until_ms, 1330, "it took something");
        assert!((pacer.rate() - 21.0).abs() < 0.1);
    }

    #[test]
    fn complaints_of_one_round_count_once() {
        let mut pacer = Pacer::new(100.0, 1000, "450".into());
        pacer.complain(100.0, 900, 1010, "450".into());
        assert!((pacer.rate() - 70.0).abs() < 0.1);
        pacer.take(1002);
        pacer.complain(50.0, 1005, 1020, "451".into());
        assert!((pacer.rate() - 35.0).abs() < 0.1);
        assert_eq!(&*pacer.reply, "451");
        assert!(!pacer.is_forgotten(2_000_000) && pacer.is_forgotten(4_000_000));
    }
}
