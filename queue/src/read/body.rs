//! Bodies as they are handed out: in chunks, the last one only when the whole is known to be good.

use std::sync::Arc;

use bytes::Bytes;
use crc32fast::Hasher;

use super::{ReadError, refused};
use crate::disk::{DiskFile, read_exact_at};

/// Octets of a chunk.
const CHUNK_OCTETS: usize = 64 << 10;

/// A body, handed out in chunks of up to 64 KiB.
pub struct Body {
    octets: u64,
    source: Source,
}

enum Source {
    Inline(Bytes),
    Bulk(BulkBody),
}

struct BulkBody {
    /// Where the parts lie that are still to be read.
    parts: std::vec::IntoIter<Part>,
    part: Option<Part>,
    left: u64,
    hasher: Hasher,
    crc: u32,
}

/// A stretch of a file.
pub(super) struct Part {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) at: u64,
    pub(super) octets: u64,
}

impl Body {
    /// One that is at hand.
    pub(crate) fn at_hand(octets: Bytes) -> Self {
        Self { octets: octets.len() as u64, source: Source::Inline(octets) }
    }

    /// One of so many octets in these parts, with this checksum.
    pub(super) fn in_parts(octets: u64, parts: Vec<Part>, crc: u32) -> Self {
        let (parts, hasher) = (parts.into_iter(), Hasher::new());
        let body = BulkBody { parts, part: None, left: octets, hasher, crc };
        Self { octets, source: Source::Bulk(body) }
    }

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
            Source::Bulk(body) => body.next_chunk(),
        }
    }
}

impl BulkBody {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.part.as_ref().is_none_or(|part| part.octets == 0) {
            self.part = self.parts.next();
        }
        let Some(part) = &mut self.part else {
            return Err(ReadError::Damaged("the body's blocks are too few".into()));
        };
        let octets = self.left.min(part.octets).min(CHUNK_OCTETS as u64);
        let mut chunk = vec![0; octets as usize];
        read_exact_at(&*part.file, part.at, &mut chunk).map_err(|error| refused(&error))?;
        (part.at, part.octets) = (part.at + octets, part.octets - octets);
        self.left -= octets;
        self.hasher.update(&chunk);
        if self.left == 0 && self.hasher.clone().finalize() != self.crc {
            return Err(ReadError::Damaged("the checksum of the body is wrong".into()));
        }
        Ok(Some(chunk.into()))
    }
}
