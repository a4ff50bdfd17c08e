//! Large messages, beside the bare disk and beside small ones.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::REPETITIONS;
use crate::engine::{self, Watched};
use crate::figures::{self, p99};
use crate::load::{Complete, Keep, Load, complete, flush};
use crate::plan::Plan;
use crate::raw::Raw;

const LARGE: usize = 10 << 20;
const SMALL: usize = 8 << 10;
const RAW_PIECE: usize = 1 << 20;
/// Small messages are completed after so many later ones.
const LATER: usize = 500;
/// What warms the spool up is so many messages at most.
const WARMING_MAX: usize = 200;
const DISK_NEEDED: u64 = 4 << 30;

const SHARE: [&str; 3] = ["spool.large.rate", "spool.large.raw_share", "spool.raw.large"];
const BESIDE: [&str; 3] =
    ["spool.large.small_p99_ratio", "spool.large.small_p99_alone", "spool.large.small_p99_beside"];

/// Runs what is wanted of it.
pub(crate) fn bench(plan: &Plan) {
    if !plan.wants_any(&SHARE) && !plan.wants_any(&BESIDE) {
        return;
    }
    let Some(directory) = plan.directory("spool.large", DISK_NEEDED) else { return };
    let path = directory.path().join("spool");
    let watched = Watched::open(&path);
    let load = Load::new(watched.spool.clone(), LARGE);
    warm(&watched, &path, &load);
    if plan.wants_any(&SHARE) {
        share(plan, &load, &mut Raw::new(directory.path()));
    }
    if plan.wants_any(&BESIDE) {
        beside(plan, &load);
    }
    flush(&load.spool);
    drop(load);
    engine::end(watched.spool, &path, 0);
}

/// One large message's whole life.
fn one(load: &Load) {
    complete(&load.spool, load.staged());
}

fn warm(watched: &Watched, path: &Path, load: &Load) {
    for _ in 0..WARMING_MAX {
        one(load);
        if watched.is_round(path) {
            return;
        }
    }
    println!("# the spool's space did not come round in {WARMING_MAX} large messages");
}

fn share(plan: &Plan, load: &Load, raw: &mut Raw) {
    let count = plan.pick(10, 60);
    let lasting = Duration::from_millis(plan.pick(300, 2000));
    let (mut rates, mut raws) = (vec![], vec![]);
    for _ in 0..REPETITIONS {
        let begin = Instant::now();
        (0..count).for_each(|_| one(load));
        flush(&load.spool);
        rates.push(f64::from(count) / begin.elapsed().as_secs_f64());
        raws.push(raw.rate(RAW_PIECE, LARGE / RAW_PIECE, lasting));
    }
    let size = (LARGE >> 20) as f64;
    let (rate, raw, share) = figures::beside(rates, raws);
    plan.print(SHARE[0], rate * size, "MiB/s");
    plan.print(SHARE[1], share, "x");
    plan.print(SHARE[2], raw * size, "MiB/s");
}

fn beside(plan: &Plan, load: &Load) {
    let count = plan.pick(500, 2000);
    let small = Load::new(load.spool.clone(), SMALL);
    let mut keeper = Complete::after(LATER);
    let (mut alone, mut beside) = (vec![], vec![]);
    for _ in 0..REPETITIONS {
        alone.push(p99(times_us(&small, count, &mut keeper)));
        beside.push(p99(times_beside_us(load, &small, count, &mut keeper)));
    }
    keeper.end(&small.spool);
    let (beside, alone, ratio) = figures::beside(beside, alone);
    plan.print(BESIDE[0], ratio, "x");
    plan.print(BESIDE[1], alone, "us");
    plan.print(BESIDE[2], beside, "us");
}

/// How long each of so many small messages took, one at a time.
fn times_us(small: &Load, count: usize, keeper: &mut Complete) -> Vec<f64> {
    (0..count)
        .map(|_| {
            let begin = Instant::now();
            let id = small.one();
            let took = begin.elapsed();
            keeper.keep(id, &small.spool);
            took.as_secs_f64() * 1e6
        })
        .collect()
}

/// Ends the stream, even by a panic: else it would be waited for without end.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn times_beside_us(load: &Load, small: &Load, count: usize, keeper: &mut Complete) -> Vec<f64> {
    let (stop, streamed) = (AtomicBool::new(false), AtomicU64::new(0));
    let times = thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                one(load);
                streamed.fetch_add(1, Ordering::Relaxed);
            }
        });
        times_us(small, count, keeper)
    });
    assert!(streamed.into_inner() > 1, "no stream to stand beside");
    times
}
