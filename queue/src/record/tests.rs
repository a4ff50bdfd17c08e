//! Records come back as they were written, and no octets make the decoder panic.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const HERE: Position = Position { segment: 4, offset: 5000 };

fn reason() -> impl Strategy<Value = Arc<str>> {
    "[ -~é]{0,40}".prop_map(Arc::from)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Delivered),
        (any::<u32>(), any::<u64>(), reason())
            .prop_map(|(attempts, due_ms, reason)| Change::Deferred { attempts, due_ms, reason }),
        (any::<bool>(), reason(), any::<bool>()).prop_map(|(expired, reason, report_owed)| {
            Change::Failed { expired, reason, report_owed }
        }),
    ]
}

fn octets(most: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    let id = any::<u64>().prop_map(MessageId::from_u64);
    let message = (
        (any::<u64>(), any::<u64>(), any::<bool>(), 0u32..9),
        (reason(), octets(50), proptest::collection::vec(octets(90), 0..3)),
    );
    prop_oneof![
        message.prop_map(|((id, arrived_ms, held, recipients), (tenant, envelope, parts))| {
            Op::Append(NewMessage {
                id: MessageId::from_u64(id),
                arrived_ms,
                tenant,
                held,
                recipients,
                envelope,
                body: NewBody::Inline(parts),
            })
        }),
        (id.clone(), proptest::collection::vec((any::<u32>(), change()), 0..4))
            .prop_map(|(id, changes)| Op::Update { id, changes }),
        id.clone().prop_map(Op::Hold),
        id.clone().prop_map(Op::Release),
        id.clone().prop_map(Op::Remove),
        (id.clone(), any::<u64>()).prop_map(|(id, at_ms)| Op::Told(id, at_ms)),
        (id, ".{0,20}").prop_map(|(id, via)| Op::Via(id, via.into())),
    ]
}

fn encode_all(ops: &[Op]) -> (Vec<u8>, Vec<Record>) {
    let mut out = Vec::new();
    let mut records = Vec::new();
    for op in ops {
        let position = Position { offset: HERE.offset + out.len() as u64, ..HERE };
        records.push(encode(op, position, &mut out));
    }
    (out, records)
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back(ops in proptest::collection::vec(op(), 0..5)) {
        let (payload, records) = encode_all(&ops);
        prop_assert_eq!(decode_all(&payload, HERE), Some(records.clone()));
        for (op, record) in ops.iter().zip(&records) {
            let (Op::Append(message), Record::Append(stored, place)) = (op, record) else {
                continue;
            };
            let NewBody::Inline(parts) = &message.body else { continue };
            let at = (place.at - HERE.offset) as usize;
            let expected = [message.envelope.clone(), parts.concat().into()].concat();
            prop_assert_eq!(&payload[at..at + expected.len()], &expected[..]);
            prop_assert_eq!(stored.size, parts.concat().len() as u64);
        }
    }

    #[test]
    fn a_moved_message_keeps_states_and_octets(
        changes in proptest::collection::vec(change(), 1..5),
        content in octets(60),
        held in any::<bool>(),
        told_ms in any::<u64>(),
    ) {
        let mut recipients = vec![RecipientState::fresh(); changes.len()];
        for (state, change) in recipients.iter_mut().zip(&changes) {
            state.apply(change);
        }
        let stored = Stored {
            id: MessageId::from_u64(77),
            arrived_ms: 5,
            size: content.len() as u64 / 2,
            held,
            told_ms,
            via: "smtp://h:25".into(),
            tenant: "t".into(),
            recipients,
        };
        let from = Place {
            segment: 1,
            at: 9,
            envelope_octets: (content.len() - content.len() / 2) as u32,
            envelope_crc: 3,
            body_crc: 4,
            staged: false,
            octets: 1,
        };
        let moving = Moving { stored, from, octets: content.to_vec() };
        let mut payload = Vec::new();
        let record = encode_moved(&moving, HERE, &mut payload);
        prop_assert_eq!(decode_all(&payload, HERE), Some(vec![record.clone()]));
        let Record::Moved(_, place) = record else { unreachable!() };
        prop_assert_eq!(&payload[(place.at - HERE.offset) as usize..], &content[..]);
    }

    #[test]
    fn a_cut_payload_is_refused(ops in proptest::collection::vec(op(), 1..3), cut in 1usize..40) {
        let (payload, records) = encode_all(&ops);
        let kept = payload.len().saturating_sub(cut);
        if let Some(short) = decode_all(&payload[..kept], HERE) {
            prop_assert!(short.len() < records.len());
        }
    }

    #[test]
    fn no_octets_make_it_panic(kind in 0u8..9, fields in octets(200)) {
        let mut payload = vec![kind];
        put_u32(&mut payload, fields.len() as u32);
        payload.extend_from_slice(&fields);
        decode_all(&payload, HERE);
        decode_all(&fields, HERE);
    }
}
