//! The tools for a spool at rest: the check finds every change that matters and makes none itself;
//! a copy has the same messages with the same states.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use angarium_queue::copy::{self, copy};
use angarium_queue::disk::{ReadOnlyDisk, RealDisk};
use angarium_queue::entry::{Change, Stored};
use angarium_queue::fsck::{self, Report};
use angarium_queue::id::MessageId;
use angarium_queue::snapshot::Snapshot;
use angarium_queue::spool::{Loaded, Op, Options, ReadError, Spool};

fn options() -> Options {
    Options {
        segment_size: 128 << 10,
        reserve: 8 << 10,
        inline_max: 8 << 10,
        min_free: 0,
        background: false,
        ..Options::default()
    }
}

fn open(path: &Path, options: Options) -> Spool {
    let disk = Arc::new(RealDisk::open(path).unwrap());
    let (spool, recovery) = Spool::open(disk, options, Box::new(|why| panic!("{why}"))).unwrap();
    assert!(recovery.damage.is_empty(), "{:?}", recovery.damage);
    spool
}

/// Some messages of every kind; some of them end.
fn fill(spool: &Spool, random: &mut fastrand::Rng) {
    for number in 0..60_u64 {
        let id = spool.next_id().unwrap();
        let size =
            if number % 9 == 4 { random.usize(9_000..40_000) } else { random.usize(0..3_000) };
        let octets: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
        let mut chunks = octets.chunks(1_000).map(|part| part.to_vec().into());
        let mut next = || Ok::<_, ReadError>(chunks.next());
        let body = copy::store_body(spool, id, size as u64, &mut next).unwrap().unwrap();
        let stored = Stored {
            id,
            arrived_ms: number,
            size: size as u64,
            held: number % 11 == 3,
            told_ms: number % 3,
            via: if number % 5 == 0 { "smtp://other:25".into() } else { "".into() },
            tenant: format!("tenant {number}").into(),
            recipients: vec![angarium_queue::entry::RecipientState::fresh(); 3],
        };
        let envelope = format!("envelope of {number}").into_bytes().into();
        copy::commit(spool, copy::restore(&stored, envelope, body)).unwrap();
        let mut changes = vec![(0, Change::Delivered)];
        if number % 2 == 0 {
            let reason = format!("450 try {number} later").into();
            changes.push((1, Change::Deferred { attempts: 2, due_ms: 99 + number, reason }));
        }
        if number % 7 == 0 {
            let reason = "550 no".into();
            changes.push((2, Change::Failed { expired: true, reason, report_owed: true }));
        }
        copy::commit(spool, vec![Op::Update { id, changes }]).unwrap();
        if number % 4 == 1 {
            copy::commit(spool, vec![Op::Remove(id)]).unwrap();
        }
    }
}

fn spool_at(path: &Path, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..2 {
        let spool = open(path, options());
        fill(&spool, &mut random);
        spool.shutdown();
    }
}

type Content = BTreeMap<MessageId, Result<(Stored, Vec<u8>, Vec<u8>), ReadError>>;

fn read(loaded: Loaded) -> Result<(Stored, Vec<u8>, Vec<u8>), ReadError> {
    let Loaded { stored, envelope, mut body } = loaded;
    let mut octets = Vec::new();
    while let Some(chunk) = body.next_chunk()? {
        octets.extend_from_slice(&chunk);
    }
    Ok((stored, envelope.to_vec(), octets))
}

fn content(path: &Path) -> Content {
    let snapshot = Snapshot::open(Arc::new(ReadOnlyDisk::open(path).unwrap())).unwrap();
    let ids = snapshot.ids(None, usize::MAX);
    ids.into_iter().map(|id| (id, snapshot.load(id).and_then(read))).collect()
}

fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()));
    named.map(|(name, octets)| (name.into_string().unwrap(), octets)).collect()
}

fn check(path: &Path) -> Report {
    fsck::check(Arc::new(ReadOnlyDisk::open(path).unwrap()), &["control"]).unwrap()
}

#[test]
fn a_good_spool_is_clean_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    spool_at(&path, 1);
    fs::write(path.join("control"), "").unwrap();
    fs::write(path.join("notes"), "").unwrap();
    fs::write(path.join("damaged-00000099.segment"), "").unwrap();
    let before = files(&path);
    let report = check(&path);
    assert_eq!(report.damage, []);
    assert_eq!(report.messages, 90);
    let octets = content(&path).into_values().map(|read| read.unwrap().2.len() as u64);
    assert_eq!(report.octets, octets.sum::<u64>());
    assert!(report.segments.log > 1 && report.segments.bulk > 1, "{:?}", report.segments);
    assert_eq!(report.strangers, ["notes"]);
    assert_eq!(report.set_aside, ["damaged-00000099.segment"]);
    assert_eq!(files(&path), before);
}

#[test]
fn no_change_goes_unseen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    spool_at(&path, 2);
    change(&path, 600);
}

/// The newest segment has no footer yet. What hits the head of its last group and the first record
/// in it can't be told from a write that was never finished; one octet can't hit both.
#[test]
fn no_change_of_an_octet_goes_unseen_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (path, killed) = (directory.path().join("spool"), directory.path().join("killed"));
    spool_at(&path, 2);
    let spool = open(&path, options());
    fill(&spool, &mut fastrand::Rng::with_seed(5));
    fs::create_dir(&killed).unwrap();
    for (name, octets) in files(&path) {
        fs::write(killed.join(name), octets).unwrap();
    }
    assert_eq!(check(&killed).damage, []);
    change(&killed, 1);
}

/// Whatever changes on the disk, nothing that is read from it then differs without a word.
fn change(path: &Path, octets_max: usize) {
    let (good, before) = (content(path), files(path));
    let seed = std::env::var("ANGARIUM_SEED").map_or(3, |seed| seed.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let names: Vec<_> = before.keys().filter(|name| *name != "lock").collect();
    let (mut seen, rounds) = (0, 400);
    for round in 0..rounds {
        let name = names[random.usize(..names.len())];
        let mut octets = before[name].clone();
        // Labels are small: random places would seldom be in them.
        let most = if round % 4 == 0 { 64 } else { octets.len() };
        let (at, length) = (random.usize(..most), random.usize(1..=octets_max));
        let end = octets.len().min(at + length);
        octets[at..end].iter_mut().for_each(|octet| *octet ^= random.u8(1..));
        fs::write(path.join(name), &octets).unwrap();
        let report = check(path);
        if report.damage.is_empty() {
            assert_eq!(content(path), good, "seed {seed}: {name} at {at}, {length} octets");
        } else {
            seen += 1;
            let about = |file: &str| file == name || file.contains(".segment");
            assert!(report.damage.iter().all(|damage| about(&damage.file)), "{report:?}");
        }
        assert_eq!(fs::read(path.join(name)).unwrap(), octets, "the check has written");
        fs::write(path.join(name), &before[name]).unwrap();
    }
    assert!(seen > rounds / 5, "{seen} of {rounds} changes were in what is used");
    assert_eq!(files(path), before);
}

#[test]
fn missing_segments_are_missed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    spool_at(&path, 4);
    let good = content(&path);
    for (name, octets) in files(&path).iter().filter(|(name, _)| name.contains("segment")) {
        fs::remove_file(path.join(name)).unwrap();
        let silent = check(&path).damage.is_empty();
        // Of the newest, nobody knows that it was there; the messages before it are whole.
        let newest = content(&path).iter().all(|(id, read)| good.get(id) == Some(read));
        assert!(!silent || newest, "{name}");
        fs::write(path.join(name), octets).unwrap();
    }
}

#[test]
fn a_copy_has_everything_under_its_own_id() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    spool_at(&from, 5);
    let good = content(&from);
    let snapshot = Snapshot::open(Arc::new(ReadOnlyDisk::open(&from).unwrap())).unwrap();
    let least_epoch = snapshot.epoch() + 1;
    let target = open(&to, Options { adopt: true, least_epoch, ..options() });
    let copied = copy(&snapshot, None, &target, &mut |_| true).unwrap();
    assert_eq!((copied.messages, copied.damaged), (good.len(), vec![]));
    assert!(target.next_id().unwrap() > *good.last_key_value().unwrap().0);
    target.shutdown();
    drop(target);
    assert_eq!(check(&to).damage, []);
    assert_eq!(content(&to), good);
    assert_eq!(open(&to, options()).len(), good.len());
}
