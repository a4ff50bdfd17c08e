//! Large bodies on their way: written piece by piece, before the message that names them.
//!
//! Promises: [`Staging::finish`] answers only when the whole body is durable, as far as the engine
//! behind it can make it so. What no message has come to name is given up when it is dropped.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use crc32fast::Hasher;

use crate::bulk::{Blocks, Bulk, Writing};
use crate::id::MessageId;
use crate::op::CommitError;
use crate::record::Extent;

/// A body on its way. Dropping it gives up what was written.
pub struct Staging {
    id: MessageId,
    octets: u64,
    hasher: Hasher,
    sink: Sink,
}

enum Sink {
    Bulk(Writing),
    Memory(Vec<u8>),
}

impl Staging {
    pub(crate) fn in_bulk(bulk: Arc<Bulk>, id: MessageId) -> Self {
        Self::new(id, Sink::Bulk(Writing::new(bulk)))
    }

    pub(crate) fn in_memory(id: MessageId) -> Self {
        Self::new(id, Sink::Memory(Vec::new()))
    }

    fn new(id: MessageId, sink: Sink) -> Self {
        Self { id, octets: 0, hasher: Hasher::new(), sink }
    }

    /// Appends a part of the body.
    ///
    /// # Errors
    /// `Full` when the disk has no room, else `Unavailable`. The staging is then of no more use.
    pub fn write(&mut self, part: &[u8]) -> Result<(), CommitError> {
        match &mut self.sink {
            Sink::Bulk(writing) => {
                writing.write(part).map_err(|error| CommitError::from_io(&error))?;
            }
            Sink::Memory(octets) => octets.extend_from_slice(part),
        }
        self.hasher.update(part);
        self.octets += part.len() as u64;
        Ok(())
    }

    /// All that was written so far, whole in memory.
    ///
    /// # Errors
    /// `Unavailable` when it can't be read, or is not what was written.
    pub fn read_back(&self) -> Result<Vec<u8>, CommitError> {
        let octets = match &self.sink {
            Sink::Bulk(writing) => {
                writing.read_back().map_err(|error| CommitError::from_io(&error))?
            }
            Sink::Memory(octets) => octets.clone(),
        };
        if crc32fast::hash(&octets) == self.hasher.clone().finalize() {
            Ok(octets)
        } else {
            Err(CommitError::Unavailable("a body read back is not what was written".to_owned()))
        }
    }

    /// Makes the whole body durable.
    ///
    /// # Errors
    /// `Full` or `Unavailable`; what was written is then given up.
    pub fn finish(self) -> Result<Staged, CommitError> {
        let content = match self.sink {
            Sink::Bulk(writing) => {
                let blocks = writing.finish().map_err(|error| CommitError::from_io(&error))?;
                Content::Bulk(blocks)
            }
            Sink::Memory(octets) => Content::Memory(octets.into()),
        };
        let (id, octets, crc) = (self.id, self.octets, self.hasher.finalize());
        Ok(Staged { id, octets, crc, content })
    }
}

/// A body that is durable, but belongs to no message yet. Dropping it gives it up.
pub struct Staged {
    id: MessageId,
    octets: u64,
    crc: u32,
    content: Content,
}

enum Content {
    Bulk(Blocks),
    Memory(Bytes),
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("id", &self.id).field("octets", &self.octets).finish()
    }
}

impl Staged {
    /// The message it was staged for.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Its length in octets.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    /// Where it lies on the disk.
    pub(crate) fn extents(&self) -> &[Extent] {
        match &self.content {
            Content::Bulk(blocks) => blocks.extents(),
            Content::Memory(_) => &[],
        }
    }

    /// The body itself, where it is in memory.
    pub(crate) fn in_memory(&self) -> Option<Bytes> {
        match &self.content {
            Content::Bulk(_) => None,
            Content::Memory(octets) => Some(octets.clone()),
        }
    }

    /// The blocks stay used when this is dropped: a message names them now, or may after a restart.
    pub(crate) fn keep(&self) {
        if let Content::Bulk(blocks) = &self.content {
            blocks.keep();
        }
    }
}
