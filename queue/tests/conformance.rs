//! One suite for both engines: what a spool promises, whatever stands behind it.
//!
//! Each test runs on the log on a simulated disk and on the one in memory. At the end, the two are
//! given the same operations at random, and must agree on everything after each.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use angarium_queue::entry::{Change, RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::spool::{
    CommitError, Memory, NewMessage, Op, Options, ReadError, Spool, Standing,
};
use simulated::SimulatedDisk;
use simulated::help::*;

/// What a spool is claimed on, again and again.
enum Bed {
    Disk(SimulatedDisk),
    Memory(Memory),
}

impl Bed {
    fn claim(&self) -> Spool {
        self.claim_with(options())
    }

    fn claim_with(&self, options: Options) -> Spool {
        match self {
            Self::Disk(disk) => Spool::open(disk.arc(), options, Box::new(|_| {})).unwrap().0,
            Self::Memory(memory) => Spool::in_memory(memory, options),
        }
    }
}

fn beds() -> [Bed; 2] {
    [Bed::Disk(SimulatedDisk::new(1)), Bed::Memory(Memory::default())]
}

#[test]
fn what_is_appended_comes_back() {
    for bed in beds() {
        let spool = bed.claim();
        let small = spool.next_id().unwrap();
        commit(&spool, vec![Op::Append(message(small, 2, &[b"one ", b"", b"two"]))]).unwrap();
        let large = spool.next_id().unwrap();
        let octets = octets(1, 100_000);
        commit(&spool, vec![Op::Append(staged(&spool, large, 1, &octets))]).unwrap();
        let empty = append(&spool, b"");
        assert_eq!(body(&spool, small).unwrap(), b"one two");
        assert_eq!(body(&spool, large).unwrap(), octets);
        assert_eq!(body(&spool, empty).unwrap(), b"");
        let stored = spool.get(large).unwrap();
        assert_eq!((stored.size, stored.recipients.len()), (100_000, 1));
        assert_eq!(&*stored.tenant, "tenant");
        assert_eq!(spool.scan(), [small, large, empty].map(|id| spool.get(id).unwrap()));
        assert!(matches!(spool.load(MessageId::from_u64(7)), Err(ReadError::Gone)));
    }
}

#[test]
fn a_claim_finds_everything_and_gives_new_identifiers() {
    for bed in beds() {
        let spool = bed.claim();
        let kept = spool.next_id().unwrap();
        commit(&spool, vec![Op::Append(message(kept, 3, &[b"kept"]))]).unwrap();
        let gone = append(&spool, b"gone");
        let ops = vec![
            deferred(kept, 0, 4, 99),
            delivered(kept, 1),
            failed(kept, 2, true),
            Op::Hold(kept),
            Op::Told(kept, 5),
            Op::Via(kept, "smtp://h:25".into()),
            Op::Remove(gone),
        ];
        commit(&spool, ops).unwrap();
        let before = spool.scan();
        spool.shutdown();
        drop(spool);
        let spool = bed.claim();
        assert_eq!(spool.scan(), before);
        assert_eq!(spool.envelope(kept).unwrap(), envelope(kept));
        assert_eq!(body(&spool, kept).unwrap(), b"kept");
        assert_eq!(spool.next_id().unwrap().epoch(), kept.epoch() + 1);
        assert_eq!(spool.standing(kept), Some(Standing::Held));
        assert_eq!(spool.standing(gone), None);
    }
}

#[test]
fn another_owner_s_message_is_fenced_unless_it_is_adopted() {
    for bed in beds() {
        let spool = bed.claim();
        let early = spool.next_id().unwrap();
        spool.shutdown();
        drop(spool);
        let spool = bed.claim();
        let ours = spool.next_id().unwrap();
        let ahead = MessageId::new(0, ours.epoch() + 1, 0).unwrap();
        let shard = MessageId::new(9, ours.epoch(), 0).unwrap();
        for id in [early, ahead, shard] {
            let batch =
                vec![Op::Append(message(ours, 1, &[b"x"])), Op::Append(message(id, 1, &[]))];
            assert_eq!(commit(&spool, batch), Err(CommitError::Fenced));
            assert!(spool.is_empty(), "all of a batch or nothing");
        }
        spool.shutdown();
        drop(spool);
        let spool = bed.claim_with(Options { adopt: true, least_epoch: 70, ..options() });
        assert_eq!(spool.next_id().unwrap().epoch(), 70);
        let adopted = MessageId::new(0, 69, 5).unwrap();
        commit(&spool, vec![Op::Append(message(adopted, 1, &[b"x"]))]).unwrap();
        assert_eq!(body(&spool, adopted).unwrap(), b"x");
    }
}

#[test]
fn a_repeated_append_changes_nothing() {
    for bed in beds() {
        let spool = bed.claim();
        let id = append(&spool, b"first");
        commit(&spool, vec![Op::Append(message(id, 1, &[b"other"]))]).unwrap();
        assert_eq!(body(&spool, id).unwrap(), b"first");
        commit(&spool, vec![delivered(id, 0)]).unwrap();
        commit(&spool, vec![Op::Append(message(id, 1, &[b"other"]))]).unwrap();
        assert!(spool.is_empty());
    }
}

#[test]
fn an_end_is_final_and_strangers_change_nothing() {
    for bed in beds() {
        let spool = bed.claim();
        let id = spool.next_id().unwrap();
        commit(&spool, vec![Op::Append(message(id, 2, &[b"x"]))]).unwrap();
        let none = MessageId::new(0, id.epoch(), 999).unwrap();
        let ops = vec![
            failed(id, 0, false),
            delivered(id, 0),
            deferred(id, 0, 9, 9),
            delivered(id, 7),
            Op::Hold(none),
            Op::Remove(none),
            delivered(none, 0),
        ];
        commit(&spool, ops).unwrap();
        let stored = spool.get(id).unwrap();
        assert!(matches!(stored.recipients[0], RecipientState::Failed { report_owed: false, .. }));
        assert_eq!(stored.recipients[1], RecipientState::fresh());
        commit(&spool, vec![Op::Told(id, 9), Op::Told(id, 8)]).unwrap();
        assert_eq!(spool.get(id).unwrap().told_ms, 9);
        commit(&spool, vec![delivered(id, 1)]).unwrap();
        assert!(spool.is_empty() && spool.get(id).is_none());
    }
}

#[test]
fn what_breaks_a_limit_is_refused_with_all_its_batch() {
    for bed in beds() {
        let spool = bed.claim();
        let [good, bad] = [spool.next_id().unwrap(), spool.next_id().unwrap()];
        let large = octets(1, 5_000);
        let swapped = NewMessage { id: bad, ..staged(&spool, good, 1, b"x") };
        let many = NewMessage { recipients: 1_000_001, ..message(bad, 1, &[]) };
        let short = NewMessage { envelope: "ab".into(), ..message(bad, 3, &[]) };
        for refused in [message(bad, 1, &[&large]), swapped, many, short] {
            let batch = vec![Op::Append(message(good, 1, &[b"x"])), Op::Append(refused)];
            assert!(matches!(commit(&spool, batch), Err(CommitError::Unavailable(_))));
            assert!(spool.is_empty());
        }
        commit(&spool, vec![Op::Append(message(good, 1, &[b"x"]))]).unwrap();
    }
}

#[test]
fn pages_follow_one_another() {
    for bed in beds() {
        let spool = bed.claim();
        let ids: Vec<_> = (0..25).map(|n| append(&spool, &octets(n, 10))).collect();
        let (mut seen, mut last) = (Vec::new(), None);
        loop {
            let page = spool.page(last, 7);
            let Some((stored, _)) = page.last() else { break };
            last = Some(stored.id);
            for (stored, octets) in page {
                assert_eq!(octets.unwrap(), envelope(stored.id));
                seen.push(stored.id);
            }
        }
        assert_eq!(seen, ids);
    }
}

#[test]
fn after_the_end_nothing_is_taken() {
    for bed in beds() {
        let spool = bed.claim();
        let id = append(&spool, b"x");
        spool.shutdown();
        assert!(spool.failure().is_some());
        for batch in [vec![], vec![Op::Hold(id)]] {
            assert!(matches!(commit(&spool, batch), Err(CommitError::Unavailable(_))));
        }
        assert!(matches!(spool.stage(id), Err(CommitError::Unavailable(_))));
        assert_eq!(body(&spool, id).unwrap(), b"x");
    }
}

#[test]
fn a_later_claim_fences_the_owner_off() {
    let memory = Memory::default();
    let old = Spool::in_memory(&memory, options());
    let id = append(&old, b"x");
    let new = Spool::in_memory(&memory, options());
    assert_eq!(commit(&old, vec![Op::Remove(id)]), Err(CommitError::Fenced));
    assert_eq!(new.len(), 1);
    commit(&new, vec![Op::Remove(id)]).unwrap();
    assert!(new.is_empty());
}

/// The same random operation for two spools whose identifiers are the same.
fn random_op(ids: &[MessageId], spool: &Spool, seed: u64) -> Op {
    let mut dice = fastrand::Rng::with_seed(seed);
    if ids.is_empty() || dice.u8(0..10) < 3 {
        let id = spool.next_id().unwrap();
        let octets = octets(seed, dice.usize(0..6_000));
        let recipients = dice.u32(1..4);
        let message = if octets.len() > 4_000 || dice.bool() {
            staged(spool, id, recipients, &octets)
        } else {
            message(id, recipients, &[&octets])
        };
        // Time does not go back between two starts.
        return Op::Append(NewMessage { arrived_ms: id.as_u64(), ..message });
    }
    let id = ids[dice.usize(0..ids.len())];
    let reason = format!("4{} later", dice.u8(10..99)).into();
    let change = match dice.u8(0..4) {
        0 => Change::Deferred { attempts: dice.u32(..), due_ms: dice.u64(..), reason },
        1 if dice.bool() => Change::Taken { reason },
        1 => Change::Failed { expired: dice.bool(), reason, report_owed: dice.bool() },
        _ => Change::Delivered,
    };
    match dice.u8(0..10) {
        0 => Op::Hold(id),
        1 => Op::Release(id),
        2 => Op::Remove(id),
        3 => Op::Told(id, dice.u64(..)),
        4 => Op::Via(id, ["", "smtp://a:25"][dice.usize(0..2)].into()),
        _ => Op::Update { id, changes: vec![(dice.u32(0..4), change)] },
    }
}

fn contents(spool: &Spool) -> Vec<(Stored, Vec<u8>)> {
    let load = |stored: Stored| {
        let octets = body(spool, stored.id).unwrap();
        (stored, octets)
    };
    spool.scan().into_iter().map(load).collect()
}

#[test]
fn both_engines_agree_on_everything() {
    for seed in 0..40 {
        let [disk, memory] = beds();
        let mut spools = [disk.claim(), memory.claim()];
        let mut ids = Vec::new();
        let mut random = fastrand::Rng::with_seed(seed);
        for step in 0..120 {
            let (known, op) = (ids.clone(), random.u64(..));
            if step % 30 == 29 {
                spools.iter().for_each(Spool::shutdown);
                spools = [disk.claim(), memory.claim()];
            }
            for spool in &spools {
                let op = random_op(&known, spool, op);
                if let Op::Append(message) = &op
                    && !ids.contains(&message.id)
                {
                    ids.push(message.id);
                }
                commit(spool, vec![op]).unwrap();
            }
            let [log, memory] = &spools;
            assert_eq!(log.scan(), memory.scan(), "seed {seed}, step {step}");
            assert_eq!(log.census(), memory.census(), "seed {seed}, step {step}");
        }
        assert_eq!(contents(&spools[0]), contents(&spools[1]), "seed {seed}");
    }
}
