//! What earlier uses of a slot left behind: it never comes back, and bodies outlive damage around them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use angarium_queue::disk::Disk;
use angarium_queue::id::MessageId;
use angarium_queue::spool::{Op, Options, ReadError, Spool};
use simulated::SimulatedDisk;
use simulated::help::*;

/// A spool whose slots have all been part of the log, and the message that is left in it.
fn churned() -> (SimulatedDisk, Spool, MessageId) {
    let disk = SimulatedDisk::new(1);
    drop(open(disk.arc()));
    let (spool, _) = open(disk.arc());
    for n in 0..100 {
        let id = append(&spool, &octets(n, 2_000));
        commit(&spool, vec![delivered(id, 0)]).unwrap();
    }
    let id = append(&spool, b"left");
    (disk, spool, id)
}

fn append_large(spool: &Spool, length: usize) -> MessageId {
    let id = spool.next_id().unwrap();
    let new = staged(spool, id, 1, &octets(id.as_u64(), length));
    commit(spool, vec![Op::Append(new)]).unwrap();
    id
}

fn ids(spool: &Spool) -> Vec<MessageId> {
    spool.scan().iter().map(|stored| stored.id).collect()
}

#[test]
fn stale_groups_never_come_back() {
    let (disk, _spool, id) = churned();
    let disk = disk.after_kill(0);
    let names: Vec<_> = disk.names().into_iter().filter(|n| n.ends_with(".segment")).collect();
    // All of a segment's label is lost, and then more and more of its groups.
    for name in &names {
        for blocks in 1..16 {
            let copy = disk.after_kill(0);
            change(&copy, name, |octets| octets[..blocks * BLOCK].fill(7));
            let (spool, recovery) = open(copy.arc());
            let found = ids(&spool);
            assert!(found == [id] || found.is_empty(), "{name}, {blocks} blocks: {found:?}");
            assert!(!recovery.damage.is_empty());
            // Whatever it was: it is still there.
            append(&spool, b"more");
            let kept = copy.names().into_iter().filter(|kept| kept.ends_with(name.as_str()));
            let kept: Vec<_> = kept.collect();
            assert_eq!(kept.len(), 1);
            assert!(
                copy.contents(&kept[0])[blocks * BLOCK..] == disk.contents(name)[blocks * BLOCK..]
                    || segments(&copy, LOG).contains(name)
            );
        }
    }
}

#[test]
fn damaged_groups_uncover_nothing_stale() {
    let (disk, spool, _) = churned();
    // Ended by this start, so that no completion stands in the log that could be damaged.
    drop(spool);
    let disk = disk.after_kill(0);
    let (spool, _) = open(disk.arc());
    let left: Vec<_> = (0..5).map(|n| append(&spool, &octets(n, 3_000))).collect();
    let disk = disk.after_kill(0);
    let name = segments(&disk, LOG).pop().unwrap();
    assert!(disk.contents(&name)[12 * BLOCK..].iter().any(|octet| *octet != 0), "used before");
    for block in 1..16 {
        for octet in [0, 40] {
            let copy = disk.after_kill(0);
            change(&copy, &name, |octets| octets[block * BLOCK + octet] ^= 1);
            let mut found = ids(&open(copy.arc()).0);
            found.retain(|id| id.epoch() == 3);
            let lost = left.iter().filter(|id| !found.contains(id)).count();
            assert!(found.iter().all(|id| left.contains(id)) && lost <= 1, "{block}: {found:?}");
        }
    }
}

#[test]
fn a_damaged_bulk_label_costs_nothing() {
    let (disk, spool, _) = churned();
    let large: Vec<_> = (0..3).map(|_| append_large(&spool, 9_000)).collect();
    let bulk = segments(&disk, BULK);
    assert_eq!(bulk.len(), 1);
    let stale = disk.contents(&bulk[0])[10 * BLOCK..].iter().any(|octet| *octet != 0);
    assert!(stale, "the slot was part of the log before");
    for damage in [1, 60, BLOCK] {
        let copy = disk.after_kill(0);
        change(&copy, &bulk[0], |octets| octets[..damage].fill(0x55));
        let (spool, recovery) = open(copy.arc());
        assert_eq!((recovery.messages, recovery.damage.len()), (4, 1));
        assert_eq!(recovery.set_aside, [""; 0]);
        assert!(recovery.damage[0].file == bulk[0] && recovery.damage[0].what.contains("label"));
        let check = |spool: &Spool| {
            for id in &large {
                assert_eq!(body(spool, *id).unwrap(), octets(id.as_u64(), 9_000));
            }
        };
        check(&spool);
        let _: Vec<_> = (0..60).map(|n| append(&spool, &octets(n, 3_000))).collect();
        append_large(&spool, 50_000);
        check(&spool);
        // The label is whole again.
        let (spool, recovery) = open(copy.after_power_cut(0).arc());
        assert_eq!(recovery.damage, []);
        check(&spool);
    }
}

#[test]
fn blocks_without_a_message_are_free_unless_there_is_damage() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let first = append(&spool, b"first");
    append(&spool, b"second");
    drop(spool);
    let disk = disk.after_kill(0);
    let (spool, _) = open(disk.arc());
    let large = append_large(&spool, 5_000);
    let orphan = staged(&spool, spool.next_id().unwrap(), 1, &octets(7, 9_000));
    let disk = disk.after_kill(0);
    drop((orphan, spool));
    let bulk = segments(&disk, BULK).remove(0);

    let copy = disk.after_kill(0);
    let (spool, recovery) = open(copy.arc());
    assert_eq!((recovery.messages, recovery.set_aside.len()), (3, 0));
    append_large(&spool, 50_000);
    assert_eq!(segments(&copy, BULK).len(), 1, "there is room where it was");

    let copy = disk.after_kill(0);
    let log = segments(&disk, LOG).remove(0);
    change(&copy, &log, |octets| {
        octets[BLOCK + 100] ^= 1;
        // And the footer, or nobody looks.
        octets[(64 << 10) - 32..].fill(0);
    });
    let before = copy.contents(&bulk);
    let (spool, recovery) = open(copy.arc());
    assert_eq!((recovery.messages, recovery.damage.len()), (2, 1));
    assert!(spool.get(first).is_none());
    assert_eq!(segments(&copy, KEPT), [bulk.as_str()]);
    let other = append_large(&spool, 20_000);
    // The damage goes out of sight, and the blocks are still nobody's.
    commit(&spool, ids(&spool).into_iter().filter(|id| *id != large).map(Op::Remove).collect())
        .unwrap();
    commit(&spool, vec![Op::Remove(other)]).unwrap();
    spool.shutdown();
    let copy = copy.after_power_cut(1);
    let (spool, _) = open(copy.arc());
    assert!(copy.names().contains(&format!("damaged-{log}")));
    assert_eq!(segments(&copy, KEPT), [bulk.as_str()]);
    append_large(&spool, 20_000);
    assert_eq!(copy.contents(&bulk)[BLOCK..], before[BLOCK..]);
    assert_eq!(body(&spool, large).unwrap(), octets(large.as_u64(), 5_000));
    // Once its last message has ended, it is set aside as it is.
    commit(&spool, vec![Op::Remove(large)]).unwrap();
    commit(&spool, vec![]).unwrap();
    assert_eq!(copy.contents(&format!("damaged-{bulk}"))[BLOCK..], before[BLOCK..]);
    assert!(!copy.names().contains(&bulk));
}

#[test]
fn a_staged_body_that_changed_never_comes_to_its_end() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let original = octets(4, 200_000);
    let id = spool.next_id().unwrap();
    commit(&spool, vec![Op::Append(staged(&spool, id, 1, &original))]).unwrap();
    assert_eq!(body(&spool, id).unwrap(), original);
    let disk = disk.after_kill(0);
    let bulk = segments(&disk, BULK);
    assert_eq!(bulk.len(), 4);

    for (name, at) in bulk.iter().zip([BLOCK, 30_000, 60_000, BLOCK + 5_000]) {
        let flipped = disk.after_kill(0);
        change(&flipped, name, |octets| octets[at] ^= 1);
        let (spool, recovery) = open(flipped.arc());
        // Bodies are not read at the start.
        assert_eq!((recovery.messages, recovery.damage.len()), (1, 0));
        let mut loaded = spool.load(id).unwrap();
        let mut got = 0;
        let error = loop {
            match loaded.body.next_chunk() {
                Ok(chunk) => got += chunk.unwrap().len(),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ReadError::Damaged(_)), "{error}");
        assert!(got < original.len());
    }

    let short = disk.after_kill(0);
    change(&short, &bulk[1], |octets| octets.truncate(30_000));
    let (spool, recovery) = open(short.arc());
    assert_eq!(recovery.messages, 1);
    assert!(matches!(body(&spool, id), Err(ReadError::Damaged(_))));

    let missing = disk.after_kill(0);
    missing.remove(&bulk[2]).unwrap();
    let (spool, recovery) = open(missing.arc());
    assert_eq!((recovery.messages, recovery.damage.len()), (1, 1));
    assert_eq!(recovery.damage[0].file, bulk[2]);
    assert!(matches!(spool.load(id), Err(ReadError::Damaged(_))));
}

/// Reads what it is told of until told to end; answers how often it got a body.
fn read_along(spool: &Spool, newest: &AtomicU64, end: &AtomicBool, seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut whole = 0;
    while !end.load(Ordering::Relaxed) {
        let newest = newest.load(Ordering::Acquire);
        let counter = newest.saturating_sub(random.u64(0..40));
        let id = MessageId::new(0, 1, counter).unwrap();
        match body(spool, id) {
            Ok(body) => {
                assert_eq!(body, octets(id.as_u64(), body.len()));
                whole += 1;
            }
            Err(ReadError::Gone) => {}
            // Of a large body the reader may find out only at its end, which it never gets.
            Err(ReadError::Damaged(_)) if counter.is_multiple_of(4) => {}
            Err(error) => panic!("{id}: {error}"),
        }
    }
    whole
}

#[test]
fn a_slot_used_again_under_a_reader_gives_no_other_octets() {
    let disk = SimulatedDisk::new(1);
    let background = Options { background: true, completion_delay_ms: 0, ..options() };
    let (spool, _) = Spool::open(disk.arc(), background, Box::new(|_| {})).unwrap();
    let (newest, end) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let (spool, newest, end) = (&spool, &newest, &end);
                scope.spawn(move || read_along(spool, newest, end, seed))
            })
            .collect();
        let mut live = BTreeSet::new();
        let mut random = fastrand::Rng::with_seed(9);
        for counter in 0..1_500 {
            let id = spool.next_id().unwrap();
            assert_eq!(id.counter(), counter);
            let length = random.usize(0..4_000);
            let new = match counter % 4 {
                0 => staged(&spool, id, 1, &octets(id.as_u64(), 2 * length)),
                _ => message(id, 1, &[&octets(id.as_u64(), length)]),
            };
            commit(&spool, vec![Op::Append(new)]).unwrap();
            newest.store(counter, Ordering::Release);
            live.insert(id);
            if live.len() > 20 {
                let id = *live.iter().nth(random.usize(0..20)).unwrap();
                live.remove(&id);
                spool.record(vec![delivered(id, 0)]);
            }
        }
        end.store(true, Ordering::Relaxed);
        let whole: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(whole > 100, "{whole}");
    });
    assert!(disk.names().len() < 20, "slots were used again: {:?}", disk.names());
}
