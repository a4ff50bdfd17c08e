//! The index comes to the same result whatever repeats, comes late or names strangers.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::entry::{Change, RecipientState};
use crate::label::{Label, Use, VERSION};
use crate::mark::Mark;
use crate::op::{NewBody, NewMessage, Op};
use crate::record::{Moving, RECIPIENTS_MAX, Target, decode};

const OCTETS: u32 = 100;

fn id(number: u64) -> MessageId {
    MessageId::from_u64(number)
}

fn index() -> Index {
    let mut index = Index::default();
    for slot in 1..4 {
        let serial = u64::from(slot);
        let (version, usage, epoch, secret, first, size) = (VERSION, Use::Log, 1, 2, 1, 4096);
        index.segments.add(Label { version, usage, slot, epoch, secret, serial, first, size });
    }
    index
}

fn apply_octets(index: &mut Index, octets: &[u8], length: usize, slot: u32) {
    let meaning = decode(&octets[..length]).unwrap();
    index.apply(&meaning, Place { slot, offset: 8 }, OCTETS);
}

fn apply(index: &mut Index, op: &Op, slot: u32) {
    let seal = index.segments.get(1).unwrap().seal.clone();
    let mut out = Vec::new();
    let written = Target { seal: &seal, base: 0, out: &mut out }.put(op, 0);
    apply_octets(index, &out, written.octets, slot);
}

fn append(number: u64, recipients: u32) -> Op {
    Op::Append(NewMessage {
        id: id(number),
        arrived_ms: number * 10,
        tenant: "t".into(),
        held: false,
        recipients,
        envelope: Bytes::from_static(b"envelope"),
        body: NewBody::Inline(Vec::new()),
    })
}

/// The message as it is known, on its way to another segment.
fn moving(index: &Index, number: u64, extents: Option<Vec<Extent>>) -> Moving {
    let known = index.get(id(number)).unwrap();
    let states = (0..known.row.recipients as usize)
        .map(|recipient| known.state(recipient).mark.state(None))
        .collect();
    Moving {
        id: known.id,
        from: known.row.place,
        arrived_ms: known.row.arrived_ms(),
        size: 0,
        body_crc: 0,
        tenant: "t".into(),
        envelope: Bytes::from_static(b"envelope"),
        extents,
        body: Bytes::new(),
        held: known.row.is_held(),
        told_ms: known.extra.told_ms,
        via: known.extra.via.clone().unwrap_or_else(|| "".into()),
        known: known.extra,
        states,
    }
}

fn move_to(index: &mut Index, moving: &Moving, slot: u32) {
    let seal = index.segments.get(1).unwrap().seal.clone();
    let mut out = Vec::new();
    let written = Target { seal: &seal, base: 0, out: &mut out }.put_move(moving);
    apply_octets(index, &out, written.octets, slot);
}

fn update(number: u64, changes: &[(u32, Change)]) -> Op {
    Op::Update { id: id(number), changes: changes.to_vec() }
}

fn deferred() -> Change {
    Change::Deferred { attempts: 1, due_ms: 5, reason: "450".into() }
}

fn owed() -> Change {
    Change::Failed { expired: true, reason: "450".into(), report_owed: true }
}

fn counts(index: &Index) -> [usize; 4] {
    index.census().map(|(_, count)| count.messages)
}

fn live(index: &Index, slot: u32) -> (u64, u64) {
    let segment = index.segments.get(slot).unwrap();
    (segment.messages, segment.live)
}

#[test]
fn a_second_copy_changes_nothing() {
    let mut index = index();
    apply(&mut index, &append(1, 2), 1);
    apply(&mut index, &update(1, &[(1, Change::Delivered)]), 1);
    apply(&mut index, &append(1, 2), 2);
    let known = index.get(id(1)).unwrap();
    assert_eq!((known.row.place.slot, known.state(1).mark), (1, Mark::Delivered));
    assert_eq!((live(&index, 1), live(&index, 2)), ((1, 100), (0, 0)));
}

#[test]
fn a_moved_message_takes_the_place_of_the_old() {
    let mut index = index();
    apply(&mut index, &append(1, 3), 1);
    let before = moving(&index, 1, None);
    apply(&mut index, &update(1, &[(1, Change::Delivered), (2, deferred())]), 2);
    apply(&mut index, &Op::Told(id(1), 9), 2);
    let now = moving(&index, 1, None);
    move_to(&mut index, &now, 3);
    let known = index.get(id(1)).unwrap();
    assert_eq!((known.row.place.slot, known.extra.told_ms), (3, 9));
    assert_eq!(
        known.state(2).mark,
        Mark::of(&RecipientState::Pending { attempts: 1, due_ms: 5, reason: None })
    );
    assert_eq!([1, 2, 3].map(|slot| live(&index, slot)), [(0, 0), (0, 0), (1, 100)]);
    // An older copy brings back neither an end nor an older notice.
    move_to(&mut index, &before, 2);
    let known = index.get(id(1)).unwrap();
    assert_eq!((known.state(1).mark, known.extra.told_ms), (Mark::Delivered, 9));
    // One whose first record is lost is there by its copy alone.
    let mut fresh = self::index();
    move_to(&mut fresh, &now, 3);
    assert_eq!(fresh.get(id(1)).unwrap().state(1).mark, Mark::Delivered);
}

#[test]
fn the_census_follows_every_change() {
    let mut index = index();
    apply(&mut index, &append(1, 2), 1);
    apply(&mut index, &append(2, 2), 1);
    assert_eq!(counts(&index), [2, 0, 0, 0]);
    apply(&mut index, &update(1, &[(0, deferred())]), 1);
    assert_eq!(counts(&index), [2, 0, 0, 0], "the other recipient was not tried yet");
    apply(&mut index, &update(1, &[(1, deferred())]), 1);
    assert_eq!(counts(&index), [1, 1, 0, 0]);
    apply(&mut index, &Op::Hold(id(1)), 1);
    assert_eq!(counts(&index), [1, 0, 1, 0]);
    apply(&mut index, &Op::Release(id(1)), 1);
    apply(&mut index, &update(1, &[(0, owed()), (1, owed())]), 1);
    assert_eq!(counts(&index), [1, 0, 0, 1]);
    let copy = moving(&index, 1, None);
    move_to(&mut index, &copy, 2);
    assert_eq!(counts(&index), [1, 0, 0, 1]);
    apply(&mut index, &update(1, &[(0, deferred())]), 1);
    assert_eq!(counts(&index), [1, 1, 0, 0]);
    assert_eq!(index.census()[1].1.oldest_arrived_ms, Some(10));
    apply(&mut index, &update(1, &[(0, Change::Delivered), (1, Change::Delivered)]), 1);
    apply(&mut index, &Op::Remove(id(2)), 1);
    assert_eq!((counts(&index), index.len()), ([0; 4], 0));
}

#[test]
fn an_end_is_final() {
    let ends = [update(1, &[(0, Change::Delivered)]), Op::Remove(id(1))];
    for end in ends {
        let mut index = index();
        apply(&mut index, &append(1, 1), 1);
        apply(&mut index, &end, 1);
        for late in [update(1, &[(0, deferred())]), Op::Hold(id(1)), Op::Told(id(1), 3)] {
            apply(&mut index, &late, 2);
            assert_eq!((index.len(), index.get(id(1)).is_none()), (0, true));
        }
        assert_eq!([1, 2].map(|slot| live(&index, slot)), [(0, 0); 2]);
    }
    // Of one recipient among several, too.
    let mut index = index();
    apply(&mut index, &append(1, 2), 1);
    apply(&mut index, &update(1, &[(0, Change::Delivered), (0, deferred()), (0, owed())]), 1);
    apply(&mut index, &update(1, &[(0, owed())]), 1);
    assert_eq!(index.get(id(1)).unwrap().state(0).mark, Mark::Delivered);
}

#[test]
fn without_recipients_nothing_is_left_to_do() {
    let mut index = index();
    apply(&mut index, &append(3, 0), 1);
    assert_eq!((index.len(), live(&index, 1)), (0, (0, 0)));
    assert!(index.take_freed().is_empty());
}

#[test]
fn blocks_are_freed_with_the_end_and_not_by_a_move() {
    let mut index = index();
    let extents = vec![Extent { slot: 7, block: 1, blocks: 2 }];
    apply(&mut index, &append(1, 1), 1);
    let moving = moving(&index, 1, Some(extents.clone()));
    move_to(&mut index, &moving, 2);
    move_to(&mut index, &moving, 3);
    assert!(index.take_freed().is_empty());
    assert_eq!(index.extents().copied().collect::<Vec<_>>(), extents);
    apply(&mut index, &update(1, &[(0, Change::Delivered)]), 3);
    assert_eq!(index.take_freed(), extents);
    assert!(index.take_freed().is_empty() && index.extents().next().is_none());
}

#[test]
fn strangers_and_wrong_recipients_change_nothing() {
    let mut index = index();
    apply(&mut index, &append(1, 1), 1);
    let strange =
        [Op::Hold(id(2)), Op::Remove(id(2)), Op::Told(id(2), 5), update(2, &[(0, deferred())])];
    for op in strange {
        apply(&mut index, &op, 1);
    }
    for recipient in [1, RECIPIENTS_MAX, u32::MAX] {
        apply(&mut index, &update(1, &[(recipient, Change::Delivered)]), 1);
    }
    assert_eq!((index.len(), counts(&index)), (1, [1, 0, 0, 0]));
    assert_eq!(index.get(id(1)).unwrap().state(0), State::FRESH);
}

fn change() -> impl Strategy<Value = Change> {
    let closed = Change::Failed { expired: false, reason: "550".into(), report_owed: false };
    prop_oneof![Just(Change::Delivered), Just(deferred()), Just(owed()), Just(closed)]
}

proptest! {
    /// Beside a model that keeps everything.
    #[test]
    fn any_history_comes_to_the_same(steps in vec((0u8..9, 0u64..5, 0u32..2, change()), 0..60)) {
        let mut index = index();
        let mut model = BTreeMap::<u64, (Vec<RecipientState>, bool)>::new();
        let mut seen = std::collections::BTreeSet::new();
        for (kind, number, recipient, change) in steps {
            match kind {
                0..2 => {
                    if seen.insert(number) {
                        apply(&mut index, &append(number, 2), 1);
                        model.insert(number, (vec![RecipientState::fresh(); 2], false));
                    }
                }
                2 => {
                    apply(&mut index, &Op::Hold(id(number)), 1);
                    model.entry(number).and_modify(|(_, held)| *held = true);
                }
                3 => {
                    apply(&mut index, &Op::Release(id(number)), 1);
                    model.entry(number).and_modify(|(_, held)| *held = false);
                }
                4 if index.contains(id(number)) => {
                    let moving = moving(&index, number, None);
                    move_to(&mut index, &moving, 2 + recipient);
                }
                _ => {
                    apply(&mut index, &update(number, &[(recipient, change.clone())]), 1);
                    if let Some((states, _)) = model.get_mut(&number) {
                        states[recipient as usize].apply(&change);
                        if states.iter().all(RecipientState::is_ended) {
                            model.remove(&number);
                        }
                    }
                }
            }
            let of = |(states, held): &(Vec<RecipientState>, bool)| {
                Standing::among(*held, states.iter().map(Mark::of), true)
            };
            let expected = Standing::ALL
                .map(|standing| model.values().filter(|message| of(message) == standing).count());
            prop_assert_eq!(counts(&index), expected);
            let messages: u64 = (1..4).map(|slot| live(&index, slot).0).sum();
            prop_assert_eq!(messages as usize, model.len());
        }
        for (number, (states, held)) in &model {
            let known = index.get(id(*number)).unwrap();
            prop_assert_eq!(known.row.is_held(), *held);
            for (recipient, state) in states.iter().enumerate() {
                prop_assert_eq!(known.state(recipient).mark, Mark::of(state));
            }
        }
    }
}
