//! Records: what a frame's payload says, one after the other.
//!
//! Encoding writes straight into the frame under construction, so that a body is copied once.
//! Decoding is total: octets that are no record are refused by `None`. The layout is drawn in
//! `FORMAT.md`; all numbers are little-endian.

use std::sync::Arc;

use crc32fast::Hasher;

use crate::entry::{Change, RecipientState, Stored};
use crate::id::MessageId;
use crate::input::Input;
use crate::op::{NewBody, NewMessage, Op};

const APPEND: u8 = 1;
const MOVED: u8 = 2;
const UPDATE: u8 = 3;
const HOLD: u8 = 4;
const RELEASE: u8 = 5;
const REMOVE: u8 = 6;
const TOLD: u8 = 7;
const VIA: u8 = 8;

/// The most recipients one message may have; memory for their states is taken by this number.
pub(crate) const RECIPIENTS_MAX: u32 = 1_000_000;

const FLAG_HELD: u8 = 1;
const FLAG_STAGED: u8 = 2;
const FLAG_EXPIRED: u8 = 1;
const FLAG_OWED: u8 = 2;

/// Where a message's envelope (and, right after it, its inline body) lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    /// Offset of the envelope in the segment.
    pub(crate) at: u64,
    pub(crate) envelope_octets: u32,
    pub(crate) envelope_crc: u32,
    pub(crate) body_crc: u32,
    /// The body has a file of its own.
    pub(crate) staged: bool,
    /// What the record takes in its segment.
    pub(crate) octets: u64,
}

/// A record as the index takes it in: a message's octets stay on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Append(Stored, Place),
    Moved(Stored, Place),
    Update(MessageId, Vec<(u32, Change)>),
    Hold(MessageId),
    Release(MessageId),
    Remove(MessageId),
    Told(MessageId, u64),
    Via(MessageId, Arc<str>),
}

/// A message on its way to a newer segment, with its octets as they were read.
pub(crate) struct Moving {
    pub(crate) stored: Stored,
    pub(crate) from: Place,
    pub(crate) octets: Vec<u8>,
}

/// Where the next octet of the buffer will stand on the disk.
#[derive(Clone, Copy)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// Appends the record of an operation, and answers what the index shall take in.
pub(crate) fn encode(op: &Op, position: Position, out: &mut Vec<u8>) -> Record {
    match op {
        Op::Append(message) => encode_append(message, position, out),
        Op::Update { id, changes } => {
            framed(UPDATE, out, |out| encode_update(*id, changes, out));
            Record::Update(*id, changes.clone())
        }
        Op::Hold(id) => {
            framed(HOLD, out, |out| put_u64(out, id.as_u64()));
            Record::Hold(*id)
        }
        Op::Release(id) => {
            framed(RELEASE, out, |out| put_u64(out, id.as_u64()));
            Record::Release(*id)
        }
        Op::Remove(id) => {
            framed(REMOVE, out, |out| put_u64(out, id.as_u64()));
            Record::Remove(*id)
        }
        Op::Told(id, at_ms) => {
            framed(TOLD, out, |out| {
                put_u64(out, id.as_u64());
                put_u64(out, *at_ms);
            });
            Record::Told(*id, *at_ms)
        }
        Op::Via(id, via) => {
            framed(VIA, out, |out| {
                put_u64(out, id.as_u64());
                put_text(out, via);
            });
            Record::Via(*id, via.clone())
        }
    }
}

/// Appends a message that moves forward, its states and checksums with it.
pub(crate) fn encode_moved(moving: &Moving, position: Position, out: &mut Vec<u8>) -> Record {
    let start = out.len();
    let mut place = moving.from;
    framed(MOVED, out, |out| {
        encode_head(&moving.stored, &place, out);
        for state in &moving.stored.recipients {
            encode_state(state, out);
        }
        place.at = position.offset + (out.len() - start) as u64;
        out.extend_from_slice(&moving.octets);
    });
    place.segment = position.segment;
    place.octets = (out.len() - start) as u64;
    Record::Moved(moving.stored.clone(), place)
}

fn encode_append(message: &NewMessage, position: Position, out: &mut Vec<u8>) -> Record {
    let start = out.len();
    let stored = Stored {
        id: message.id,
        arrived_ms: message.arrived_ms,
        size: message.body.octets(),
        held: message.held,
        told_ms: 0,
        via: "".into(),
        tenant: message.tenant.clone(),
        recipients: vec![RecipientState::fresh(); message.recipients as usize],
    };
    let (parts, staged, body_crc): (&[_], _, _) = match &message.body {
        NewBody::Inline(parts) => {
            let mut hasher = Hasher::new();
            parts.iter().for_each(|part| hasher.update(part));
            (parts, false, hasher.finalize())
        }
        NewBody::Staged(staged) => (&[], true, staged.crc()),
    };
    let mut place = Place {
        segment: position.segment,
        at: 0,
        envelope_octets: message.envelope.len() as u32,
        envelope_crc: crc32fast::hash(&message.envelope),
        body_crc,
        staged,
        octets: 0,
    };
    framed(APPEND, out, |out| {
        encode_head(&stored, &place, out);
        place.at = position.offset + (out.len() - start) as u64;
        out.extend_from_slice(&message.envelope);
        parts.iter().for_each(|part| out.extend_from_slice(part));
    });
    place.octets = (out.len() - start) as u64;
    Record::Append(stored, place)
}

fn encode_head(stored: &Stored, place: &Place, out: &mut Vec<u8>) {
    put_u64(out, stored.id.as_u64());
    put_u64(out, stored.arrived_ms);
    put_u64(out, stored.size);
    let held = if stored.held { FLAG_HELD } else { 0 };
    out.push(held | if place.staged { FLAG_STAGED } else { 0 });
    put_u32(out, stored.recipients.len() as u32);
    put_u32(out, place.envelope_octets);
    put_u32(out, place.envelope_crc);
    put_u32(out, place.body_crc);
    put_u64(out, stored.told_ms);
    put_text(out, &stored.via);
    put_text(out, &stored.tenant);
}

fn encode_update(id: MessageId, changes: &[(u32, Change)], out: &mut Vec<u8>) {
    put_u64(out, id.as_u64());
    put_u32(out, changes.len() as u32);
    for (recipient, change) in changes {
        put_u32(out, *recipient);
        match change.clone() {
            Change::Delivered => encode_state(&RecipientState::Delivered, out),
            Change::Deferred { attempts, due_ms, reason } => {
                let reason = Some(reason);
                encode_state(&RecipientState::Pending { attempts, due_ms, reason }, out);
            }
            Change::Failed { expired, reason, report_owed } => {
                encode_state(&RecipientState::Failed { expired, reason, report_owed }, out);
            }
        }
    }
}

fn encode_state(state: &RecipientState, out: &mut Vec<u8>) {
    match state {
        RecipientState::Pending { attempts, due_ms, reason } => {
            out.push(if reason.is_some() { 1 } else { 0 });
            put_u32(out, *attempts);
            put_u64(out, *due_ms);
            if let Some(reason) = reason {
                put_text(out, reason);
            }
        }
        RecipientState::Delivered => out.push(2),
        RecipientState::Failed { expired, reason, report_owed } => {
            out.push(3);
            let expired = if *expired { FLAG_EXPIRED } else { 0 };
            out.push(expired | if *report_owed { FLAG_OWED } else { 0 });
            put_text(out, reason);
        }
    }
}

/// Puts the kind and the length in front of what `fill` appends.
fn framed(kind: u8, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let start = out.len();
    put_u32(out, 0);
    fill(out);
    let length = (out.len() - start - 4) as u32;
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u32(out, text.len() as u32);
    out.extend_from_slice(text.as_bytes());
}

/// Decodes all records of a payload that stands at `position`; `None` when one of them is none.
pub(crate) fn decode_all(payload: &[u8], position: Position) -> Option<Vec<Record>> {
    let mut input = Input::new(payload);
    let mut records = Vec::new();
    while !input.is_empty() {
        let kind = input.u8()?;
        let length = input.u32()? as usize;
        let offset = position.offset + input.taken() as u64;
        let fields = input.take(length)?;
        records.push(decode(kind, fields, Position { offset, ..position })?);
    }
    Some(records)
}

fn decode(kind: u8, fields: &[u8], position: Position) -> Option<Record> {
    let mut input = Input::new(fields);
    let record = match kind {
        APPEND => {
            let (stored, place) = decode_message(&mut input, position, false)?;
            Record::Append(stored, place)
        }
        MOVED => {
            let (stored, place) = decode_message(&mut input, position, true)?;
            Record::Moved(stored, place)
        }
        UPDATE => decode_update(&mut input)?,
        HOLD => Record::Hold(input.id()?),
        RELEASE => Record::Release(input.id()?),
        REMOVE => Record::Remove(input.id()?),
        TOLD => Record::Told(input.id()?, input.u64()?),
        VIA => Record::Via(input.id()?, input.text()?),
        _ => return None,
    };
    input.is_empty().then_some(record)
}

fn decode_message(
    input: &mut Input<'_>,
    position: Position,
    moved: bool,
) -> Option<(Stored, Place)> {
    let (id, arrived_ms, size) = (input.id()?, input.u64()?, input.u64()?);
    let flags = input.u8()?;
    let recipients = input.u32().filter(|count| *count <= RECIPIENTS_MAX)?;
    let (envelope_octets, envelope_crc, body_crc) = (input.u32()?, input.u32()?, input.u32()?);
    let told_ms = input.u64()?;
    let via: Arc<str> = input.text()?;
    let tenant: Arc<str> = input.text()?;
    let recipients = if moved {
        (0..recipients).map(|_| decode_state(input)).collect::<Option<_>>()?
    } else {
        vec![RecipientState::fresh(); recipients as usize]
    };
    let at = position.offset + input.taken() as u64;
    let staged = flags & FLAG_STAGED != 0;
    input.take(envelope_octets as usize)?;
    input.take(if staged { 0 } else { usize::try_from(size).ok()? })?;
    let held = flags & FLAG_HELD != 0;
    let segment = position.segment;
    let octets = input.taken() as u64 + 5;
    let place = Place { segment, at, envelope_octets, envelope_crc, body_crc, staged, octets };
    Some((Stored { id, arrived_ms, size, held, told_ms, via, tenant, recipients }, place))
}

fn decode_update(input: &mut Input<'_>) -> Option<Record> {
    let id = input.id()?;
    let count = input.u32()?;
    let mut changes = Vec::new();
    for _ in 0..count {
        let recipient = input.u32()?;
        let change = match decode_state(input)? {
            RecipientState::Pending { attempts, due_ms, reason } => {
                Change::Deferred { attempts, due_ms, reason: reason? }
            }
            RecipientState::Delivered => Change::Delivered,
            RecipientState::Failed { expired, reason, report_owed } => {
                Change::Failed { expired, reason, report_owed }
            }
        };
        changes.push((recipient, change));
    }
    Some(Record::Update(id, changes))
}

fn decode_state(input: &mut Input<'_>) -> Option<RecipientState> {
    Some(match input.u8()? {
        kind @ (0 | 1) => RecipientState::Pending {
            attempts: input.u32()?,
            due_ms: input.u64()?,
            reason: if kind == 1 { Some(input.text()?) } else { None },
        },
        2 => RecipientState::Delivered,
        3 => {
            let flags = input.u8()?;
            RecipientState::Failed {
                expired: flags & FLAG_EXPIRED != 0,
                report_owed: flags & FLAG_OWED != 0,
                reason: input.text()?,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
