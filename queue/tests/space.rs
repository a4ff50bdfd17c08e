//! Space and failing disks: segments come and go, a full disk loses nothing, a failing one ends it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use angarium_queue::id::MessageId;
use angarium_queue::spool::{CommitError, Op, Options, Room, Spool};
use simulated::SimulatedDisk;
use simulated::help::*;

fn logs(disk: &SimulatedDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}

/// Waits until the writer has put the house in order.
fn settle(spool: &Spool) {
    commit(spool, vec![]).unwrap();
}

#[test]
fn segments_follow_one_another_and_go_oldest_first() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let ids: Vec<_> = (0..20).map(|n| append(&spool, &octets(n, 3_000))).collect();
    assert!(logs(&disk).len() >= 6);
    // The younger ones end first: nothing may go before the oldest.
    let before = logs(&disk);
    for id in ids[3..].iter().rev() {
        commit(&spool, vec![delivered(*id, 0)]).unwrap();
        if spool.len() > 10 {
            assert_eq!(logs(&disk)[0], before[0]);
        }
    }
    for id in &ids[..3] {
        assert_eq!(body(&spool, *id).unwrap(), octets(id.counter(), 3_000));
        commit(&spool, vec![delivered(*id, 0)]).unwrap();
    }
    settle(&spool);
    assert_eq!(logs(&disk).len(), 1);
    // Each removal was durable before the next.
    let mut removed = 0;
    for line in disk.log() {
        if line.starts_with("remove") {
            removed += 1;
            assert_eq!(removed, 1);
        } else if line == "sync_dir" {
            removed = 0;
        }
    }
    let (spool, recovery) = open(disk.after_power_cut(1).arc());
    assert!(spool.is_empty() && recovery.damage.is_empty());
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
    let mut most = 0;
    for n in 2..60 {
        let id = append(&spool, &octets(n, 3_000));
        commit(&spool, vec![delivered(id, 0)]).unwrap();
        settle(&spool);
        most = most.max(logs(&disk).len());
    }
    assert!(!disk.names().contains(&"00000001.log".to_owned()));
    assert!(most <= 7, "{most} segments");
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
    assert!(disk.names().iter().all(|name| !name.ends_with(".content")));
    assert!(open(disk.after_power_cut(6).arc()).0.is_empty());
}

#[test]
fn a_full_disk_refuses_mail_and_records_completions() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    disk.set_capacity(50 << 10);
    let mut ids = Vec::new();
    let refused = loop {
        let id = spool.next_id().unwrap();
        match commit(&spool, vec![Op::Append(message(id, 1, &[&octets(id.counter(), 3_000)]))]) {
            Ok(()) => ids.push(id),
            Err(error) => break (id, error),
        }
    };
    assert_eq!(refused.1, CommitError::Full);
    assert_eq!(spool.room(), Room::Low);
    assert!(matches!(spool.stage(refused.0).unwrap().write(&[1; 15_000]), Err(CommitError::Full)));
    assert!(disk.names().iter().all(|name| !name.ends_with(".content")));
    // Completions go on, also across a restart.
    for id in &ids {
        commit(&spool, vec![deferred(*id, 0, 1, 5)]).unwrap();
    }
    let disk = disk.after_power_cut(3);
    let (spool, _) = open(disk.arc());
    assert_eq!(spool.len(), ids.len());
    for id in &ids {
        assert_eq!(body(&spool, *id).unwrap(), octets(id.counter(), 3_000));
        spool.record(vec![delivered(*id, 0)]);
    }
    settle(&spool);
    assert!(spool.is_empty());
    settle(&spool);
    // The space came back: mail is welcome again.
    append(&spool, &octets(1, 3_000));
    assert!(open(disk.after_power_cut(4).arc()).0.len() == 1);
}

#[test]
fn completions_without_any_room_wait_for_it() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let ids: Vec<_> = (0..3).map(|n| append(&spool, &octets(n, 2_000))).collect();
    disk.set_capacity(disk.used());
    // Fill the reserve.
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
    let disk = disk.after_kill(0);
    disk.set_capacity(disk.used());
    let (spool, recovery) = open(disk.arc());
    assert_eq!(recovery.messages, 1);
    assert_eq!(body(&spool, id).unwrap(), b"in");
    let new = spool.next_id().unwrap();
    assert_eq!(commit(&spool, vec![Op::Append(message(new, 1, &[b"x"]))]), Err(CommitError::Full));
    spool.record(vec![delivered(id, 0)]);
    disk.set_capacity(u64::MAX);
    spool.shutdown();
    assert!(open(disk.after_power_cut(0).arc()).0.is_empty());
}

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
    assert_eq!(logs(&disk).len(), 2);
    assert_eq!(*said.lock().unwrap(), [""; 0]);
    let writes_to_old = disk.log().iter().filter(|line| line.starts_with("write 1 ")).count();
    assert_eq!(writes_to_old, 3, "label, first, second: never again after the failure");
    for seed in 0..20 {
        let (spool, _) = open(disk.after_power_cut(seed).arc());
        assert_eq!(spool.len(), 3);
        assert_eq!(body(&spool, first).unwrap(), b"first");
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
    // The frame may have reached the disk: whole, with its body, or not at all.
    for seed in 0..20 {
        let (spool, _) = open(disk.after_power_cut(seed).arc());
        assert!(!spool.get(first).unwrap().held);
        if spool.get(large).is_some() {
            assert_eq!(body(&spool, large).unwrap(), octets(1, 3_000));
        }
    }
}

#[test]
fn an_abandoned_staging_leaves_no_file() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let id = spool.next_id().unwrap();
    let mut staging = spool.stage(id).unwrap();
    staging.write(b"half").unwrap();
    assert!(matches!(spool.stage(id), Err(CommitError::Unavailable(_))));
    drop(staging);
    drop(spool.stage(id).unwrap().finish().unwrap());
    let other = spool.next_id().unwrap();
    let mut swapped = staged(&spool, id, 1, b"body");
    swapped.id = other;
    assert!(matches!(commit(&spool, vec![Op::Append(swapped)]), Err(CommitError::Unavailable(_))));
    settle(&spool);
    assert!(disk.names().iter().all(|name| !name.ends_with(".content")));
    // Once appended, the file stays until the message ends.
    commit(&spool, vec![Op::Append(staged(&spool, id, 1, b"body"))]).unwrap();
    settle(&spool);
    assert_eq!(body(&spool, id).unwrap(), b"body");
    commit(&spool, vec![delivered(id, 0)]).unwrap();
    settle(&spool);
    assert!(disk.names().iter().all(|name| !name.ends_with(".content")));
}

#[test]
fn what_comes_during_a_sync_shares_the_next() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
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
    assert_eq!(spool.len(), 31);
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

#[test]
fn room_is_low_before_it_is_gone() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(112 << 10);
    let wanting = Options { min_free: 40 << 10, ..options() };
    let (spool, _) = Spool::open(disk.arc(), wanting, Box::new(|_| {})).unwrap();
    append(&spool, b"x");
    assert_eq!(spool.room(), Room::Free);
    for n in 0..4 {
        append(&spool, &octets(n, 4_000));
    }
    assert_eq!(spool.room(), Room::Low);
}
