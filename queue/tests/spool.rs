//! The spool's promises one by one, on a disk in memory and on a real one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use std::sync::Arc;

use angarium_queue::disk::RealDisk;
use angarium_queue::entry::RecipientState;
use angarium_queue::id::MessageId;
use angarium_queue::spool::{CommitError, Op, OpenError, Options, ReadError, Spool};
use simulated::SimulatedDisk;
use simulated::help::*;

/// The segments of the log, by what their labels say.
fn log_segments(disk: &SimulatedDisk) -> Vec<String> {
    let is_log =
        |name: &String| name.ends_with(".segment") && disk.contents(name).get(12) == Some(&1);
    disk.names().into_iter().filter(is_log).collect()
}

#[test]
fn what_was_appended_is_read_back_from_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let small = octets(1, 100_000);
    let large = octets(2, 300_000);
    let (first, second, third);
    {
        let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
        let (spool, recovery) = Spool::open(disk, Options::default(), Box::new(|_| {})).unwrap();
        assert_eq!((recovery.messages, recovery.damage.len()), (0, 0));
        first = spool.next_id().unwrap();
        let parts: Vec<_> = small.chunks(33_333).collect();
        commit(&spool, vec![Op::Append(message(first, 2, &parts))]).unwrap();
        second = spool.next_id().unwrap();
        let new = staged(&spool, second, 1, &large);
        commit(&spool, vec![Op::Append(new)]).unwrap();
        third = append(&spool, b"");
        assert_eq!(body(&spool, first).unwrap(), small);
        assert_eq!(body(&spool, second).unwrap(), large);
        assert_eq!(body(&spool, third).unwrap(), b"");
        spool.record(vec![delivered(first, 1)]);
        spool.shutdown();
    }
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let (spool, recovery) = Spool::open(disk, Options::default(), Box::new(|_| {})).unwrap();
    assert_eq!((recovery.messages, recovery.damage.len()), (3, 0));
    assert_eq!(spool.scan().iter().map(|s| s.id).collect::<Vec<_>>(), [first, second, third]);
    assert_eq!(spool.get(first).unwrap().recipients[1], RecipientState::Delivered);
    assert_eq!(body(&spool, first).unwrap(), small);
    assert_eq!(body(&spool, second).unwrap(), large);
    commit(&spool, vec![delivered(first, 0), Op::Remove(second)]).unwrap();
    commit(&spool, vec![]).unwrap();
    assert_eq!(spool.len(), 1);
    assert!(matches!(spool.load(second), Err(ReadError::Gone)));
    assert!(spool.next_id().unwrap() > third);
}

#[test]
fn a_replay_comes_to_the_same_states() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let mut random = fastrand::Rng::with_seed(7);
    let mut ids = Vec::new();
    for round in 0..800 {
        if ids.is_empty() || random.u8(..) < 90 {
            let id = spool.next_id().unwrap();
            let mut new = message(id, 1, &[&octets(round, random.usize(..900))]);
            new.held = random.bool();
            commit(&spool, vec![Op::Append(new)]).unwrap();
            ids.push(id);
            continue;
        }
        let id = *random.choice(&ids).unwrap();
        let recipient = random.u32(0..2);
        let op = match random.u8(0..6) {
            0 => delivered(id, recipient),
            1 => deferred(id, recipient, random.u32(0..9), random.u64(..)),
            2 => failed(id, recipient, true),
            3 => failed(id, recipient, false),
            4 => Op::Hold(id),
            _ => Op::Release(id),
        };
        spool.record(vec![op]);
    }
    spool.shutdown();
    let before = spool.scan();
    assert!(before.len() > 9 && before.len() < ids.len(), "{}", before.len());
    let (again, recovery) = open(disk.after_kill(2).arc());
    assert_eq!(recovery.damage, []);
    assert_eq!(again.scan(), before);
    let bodies = before.iter().filter(|stored| body(&again, stored.id).is_ok()).count();
    assert_eq!(bodies, before.len());
}

#[test]
fn hold_release_and_remove_last() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let (kept, gone) = (append(&spool, b"kept"), append(&spool, b"gone"));
    commit(&spool, vec![Op::Hold(kept), Op::Hold(gone), Op::Remove(gone)]).unwrap();
    let unknown = MessageId::new(0, 1, 999).unwrap();
    let ops = vec![Op::Hold(unknown), Op::Remove(unknown), delivered(unknown, 0)];
    commit(&spool, ops).unwrap();
    let disk = disk.after_power_cut(3);
    let (spool, _) = open(disk.arc());
    assert_eq!(spool.scan().len(), 1);
    assert!(spool.get(kept).unwrap().held);
    commit(&spool, vec![Op::Release(kept)]).unwrap();
    let (spool, _) = open(disk.after_power_cut(4).arc());
    assert!(!spool.get(kept).unwrap().held);
}

#[test]
fn a_repeated_append_is_stored_once() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let id = append(&spool, b"first");
    let again = |spool: &Spool| commit(spool, vec![Op::Append(message(id, 1, &[b"other"]))]);
    again(&spool).unwrap();
    assert_eq!(body(&spool, id).unwrap(), b"first");
    let twin = spool.next_id().unwrap();
    let twins =
        vec![Op::Append(message(twin, 1, &[b"one"])), Op::Append(message(twin, 1, &[b"two"]))];
    commit(&spool, twins).unwrap();
    assert_eq!(body(&spool, twin).unwrap(), b"one");
    commit(&spool, vec![delivered(id, 0)]).unwrap();
    again(&spool).unwrap();
    assert!(spool.get(id).is_none());
    let (spool, _) = open(disk.after_power_cut(3).arc());
    assert!(spool.get(id).is_none());
    assert_eq!(again(&spool), Err(CommitError::Fenced));
    // Live from the start before: recognised.
    commit(&spool, vec![Op::Append(message(twin, 1, &[b"three"]))]).unwrap();
    assert_eq!(body(&spool, twin).unwrap(), b"one");
}

#[test]
fn a_batch_may_be_empty_or_too_large() {
    let (spool, _) = open(SimulatedDisk::new(1).arc());
    commit(&spool, vec![]).unwrap();
    let id = spool.next_id().unwrap();
    let large = octets(1, 5_000);
    let result = commit(&spool, vec![Op::Append(message(id, 1, &[&large]))]);
    assert!(matches!(result, Err(CommitError::Unavailable(why)) if why.contains("4096")));
    let many = (0..20).map(|_| {
        let id = spool.next_id().unwrap();
        Op::Append(message(id, 1, &[&large[..3_000]]))
    });
    let result = commit(&spool, many.collect());
    assert!(matches!(result, Err(CommitError::Unavailable(why)) if why.contains("segment")));
    assert_eq!(spool.len(), 0);
    // The id was never stored: it may be tried again.
    commit(&spool, vec![Op::Append(message(id, 1, &[b"small"]))]).unwrap();
}

#[test]
fn an_unknown_disk_is_refused_with_a_reason() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    append(&spool, b"x");
    spool.shutdown();
    let other = Options { shard: 9, ..options() };
    let error = Spool::open(disk.arc(), other, Box::new(|_| {})).unwrap_err();
    assert!(matches!(error, OpenError::Shard { found: 0, expected: 9 }), "{error}");
    let small = Options { segment_size: 8192, ..options() };
    let error = Spool::open(disk.arc(), small, Box::new(|_| {})).unwrap_err();
    assert!(matches!(error, OpenError::Options(_)), "{error}");
}

#[test]
fn a_lost_superblock_is_made_anew_from_the_segments() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let id = append(&spool, b"x");
    spool.shutdown();
    disk.put("superblock", &octets(5, 8192));
    let (spool, recovery) = open(disk.arc());
    assert_eq!(recovery.damage.iter().map(|d| d.file.as_str()).collect::<Vec<_>>(), ["superblock"]);
    assert_eq!(body(&spool, id).unwrap(), b"x");
    assert_eq!(spool.next_id().unwrap().epoch(), 2);
    spool.shutdown();
    disk.put("superblock", &[]);
    for name in disk.names().into_iter().filter(|name| name.ends_with(".segment")) {
        let mut octets = disk.contents(&name);
        octets[0] ^= 1;
        disk.put(&name, &octets);
    }
    let error = Spool::open(disk.arc(), options(), Box::new(|_| {})).unwrap_err();
    assert!(matches!(error, OpenError::Unreadable), "{error}");
}

#[test]
fn a_damaged_label_or_slot_costs_nothing() {
    let disk = SimulatedDisk::new(1);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (spool, _) = open(disk.arc());
        ids.push(append(&spool, b"x"));
        spool.shutdown();
    }
    let epochs: Vec<_> = ids.iter().map(|id| id.epoch()).collect();
    assert_eq!(epochs, [1, 2, 3]);
    let mut superblock = disk.contents("superblock");
    superblock[4096..5000].fill(7);
    disk.put("superblock", &superblock);
    for name in &log_segments(&disk)[..2] {
        let mut octets = disk.contents(name);
        octets[..600].fill(0);
        disk.put(name, &octets);
    }
    let (spool, recovery) = open(disk.arc());
    assert_eq!(recovery.messages, 3);
    assert_eq!(recovery.damage.len(), 2);
    assert!(recovery.damage.iter().all(|damage| damage.what.contains("label")));
    assert_eq!(spool.next_id().unwrap().epoch(), 4);
}

#[test]
fn the_superblock_is_written_in_turn() {
    let disk = SimulatedDisk::new(1);
    for epoch in 1u32..6 {
        let (spool, _) = open(disk.arc());
        assert_eq!(spool.next_id().unwrap().epoch(), epoch);
        spool.shutdown();
        let octets = disk.contents("superblock");
        let of =
            |slot: usize| u32::from_le_bytes(octets[slot * 4096 + 20..][..4].try_into().unwrap());
        let mut epochs = [of(0), of(1)];
        epochs.sort_unstable();
        assert_eq!(epochs, [epoch - 1, epoch]);
    }
}

#[test]
fn a_segment_with_a_second_name_is_replaced_not_overwritten() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let (spool, _) = Spool::open(disk, options(), Box::new(|_| {})).unwrap();
    let old: Vec<_> = (0..30).map(|n| append(&spool, &octets(n, 4_000))).collect();
    let mut linked = Vec::new();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        let copy = copies.path().join(file.file_name());
        std::fs::hard_link(file.path(), &copy).unwrap();
        if copy.extension().is_some_and(|extension| extension == "segment") {
            linked.push((std::fs::read(&copy).unwrap(), copy));
        }
    }
    old.iter().for_each(|id| commit(&spool, vec![delivered(*id, 0)]).unwrap());
    for n in 0..60 {
        let id = append(&spool, &octets(n, 4_000));
        commit(&spool, vec![delivered(id, 0)]).unwrap();
    }
    commit(&spool, vec![]).unwrap();
    let changed = |(before, copy): &&(Vec<u8>, _)| *before != std::fs::read(copy).unwrap();
    // The one that was being written to goes on, up to its end.
    assert!(linked.len() > 3 && linked.iter().filter(changed).count() <= 1);
}

#[test]
fn mail_is_taken_before_the_rest_has_been_read() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let large = octets(1, 30_000);
    let (old, bulk) = (append(&spool, b"old"), spool.next_id().unwrap());
    commit(&spool, vec![Op::Append(staged(&spool, bulk, 1, &large))]).unwrap();
    spool.shutdown();
    drop(spool);
    let (spool, recovering) = Spool::start(disk.arc(), options(), Box::new(|_| {})).unwrap();
    let new = append(&spool, b"new");
    let staged_new = spool.next_id().unwrap();
    commit(&spool, vec![Op::Append(staged(&spool, staged_new, 1, &large))]).unwrap();
    assert_eq!(spool.scan().iter().map(|s| s.id).collect::<Vec<_>>(), [new, staged_new]);
    // What names an earlier message waits until that is known; the rest does not wait for it.
    let (sender, answered) = std::sync::mpsc::channel();
    spool.commit(vec![Op::Hold(old)], Box::new(move |result| sender.send(result).unwrap()));
    commit(&spool, vec![Op::Hold(new)]).unwrap();
    assert!(answered.try_recv().is_err());
    // A power cut now loses nothing that was acknowledged, and nothing that was there before.
    let (after, recovery) = open(disk.after_power_cut(9).arc());
    assert_eq!((after.len(), recovery.damage.len()), (4, 0));
    let disk = disk.after_power_cut(9);
    drop((spool, recovering));

    let (spool, recovering) = Spool::start(disk.arc(), options(), Box::new(|_| {})).unwrap();
    let (sender, answered) = std::sync::mpsc::channel();
    spool.commit(vec![Op::Hold(old)], Box::new(move |result| sender.send(result).unwrap()));
    let newest = append(&spool, b"newest");
    let recovery = recovering.finish().unwrap();
    assert_eq!((recovery.messages, recovery.damage.len()), (4, 0));
    answered.recv().unwrap().unwrap();
    assert!(spool.get(old).unwrap().held && spool.get(new).unwrap().held);
    for (id, octets) in [(bulk, &large), (staged_new, &large)] {
        assert_eq!(body(&spool, id).unwrap(), *octets);
    }
    commit(&spool, [old, bulk, new, staged_new, newest].map(Op::Remove).into()).unwrap();
    commit(&spool, vec![]).unwrap();
    assert!(spool.is_empty() && open(disk.after_power_cut(3).arc()).0.is_empty());
}
