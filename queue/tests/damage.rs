//! Damage in the log: it costs the record it lies in, is reported, and nothing is deleted for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use std::collections::BTreeMap;

use angarium_queue::disk::Disk;
use angarium_queue::id::MessageId;
use angarium_queue::spool::{Op, ReadError, Recovery, Spool};
use simulated::SimulatedDisk;
use simulated::help::*;

type Bodies = BTreeMap<MessageId, Vec<u8>>;

fn fill(spool: &Spool, messages: usize, length: usize) -> Bodies {
    let one = |number| {
        let body = octets(number as u64, length + number);
        (append(spool, &body), body)
    };
    (0..messages).map(one).collect()
}

/// A spool that was killed, so that its last segment has no footer.
fn killed(messages: usize, length: usize) -> (SimulatedDisk, Bodies) {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let bodies = fill(&spool, messages, length);
    (disk.after_kill(0), bodies)
}

/// One that was closed in order: each segment of the log has its footer.
fn closed(messages: usize, length: usize) -> (SimulatedDisk, Bodies) {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let bodies = fill(&spool, messages, length);
    spool.shutdown();
    (disk.after_kill(0), bodies)
}

fn last_log(disk: &SimulatedDisk) -> String {
    segments(disk, LOG).pop().unwrap()
}

/// Opens a copy of the disk with one changed file.
fn with_change(
    disk: &SimulatedDisk,
    name: &str,
    how: impl FnOnce(&mut Vec<u8>),
) -> (SimulatedDisk, Spool, Recovery) {
    let copy = disk.after_kill(0);
    change(&copy, name, how);
    let (spool, recovery) = open(copy.arc());
    (copy, spool, recovery)
}

/// Every message that is there has its body, or is known to be damaged; answers how many those are.
fn check(spool: &Spool, bodies: &Bodies) -> usize {
    let mut damaged = 0;
    for stored in spool.scan() {
        match body(spool, stored.id) {
            Ok(body) => assert_eq!(body, bodies[&stored.id]),
            Err(ReadError::Damaged(_)) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
    }
    damaged
}

#[test]
fn a_tail_torn_at_any_octet_is_all_or_nothing() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let mut bodies = fill(&spool, 2, 100);
    let new = [(); 3].map(|()| spool.next_id().unwrap());
    let ops = new.map(|id| Op::Append(message(id, 1, &[&octets(id.as_u64(), 90)])));
    commit(&spool, ops.into()).unwrap();
    bodies.extend(new.map(|id| (id, octets(id.as_u64(), 90))));
    let disk = disk.after_kill(0);
    let name = last_log(&disk);
    let last = groups(&disk.contents(&name)).pop().unwrap();
    for kept in last.start..=last.end {
        for zeroed in [true, false] {
            let tear = |octets: &mut Vec<u8>| match zeroed {
                true => octets[kept..].fill(0),
                false => octets.truncate(kept),
            };
            let (_, spool, recovery) = with_change(&disk, &name, tear);
            // Zeros at the end of the last record are no loss.
            let complete = spool.len() == 5;
            assert!(spool.len() == 2 || complete && kept + 8 > last.end, "{kept}: {}", spool.len());
            assert_eq!(spool.len(), recovery.messages);
            assert_eq!(check(&spool, &bodies), 0);
            let told = recovery.damage.iter().all(|d| d.file == name && d.what.contains("torn"));
            assert!(told && recovery.damage.len() <= 1);
            let visible = kept >= last.start + GROUP_HEAD && !complete;
            assert!(!visible || recovery.damage.len() == 1, "{kept}");
        }
    }
}

#[test]
fn a_flipped_bit_costs_at_most_one_message_and_is_reported() {
    let (disk, bodies) = killed(12, 300);
    let name = last_log(&disk);
    let end = groups(&disk.contents(&name)).pop().unwrap().end;
    for at in (0..end).step_by(37) {
        let (_, spool, recovery) = with_change(&disk, &name, |octets| octets[at] ^= 1 << (at % 8));
        let lost = bodies.len() - spool.len() + check(&spool, &bodies);
        assert!(lost <= 1, "{at}: {lost}");
        // Behind a label or a group, and on the borders, nothing is at stake.
        assert!(recovery.damage.len() >= lost && recovery.damage.len() <= 1, "{at}");
        for damage in &recovery.damage {
            assert!(damage.octets > 0 && damage.file == name);
            let range = damage.offset..damage.offset + damage.octets;
            assert!(range.contains(&(at as u64)), "{at}: {damage}");
        }
    }
}

#[test]
fn a_flipped_bit_beside_a_footer_is_seen_when_it_is_read() {
    let (disk, bodies) = closed(12, 300);
    let name = last_log(&disk);
    let end = groups(&disk.contents(&name)).pop().unwrap().end;
    for at in (BLOCK..end).step_by(61) {
        let (_, spool, recovery) = with_change(&disk, &name, |octets| octets[at] ^= 1);
        assert_eq!((recovery.messages, recovery.damage.len()), (bodies.len(), 0));
        assert!(check(&spool, &bodies) <= 1, "{at}");
    }
}

#[test]
fn a_damaged_footer_is_no_loss() {
    let (disk, bodies) = closed(12, 300);
    let name = last_log(&disk);
    let end = groups(&disk.contents(&name)).pop().unwrap().end.next_multiple_of(BLOCK);
    let whole = disk.contents(&name);
    let footer = end + whole[end..].iter().position(|octet| *octet != 0).unwrap();
    for at in (footer..whole.len()).step_by(29) {
        for zeroed in [true, false] {
            let (copy, spool, recovery) = with_change(&disk, &name, |octets| match zeroed {
                true => octets[at..].fill(0),
                false => octets[at] ^= 1,
            });
            assert_eq!((recovery.messages, recovery.damage.len()), (bodies.len(), 0), "{at}");
            assert_eq!(check(&spool, &bodies), 0);
            // It is made anew.
            spool.shutdown();
            assert_eq!(copy.contents(&name), whole, "{at}");
        }
    }
}

/// Three messages in one group, and what came after it.
fn batch_and(after: impl FnOnce(SimulatedDisk, Spool) -> SimulatedDisk) -> (SimulatedDisk, Bodies) {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let ids = [(); 3].map(|()| spool.next_id().unwrap());
    let ops = ids.map(|id| Op::Append(message(id, 1, &[&octets(id.as_u64(), 200)])));
    commit(&spool, ops.into()).unwrap();
    let bodies = ids.map(|id| (id, octets(id.as_u64(), 200))).into();
    (after(disk, spool), bodies)
}

#[test]
fn a_damaged_group_with_a_later_one_is_read_record_by_record() {
    let same_segment = batch_and(|disk, spool| {
        commit(&spool, vec![Op::Told(MessageId::from_u64(1), 5)]).unwrap();
        disk.after_kill(0)
    });
    let next_segment = batch_and(|disk, spool| {
        drop(spool);
        let disk = disk.after_kill(0);
        let (spool, _) = open(disk.arc());
        commit(&spool, vec![Op::Told(MessageId::from_u64(1), 5)]).unwrap();
        // Not the end of a run: the first segment shall have no footer.
        let first = segments(&disk, LOG).remove(0);
        let copy = disk.after_kill(0);
        change(&copy, &first, |octets| octets[63 << 10..].fill(0));
        copy
    });
    for (disk, bodies) in [same_segment, next_segment] {
        let name = segments(&disk, LOG).remove(0);
        let group = groups(&disk.contents(&name))[0].clone();
        for at in group.clone() {
            let (_, spool, recovery) = with_change(&disk, &name, |octets| octets[at] ^= 4);
            let lost = bodies.len() - spool.len() + check(&spool, &bodies);
            let in_head = at < group.start + GROUP_HEAD;
            assert!(lost <= 1 && !(in_head && lost > 0), "{at}: {lost}");
            assert!(recovery.damage.len() <= 1 && recovery.damage.len() >= lost, "{at}");
            assert!(!in_head || recovery.damage.len() == 1);
            assert!(recovery.damage.iter().all(|damage| !damage.what.contains("torn")));
        }
    }
}

#[test]
fn a_forged_group_within_a_body_stays_a_body() {
    // Whole segments, groups and all, as a body: another spool's, and our own from before. Then the
    // group around it is damaged, so that recovery looks into it.
    let (other, _) = closed(5, 200);
    for foreign in [true, false] {
        for shift in 0..8 {
            let disk = SimulatedDisk::new(3);
            let (spool, _) = open(disk.arc());
            let bodies = fill(&spool, 2, 200);
            let source = if foreign { &other } else { &disk };
            let forged = source.contents(&last_log(source))[BLOCK..BLOCK + 4_000].to_vec();
            let carrier = append(&spool, &[&vec![b'x'; shift], &forged[..]].concat());
            let after = append(&spool, b"after");
            let (again, recovery) = open(disk.after_kill(0).arc());
            assert_eq!((again.len(), recovery.damage.len()), (4, 0));
            let disk = disk.after_kill(0);
            let name = last_log(&disk);
            let group = groups(&disk.contents(&name))[2].clone();
            for at in [8, GROUP_HEAD + 5, 500] {
                let (_, spool, recovery) =
                    with_change(&disk, &name, |octets| octets[group.start + at] ^= 1);
                assert_eq!(recovery.damage.len(), 1);
                assert_eq!(spool.get(carrier).is_none(), at == GROUP_HEAD + 5, "{at}");
                let ids: Vec<_> = spool.scan().iter().map(|stored| stored.id).collect();
                assert!(ids.len() <= 4 && ids.contains(&after), "{ids:?}");
                assert!(bodies.iter().all(|(id, of)| body(&spool, *id).unwrap() == *of));
            }
        }
    }
}

#[test]
fn a_missing_segment_is_reported_with_its_groups() {
    let disk = SimulatedDisk::new(1);
    // Both slots of the superblock are in use from the second start on.
    drop(open(disk.arc()));
    let (spool, _) = open(disk.arc());
    let bodies = fill(&spool, 40, 3_000);
    let footers = disk.after_kill(0);
    let bare = disk.after_kill(0);
    for name in segments(&bare, LOG) {
        change(&bare, &name, |octets| octets[(64 << 10) - 32..].fill(0));
    }
    for disk in [footers, bare] {
        let names = segments(&disk, LOG);
        let first = |name: &str| u64_at(&disk.contents(name), 40);
        for lost in [0, 1] {
            let copy = disk.after_kill(0);
            copy.remove(&names[lost]).unwrap();
            let (spool, recovery) = open(copy.arc());
            let missing = first(&names[lost + 1]) - first(&names[lost]);
            assert_eq!(spool.len() as u64, bodies.len() as u64 - missing);
            assert_eq!(check(&spool, &bodies), 0);
            let what = format!(
                "groups {} to {} are missing",
                first(&names[lost]),
                first(&names[lost + 1]) - 1
            );
            let damage = &recovery.damage;
            assert!(damage.len() == 1 && damage[0].what.contains(&what), "{damage:?}");
        }
    }
}

#[test]
fn a_segment_with_damage_is_set_aside_not_used_again() {
    let (disk, bodies) = killed(3, 300);
    let name = last_log(&disk);
    let (disk, spool, recovery) = with_change(&disk, &name, |octets| octets[BLOCK + 100] ^= 1);
    let damaged = disk.contents(&name);
    assert_eq!((recovery.damage.len(), recovery.set_aside.len()), (1, 0));
    let rest = bodies.keys().skip(1).map(|id| Op::Remove(*id)).collect();
    commit(&spool, rest).unwrap();
    commit(&spool, vec![]).unwrap();
    assert!(spool.is_empty());
    let kept = format!("damaged-{name}");
    assert!(disk.names().contains(&kept) && !disk.names().contains(&name));
    assert_eq!(disk.contents(&kept), damaged);
    // Set aside is out of sight, and its number is not used again.
    spool.shutdown();
    let disk = disk.after_power_cut(0);
    let (spool, recovery) = open(disk.arc());
    assert_eq!((recovery.messages, recovery.damage.len()), (0, 0));
    fill(&spool, 40, 3_000);
    assert!(!disk.names().contains(&name) && disk.contents(&kept) == damaged);
}

#[test]
fn an_inline_body_that_changes_under_way_is_seen() {
    let (disk, bodies) = closed(2, 300);
    let (spool, _) = open(disk.arc());
    let name = segments(&disk, LOG).remove(0);
    let mut at = 0;
    change(&disk, &name, |octets| {
        at = octets.windows(50).position(|w| *w == bodies.values().next().unwrap()[..50]).unwrap();
        octets[at] ^= 1;
    });
    let ids: Vec<_> = bodies.keys().collect();
    assert!(matches!(spool.load(*ids[0]), Err(ReadError::Damaged(_))));
    assert_eq!(body(&spool, *ids[1]).unwrap(), bodies[ids[1]]);
}

#[test]
fn random_octets_for_a_segment_are_reported_and_kept() {
    let (disk, bodies) = closed(2, 300);
    for seed in 0..20 {
        let copy = disk.after_kill(0);
        let random = octets(seed, 5_000 + seed as usize * 700);
        copy.put("00000008.segment", &random);
        copy.put("00000009.segment", &[]);
        let (spool, recovery) = open(copy.arc());
        assert_eq!((recovery.messages, recovery.damage.len()), (bodies.len(), 2));
        assert_eq!(recovery.set_aside, ["damaged-00000008.segment", "damaged-00000009.segment"]);
        commit(&spool, bodies.keys().map(|id| Op::Remove(*id)).collect()).unwrap();
        commit(&spool, vec![]).unwrap();
        assert_eq!(copy.contents("damaged-00000008.segment"), random);
        assert!(!copy.names().contains(&"00000009.segment".to_owned()));
    }
}

#[test]
fn what_damage_may_hide_is_kept_before_the_damage_is_out_of_sight() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let id = spool.next_id().unwrap();
    commit(&spool, vec![Op::Append(staged(&spool, id, 1, &octets(1, 30_000)))]).unwrap();
    spool.shutdown();
    let bulk = segments(&disk, BULK).remove(0);
    let mut set_aside = 0;
    for step in 1..40 {
        let copy = disk.after_kill(0);
        copy.put("00000008.segment", &octets(step, 9_000));
        copy.crash_at(step);
        drop(Spool::open(copy.arc(), options(), Box::new(|_| {})));
        // What the next start sees, before it does anything.
        let next = copy.after_power_cut(step);
        if next.names().contains(&"damaged-00000008.segment".to_owned()) {
            set_aside += 1;
            assert_eq!(next.contents(&bulk)[12], KEPT, "step {step}");
        }
    }
    assert!(set_aside > 5);
}
