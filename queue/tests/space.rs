//! Space: segments are used again, the oldest first, and a full disk loses nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use angarium_queue::disk::Disk;
use angarium_queue::id::MessageId;
use angarium_queue::spool::{CommitError, Op, Options, Room, Spool};
use simulated::SimulatedDisk;
use simulated::help::*;

const SEGMENT: u64 = 64 << 10;
/// Of the superblock.
const SUPERBLOCK: u64 = 8 << 10;

/// Waits until the writer has put the house in order.
fn settle(spool: &Spool) {
    commit(spool, vec![]).unwrap();
}

/// All segments, whatever they are used for.
fn all(disk: &SimulatedDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".segment")).collect()
}

/// A new label on a segment that had one, and all steps before it.
fn freeings(log: &[String]) -> Vec<&[String]> {
    let is_label = |line: &str| line.ends_with(" 0 60") && !line.starts_with("write 0 ");
    let at = (0..log.len()).filter(|at| is_label(&log[*at]));
    at.map(|at| &log[at.saturating_sub(2)..log.len().min(at + 2)]).collect()
}

#[test]
fn segments_follow_one_another_and_are_freed_oldest_first() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let ids: Vec<_> = (0..28).map(|n| append(&spool, &octets(n, 3_000))).collect();
    let before = segments(&disk, LOG);
    assert_eq!(before.len(), 3);
    // The younger ones end first: nothing may go before the oldest.
    for ids in ids[3..].rchunks(5) {
        commit(&spool, ids.iter().map(|id| delivered(*id, 0)).collect()).unwrap();
        assert_eq!(segments(&disk, LOG)[..before.len()], before);
    }
    for id in &ids[..3] {
        assert_eq!(body(&spool, *id).unwrap(), octets(id.counter(), 3_000));
        commit(&spool, vec![delivered(*id, 0)]).unwrap();
    }
    let steps = disk.log().len();
    commit(&spool, vec![Op::Hold(ids[0])]).unwrap();
    settle(&spool);
    assert_eq!(segments(&disk, LOG).len(), 1);
    // Where the log begins is durable before a segment is free, and that before the next.
    let log = disk.log();
    let freed = freeings(&log[steps - 20..]);
    assert!(freed.len() >= before.len() - 1, "{log:?}");
    for lines in freed {
        let inode = lines[2].split(' ').nth(1).unwrap();
        assert!(lines[0].starts_with("write 0 ") && lines[1] == "sync 0", "{lines:?}");
        assert_eq!(lines[3], format!("sync {inode}"));
    }
    for seed in 0..10 {
        let (spool, recovery) = open(disk.after_power_cut(seed).arc());
        assert!(spool.is_empty() && recovery.damage.is_empty());
    }
}

#[test]
fn what_was_freed_is_used_again() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let mut names = Vec::new();
    for n in 0..300 {
        let id = append(&spool, &octets(n, 3_000));
        commit(&spool, vec![delivered(id, 0)]).unwrap();
        if n == 100 {
            names = all(&disk);
        }
    }
    assert_eq!(all(&disk), names);
    assert!(names.len() <= 4, "{names:?}");
    // Nothing was created, grown or renamed for it.
    let log = disk.log();
    let quiet = log.iter().rev().take_while(|line| {
        !["create", "remove", "rename", "sync_dir"].iter().any(|k| line.starts_with(k))
    });
    assert!(quiet.count() > 800);
}

#[test]
fn what_lives_in_a_dead_log_moves_forward() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let old = spool.next_id().unwrap();
    let mut new = message(old, 3, &[&octets(0, 900)]);
    new.held = true;
    commit(&spool, vec![Op::Append(new)]).unwrap();
    let large = spool.next_id().unwrap();
    commit(&spool, vec![Op::Append(staged(&spool, large, 1, &octets(1, 9_000)))]).unwrap();
    commit(&spool, vec![delivered(old, 1), deferred(old, 2, 4, 99), failed(large, 0, true)])
        .unwrap();
    let (before, large_before) = (spool.get(old), spool.get(large));
    let first = serial(&disk, &segments(&disk, LOG)[0]);
    let mut most = 0;
    for n in 2..150 {
        let id = append(&spool, &octets(n, 3_000));
        commit(&spool, vec![delivered(id, 0)]).unwrap();
        settle(&spool);
        most = most.max(segments(&disk, LOG).len());
    }
    assert!(serial(&disk, &segments(&disk, LOG)[0]) > first);
    assert!(most <= 6, "{most} segments");
    let check = |spool: &Spool| {
        assert_eq!(spool.len(), 2);
        assert_eq!((spool.get(old), spool.get(large)), (before.clone(), large_before.clone()));
        assert_eq!(body(spool, old).unwrap(), octets(0, 900));
        assert_eq!(body(spool, large).unwrap(), octets(1, 9_000));
    };
    check(&spool);
    let disk = disk.after_power_cut(5);
    let (spool, recovery) = open(disk.arc());
    assert_eq!(recovery.damage, []);
    check(&spool);
    commit(&spool, vec![delivered(old, 0), delivered(old, 2), delivered(large, 0)]).unwrap();
    settle(&spool);
    assert!(open(disk.after_power_cut(6).arc()).0.is_empty());
}

#[test]
fn emptied_bulk_segments_are_given_back() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let stage_all = || -> Vec<MessageId> {
        let ids = (0..12).map(|_| spool.next_id().unwrap());
        let one = |id: MessageId| {
            let new = staged(&spool, id, 1, &octets(id.counter(), 9_000));
            commit(&spool, vec![Op::Append(new)]).unwrap();
            id
        };
        ids.map(one).collect()
    };
    let ids = stage_all();
    // Three blocks each, fifteen in a segment.
    assert_eq!(segments(&disk, BULK).len(), 3);
    for id in &ids {
        assert_eq!(body(&spool, *id).unwrap(), octets(id.counter(), 9_000));
        commit(&spool, vec![delivered(*id, 0)]).unwrap();
    }
    settle(&spool);
    assert_eq!(segments(&disk, BULK).len(), 1, "one stays for the next body");
    let names = all(&disk);
    for seed in 0..10 {
        let copy = disk.after_kill(seed).after_power_cut(seed);
        assert_eq!(segments(&copy, BULK).len(), 1, "and the others are free for sure");
    }
    let (spool, _) = open(disk.after_power_cut(0).arc());
    assert!(spool.is_empty());
    assert_eq!(names.len(), all(&disk).len());
}

/// Fills the spool until it refuses mail.
fn fill(spool: &Spool) -> Vec<MessageId> {
    let mut ids = Vec::new();
    loop {
        let id = spool.next_id().unwrap();
        match commit(spool, vec![Op::Append(message(id, 1, &[&octets(id.counter(), 3_000)]))]) {
            Ok(()) => ids.push(id),
            Err(error) => {
                assert_eq!(error, CommitError::Full);
                return ids;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_mail_and_records_completions() {
    // Room for three segments, and with the second size for a short one behind them.
    for capacity in [3 * SEGMENT, 3 * SEGMENT + (28 << 10)] {
        let disk = SimulatedDisk::new(1);
        let (spool, _) = open(disk.arc());
        disk.set_capacity(SUPERBLOCK + capacity);
        let ids = fill(&spool);
        assert!(ids.len() > 20);
        assert_eq!(spool.room(), Room::Low);
        let refused = spool.next_id().unwrap();
        assert!(matches!(
            spool.stage(refused).unwrap().write(&[1; 15_000]),
            Err(CommitError::Full)
        ));
        assert_eq!((segments(&disk, BULK).len(), segments(&disk, FREE).len()), (0, 1));
        // Completions go on: first in the reserve, then in the last free segment.
        for ids in ids.chunks(4) {
            let changes = ids.iter().map(|id| deferred(*id, 0, 1, 5));
            commit(&spool, changes.collect()).unwrap();
        }
        assert_eq!(segments(&disk, LOG).len(), 3);
        let sizes: Vec<_> = segments(&disk, FREE).iter().map(|n| disk.contents(n).len()).collect();
        let short = if capacity > 3 * SEGMENT { vec![28 << 10] } else { vec![] };
        assert_eq!(sizes, short, "a whole segment does not fit");
        let disk = disk.after_power_cut(3);
        let (spool, _) = open(disk.arc());
        assert_eq!(spool.len(), ids.len());
        for id in &ids {
            assert_eq!(body(&spool, *id).unwrap(), octets(id.counter(), 3_000));
            spool.record(vec![delivered(*id, 0)]);
        }
        if short.is_empty() {
            // Nothing at all is left: they wait, and nothing is lost by it.
            assert_eq!(commit(&spool, vec![Op::Hold(ids[0])]), Err(CommitError::Full));
            disk.set_capacity(SUPERBLOCK + 4 * SEGMENT);
        }
        settle(&spool);
        settle(&spool);
        assert!(spool.is_empty());
        // The space came back: mail is welcome again.
        append(&spool, &octets(1, 3_000));
        assert!(open(disk.after_power_cut(4).arc()).0.len() == 1);
    }
}

#[test]
fn completions_without_any_room_wait_for_it() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let ids: Vec<_> = (0..3).map(|n| append(&spool, &octets(n, 2_000))).collect();
    disk.set_capacity(disk.used());
    // Fill the reserve, and the last free segment.
    let mut rounds = 0;
    while commit(&spool, vec![deferred(ids[0], 0, 1, rounds)]).is_ok() {
        rounds += 1;
    }
    assert!(rounds > 20, "{rounds}");
    spool.record(vec![delivered(ids[1], 0)]);
    assert_eq!(commit(&spool, vec![Op::Hold(ids[0])]), Err(CommitError::Full));
    assert_eq!(spool.len(), 3);
    disk.set_capacity(u64::MAX);
    commit(&spool, vec![Op::Hold(ids[0])]).unwrap();
    assert!(spool.get(ids[1]).is_none() && spool.get(ids[0]).unwrap().held);
    let (spool, _) = open(disk.after_power_cut(1).arc());
    assert_eq!(spool.scan().iter().map(|s| s.id).collect::<Vec<_>>(), [ids[0], ids[2]]);
}

#[test]
fn a_spool_opens_on_a_full_disk() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let id = append(&spool, b"in");
    spool.shutdown();
    for with_free in [true, false] {
        let disk = disk.after_kill(0);
        if !with_free {
            disk.remove(&segments(&disk, FREE)[0]).unwrap();
        }
        disk.set_capacity(disk.used());
        let (spool, recovery) = open(disk.arc());
        assert_eq!((recovery.messages, recovery.damage.len()), (1, 0));
        assert_eq!(body(&spool, id).unwrap(), b"in");
        let new = spool.next_id().unwrap();
        let refused = commit(&spool, vec![Op::Append(message(new, 1, &[b"x"]))]);
        assert_eq!(refused, Err(CommitError::Full));
        spool.record(vec![delivered(id, 0)]);
        if !with_free {
            disk.set_capacity(u64::MAX);
        }
        spool.shutdown();
        assert!(open(disk.after_power_cut(0).arc()).0.is_empty());
    }
}

#[test]
fn a_segment_that_was_never_made_whole_is_no_room() {
    // A crash between the creation of a segment and its name.
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let id = append(&spool, b"in");
    spool.shutdown();
    let disk = disk.after_kill(0);
    let unborn = "new-00000077";
    disk.put(unborn, &[]);
    let (spool, recovery) = open(disk.arc());
    assert_eq!((recovery.messages, recovery.damage.len()), (1, 0));
    assert!(!disk.names().contains(&unborn.to_owned()));
    disk.set_capacity(disk.used());
    commit(&spool, vec![delivered(id, 0)]).unwrap();
    assert!(open(disk.after_power_cut(0).arc()).0.is_empty());
}

#[test]
fn room_is_low_before_it_is_gone() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(SUPERBLOCK + 5 * SEGMENT);
    let wanting = Options { min_free: 40 << 10, ..options() };
    let (spool, _) = Spool::open(disk.arc(), wanting, Box::new(|_| {})).unwrap();
    append(&spool, b"x");
    assert_eq!(spool.room(), Room::Free);
    let mut appended = 1;
    while spool.room() == Room::Free {
        append(&spool, &octets(appended, 4_000));
        appended += 1;
    }
    // There is still some, and one segment is left for control records.
    append(&spool, &octets(appended, 4_000));
    assert!(segments(&disk, LOG).len() <= 4, "{appended}");
    assert_eq!(spool.room_for(1_000_000), Room::Low);
}
