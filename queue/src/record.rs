//! Records: what stands in a group, one for each operation; written and read here alone.
//!
//! A record proves itself: its checksum covers all of it and is sealed with its place. An inline
//! body follows its record and has a checksum of its own in it. Reading never panics and takes no
//! memory beyond what the record holds. `FORMAT.md` draws the octets; numbers are little-endian.

mod encode;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::entry::RecipientState;
use crate::id::MessageId;
use crate::index::Extra;
use crate::input::Input;
use crate::mark::{Mark, Place};
use crate::seal::Seal;
pub(crate) use encode::Target;

const APPEND: u8 = 1;
const MOVED: u8 = 2;
const UPDATE: u8 = 3;
const HOLD: u8 = 4;
const RELEASE: u8 = 5;
const REMOVE: u8 = 6;
const TOLD: u8 = 7;
const VIA: u8 = 8;

const FLAG_HELD: u8 = 1;
const FLAG_BULK: u8 = 2;
const FLAG_EXPIRED: u8 = 1;
const FLAG_OWED: u8 = 2;

/// Octets of what all records begin with.
pub(crate) const HEAD: usize = 24;
/// Records begin on borders of so many octets.
pub(crate) const BORDER: usize = 8;
/// The most recipients one message may have; memory for their states is taken by this number.
pub(crate) const RECIPIENTS_MAX: u32 = 1_000_000;

/// Neighbouring blocks of a bulk segment that hold a part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) slot: u32,
    pub(crate) block: u32,
    pub(crate) blocks: u32,
}

/// A message as its record has it.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) id: MessageId,
    pub(crate) arrived_ms: u64,
    /// Octets of the body.
    pub(crate) size: u64,
    pub(crate) held: bool,
    pub(crate) told_ms: u64,
    pub(crate) body_crc: u32,
    pub(crate) recipients: u32,
    pub(crate) tenant: &'a str,
    pub(crate) via: &'a str,
    /// Where the body lies; `None` when it follows the record.
    pub(crate) extents: Option<Vec<Extent>>,
    /// The states of a message that was moved, still encoded.
    states: Option<&'a [u8]>,
    /// Where the envelope stands in the record.
    pub(crate) envelope: Range<usize>,
}

/// What a record means.
#[derive(Debug)]
pub(crate) enum Meaning<'a> {
    Append(Message<'a>),
    Moved(Message<'a>),
    /// Recipients and what became of them; still encoded.
    Update(MessageId, Changes<'a>),
    Hold(MessageId),
    Release(MessageId),
    Remove(MessageId),
    Told(MessageId, u64),
    Via(MessageId, &'a str),
}

/// The changes of an update, one after the other.
#[derive(Debug)]
pub(crate) struct Changes<'a> {
    count: u32,
    octets: &'a [u8],
}

/// A state with its reason, as it is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) mark: Mark,
    pub(crate) reason: Option<&'a str>,
}

/// A message on its way to a newer segment.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) id: MessageId,
    /// Where it lay when this was read.
    pub(crate) from: Place,
    pub(crate) arrived_ms: u64,
    pub(crate) size: u64,
    pub(crate) body_crc: u32,
    pub(crate) tenant: Arc<str>,
    pub(crate) envelope: Bytes,
    pub(crate) extents: Option<Vec<Extent>>,
    pub(crate) body: Bytes,
    pub(crate) held: bool,
    pub(crate) told_ms: u64,
    pub(crate) via: Arc<str>,
    /// What was known of it then, with where its replies stand: it moves only while that is true.
    pub(crate) known: Extra,
    /// One for each recipient.
    pub(crate) states: Vec<RecipientState>,
}

/// The stretch of a buffer that a record takes, and what follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Where it stands in the segment.
    pub(crate) offset: u64,
    /// Its octets.
    pub(crate) octets: usize,
    /// Octets of the body behind it.
    pub(crate) body: usize,
}

/// The length that the record at the front of these octets claims.
pub(crate) fn claimed_octets(octets: &[u8]) -> Option<usize> {
    let length = Input::new(octets.get(4..8)?).u32()? as usize;
    (length >= HEAD).then_some(length)
}

/// The record at the front of these octets, if it is whole and sealed for this place.
pub(crate) fn checked<'a>(seal: &Seal, offset: u64, octets: &'a [u8]) -> Option<&'a [u8]> {
    let record = octets.get(..claimed_octets(octets)?)?;
    let crc = Input::new(record).u32()?;
    (seal.crc(offset, record.get(4..)?) == crc).then_some(record)
}

/// What a whole record means; `None` when it is none that this version knows.
pub(crate) fn decode(record: &[u8]) -> Option<Meaning<'_>> {
    let mut input = Input::new(record);
    input.take(8)?;
    let (kind, flags) = (input.u8()?, input.u8()?);
    input.u16()?;
    let (count, id) = (input.u32()?, input.id()?);
    let meaning = match kind {
        APPEND => Meaning::Append(decode_message(&mut input, flags, count, id, false)?),
        MOVED => Meaning::Moved(decode_message(&mut input, flags, count, id, true)?),
        UPDATE => {
            let octets = input.rest();
            let changes = Changes { count, octets };
            changes.iter().all(|change| change.is_some()).then_some(())?;
            Meaning::Update(id, changes)
        }
        HOLD => Meaning::Hold(id),
        RELEASE => Meaning::Release(id),
        REMOVE => Meaning::Remove(id),
        TOLD => Meaning::Told(id, input.u64()?),
        VIA => Meaning::Via(id, std::str::from_utf8(input.rest()).ok()?),
        _ => return None,
    };
    input.is_empty().then_some(meaning)
}

fn decode_message<'a>(
    input: &mut Input<'a>,
    flags: u8,
    recipients: u32,
    id: MessageId,
    moved: bool,
) -> Option<Message<'a>> {
    if recipients > RECIPIENTS_MAX {
        return None;
    }
    let (arrived_ms, size, told_ms) = (input.u64()?, input.u64()?, input.u64()?);
    let body_crc = input.u32()?;
    let (tenant, via) = (input.u32()? as usize, input.u32()? as usize);
    let (extents, states) = (input.u32()?, input.u32()? as usize);
    let (tenant, via) = (input.text(tenant)?, input.text(via)?);
    let mut list = Vec::new();
    for _ in 0..extents {
        let (slot, block, blocks) = (input.u32()?, input.u32()?, input.u32()?);
        list.push(Extent { slot, block, blocks });
    }
    let states = input.take(states)?;
    let start = input.taken();
    let envelope = start..start + input.rest().len();
    if recipients as usize > envelope.len() {
        return None;
    }
    let states = moved.then_some(states);
    let message = Message {
        id,
        arrived_ms,
        size,
        held: flags & FLAG_HELD != 0,
        told_ms,
        body_crc,
        recipients,
        tenant,
        via,
        extents: (flags & FLAG_BULK != 0).then_some(list),
        states,
        envelope,
    };
    let known = message.states().filter(Option::is_some).count();
    (known == states.map_or(0, |_| recipients as usize)).then_some(message)
}

impl<'a> Message<'a> {
    /// The states that a moved message carries, one for each recipient; none for a new one.
    pub(crate) fn states(&self) -> impl Iterator<Item = Option<Told<'a>>> {
        let count = if self.states.is_some() { self.recipients } else { 0 };
        let mut input = Input::new(self.states.unwrap_or_default());
        (0..count).map(move |_| decode_state(&mut input))
    }
}

impl<'a> Changes<'a> {
    /// Each recipient and its new state; `None` for what is none.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<(u32, Told<'a>)>> + use<'a> {
        let mut input = Input::new(self.octets);
        let mut left = self.count;
        std::iter::from_fn(move || {
            if left == 0 {
                // What is left over makes the record none of ours.
                return (!std::mem::take(&mut input).is_empty()).then_some(None);
            }
            left -= 1;
            let change =
                input.u32().and_then(|recipient| Some((recipient, decode_state(&mut input)?)));
            if change.is_none() {
                left = 0;
                input = Input::default();
            }
            Some(change)
        })
    }
}

fn decode_state<'a>(input: &mut Input<'a>) -> Option<Told<'a>> {
    let kind = input.u8()?;
    let mark = match kind {
        0 | 1 => Mark::Pending { attempts: input.u32()?, due_ms: input.u64()? },
        2 => Mark::Delivered,
        4 => Mark::Taken,
        3 => {
            let flags = input.u8()?;
            let expired = flags & FLAG_EXPIRED != 0;
            Mark::Failed { expired, report_owed: flags & FLAG_OWED != 0 }
        }
        _ => return None,
    };
    let reason = match kind {
        1 | 3 | 4 => {
            let octets = input.u32()? as usize;
            Some(input.text(octets)?)
        }
        _ => None,
    };
    Some(Told { mark, reason })
}

/// The last reply that a record tells of this recipient.
pub(crate) fn reason_of<'a>(meaning: &Meaning<'a>, recipient: u32) -> Option<&'a str> {
    match meaning {
        Meaning::Moved(message) => message.states().nth(recipient as usize)??.reason,
        Meaning::Update(_, changes) => {
            let of = |change: &(u32, Told<'a>)| change.0 == recipient;
            changes.iter().flatten().filter(of).last()?.1.reason
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
