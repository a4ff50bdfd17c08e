//! Time of what takes less than the clock can tell: the best of many bursts, so that what else the
//! machine does counts little.

use std::time::{Duration, Instant};

/// How long a burst lasts, about: short enough to fall between two turns of other programs.
const BURST: Duration = Duration::from_micros(300);
const BURSTS: usize = 2_000;

/// Seconds that one call of `work` takes.
pub(crate) fn seconds(mut work: impl FnMut()) -> f64 {
    let mut calls: u32 = 1;
    loop {
        let took = time(calls, &mut work);
        if took >= BURST {
            break;
        }
        calls *= 2;
    }
    let bursts = (0..BURSTS).map(|_| time(calls, &mut work));
    bursts.min().unwrap_or_default().as_secs_f64() / f64::from(calls)
}

fn time(calls: u32, work: &mut impl FnMut()) -> Duration {
    let begin = Instant::now();
    (0..calls).for_each(|_| work());
    begin.elapsed()
}

/// Prints one figure.
pub(crate) fn print(name: &str, value: f64, unit: &str) {
    println!("{name} = {value:.2} {unit}");
}
