//! Failing disks: one failed sync is healed, two end it, and nothing answered is lost by either.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use angarium_queue::id::MessageId;
use angarium_queue::spool::{CommitError, Op, Options, Spool};
use simulated::SimulatedDisk;
use simulated::help::*;

fn open_watched(disk: &SimulatedDisk) -> (Spool, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let on_failure = Box::new(move |why: &str| heard.lock().unwrap().push(why.to_owned()));
    (Spool::open(disk.arc(), options(), on_failure).unwrap().0, said)
}

#[test]
fn one_failed_sync_is_healed_in_a_new_segment() {
    let disk = SimulatedDisk::new(1);
    let (spool, said) = open_watched(&disk);
    let first = append(&spool, b"first");
    disk.fail_sync_at(disk.steps() + 2);
    let second = append(&spool, b"second");
    append(&spool, b"third");
    let logs = segments(&disk, LOG);
    assert_eq!(logs.len(), 2);
    assert_eq!(*said.lock().unwrap(), [""; 0]);
    let writes_to_old = disk.log().iter().filter(|line| line.starts_with("write 2 ")).count();
    assert_eq!(writes_to_old, 3, "label, first, second: never again after the failure");
    for seed in 0..20 {
        let (spool, recovery) = open(disk.after_power_cut(seed).arc());
        assert_eq!((spool.len(), recovery.damage.len()), (3, 0));
        assert_eq!(body(&spool, first).unwrap(), b"first");
        assert_eq!(body(&spool, second).unwrap(), b"second");
    }
}

#[test]
fn the_next_segment_voids_a_failed_group() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    append(&spool, b"first");
    disk.fail_sync_at(disk.steps() + 2);
    let second = append(&spool, b"second");
    let disk = disk.after_kill(0);
    let [old, new] = &segments(&disk, LOG)[..] else { panic!("two segments") };
    let failed = groups(&disk.contents(old))[1].clone();
    assert_eq!(u64_at(&disk.contents(new), 40), u64_at(&disk.contents(old), failed.start + 8));
    // Whatever is left of it is neither a message nor damage.
    for at in failed {
        let copy = disk.after_kill(0);
        change(&copy, old, |octets| octets[at] ^= 1);
        let (spool, recovery) = open(copy.arc());
        assert_eq!((spool.len(), recovery.damage.len()), (2, 0), "{at}");
        assert_eq!(body(&spool, second).unwrap(), b"second");
    }
}

#[test]
fn two_failed_syncs_end_accepting_and_recording() {
    let disk = SimulatedDisk::new(1);
    let (spool, said) = open_watched(&disk);
    let first = append(&spool, b"first");
    let large = spool.next_id().unwrap();
    let new = staged(&spool, large, 1, &octets(1, 3_000));
    disk.fail_next_syncs(true);
    let result = commit(&spool, vec![Op::Append(new)]);
    assert!(matches!(&result, Err(CommitError::Unavailable(why)) if why.contains("injected")));
    disk.fail_next_syncs(false);
    for batch in [vec![Op::Hold(first)], vec![], vec![delivered(first, 0)]] {
        assert!(matches!(commit(&spool, batch), Err(CommitError::Unavailable(_))));
    }
    spool.shutdown();
    assert_eq!(said.lock().unwrap().len(), 1);
    assert_eq!(body(&spool, first).unwrap(), b"first");
    // The group may have reached the disk: whole, with its body, or not at all.
    for seed in 0..20 {
        let (spool, _) = open(disk.after_power_cut(seed).arc());
        assert!(!spool.get(first).unwrap().held);
        if spool.get(large).is_some() {
            assert_eq!(body(&spool, large).unwrap(), octets(1, 3_000));
        }
    }
}

#[test]
fn an_abandoned_staging_leaves_its_blocks() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let id = spool.next_id().unwrap();
    // Four of fifteen blocks each time; half of them were never finished.
    for _ in 0..10 {
        spool.stage(id).unwrap().write(&octets(1, 15_000)).unwrap();
        drop(staged(&spool, id, 1, &octets(2, 15_000)));
    }
    let other = spool.next_id().unwrap();
    let mut swapped = staged(&spool, id, 1, b"body");
    swapped.id = other;
    assert!(matches!(commit(&spool, vec![Op::Append(swapped)]), Err(CommitError::Unavailable(_))));
    // Once appended, the blocks are the message's until it ends.
    commit(&spool, vec![Op::Append(staged(&spool, id, 1, b"body"))]).unwrap();
    for _ in 0..10 {
        drop(staged(&spool, other, 1, &octets(3, 50_000)));
    }
    assert_eq!(body(&spool, id).unwrap(), b"body");
    commit(&spool, vec![delivered(id, 0)]).unwrap();
    drop(staged(&spool, other, 1, &octets(4, 60_000)));
    assert_eq!(segments(&disk, BULK).len(), 1);
}

#[test]
fn a_failed_sync_of_a_body_is_told_and_its_segment_left_alone() {
    let disk = SimulatedDisk::new(1);
    let (spool, said) = open_watched(&disk);
    let (id, other) = (spool.next_id().unwrap(), spool.next_id().unwrap());
    let before = staged(&spool, other, 1, &octets(1, 5_000));
    let mut staging = spool.stage(id).unwrap();
    staging.write(&octets(2, 5_000)).unwrap();
    disk.fail_next_syncs(true);
    assert!(matches!(staging.finish(), Err(CommitError::Unavailable(_))));
    disk.fail_next_syncs(false);
    // What was durable before is a body; what comes now goes elsewhere.
    commit(&spool, vec![Op::Append(before)]).unwrap();
    commit(&spool, vec![Op::Append(staged(&spool, id, 1, &octets(3, 5_000)))]).unwrap();
    assert_eq!(segments(&disk, BULK).len(), 2);
    assert_eq!(*said.lock().unwrap(), [""; 0]);
    for seed in 0..20 {
        let (spool, _) = open(disk.after_power_cut(seed).arc());
        assert_eq!(body(&spool, other).unwrap(), octets(1, 5_000));
        assert_eq!(body(&spool, id).unwrap(), octets(3, 5_000));
    }
}

#[test]
fn what_comes_during_a_sync_shares_the_next() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    append(&spool, b"opens a segment");
    let before = disk.steps();
    let (sender, receiver) = mpsc::channel();
    let count = Arc::new(AtomicUsize::new(0));
    // The first answer holds the writer up until all others are queued.
    let (go, gate) = mpsc::channel::<()>();
    let id = spool.next_id().unwrap();
    let held = move |result: Result<(), CommitError>| {
        result.unwrap();
        gate.recv().unwrap();
    };
    spool.commit(vec![Op::Append(message(id, 1, &[b"first"]))], Box::new(held));
    for _ in 0..30 {
        let id = spool.next_id().unwrap();
        let (sender, count) = (sender.clone(), count.clone());
        let done = move |result: Result<(), CommitError>| {
            result.unwrap();
            sender.send(count.fetch_add(1, Ordering::Relaxed)).unwrap();
        };
        spool.commit(vec![Op::Append(message(id, 1, &[b"x"]))], Box::new(done));
    }
    // Before the gate opens, the first group may have taken some with it; two syncs are enough.
    go.send(()).unwrap();
    let answers: Vec<_> = (0..30).map(|_| receiver.recv().unwrap()).collect();
    assert_eq!(answers, (0..30).collect::<Vec<_>>());
    assert_eq!(spool.len(), 32);
    assert!(disk.steps() - before <= 4, "{:?}", disk.log());
}

#[test]
fn a_panic_in_an_answer_ends_nothing() {
    let (spool, _) = open(SimulatedDisk::new(1).arc());
    let id = spool.next_id().unwrap();
    let op = Op::Append(message(id, 1, &[b"x"]));
    spool.commit(vec![op], Box::new(|_| panic!("on purpose, by a test")));
    append(&spool, b"y");
    assert_eq!(spool.len(), 2);
}

#[test]
fn records_become_durable_on_their_own_and_at_the_end() {
    let disk = SimulatedDisk::new(1);
    let quick = Options { completion_delay_ms: 1, completion_batch: 64, ..options() };
    let (spool, _) = Spool::open(disk.arc(), quick, Box::new(|_| {})).unwrap();
    let ids: Vec<MessageId> = (0..3).map(|_| append(&spool, b"x")).collect();
    spool.record(vec![delivered(ids[0], 0)]);
    while spool.get(ids[0]).is_some() {
        std::thread::yield_now();
    }
    spool.shutdown();
    let disk = disk.after_power_cut(1);
    let (spool, _) = open(disk.arc());
    spool.record(vec![delivered(ids[1], 0)]);
    spool.shutdown();
    let refused = commit(&spool, vec![Op::Hold(ids[2])]);
    assert!(matches!(refused, Err(CommitError::Unavailable(_))));
    let (spool, _) = open(disk.after_power_cut(1).arc());
    assert_eq!(spool.scan().iter().map(|s| s.id).collect::<Vec<_>>(), [ids[2]]);
}

#[test]
fn the_last_handle_may_go_in_an_answer() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let id = spool.next_id().unwrap();
    let (sender, receiver) = mpsc::channel();
    let last = spool.clone();
    let op = Op::Append(message(id, 1, &[b"x"]));
    spool.commit(
        vec![op],
        Box::new(move |_| {
            drop(last);
            sender.send(()).unwrap();
        }),
    );
    drop(spool);
    receiver.recv().unwrap();
    assert_eq!(open(disk.after_power_cut(1).arc()).0.len(), 1);
}
