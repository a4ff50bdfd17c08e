//! Writing records: one for each operation, sealed for its place, with its inline body behind it.

use bytes::Bytes;

use super::{
    APPEND, BORDER, Extent, FLAG_BULK, FLAG_EXPIRED, FLAG_HELD, FLAG_OWED, HOLD, MOVED, Moving,
    RELEASE, REMOVE, TOLD, UPDATE, VIA, Written,
};
use crate::entry::{Change, RecipientState};
use crate::id::MessageId;
use crate::mark::Mark;
use crate::op::{NewBody, NewMessage, Op};
use crate::seal::Seal;

/// Where records are written to: a buffer whose first octet stands at `base` of a segment.
pub(crate) struct Target<'a> {
    pub(crate) seal: &'a Seal,
    pub(crate) base: u64,
    pub(crate) out: &'a mut Vec<u8>,
}

impl Target<'_> {
    /// Appends the record of an operation, and its inline body, whose checksum is given.
    pub(crate) fn put(&mut self, op: &Op, body_crc: u32) -> Written {
        let fields = |out: &mut Vec<u8>, number: u64| put_u64(out, number);
        match op {
            Op::Append(message) => self.put_append(message, body_crc),
            Op::Update { id, changes } => {
                self.record(UPDATE, 0, changes.len() as u32, *id, &[], |out| {
                    for (recipient, change) in changes {
                        put_u32(out, *recipient);
                        put_change(out, change);
                    }
                })
            }
            Op::Hold(id) => self.record(HOLD, 0, 0, *id, &[], |_| {}),
            Op::Release(id) => self.record(RELEASE, 0, 0, *id, &[], |_| {}),
            Op::Remove(id) => self.record(REMOVE, 0, 0, *id, &[], |_| {}),
            Op::Told(id, at_ms) => self.record(TOLD, 0, 0, *id, &[], |out| fields(out, *at_ms)),
            Op::Via(id, via) => {
                self.record(VIA, 0, 0, *id, &[], |out| out.extend_from_slice(via.as_bytes()))
            }
        }
    }

    fn put_append(&mut self, message: &NewMessage, body_crc: u32) -> Written {
        let (parts, extents): (&[Bytes], _) = match &message.body {
            NewBody::Inline(parts) => (parts, None),
            NewBody::Staged(staged) => (&[], Some(staged.extents())),
        };
        let body_crc = match &message.body {
            NewBody::Inline(_) => body_crc,
            NewBody::Staged(staged) => staged.crc(),
        };
        let fields = Fields {
            arrived_ms: message.arrived_ms,
            size: message.body.octets(),
            body_crc,
            told_ms: 0,
            tenant: &message.tenant,
            via: "",
            extents,
            envelope: &message.envelope,
        };
        let flags = flags(message.held, extents.is_some());
        self.record(APPEND, flags, message.recipients, message.id, parts, |out| {
            fields.put(out, &[]);
        })
    }

    /// Appends a message that moves forward, its body behind it.
    pub(crate) fn put_move(&mut self, moving: &Moving) -> Written {
        let fields = Fields {
            arrived_ms: moving.arrived_ms,
            size: moving.size,
            body_crc: moving.body_crc,
            told_ms: moving.told_ms,
            tenant: &moving.tenant,
            via: &moving.via,
            extents: moving.extents.as_deref(),
            envelope: &moving.envelope,
        };
        let flags = flags(moving.held, moving.extents.is_some());
        let parts = std::slice::from_ref(&moving.body);
        self.record(MOVED, flags, moving.states.len() as u32, moving.id, parts, |out| {
            fields.put(out, &moving.states);
        })
    }

    fn record(
        &mut self,
        kind: u8,
        flags: u8,
        count: u32,
        id: MessageId,
        body: &[Bytes],
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Written {
        let start = self.out.len();
        let offset = self.base + start as u64;
        self.out.extend_from_slice(&[0; 8]);
        self.out.extend_from_slice(&[kind, flags, 0, 0]);
        put_u32(self.out, count);
        put_u64(self.out, id.as_u64());
        fill(self.out);
        let octets = self.out.len() - start;
        put_at(self.out, start + 4, octets as u32);
        let crc = self.seal.crc(offset, self.out.get(start + 4..).unwrap_or_default());
        put_at(self.out, start, crc);
        body.iter().for_each(|part| self.out.extend_from_slice(part));
        let body = self.out.len() - start - octets;
        self.out.resize(self.out.len().next_multiple_of(BORDER), 0);
        Written { offset, octets, body }
    }
}

fn flags(held: bool, bulk: bool) -> u8 {
    (if held { FLAG_HELD } else { 0 }) | (if bulk { FLAG_BULK } else { 0 })
}

/// What the record of a message has beside its head.
struct Fields<'a> {
    arrived_ms: u64,
    size: u64,
    body_crc: u32,
    told_ms: u64,
    tenant: &'a str,
    via: &'a str,
    extents: Option<&'a [Extent]>,
    envelope: &'a [u8],
}

impl Fields<'_> {
    fn put(&self, out: &mut Vec<u8>, states: &[RecipientState]) {
        let extents = self.extents.unwrap_or_default();
        put_u64(out, self.arrived_ms);
        put_u64(out, self.size);
        put_u64(out, self.told_ms);
        put_u32(out, self.body_crc);
        put_u32(out, self.tenant.len() as u32);
        put_u32(out, self.via.len() as u32);
        put_u32(out, extents.len() as u32);
        let before = out.len();
        put_u32(out, 0);
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(self.via.as_bytes());
        for extent in extents {
            put_u32(out, extent.slot);
            put_u32(out, extent.block);
            put_u32(out, extent.blocks);
        }
        let start = out.len();
        states.iter().for_each(|state| put_state(out, state));
        let octets = (out.len() - start) as u32;
        put_at(out, before, octets);
        out.extend_from_slice(self.envelope);
    }
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Delivered => put_mark(out, Mark::Delivered, None),
        Change::Taken { reason } => put_mark(out, Mark::Taken, Some(reason)),
        Change::Deferred { attempts, due_ms, reason } => {
            put_mark(out, Mark::Pending { attempts: *attempts, due_ms: *due_ms }, Some(reason));
        }
        Change::Failed { expired, reason, report_owed } => {
            let (expired, report_owed) = (*expired, *report_owed);
            put_mark(out, Mark::Failed { expired, report_owed }, Some(reason));
        }
    }
}

fn put_state(out: &mut Vec<u8>, state: &RecipientState) {
    let reason = match state {
        RecipientState::Pending { reason, .. } => reason.as_deref(),
        RecipientState::Delivered => None,
        RecipientState::Taken { reason } | RecipientState::Failed { reason, .. } => Some(&**reason),
    };
    put_mark(out, Mark::of(state), reason);
}

fn put_mark(out: &mut Vec<u8>, mark: Mark, reason: Option<&str>) {
    match mark {
        Mark::Pending { attempts, due_ms } => {
            out.push(if reason.is_some() { 1 } else { 0 });
            put_u32(out, attempts);
            put_u64(out, due_ms);
        }
        Mark::Delivered => out.push(2),
        Mark::Taken => out.push(4),
        Mark::Failed { expired, report_owed } => {
            out.push(3);
            let expired = if expired { FLAG_EXPIRED } else { 0 };
            out.push(expired | if report_owed { FLAG_OWED } else { 0 });
        }
    }
    if let Some(reason) = reason {
        put_u32(out, reason.len() as u32);
        out.extend_from_slice(reason.as_bytes());
    }
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_at(out: &mut [u8], at: usize, number: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}
