//! Torn tails, gaps, forgeries and rubbish: what a walk through a segment makes of them.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::id::MessageId;
use crate::op::{NewBody, NewMessage, Op};
use crate::record::Target;

const BLOCK: usize = super::BLOCK as usize;
const NEWEST: u64 = u64::MAX;

fn label() -> Label {
    let (usage, slot, epoch, secret, serial) = (Use::Log, 3, 9, 0x1234_5678_9ABC_DEF0, 21);
    Label { version: VERSION, usage, slot, epoch, secret, serial, first: 40, size: 16 << 12 }
}

fn append(number: u64, body: &[u8]) -> Op {
    Op::Append(NewMessage {
        id: MessageId::from_u64(number),
        arrived_ms: 1,
        tenant: "t".into(),
        held: false,
        recipients: 1,
        envelope: Bytes::from_static(b"envelope"),
        body: NewBody::Inline(vec![Bytes::copy_from_slice(body)]),
    })
}

/// A group at the end of the segment, with a message for each body; answers where its head stands.
fn put_group(segment: &mut Vec<u8>, label: &Label, number: u64, bodies: &[&[u8]]) -> usize {
    let (seal, at) = (label.seal(), segment.len());
    segment.resize(at + GROUP_HEAD, 0);
    for (place, body) in bodies.iter().enumerate() {
        let op = append(number * 10 + place as u64, body);
        Target { seal: &seal, base: 0, out: segment }.put(&op, crc32fast::hash(body));
    }
    let (count, octets) = (bodies.len() as u32, (segment.len() - at) as u32);
    let head = GroupHead { count, number, serial: label.serial, epoch: label.epoch, octets };
    segment[at..at + GROUP_HEAD].copy_from_slice(&head.encode(&seal, at as u64));
    segment.resize(segment.len().next_multiple_of(BLOCK), 0);
    at
}

/// A segment whose groups have these bodies.
fn segment(groups: &[&[&[u8]]]) -> Vec<u8> {
    let label = label();
    let mut segment = label.encode().to_vec();
    segment.resize(BLOCK, 0);
    for (place, bodies) in groups.iter().enumerate() {
        put_group(&mut segment, &label, label.first + place as u64, bodies);
    }
    segment
}

fn walked(segment: &[u8], void: u64) -> Walk {
    walk(&label(), &label().seal(), segment, void)
}

/// The messages that were found, by number.
fn ids(segment: &[u8], walk: &Walk) -> Vec<u64> {
    let id = |written: &Written| {
        let at = written.offset as usize;
        let meaning = record::decode(&segment[at..at + written.octets]).unwrap();
        let Meaning::Append(message) = meaning else { panic!("{meaning:?}") };
        message.id.as_u64()
    };
    walk.records.iter().map(id).collect()
}

#[test]
fn whole_groups_are_read_in_order() {
    let whole = segment(&[&[b"a", b"b"], &[], &[&[7; 9_000]]]);
    for void in [NEWEST, 43] {
        let found = walked(&whole, void);
        assert_eq!(ids(&whole, &found), [400, 401, 420]);
        assert_eq!((found.last, found.damage.len(), found.torn), (Some(42), 0, None));
    }
}

#[test]
fn a_tail_torn_at_any_octet_is_all_or_nothing() {
    let whole = segment(&[&[b"first"], &[&[1; 90], &[2; 90]]]);
    let (_, head) = GroupHead::decode(&whole[BLOCK * 2..]).unwrap();
    let end = BLOCK * 2 + head.octets as usize;
    for kept in BLOCK * 2..whole.len() {
        let mut torn = whole.clone();
        torn[kept..].fill(0);
        for torn in [&torn[..], &whole[..kept]] {
            let found = walked(torn, NEWEST);
            let complete = found.records.len() == 3;
            assert!(complete || ids(torn, &found) == [400], "{kept}");
            // Zeros that fill up the last record are no loss.
            assert!(if kept >= end { complete } else { !complete || kept + 8 > end }, "{kept}");
            assert_eq!((found.damage.len(), found.torn.is_some() && complete), (0, false));
            assert!(complete || kept < BLOCK * 2 + GROUP_HEAD || found.torn.is_some(), "{kept}");
        }
    }
}

#[test]
fn a_last_group_without_its_head_is_told() {
    let mut whole = segment(&[&[b"first"], &[b"second"]]);
    whole[BLOCK * 2 + 3] ^= 1;
    let found = walked(&whole, NEWEST);
    assert_eq!(ids(&whole, &found), [400]);
    assert_eq!(found.torn.map(|torn| torn.start), Some(BLOCK * 2));
    // A later segment proves that it was durable: then its records count.
    let found = walked(&whole, 42);
    assert_eq!(ids(&whole, &found), [400, 410]);
    assert!(found.torn.is_none() && found.last == Some(41));
    assert!(found.damage[0].1.contains("groups 41 to 41 are missing"), "{:?}", found.damage);
}

#[test]
fn a_damaged_group_with_a_later_one_keeps_its_other_records() {
    let whole = segment(&[&[b"a", b"b", b"c"], &[b"later"]]);
    let first = walked(&whole, NEWEST).records[0];
    let mut damaged = whole.clone();
    damaged[first.offset as usize + 30] ^= 1;
    let found = walked(&damaged, NEWEST);
    assert_eq!(ids(&damaged, &found), [401, 402, 410]);
    let (stretch, _) = &found.damage[0];
    assert!(stretch.start == BLOCK && stretch.end > first.offset as usize && found.torn.is_none());
    // One whose body alone is damaged stays: it is told when it is read.
    let mut damaged = whole;
    damaged[first.offset as usize + first.octets] ^= 1;
    let found = walked(&damaged, NEWEST);
    assert_eq!((ids(&damaged, &found), found.damage.len()), (vec![400, 401, 402, 410], 1));
}

#[test]
fn a_page_of_zeros_hides_nothing_behind_it() {
    let mut segment = segment(&[&[b"a"], &[b"b"], &[b"c"], &[b"d"]]);
    segment[2 * BLOCK..4 * BLOCK].fill(0);
    let found = walked(&segment, NEWEST);
    assert_eq!(ids(&segment, &found), [400, 430]);
    let [(stretch, what)] = &found.damage[..] else { panic!("{:?}", found.damage) };
    assert_eq!(*stretch, Stretch { start: 2 * BLOCK, end: 4 * BLOCK });
    assert!(what.contains("groups 41 to 42 are missing"));
}

#[test]
fn void_groups_are_neither_read_nor_damage() {
    let mut segment = segment(&[&[b"a"], &[b"b"], &[b"failed"]]);
    for flip in [0, 3 * BLOCK, 3 * BLOCK + 50] {
        segment[flip] ^= 1;
        let found = walked(&segment, 42);
        assert_eq!(ids(&segment, &found), [400, 410]);
        assert_eq!((found.damage.len(), found.torn, found.last), (0, None, Some(41)));
    }
}

#[test]
fn a_group_is_valid_only_where_it_was_written() {
    let inner = segment(&[&[b"forged"]]);
    let forged = &inner[BLOCK..];
    for shift in 0..8 {
        // In a body, at every distance from a border; at one of them on a block of its own.
        for room in [shift, BLOCK - GROUP_HEAD - 80 + shift] {
            let body = [&vec![0; room][..], forged].concat();
            let mut outer = segment(&[&[b"first"], &[&body], &[b"last"]]);
            assert_eq!(ids(&outer, &walked(&outer, NEWEST)), [400, 410, 420]);
            outer[2 * BLOCK + GROUP_HEAD + 9] ^= 1;
            assert_eq!(ids(&outer, &walked(&outer, NEWEST)), [400, 420]);
        }
    }
    for other in [
        Label { secret: 1, ..label() },
        Label { slot: 4, ..label() },
        Label { epoch: 10, ..label() },
        Label { serial: 22, ..label() },
    ] {
        let found = walk(&other, &other.seal(), &inner, NEWEST);
        assert!(found.records.is_empty() && found.damage.is_empty() && found.torn.is_none());
    }
}

#[test]
fn heads_that_a_sender_forged_cost_little_time() {
    // Each border claims a record to the end of the group: together, half a terabyte.
    let mut body = vec![0; 3 << 20];
    let length = body.len();
    for (place, head) in body.chunks_exact_mut(8).enumerate() {
        let claim = (length - place * 8) as u32;
        head[4..].copy_from_slice(&claim.to_le_bytes());
    }
    let mut segment = segment(&[&[&body, b"behind"], &[b"last"]]);
    segment[BLOCK + GROUP_HEAD + 9] ^= 1;
    assert_eq!(ids(&segment, &walked(&segment, NEWEST)), [401, 410]);
}

#[test]
fn a_label_is_found_by_the_groups_of_the_log_alone() {
    let mut segment = segment(&[&[b"a"], &[b"b"]]);
    let older = Label { epoch: 2, serial: 5, ..label() };
    put_group(&mut segment, &older, 7, &[b"stale"]);
    let found = |segment: &[u8], begin| find_label(label().secret, 3, segment, begin);
    let size = segment.len() as u64;
    assert_eq!(found(&segment, 30), Some(Label { size, ..label() }));
    // Without its own groups, only what an earlier use left is there.
    segment[BLOCK..3 * BLOCK].fill(0);
    assert_eq!(found(&segment, 30), None);
    assert_eq!(found(&segment, 7).map(|label| label.serial), Some(5));
    assert_eq!(find_label(1, 3, &segment, 0), None);
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(
        mut rest in vec(any::<u8>(), 0..3 * BLOCK),
        heads in vec((0usize..3, any::<u32>(), any::<u64>(), any::<u32>()), 0..4),
        void in prop_oneof![Just(NEWEST), any::<u64>()],
    ) {
        let label = label();
        let seal = label.seal();
        // Heads that are whole, before rubbish.
        for (block, count, number, octets) in heads {
            let head = GroupHead { count, number, serial: 21, epoch: 9, octets };
            let at = block * BLOCK;
            if let Some(place) = rest.get_mut(at..at + GROUP_HEAD) {
                place.copy_from_slice(&head.encode(&seal, (at + BLOCK) as u64));
            }
        }
        let all = [vec![0; BLOCK], rest].concat();
        let found = walk(&label, &seal, &all, void);
        // A group without records is whole, if its head says so.
        prop_assert!(found.records.is_empty());
        for (stretch, _) in &found.damage {
            prop_assert!(stretch.end <= all.len());
        }
        find_label(label.secret, 3, &all, 0);
        find_label(label.secret, 3, &all[BLOCK..], 0);
    }
}
