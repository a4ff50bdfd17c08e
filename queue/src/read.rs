//! Reading back: a message's envelope and body, checked before they are handed on.
//!
//! Promises: an inline body and an envelope are checked whole before the first octet is given; of a
//! staged body the last chunk is held back until the whole has been checked. So a receiver that
//! waits for the end never takes a damaged body for a good one. Reading takes no part in writing:
//! it holds no lock while it waits for the disk.

mod body;

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;

use crate::bulk::{block_octets, block_offset};
use crate::disk::read_exact_at;
use crate::entry::{RecipientState, Stored};
use crate::id::MessageId;
use crate::index::Known;
use crate::mark::{Mark, Place, State};
use crate::record::{Extent, Meaning, Message, Moving, checked, claimed_octets, decode, reason_of};
use crate::seal::Seal;
use crate::shared::{Shared, lock};
pub use body::Body;
use body::Part;

/// How often a message may move away under a reader.
const MOVES_AT_MOST: usize = 8;
/// Octets of a record that are read at first: enough for most.
const FIRST_OCTETS: usize = 1024;

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The message is not, or no longer, in the spool.
    Gone,
    /// What was read is not what was stored; the text says where.
    Damaged(String),
    /// The disk failed.
    Io(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the message is no longer in the spool"),
            Self::Damaged(what) => write!(f, "the message is damaged: {what}"),
            Self::Io(error) => write!(f, "the message cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A message, ready to be delivered.
pub struct Loaded {
    /// What the spool knows of it, at the time of the call.
    pub stored: Stored,
    /// As it was appended.
    pub envelope: Bytes,
    /// The body, still to be read.
    pub body: Body,
}

fn refused(error: &io::Error) -> ReadError {
    match error.kind() {
        ErrorKind::UnexpectedEof => ReadError::Damaged("a segment is too short".into()),
        ErrorKind::NotFound => ReadError::Damaged("a segment is missing".into()),
        _ => ReadError::Io(error.to_string()),
    }
}

/// A record and what is behind it, as read from the disk.
struct Raw {
    octets: Bytes,
    /// Octets of the record itself.
    record: usize,
}

impl Raw {
    fn meaning(&self) -> Option<Meaning<'_>> {
        decode(self.octets.get(..self.record)?)
    }

    fn message(&self) -> Option<Message<'_>> {
        match self.meaning()? {
            Meaning::Append(message) | Meaning::Moved(message) => Some(message),
            _ => None,
        }
    }

    fn envelope(&self, message: &Message<'_>) -> Bytes {
        self.octets.slice(message.envelope.clone())
    }

    fn body(&self) -> Bytes {
        self.octets.slice(self.record..)
    }

    /// Why this is not that message, with its inline body if that was read.
    fn fault(&self, id: MessageId, with_body: bool) -> Option<String> {
        let Some(message) = self.message().filter(|message| message.id == id) else {
            return Some(format!("another record stands where {id} should be"));
        };
        let body = self.octets.get(self.record..).unwrap_or_default();
        let is_whole = !with_body
            || message.extents.is_some()
            || body.len() as u64 == message.size && crc32fast::hash(body) == message.body_crc;
        (!is_whole).then(|| format!("the checksum of the body of {id} is wrong"))
    }
}

/// Reads the record at a place, and so many octets with it.
fn read_raw(shared: &Shared, place: Place, seal: &Seal, octets: usize) -> Result<Raw, ReadError> {
    let offset = u64::from(place.offset);
    let file = shared.pool.file(place.slot).map_err(|error| refused(&error))?;
    // Whatever lengths say, no more is read than there is.
    let within = file.size().map_err(|error| refused(&error))?.saturating_sub(offset);
    let mut buffer = vec![0; (octets as u64).min(within) as usize];
    let read = file.read_at(offset, &mut buffer).map_err(|error| refused(&error))?;
    buffer.truncate(read);
    // A record is longer than was thought at most once: its length is in its first octets.
    if let Some(claimed) = claimed_octets(&buffer).filter(|claimed| *claimed > buffer.len()) {
        buffer.resize((claimed as u64).min(within) as usize, 0);
        read_exact_at(&*file, offset, &mut buffer).map_err(|error| refused(&error))?;
    }
    match checked(seal, offset, &buffer).map(<[u8]>::len) {
        Some(record) => Ok(Raw { octets: buffer.into(), record }),
        None => Err(ReadError::Damaged(format!(
            "no whole record at {offset} of segment {}",
            place.slot
        ))),
    }
}

/// Reads a message from where the index says, as often as it moves away under the reader.
fn fetch(shared: &Shared, id: MessageId, with_body: bool) -> Result<(Known, Raw), ReadError> {
    let mut moves = 0;
    loop {
        let (known, segment) = {
            let index = lock(&shared.index);
            let known = index.get(id).ok_or(ReadError::Gone)?;
            let segment = index.segments.get(known.row.place.slot).cloned();
            (known, segment)
        };
        let octets = known.row.octets as usize;
        let octets = if with_body { octets } else { octets.min(FIRST_OCTETS) };
        let read = match &segment {
            Some(segment) => read_raw(shared, known.row.place, &segment.seal, octets),
            None => Err(ReadError::Damaged("its segment is missing".into())),
        };
        let error = match read {
            Ok(raw) => match raw.fault(id, with_body) {
                None => return Ok((known, raw)),
                Some(what) => ReadError::Damaged(what),
            },
            Err(error) => error,
        };
        let now = lock(&shared.index).get(id).ok_or(ReadError::Gone)?.row.place;
        moves += 1;
        if now == known.row.place || moves == MOVES_AT_MOST {
            return Err(error);
        }
    }
}

/// What is known of a message, with what its record says.
fn stored(shared: &Shared, known: &Known, message: &Message<'_>) -> Stored {
    let mut reasons = Reasons { shared, last: None };
    let states = (0..known.row.recipients).map(|recipient| {
        let state = known.state(recipient as usize);
        state.mark.state(reasons.of(state, recipient))
    });
    Stored {
        id: known.id,
        arrived_ms: message.arrived_ms,
        size: message.size,
        held: known.row.is_held(),
        told_ms: known.extra.told_ms,
        via: known.extra.via.clone().unwrap_or_else(|| "".into()),
        tenant: message.tenant.into(),
        recipients: states.collect(),
    }
}

/// What memory alone knows of a message whose record cannot be read.
fn stored_blind(known: &Known) -> Stored {
    let reason = || Some(Arc::from("the record is damaged"));
    let state = |recipient| known.state(recipient).mark;
    let states = (0..known.row.recipients as usize).map(|recipient| match state(recipient) {
        Mark::FRESH => RecipientState::fresh(),
        mark => mark.state(reason()),
    });
    Stored {
        id: known.id,
        arrived_ms: known.row.arrived_ms(),
        size: 0,
        held: known.row.is_held(),
        told_ms: known.extra.told_ms,
        via: known.extra.via.clone().unwrap_or_else(|| "".into()),
        tenant: "".into(),
        recipients: states.collect(),
    }
}

/// Finds replies in the records that have them. Neighbours often share one.
struct Reasons<'a> {
    shared: &'a Shared,
    last: Option<(Place, Option<Raw>)>,
}

impl Reasons<'_> {
    fn of(&mut self, state: State, recipient: u32) -> Option<Arc<str>> {
        let place = state.told_at;
        if place == Place::default() {
            return None;
        }
        if self.last.as_ref().is_none_or(|(last, _)| *last != place) {
            let segment = lock(&self.shared.index).segments.get(place.slot).cloned();
            let read = segment
                .and_then(|segment| read_raw(self.shared, place, &segment.seal, FIRST_OCTETS).ok());
            self.last = Some((place, read));
        }
        let (_, raw) = self.last.as_ref()?;
        let meaning = raw.as_ref().and_then(Raw::meaning);
        match meaning.as_ref().and_then(|meaning| reason_of(meaning, recipient)) {
            Some(reason) => Some(reason.into()),
            None => Some("the last reply cannot be read".into()),
        }
    }
}

/// Loads a message: envelope checked, inline body checked, staged body opened.
pub(crate) fn load(shared: &Shared, id: MessageId) -> Result<Loaded, ReadError> {
    let (known, raw) = fetch(shared, id, true)?;
    let Some(message) = raw.message() else { return Err(ReadError::Gone) };
    let envelope = raw.envelope(&message);
    let body = match &message.extents {
        Some(extents) => {
            let parts = parts(shared, extents).map_err(|error| or_gone(shared, id, error))?;
            Body::in_parts(message.size, parts, message.body_crc)
        }
        None => Body::at_hand(raw.body()),
    };
    let stored = stored(shared, &known, &message);
    Ok(Loaded { stored, envelope, body })
}

/// A message that has ended in between is gone, whatever was read.
fn or_gone(shared: &Shared, id: MessageId, error: ReadError) -> ReadError {
    if lock(&shared.index).contains(id) { error } else { ReadError::Gone }
}

fn parts(shared: &Shared, extents: &[Extent]) -> Result<Vec<Part>, ReadError> {
    let part = |extent: &Extent| {
        let damaged = || ReadError::Damaged(format!("segment {} holds no bodies", extent.slot));
        let size = shared.bulk.size(extent.slot).ok_or_else(damaged)?;
        let file = shared.pool.file(extent.slot).map_err(|error| refused(&error))?;
        let octets = u64::from(extent.blocks) * block_octets(size);
        Ok(Part { file, at: block_offset(size, extent.block), octets })
    };
    extents.iter().map(part).collect()
}

/// Loads an envelope, checked.
pub(crate) fn envelope(shared: &Shared, id: MessageId) -> Result<Bytes, ReadError> {
    let (_, raw) = fetch(shared, id, false)?;
    let message = raw.message().ok_or(ReadError::Gone)?;
    Ok(raw.envelope(&message))
}

/// What is known of a live message.
pub(crate) fn get(shared: &Shared, id: MessageId) -> Option<Stored> {
    match fetch(shared, id, false) {
        Ok((known, raw)) => raw.message().map(|message| stored(shared, &known, &message)),
        Err(ReadError::Gone) => None,
        Err(_) => lock(&shared.index).get(id).map(|known| stored_blind(&known)),
    }
}

/// The identifiers of the next live messages.
pub(crate) fn ids(shared: &Shared, after: Option<MessageId>, most: usize) -> Vec<MessageId> {
    let known = lock(&shared.index).after(after, most);
    known.into_iter().map(|known| known.id).collect()
}

/// The next live messages behind an identifier, each with its envelope.
pub(crate) fn page(
    shared: &Shared,
    after: Option<MessageId>,
    most: usize,
) -> Vec<(Stored, Result<Bytes, ReadError>)> {
    let mut last = after;
    loop {
        let known = lock(&shared.index).after(last, most);
        last = known.last().map(|known| known.id);
        let page: Vec<_> = known.into_iter().filter_map(|known| entry(shared, &known)).collect();
        // All of a page may have ended under the reader; then there may be more behind it.
        if !page.is_empty() || last.is_none() {
            return page;
        }
    }
}

fn entry(shared: &Shared, known: &Known) -> Option<(Stored, Result<Bytes, ReadError>)> {
    match fetch(shared, known.id, false) {
        Ok((known, raw)) => {
            let message = raw.message()?;
            Some((stored(shared, &known, &message), Ok(raw.envelope(&message))))
        }
        Err(ReadError::Gone) => None,
        Err(error) => Some((stored_blind(known), Err(error))),
    }
}

/// Reads the message at this place for moving it, if it still lies there. One whose body is damaged
/// moves with its checksum, and so stays recognisable; its segment is kept.
pub(crate) fn read_moving(
    shared: &Shared,
    slot: u32,
    offset: u32,
) -> Result<Option<Moving>, ReadError> {
    let from = Place { slot, offset };
    let Some(segment) = lock(&shared.index).segments.get(slot).cloned() else { return Ok(None) };
    let raw = read_raw(shared, from, &segment.seal, FIRST_OCTETS)?;
    let Some(message) = raw.message() else { return Ok(None) };
    let known = lock(&shared.index).get(message.id);
    let Some(known) = known.filter(|known| known.row.place == from) else { return Ok(None) };
    let raw = read_raw(shared, from, &segment.seal, known.row.octets as usize)?;
    let message = raw.message().ok_or(ReadError::Gone)?;
    let body = if message.extents.is_some() { Bytes::new() } else { raw.body() };
    if message.extents.is_none() && crc32fast::hash(&body) != message.body_crc {
        lock(&shared.index).segments.mark_damaged(slot);
    }
    let stored = stored(shared, &known, &message);
    Ok(Some(Moving {
        id: known.id,
        from,
        arrived_ms: message.arrived_ms,
        size: message.size,
        body_crc: message.body_crc,
        tenant: stored.tenant,
        envelope: raw.envelope(&message),
        extents: message.extents,
        body,
        held: stored.held,
        told_ms: stored.told_ms,
        via: stored.via,
        known: known.extra,
        states: stored.recipients,
    }))
}
