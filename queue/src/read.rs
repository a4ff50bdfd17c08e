//! Reading back: a message's envelope and body, checked before they are handed on.
//!
//! Promises: an inline body and an envelope are checked whole before the first octet is given; of a
//! staged body the last chunk is held back until the whole has been checked. So a receiver that
//! waits for the end never takes a damaged body for a good one. Reading takes no part in writing:
//! it holds no lock while it waits for the disk.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;
use crc32fast::Hasher;

use crate::content::content_name;
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::entry::Stored;
use crate::id::MessageId;
use crate::log::segment_name;
use crate::record::Place;
use crate::shared::{Shared, lock};

/// Octets of a chunk.
const CHUNK_OCTETS: usize = 64 << 10;
/// How often a message may move away under a reader.
const MOVES_AT_MOST: usize = 8;

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

/// A body, handed out in chunks of up to 64 KiB.
pub struct Body {
    octets: u64,
    source: Source,
}

enum Source {
    Inline(Bytes),
    Staged { file: Arc<dyn DiskFile>, name: String, at: u64, hasher: Hasher, crc: u32 },
}

impl Body {
    /// Its length in octets.
    pub fn len(&self) -> u64 {
        self.octets
    }

    /// It has no octets.
    pub fn is_empty(&self) -> bool {
        self.octets == 0
    }

    /// The next chunk; `None` after the last. May block on the disk.
    ///
    /// # Errors
    /// `Damaged` when the body is not what was stored; the last chunk is then never given.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        match &mut self.source {
            Source::Inline(rest) => {
                let chunk = rest.split_to(rest.len().min(CHUNK_OCTETS));
                Ok((!chunk.is_empty()).then_some(chunk))
            }
            Source::Staged { file, name, at, hasher, crc } => {
                let left = self.octets.saturating_sub(*at);
                if left == 0 {
                    return Ok(None);
                }
                let mut chunk = vec![0; left.min(CHUNK_OCTETS as u64) as usize];
                match read_exact_at(&**file, *at, &mut chunk) {
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                        return Err(ReadError::Damaged(format!("{name} is too short")));
                    }
                    other => other.map_err(|error| ReadError::Io(error.to_string()))?,
                }
                hasher.update(&chunk);
                if left == chunk.len() as u64 && hasher.clone().finalize() != *crc {
                    return Err(ReadError::Damaged(format!("the checksum of {name} is wrong")));
                }
                *at += chunk.len() as u64;
                Ok(Some(chunk.into()))
            }
        }
    }
}

/// Reads a message's envelope and inline body as they lie on the disk, unchecked.
pub(crate) fn read_message(disk: &dyn Disk, place: &Place, size: u64) -> io::Result<Vec<u8>> {
    let body = if place.staged { 0 } else { size };
    let octets = usize::try_from(u64::from(place.envelope_octets) + body);
    let mut buffer = vec![0; octets.map_err(io::Error::other)?];
    let file = disk.open(&segment_name(place.segment))?;
    read_exact_at(&*file, place.at, &mut buffer)?;
    Ok(buffer)
}

/// Loads a message: envelope checked, inline body checked, staged body opened.
pub(crate) fn load(shared: &Shared, id: MessageId) -> Result<Loaded, ReadError> {
    let (stored, place, octets) = fetch(shared, id, true)?;
    let mut octets = Bytes::from(octets);
    let envelope = octets.split_to((place.envelope_octets as usize).min(octets.len()));
    check(id, "envelope", &envelope, place.envelope_crc)?;
    let source = if place.staged {
        let name = content_name(id);
        let file = shared.disk.open(&name).map_err(|error| missing(shared, id, &error))?;
        Source::Staged { file, name, at: 0, hasher: Hasher::new(), crc: place.body_crc }
    } else {
        check(id, "body", &octets, place.body_crc)?;
        Source::Inline(octets)
    };
    Ok(Loaded { body: Body { octets: stored.size, source }, stored, envelope })
}

/// Loads an envelope, checked.
pub(crate) fn envelope(shared: &Shared, id: MessageId) -> Result<Bytes, ReadError> {
    let (_, place, octets) = fetch(shared, id, false)?;
    check(id, "envelope", &octets, place.envelope_crc)?;
    Ok(octets.into())
}

/// Reads from where the index says, as often as the message moves before the file is opened.
fn fetch(
    shared: &Shared,
    id: MessageId,
    body: bool,
) -> Result<(Stored, Place, Vec<u8>), ReadError> {
    let mut error = io::Error::from(ErrorKind::NotFound);
    for _ in 0..MOVES_AT_MOST {
        let found = lock(&shared.index).get(id).map(|entry| (entry.stored.clone(), entry.place));
        let Some((stored, place)) = found else { return Err(ReadError::Gone) };
        match read_message(&*shared.disk, &place, if body { stored.size } else { 0 }) {
            Ok(octets) => return Ok((stored, place, octets)),
            Err(failed) if failed.kind() == ErrorKind::NotFound => error = failed,
            Err(failed) if failed.kind() == ErrorKind::UnexpectedEof => {
                return Err(ReadError::Damaged(format!("segment {} is too short", place.segment)));
            }
            Err(failed) => return Err(ReadError::Io(failed.to_string())),
        }
    }
    Err(ReadError::Io(error.to_string()))
}

fn missing(shared: &Shared, id: MessageId, error: &io::Error) -> ReadError {
    if error.kind() != ErrorKind::NotFound {
        return ReadError::Io(error.to_string());
    }
    match lock(&shared.index).get(id) {
        None => ReadError::Gone,
        Some(_) => ReadError::Damaged(format!("{} is missing", content_name(id))),
    }
}

fn check(id: MessageId, what: &str, octets: &[u8], crc: u32) -> Result<(), ReadError> {
    if crc32fast::hash(octets) == crc {
        return Ok(());
    }
    Err(ReadError::Damaged(format!("the checksum of the {what} of {id} is wrong")))
}
