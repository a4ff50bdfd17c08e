//! Records come back as they were written, a checksum refuses the rest, and no octets make it panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::entry::Change;
use crate::op::{NewBody, NewMessage, Op};

const BASE: u64 = 8192;

fn seal() -> Seal {
    Seal::new(1, 2, 3, 4)
}

fn reason() -> impl Strategy<Value = Arc<str>> {
    "[ -~é]{0,40}".prop_map(Arc::from)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Delivered),
        reason().prop_map(|reason| Change::Taken { reason }),
        (any::<u32>(), any::<u64>(), reason())
            .prop_map(|(attempts, due_ms, reason)| Change::Deferred { attempts, due_ms, reason }),
        (any::<bool>(), reason(), any::<bool>()).prop_map(|(expired, reason, report_owed)| {
            Change::Failed { expired, reason, report_owed }
        }),
    ]
}

fn octets(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    let id = any::<u64>().prop_map(MessageId::from_u64);
    let message = (
        (any::<u64>(), any::<u64>(), any::<bool>(), 0u32..9),
        (reason(), octets(50), vec(octets(90), 0..3)),
    );
    prop_oneof![
        message.prop_map(|((id, arrived_ms, held, recipients), (tenant, envelope, parts))| {
            let (id, body) = (MessageId::from_u64(id), NewBody::Inline(parts));
            let recipients = recipients.min(envelope.len() as u32);
            Op::Append(NewMessage { id, arrived_ms, tenant, held, recipients, envelope, body })
        }),
        (id.clone(), vec((any::<u32>(), change()), 0..4))
            .prop_map(|(id, changes)| Op::Update { id, changes }),
        id.clone().prop_map(Op::Hold),
        id.clone().prop_map(Op::Release),
        id.clone().prop_map(Op::Remove),
        (id.clone(), any::<u64>()).prop_map(|(id, at_ms)| Op::Told(id, at_ms)),
        (id, ".{0,20}").prop_map(|(id, via)| Op::Via(id, via.into())),
    ]
}

fn extent() -> impl Strategy<Value = Extent> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(slot, block, blocks)| Extent {
        slot,
        block,
        blocks,
    })
}

prop_compose! {
    fn moving()(
        (id, arrived_ms, told_ms, body_crc) in any::<(u64, u64, u64, u32)>(),
        (tenant, via, envelope) in (reason(), reason(), octets(50)),
        (body, held, size) in (octets(60), any::<bool>(), any::<u64>()),
        extents in proptest::option::of(vec(extent(), 0..4)),
        states in vec(proptest::option::of(change()), 0..5),
    ) -> Moving {
        let state = |change: Option<Change>| {
            let mut state = RecipientState::fresh();
            change.iter().for_each(|change| state.apply(change));
            state
        };
        let octets_of_envelope = envelope.len();
        Moving {
            id: MessageId::from_u64(id),
            from: Place::default(),
            arrived_ms,
            size: if extents.is_some() { size } else { body.len() as u64 },
            body_crc,
            tenant,
            envelope,
            body: if extents.is_some() { Bytes::new() } else { body },
            extents,
            held,
            told_ms,
            via,
            known: Extra::default(),
            states: states.into_iter().take(octets_of_envelope).map(state).collect(),
        }
    }
}

fn state(told: Option<Told<'_>>) -> RecipientState {
    let told = told.unwrap();
    told.mark.state(told.reason.map(Arc::from))
}

fn written(op: &Op) -> (Vec<u8>, Written) {
    let (seal, mut out) = (seal(), Vec::new());
    let crc = if let Op::Append(message) = op { message.body.inline_crc() } else { 0 };
    let written = Target { seal: &seal, base: BASE, out: &mut out }.put(op, crc);
    (out, written)
}

fn assert_append(meaning: &Meaning<'_>, new: &NewMessage, record: &[u8], body: &[u8]) {
    let Meaning::Append(message) = meaning else { panic!("{meaning:?}") };
    let NewBody::Inline(parts) = &new.body else { panic!("staged") };
    assert_eq!((message.id, message.arrived_ms, message.held), (new.id, new.arrived_ms, new.held));
    assert_eq!((message.recipients, message.tenant), (new.recipients, &*new.tenant));
    assert_eq!((message.told_ms, message.via, message.extents.is_none()), (0, "", true));
    assert_eq!(&record[message.envelope.clone()], &new.envelope[..]);
    assert_eq!((body, message.size), (&parts.concat()[..], body.len() as u64));
    assert_eq!(message.body_crc, crc32fast::hash(body));
    assert_eq!(message.states().count(), 0);
}

fn assert_same(meaning: &Meaning<'_>, op: &Op, record: &[u8], body: &[u8]) {
    match (meaning, op) {
        (_, Op::Append(new)) => assert_append(meaning, new, record, body),
        (Meaning::Update(_, found), Op::Update { changes, .. }) => {
            let applied = changes.iter().map(|(recipient, change)| {
                let mut state = RecipientState::fresh();
                state.apply(change);
                (*recipient, state)
            });
            let found = found.iter().map(Option::unwrap);
            let found = found.map(|(recipient, told)| (recipient, state(Some(told))));
            assert_eq!(found.collect::<Vec<_>>(), applied.collect::<Vec<_>>());
        }
        (Meaning::Hold(_), Op::Hold(_))
        | (Meaning::Release(_), Op::Release(_))
        | (Meaning::Remove(_), Op::Remove(_)) => {}
        (Meaning::Told(_, found), Op::Told(_, at_ms)) => assert_eq!(found, at_ms),
        (Meaning::Via(_, found), Op::Via(_, via)) => assert_eq!(*found, &**via),
        other => panic!("{other:?}"),
    }
}

fn id_of(meaning: &Meaning<'_>) -> MessageId {
    match meaning {
        Meaning::Append(message) | Meaning::Moved(message) => message.id,
        Meaning::Update(id, _)
        | Meaning::Hold(id)
        | Meaning::Release(id)
        | Meaning::Remove(id)
        | Meaning::Told(id, _)
        | Meaning::Via(id, _) => *id,
    }
}

proptest! {
    #[test]
    fn every_operation_comes_back(ops in vec(op(), 1..5)) {
        let (seal, mut out) = (seal(), Vec::new());
        let mut all = Vec::new();
        for op in &ops {
            let crc = if let Op::Append(message) = op { message.body.inline_crc() } else { 0 };
            all.push(Target { seal: &seal, base: BASE, out: &mut out }.put(op, crc));
        }
        prop_assert_eq!(out.len() % BORDER, 0);
        for (op, written) in ops.iter().zip(all) {
            let at = (written.offset - BASE) as usize;
            prop_assert_eq!(at % BORDER, 0);
            let record = checked(&seal, written.offset, &out[at..]).unwrap();
            prop_assert_eq!(record.len(), written.octets);
            let body = &out[at + written.octets..][..written.body];
            let meaning = decode(record).unwrap();
            prop_assert_eq!(id_of(&meaning), op.id());
            assert_same(&meaning, op, record, body);
        }
    }

    #[test]
    fn a_moved_message_comes_back(moving in moving()) {
        let (seal, mut out) = (seal(), Vec::new());
        let written = Target { seal: &seal, base: BASE, out: &mut out }.put_move(&moving);
        let record = checked(&seal, BASE, &out).unwrap();
        let Some(Meaning::Moved(message)) = decode(record) else { panic!() };
        prop_assert_eq!((message.id, message.arrived_ms), (moving.id, moving.arrived_ms));
        prop_assert_eq!((message.size, message.body_crc), (moving.size, moving.body_crc));
        prop_assert_eq!((message.held, message.told_ms), (moving.held, moving.told_ms));
        prop_assert_eq!((message.tenant, message.via), (&*moving.tenant, &*moving.via));
        prop_assert_eq!(&message.extents, &moving.extents);
        prop_assert_eq!(&record[message.envelope.clone()], &moving.envelope[..]);
        prop_assert_eq!(&out[written.octets..][..written.body], &moving.body[..]);
        prop_assert_eq!(&message.states().map(state).collect::<Vec<_>>(), &moving.states);
        let meaning = Meaning::Moved(message);
        for (recipient, state) in moving.states.iter().enumerate() {
            let told = match state {
                RecipientState::Pending { reason, .. } => reason.as_deref(),
                RecipientState::Delivered => None,
                RecipientState::Taken { reason } | RecipientState::Failed { reason, .. } => {
                    Some(&**reason)
                }
            };
            prop_assert_eq!(reason_of(&meaning, recipient as u32), told);
        }
    }

    #[test]
    fn a_record_is_refused_elsewhere_and_with_any_bit_flipped(op in op()) {
        let (mut out, written) = written(&op);
        let seal = seal();
        prop_assert!(checked(&seal, BASE, &out).is_some());
        for offset in [0, BASE - 8, BASE + 8, BASE + (1 << 32)] {
            prop_assert!(checked(&seal, offset, &out).is_none());
        }
        prop_assert!(checked(&Seal::new(1, 2, 3, 5), BASE, &out).is_none());
        for bit in 0..written.octets * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(checked(&seal, BASE, &out).is_none(), "bit {}", bit);
            out[bit / 8] ^= 1 << (bit % 8);
        }
        for short in 0..written.octets {
            prop_assert!(checked(&seal, BASE, &out[..short]).is_none());
        }
    }

    #[test]
    fn a_record_that_is_cut_or_longer_means_nothing(op in op(), by in 1usize..30) {
        let (out, written) = written(&op);
        let record = &out[..written.octets];
        let open_ended = matches!(op, Op::Append(_) | Op::Via(..));
        // An envelope and a way out take what is left; only the checksum holds their ends.
        if !open_ended {
            let longer = [record, &vec![0; by]].concat();
            prop_assert!(decode(&longer).is_none());
            prop_assert!(decode(&record[..record.len() - by.min(record.len())]).is_none());
        }
    }

    #[test]
    fn no_octets_make_it_panic(kind in 0u8..10, flags in any::<u8>(), rest in octets(200)) {
        let head = [0, 0, 0, 0, 24 + rest.len() as u8, 0, 0, 0, kind, flags, 0, 0];
        for octets in [&[&head[..], &rest].concat()[..], &rest] {
            claimed_octets(octets);
            checked(&seal(), BASE, octets);
            if let Some(meaning) = decode(octets) {
                reason_of(&meaning, 0);
                reason_of(&meaning, u32::MAX);
            }
        }
    }
}

#[test]
fn more_recipients_than_may_be_are_refused() {
    let is_read = |recipients, envelope: u32| {
        let (out, written) = written(&Op::Append(NewMessage {
            id: MessageId::from_u64(1),
            arrived_ms: 1,
            tenant: "t".into(),
            held: false,
            recipients,
            envelope: vec![0; envelope as usize].into(),
            body: NewBody::Inline(Vec::new()),
        }));
        decode(&out[..written.octets]).is_some()
    };
    let many = RECIPIENTS_MAX + 1;
    assert!(is_read(RECIPIENTS_MAX, many) && !is_read(many, many));
    assert!(is_read(7, 7) && !is_read(8, 7), "an octet of the envelope for each");
}
