//! Delays of messages, their quantiles, medians of runs, and how all of it is printed.
//!
//! Promises that a message which did not arrive counts as one that took for ever.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::load::Receipt;
use crate::sink::{Arrival, Sink};

/// From the 250 of each message to its arrival, in milliseconds, sorted.
#[derive(Debug, Clone)]
pub struct Delays(Vec<f64>);

impl Delays {
    /// Of these messages, once all of them have come to `sink`, or after `patience`.
    pub fn of(receipts: &[Receipt], sink: &Sink, patience: Duration) -> Self {
        let end = Instant::now() + patience;
        loop {
            let delays = Self::between(receipts, &sink.arrivals());
            if delays.arrived() == receipts.len() || Instant::now() >= end {
                return delays;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn between(receipts: &[Receipt], arrivals: &[Arrival]) -> Self {
        let came: HashMap<u64, Instant> =
            arrivals.iter().rev().map(|arrival| (arrival.number, arrival.at)).collect();
        let delay = |receipt: &Receipt| {
            let at = came.get(&receipt.number)?;
            Some(at.saturating_duration_since(receipt.at).as_secs_f64() * 1000.0)
        };
        let delays = receipts.iter().map(|receipt| delay(receipt).unwrap_or(f64::INFINITY));
        let mut delays: Vec<f64> = delays.collect();
        delays.sort_by(f64::total_cmp);
        Self(delays)
    }

    /// How many have arrived.
    pub fn arrived(&self) -> usize {
        self.0.iter().filter(|delay| delay.is_finite()).count()
    }

    /// The delay that this share of the messages does not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a figure as `fairness.NAME = VALUE UNIT`.
pub fn print(name: &str, value: f64, unit: &str) {
    let digits = if unit == "ms" || value.fract() != 0.0 { 2 } else { 0 };
    println!("fairness.{name} = {value:.digits$} {unit}");
}

/// One run of a comparison: the same measure without and with what may disturb it, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// Without.
    pub alone: f64,
    /// With.
    pub beside: f64,
}

/// What `beside` may be.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// So many times `alone`.
    pub times: f64,
    /// Or so much more, if that is more.
    pub more_ms: f64,
}

impl Bound {
    fn of(self, alone: f64) -> f64 {
        (alone * self.times).max(alone + self.more_ms)
    }

    /// Prints the medians of the runs as figures of `name`, and asserts that they keep the bound.
    #[track_caller]
    pub fn assert(self, name: &str, runs: &[Pair]) {
        let of = |figure: fn(&Pair) -> f64| median(runs.iter().map(figure).collect());
        print(&format!("{name}.p99_alone"), of(|run| run.alone), "ms");
        print(&format!("{name}.p99"), of(|run| run.beside), "ms");
        print(&format!("{name}.p99_ratio"), of(|run| run.beside / run.alone), "times");
        let excess = median(runs.iter().map(|run| run.beside - self.of(run.alone)).collect());
        assert!(excess <= 0.0, "{name}: {excess:.2} ms over {self:?}: {runs:?}");
    }
}
