//! Accepts of small messages, by many writers and by one, beside the bare disk.

use std::path::Path;
use std::time::Duration;

use crate::REPETITIONS;
use crate::engine::{self, Watched};
use crate::figures::{self, median};
use crate::load::{Complete, Load, THREADS, flush};
use crate::plan::Plan;
use crate::raw::Raw;

const BODY: usize = 8 << 10;
const WRITERS: usize = 64;
/// A message is completed after so many later ones.
const LATER: usize = 2000;
/// What of the bare disk is held beside many writers.
const GROUP: usize = 256 << 10;
/// Body, envelope and heads of one message, padded.
const PADDED: usize = 12 << 10;
/// What warms the spool up is begun so often at most.
const ROUNDS_MAX: usize = 64;
const ROUND: usize = 4000;
const DISK_NEEDED: u64 = 4 << 30;

const MANY: [&str; 5] = [
    "spool.accept.w64",
    "spool.accept.w64.raw_share",
    "spool.raw.256k",
    "spool.syncs_per_message",
    "spool.overhead_bytes",
];
const ONE: [&str; 3] = ["spool.accept.w1", "spool.accept.w1.raw_share", "spool.raw.12k"];

/// Runs what is wanted of it.
pub(crate) fn bench(plan: &Plan) {
    if !plan.wants_any(&MANY) && !plan.wants_any(&ONE) {
        return;
    }
    let Some(directory) = plan.directory("spool.accept", DISK_NEEDED) else { return };
    let path = directory.path().join("spool");
    let mut raw = Raw::new(directory.path());
    let watched = Watched::open(&path);
    let load = Load::new(watched.spool.clone(), BODY);
    let mut keepers = [(); THREADS].map(|()| Complete::after(LATER / THREADS));
    warm(&watched, &path, &load, &mut keepers);
    if plan.wants_any(&MANY) {
        many(plan, &watched, &load, &mut keepers, &mut raw);
    }
    if plan.wants_any(&ONE) {
        one(plan, &load, &mut keepers[..1], &mut raw);
    }
    keepers.iter_mut().for_each(|keeper| keeper.end(&load.spool));
    flush(&load.spool);
    drop(load);
    engine::end(watched.spool, &path, 0);
}

/// Accepts and completes until the spool's space has been round.
fn warm(watched: &Watched, path: &Path, load: &Load, keepers: &mut [Complete]) {
    for _ in 0..ROUNDS_MAX {
        load.run(WRITERS, ROUND, keepers);
        if watched.is_round(path) {
            return;
        }
    }
    println!("# the spool's space did not come round in {} messages", ROUNDS_MAX * ROUND);
}

fn many(plan: &Plan, watched: &Watched, load: &Load, keepers: &mut [Complete], raw: &mut Raw) {
    let count = plan.pick(6000, 40_000);
    let lasting = Duration::from_millis(plan.pick(300, 2000));
    let (mut rates, mut raws, mut syncs, mut octets) = (vec![], vec![], vec![], vec![]);
    for _ in 0..REPETITIONS {
        let before = (watched.groups.count(), watched.written());
        rates.push(count as f64 / load.run(WRITERS, count, keepers));
        syncs.push((watched.groups.count() - before.0) as f64 / count as f64);
        octets.push((watched.written() - before.1) as f64 / count as f64);
        raws.push(raw.rate(GROUP, 1, lasting));
    }
    let (rate, raw, share) = figures::beside(rates, raws);
    plan.print(MANY[0], rate, "msg/s");
    plan.print(MANY[1], share * BODY as f64 / GROUP as f64, "x");
    plan.print(MANY[2], raw * GROUP as f64 / f64::from(1 << 20), "MiB/s");
    plan.print(MANY[3], median(syncs), "syncs");
    plan.print(MANY[4], median(octets) - BODY as f64, "bytes");
}

fn one(plan: &Plan, load: &Load, keepers: &mut [Complete], raw: &mut Raw) {
    let count = plan.pick(1000, 4000);
    let lasting = Duration::from_millis(plan.pick(300, 2000));
    let (mut rates, mut raws) = (vec![], vec![]);
    for _ in 0..REPETITIONS {
        rates.push(count as f64 / load.run(1, count, keepers));
        raws.push(raw.rate(PADDED, 1, lasting));
    }
    let (rate, raw, share) = figures::beside(rates, raws);
    plan.print(ONE[0], rate, "msg/s");
    plan.print(ONE[1], share, "x");
    plan.print(ONE[2], raw, "syncs/s");
}
