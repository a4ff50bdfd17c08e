//! Damage on the disk: it costs the record it lies in, is reported, and nothing is deleted for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use std::collections::BTreeMap;

use angarium_queue::id::MessageId;
use angarium_queue::spool::{Op, Options, ReadError, Spool};
use simulated::SimulatedDisk;
use simulated::help::*;

/// A spool that was closed in order, and the bodies in it.
fn filled(messages: usize, length: usize) -> (SimulatedDisk, BTreeMap<MessageId, Vec<u8>>) {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let mut bodies = BTreeMap::new();
    for number in 0..messages {
        let body = octets(number as u64, length + number);
        bodies.insert(append(&spool, &body), body);
    }
    spool.shutdown();
    (disk, bodies)
}

fn last_log(disk: &SimulatedDisk) -> String {
    disk.names().into_iter().rfind(|name| name.ends_with(".log")).unwrap()
}

fn last_octet(octets: &[u8]) -> usize {
    octets.iter().rposition(|octet| *octet != 0).unwrap()
}

#[test]
fn a_tail_torn_at_any_octet_is_all_or_nothing() {
    let (disk, bodies) = filled(3, 100);
    let name = last_log(&disk);
    let whole = disk.contents(&name);
    let (end, last) = (last_octet(&whole) + 1, *bodies.keys().last().unwrap());
    for kept in end - 250..=end {
        for zeroed in [true, false] {
            let mut torn = whole.clone();
            if zeroed {
                torn[kept..].fill(0);
            } else {
                torn.truncate(kept);
            }
            let copy = disk.after_kill(0);
            copy.put(&name, &torn);
            let (spool, recovery) = open(copy.arc());
            let complete = kept == end;
            // The frame before the last may end within the range: then the tear is a clean end.
            assert_eq!(spool.len(), recovery.messages);
            assert!(!spool.is_empty() && (spool.get(last).is_some() == complete), "{kept}");
            for stored in spool.scan() {
                assert_eq!(body(&spool, stored.id).unwrap(), bodies[&stored.id]);
            }
            assert!(recovery.damage.len() <= 1);
            assert!(recovery.damage.iter().all(|d| d.file == name && d.what.contains("torn")));
        }
    }
}

#[test]
fn a_flipped_bit_costs_at_most_one_message_and_is_reported() {
    let (disk, bodies) = filled(12, 300);
    let name = last_log(&disk);
    let whole = disk.contents(&name);
    for at in (0..last_octet(&whole)).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        let copy = disk.after_kill(0);
        copy.put(&name, &damaged);
        let (spool, recovery) = open(copy.arc());
        assert!(spool.len() >= bodies.len() - 1, "{at}: {}", spool.len());
        // Between label and first frame, and on the borders, nothing is at stake.
        let lost = bodies.len() - spool.len();
        assert!(recovery.damage.len() >= lost && recovery.damage.len() <= 1, "{at}");
        for damage in &recovery.damage {
            assert!(damage.octets > 0 && damage.file == name);
            let range = damage.offset..damage.offset + damage.octets;
            assert!(range.contains(&(at as u64)), "{at}: {damage}");
        }
        for stored in spool.scan() {
            assert_eq!(body(&spool, stored.id).unwrap(), bodies[&stored.id]);
        }
    }
}

#[test]
fn a_forged_frame_within_a_body_stays_a_body() {
    // Another spool's whole segment, frames and all, as a body; and then the frame around it is
    // damaged, so that recovery looks into it.
    let (other, _) = filled(5, 200);
    let segment = other.contents(&last_log(&other));
    let forged = &segment[4096..4096 + 3_000];
    for shift in 0..8 {
        let disk = SimulatedDisk::new(3);
        let (spool, _) = open(disk.arc());
        let carrier = append(&spool, &[&vec![b'x'; shift], forged].concat());
        let after = append(&spool, b"after");
        spool.shutdown();
        let (spool, recovery) = open(disk.after_kill(0).arc());
        assert_eq!((spool.len(), recovery.damage.len()), (2, 0));
        spool.shutdown();
        let name = "00000001.log";
        let mut damaged = disk.contents(name);
        damaged[4096] ^= 1;
        let copy = disk.after_kill(0);
        copy.put(name, &damaged);
        let (spool, recovery) = open(copy.arc());
        assert_eq!(recovery.damage.len(), 1);
        assert!(spool.get(carrier).is_none());
        assert_eq!(spool.scan().len(), 1);
        assert_eq!(body(&spool, after).unwrap(), b"after");
    }
}

#[test]
fn a_segment_with_damage_is_set_aside_not_removed() {
    let (disk, bodies) = filled(3, 300);
    let name = last_log(&disk);
    let mut damaged = disk.contents(&name);
    damaged[4200] ^= 1;
    disk.put(&name, &damaged);
    let (spool, recovery) = open(disk.arc());
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
    let (spool, recovery) = open(disk.arc());
    assert_eq!((recovery.messages, recovery.damage.len()), (0, 0));
    append(&spool, b"new");
    assert!(!disk.names().contains(&name));
}

#[test]
fn orphans_are_swept_unless_there_is_damage() {
    let (disk, bodies) = filled(2, 300);
    let orphan = "0000001000000063.content";
    let copy = disk.after_kill(0);
    copy.put(orphan, b"nobody's");
    let (_spool, recovery) = open(copy.arc());
    assert_eq!(recovery.set_aside.len(), 0);
    assert!(!copy.names().contains(&orphan.to_owned()));

    let disk = disk.after_kill(0);
    let name = last_log(&disk);
    let mut damaged = disk.contents(&name);
    damaged[4200] ^= 1;
    disk.put(&name, &damaged);
    disk.put(orphan, b"nobody's");
    let (spool, recovery) = open(disk.arc());
    assert_eq!(recovery.set_aside, [format!("damaged-{orphan}")]);
    assert_eq!(disk.contents(&recovery.set_aside[0]), b"nobody's");
    assert_eq!(spool.len(), bodies.len() - 1);
}

#[test]
fn a_staged_body_that_changed_never_comes_to_its_end() {
    let disk = SimulatedDisk::new(1);
    let (spool, _) = open(disk.arc());
    let original = octets(4, 200_000);
    let id = spool.next_id().unwrap();
    commit(&spool, vec![Op::Append(staged(&spool, id, 1, &original))]).unwrap();
    assert_eq!(body(&spool, id).unwrap(), original);
    spool.shutdown();
    let name = format!("{id}.content");

    let flipped = disk.after_kill(0);
    let mut octets = original.clone();
    octets[70_000] ^= 1;
    flipped.put(&name, &octets);
    let (spool, recovery) = open(flipped.arc());
    // A content file is not read at the start, only measured.
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

    let short = disk.after_kill(0);
    short.put(&name, &original[..100_000]);
    let (spool, recovery) = open(short.arc());
    assert_eq!((recovery.messages, recovery.damage.len()), (1, 1));
    assert!(matches!(body(&spool, id), Err(ReadError::Damaged(_))));

    let missing = disk.after_kill(0);
    angarium_queue::disk::Disk::remove(&missing, &name).unwrap();
    let (spool, recovery) = open(missing.arc());
    assert_eq!((recovery.messages, recovery.damage.len()), (1, 1));
    assert!(matches!(spool.load(id), Err(ReadError::Damaged(_))));
}

#[test]
fn an_inline_body_that_changes_under_way_is_seen() {
    let (disk, bodies) = filled(2, 300);
    let (spool, _) = Spool::open(disk.arc(), options(), Box::new(|_| {})).unwrap();
    let name = disk.names().into_iter().find(|name| name.ends_with(".log")).unwrap();
    let mut damaged = disk.contents(&name);
    damaged[4096 + 12 + 200] ^= 1;
    disk.put(&name, &damaged);
    let ids: Vec<_> = bodies.keys().collect();
    assert!(matches!(spool.load(*ids[0]), Err(ReadError::Damaged(_))));
    assert_eq!(body(&spool, *ids[1]).unwrap(), bodies[ids[1]]);
}

#[test]
fn random_octets_for_a_segment_are_reported_and_kept() {
    let (disk, bodies) = filled(2, 300);
    for seed in 0..20 {
        let copy = disk.after_kill(0);
        copy.put("00000002.log", &octets(seed, 5_000 + seed as usize * 700));
        copy.put("00000003.log", &[]);
        let (spool, recovery) =
            Spool::open(copy.arc(), Options { shard: 0, ..options() }, Box::new(|_| {})).unwrap();
        assert_eq!((recovery.messages, recovery.damage.len()), (bodies.len(), 1));
        commit(&spool, bodies.keys().map(|id| Op::Remove(*id)).collect()).unwrap();
        commit(&spool, vec![]).unwrap();
        assert!(copy.names().contains(&"damaged-00000002.log".to_owned()));
        assert!(!copy.names().contains(&"00000003.log".to_owned()));
    }
}
