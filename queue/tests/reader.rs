//! A reader that shares no code with the spool, written from `FORMAT.md`, sees the same messages.
//!
//! The spool goes through several starts, with moves, recycled slots and large bodies, and is copied
//! at many moments, as a kill would leave it. Without python3 this is left out, loudly, unless
//! `ANGARIUM_REQUIRE_PEERS` is set.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod listing;
mod simulated;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use angarium_queue::disk::RealDisk;
use angarium_queue::id::MessageId;
use angarium_queue::spool::{NewMessage, Op, Spool};
use listing::{copy_spool, listing};
use simulated::help::*;

/// What the reader says of a spool; `None` without python3.
fn read(spool: &Path) -> Option<Output> {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader.py");
    match Command::new("python3").arg(reader).arg(spool).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("ANGARIUM_REQUIRE_PEERS").is_none(), "python3: {error}");
            println!("LEFT OUT: the reader of the format needs python3 ({error})");
            None
        }
    }
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn open_at(path: &Path) -> Spool {
    let disk = Arc::new(RealDisk::open(path).unwrap());
    let (spool, recovery) = Spool::open(disk, options(), Box::new(|_| {})).unwrap();
    assert_eq!(recovery.damage, []);
    spool
}

/// Something random with a spool.
fn step(spool: &Spool, live: &mut Vec<MessageId>, random: &mut fastrand::Rng) {
    let id = spool.next_id().unwrap();
    let new = match random.u8(0..8) {
        0 => staged(spool, id, 2, &octets(id.as_u64(), random.usize(0..40_000))),
        _ => message(id, 2, &[&octets(id.as_u64(), random.usize(0..4_000))]),
    };
    let tenant = format!("tenant \"{}\" é", random.u8(0..3)).into();
    let new = NewMessage { tenant, held: random.u8(0..9) == 0, ..new };
    commit(spool, vec![Op::Append(new)]).unwrap();
    live.push(id);
    let mut batch = Vec::new();
    for _ in 0..random.usize(0..4) {
        let id = *random.choice(&*live).unwrap();
        let recipient = random.u32(0..2);
        batch.push(match random.u8(0..9) {
            0 => deferred(id, recipient, random.u32(1..5), random.u64(..)),
            1 => failed(id, recipient, true),
            2 => failed(id, recipient, false),
            3 => Op::Hold(id),
            4 => Op::Release(id),
            5 => Op::Told(id, random.u64(..)),
            6 => Op::Via(id, format!("smtp://h{}:25", random.u8(..)).into()),
            _ => delivered(id, recipient),
        });
    }
    if live.len() > 12 {
        let id = live.swap_remove(random.usize(0..8));
        batch.extend([delivered(id, 0), delivered(id, 1)]);
    }
    commit(spool, batch).unwrap();
    commit(spool, vec![]).unwrap();
}

#[test]
fn a_reader_of_its_own_sees_the_same() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("spool");
    let mut random = fastrand::Rng::with_seed(11);
    let mut live = Vec::new();
    for start in 0..4 {
        let spool = open_at(&path);
        for number in 0..60 {
            step(&spool, &mut live, &mut random);
            if number % 20 != 10 {
                continue;
            }
            let copy = home.path().join(format!("copy-{start}-{number}"));
            copy_spool(&path, &copy);
            let Some(output) = read(&copy) else { return };
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "start {start}, step {number}: {said}");
            assert_eq!(lines(&output), listing(&spool), "start {start}, step {number}");
            assert_eq!(listing(&open_at(&copy)), listing(&spool));
        }
        spool.shutdown();
        let closed = read(&path).unwrap();
        assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
        assert_eq!(lines(&closed), listing(&spool));
    }
    let names = std::fs::read_dir(&path).unwrap().count();
    assert!(names < 16, "slots were used again: {names}");
}

#[test]
fn the_reader_names_damage() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("spool");
    let spool = open_at(&path);
    (0..5).for_each(|n| assert!(append(&spool, &octets(n, 300)).counter() == n));
    spool.shutdown();
    let is_log = |path: &std::path::PathBuf| {
        let octets = std::fs::read(path).unwrap();
        path.extension().is_some_and(|extension| extension == "segment") && octets[12] == 1
    };
    let files = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let log = files.collect::<Vec<_>>().into_iter().find(is_log).unwrap();
    let whole = std::fs::read(&log).unwrap();
    let first = groups(&whole)[0].clone();
    for at in [5, first.start + 3, first.start + 60, first.end - 20] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&log, damaged).unwrap();
        let Some(output) = read(&path) else { return };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let name = log.file_name().unwrap().to_string_lossy().into_owned();
        assert!(output.status.code() == Some(1) && said.contains(&name), "{at}: {said}");
    }
}

#[test]
fn the_hash_is_the_known_one() {
    let hash = listing::sha256(b"abc");
    assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
