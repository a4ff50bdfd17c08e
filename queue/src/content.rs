//! Large bodies: a file of their own, on the disk before the message that names it is appended.
//!
//! Promises: [`Staging::finish`] answers only when the file and its name are durable; a file whose
//! message was never stored is removed when its guard is dropped, or at the next recovery.
//! All calls block on the disk.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crc32fast::Hasher;

use crate::disk::{Disk, DiskFile};
use crate::id::MessageId;
use crate::op::CommitError;

const SUFFIX: &str = ".content";

/// The name of a message's content file.
pub(crate) fn content_name(id: MessageId) -> String {
    format!("{id}{SUFFIX}")
}

/// The message whose content file has this name.
pub(crate) fn content_id(name: &str) -> Option<MessageId> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// Removes the file when dropped, unless it has been kept.
struct Guard {
    disk: Arc<dyn Disk>,
    name: String,
    kept: AtomicBool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            // Should it fail, the next recovery finds a content file that no message names.
            let _ = self.disk.remove(&self.name);
        }
    }
}

/// A body on its way to the disk. Dropping it removes what was written.
pub struct Staging {
    id: MessageId,
    file: Arc<dyn DiskFile>,
    octets: u64,
    hasher: Hasher,
    guard: Guard,
}

impl Staging {
    pub(crate) fn create(disk: Arc<dyn Disk>, id: MessageId) -> Result<Self, CommitError> {
        let name = content_name(id);
        let file = disk.create(&name, 0).map_err(|error| CommitError::from_io(&error))?;
        let guard = Guard { disk, name, kept: AtomicBool::new(false) };
        Ok(Self { id, file, octets: 0, hasher: Hasher::new(), guard })
    }

    /// Appends a part of the body.
    ///
    /// # Errors
    /// `Full` when the disk has no room, else `Unavailable`. The staging is then of no more use.
    pub fn write(&mut self, part: &[u8]) -> Result<(), CommitError> {
        self.file.write_at(self.octets, part).map_err(|error| CommitError::from_io(&error))?;
        self.hasher.update(part);
        self.octets += part.len() as u64;
        Ok(())
    }

    /// Makes the file and its name durable.
    ///
    /// # Errors
    /// `Full` or `Unavailable`; the file is then removed.
    pub fn finish(self) -> Result<Staged, CommitError> {
        let synced = self.file.sync().and_then(|()| self.guard.disk.sync_dir());
        synced.map_err(|error| CommitError::from_io(&error))?;
        let (id, octets, crc) = (self.id, self.octets, self.hasher.finalize());
        Ok(Staged { id, octets, crc, guard: self.guard })
    }
}

/// A body that is durable, but belongs to no message yet. Dropping it removes it.
pub struct Staged {
    id: MessageId,
    octets: u64,
    crc: u32,
    guard: Guard,
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

    /// The file stays when this is dropped: a message names it now, or may after a restart.
    pub(crate) fn keep(&self) {
        self.guard.kept.store(true, Ordering::Relaxed);
    }
}
