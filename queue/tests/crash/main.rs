//! Crash consistency: whatever moment the power fails, what was acknowledged is there.
//!
//! A script of operations runs on the simulated disk, of which a copy is kept after each step. Each
//! copy then suffers a power cut (or its process is killed), is recovered, often with a crash during
//! recovery too, and compared with the oracle: the acknowledged operations, plus any of those in
//! flight, each whole or not at all. Bodies must be equal to the octet, identifiers new, and nothing
//! reported as damaged on a disk that did nothing wrong. From some of the recovered disks the script
//! goes on, to crash again.
//!
//! - `scripts`: random operations; disks that fail, stop short, run full or lie.
//! - `sequences`: every sequence of up to three operations.
//! - `harm`: disks that spoil what they had stored.
//! - `replays`: a failure names its case, and `ANGARIUM_REPLAY` runs that case alone.
//!
//! `ANGARIUM_LONG` runs ten times as much, `ANGARIUM_CRASH_SEEDS=N` N scripts in each test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(unreachable_pub, reason = "no crate uses a test")]

mod harm;
mod model;
mod recover;
mod runner;
mod scripts;
mod sequences;
#[path = "../simulated/mod.rs"]
mod simulated;

use model::Verdict;
use scripts::{Fault, body_beside, crash_everywhere, fault_everywhere, lie};

/// How many scripts a test runs: so many, or ten times that, or as many as the environment says.
fn seeds(few: u64) -> u64 {
    let long = std::env::var_os("ANGARIUM_LONG").is_some();
    let seeds = std::env::var("ANGARIUM_CRASH_SEEDS").ok();
    seeds.map_or(if long { 10 * few } else { few }, |text| text.parse().unwrap())
}

/// Tests that share the scripts of one kind, so that all cores have work.
const SHARES: u64 = 4;

/// Runs this share's scripts; all scripts together must have so many cases.
fn share(share: u64, scripts: u64, least: usize, case: impl Fn(u64) -> Verdict<usize>) {
    let mut cases = 0;
    for number in 0..seeds(scripts) {
        cases += case(number * SHARES + share).unwrap_or_else(|why| panic!("{why}"));
    }
    println!("{cases} crash points");
    if std::env::var_os("ANGARIUM_CRASH_SEEDS").is_none() {
        assert!(cases >= least, "{cases} crash points are too few");
    }
}

/// 100,000 crash points in all.
mod a_crash_at_any_step_loses_nothing {
    use super::*;

    fn crash(number: u64) {
        share(number, 100, 25_000, |seed| crash_everywhere(seed, None));
    }

    #[test]
    fn first() {
        crash(0);
    }

    #[test]
    fn second() {
        crash(1);
    }

    #[test]
    fn third() {
        crash(2);
    }

    #[test]
    fn fourth() {
        crash(3);
    }
}

mod a_single_fault_loses_nothing {
    use super::*;

    #[test]
    fn of_a_sync() {
        share(0, 8, 500, |seed| fault_everywhere(Fault::Sync, seed, None));
    }

    #[test]
    fn of_a_write() {
        share(1, 8, 500, |seed| fault_everywhere(Fault::Write, seed, None));
    }

    #[test]
    fn of_a_body_before_a_kill() {
        (0..seeds(50)).for_each(|seed| body_beside(seed).unwrap_or_else(|why| panic!("{why}")));
    }

    #[test]
    fn of_a_creation() {
        share(2, 40, 100, |seed| fault_everywhere(Fault::Create, seed, None));
    }
}

/// The oracle can fail: a disk that lies about its syncs is caught at once.
#[test]
fn a_lying_sync_is_found_out() {
    for seed in 0..seeds(20) {
        let why = lie(seed).expect_err("nobody noticed");
        assert!(why.contains("nothing explains what was recovered"), "{why}");
    }
}

mod replays {
    use super::*;

    fn case(text: &str) -> Verdict<()> {
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, seed, step] = words[..] else { panic!("kind, seed and step: {text}") };
        let number = || seed.parse().unwrap();
        let only = Some(step.parse().unwrap());
        match kind {
            "script" => crash_everywhere(number(), only).map(drop),
            "lie" => lie(number()),
            "sequence" => sequences::run(seed, only).map(drop),
            "rot" => harm::rot(number()).map(drop),
            "astray" => harm::astray(number()).map(drop),
            _ => {
                let faults = [Fault::Sync, Fault::Write, Fault::Create];
                let fault = faults.into_iter().find(|fault| fault.name() == kind);
                fault_everywhere(fault.unwrap(), number(), only).map(drop)
            }
        }
    }

    /// Runs the case that the environment names.
    #[test]
    fn one_case() {
        if let Ok(text) = std::env::var("ANGARIUM_REPLAY") {
            case(&text).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    /// What a failure says is enough to see the same failure again.
    #[test]
    fn a_failure_replays() {
        let first = lie(7).unwrap_err();
        let (_, named) = first.split_once("ANGARIUM_REPLAY='").unwrap();
        let (named, _) = named.split_once('\'').unwrap();
        assert_eq!(case(named).unwrap_err(), first);
    }
}
