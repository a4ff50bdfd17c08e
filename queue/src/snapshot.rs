//! A spool that nobody has open, to be read only: what fsck, dump and a backup look at.
//!
//! Promises that nothing is written and no epoch is taken, and that it finds what opening the spool
//! would find: it reads by the same functions.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::engine::take_over;
use crate::entry::Stored;
use crate::id::MessageId;
use crate::open::{OpenError, Options, Recovery};
use crate::pool::Pool;
use crate::read::{self, Loaded, ReadError};
use crate::recovery::{Begun, look, read_log};
use crate::shared::{Shared, lock};

/// What a spool holds.
pub struct Snapshot {
    pub(crate) shared: Shared,
    pub(crate) begun: Begun,
    report: Recovery,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("messages", &self.len()).finish()
    }
}

impl Snapshot {
    /// Reads the log. Nobody may write to the spool as long as this lives.
    ///
    /// # Errors
    /// See [`OpenError`]. Damage is no error: it is in the [`report`](Self::report).
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let mut begun = look(&*disk)?;
        let read = read_log(&*disk, &mut begun)?;
        let options = Options::default();
        let sizes = (options.segment_size, options.short_segment());
        let (next, serial) = (begun.next_slot, begun.next_serial);
        let pool = Arc::new(Pool::new(disk.clone(), begun.claim, sizes, next, serial));
        let shared = Shared::new(disk, options, pool, begun.claim);
        let (report, _) = take_over(&shared, &begun, read)?;
        Ok(Self { shared, begun, report })
    }

    /// What could not be read of the log.
    pub fn report(&self) -> &Recovery {
        &self.report
    }

    /// Live messages.
    pub fn len(&self) -> usize {
        lock(&self.shared.index).len()
    }

    /// No message is in the spool.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last start of the spool; 0 when there was none.
    pub fn epoch(&self) -> u32 {
        self.shared.claim.epoch
    }

    /// Whose spool it is.
    pub fn shard(&self) -> u8 {
        self.shared.claim.shard
    }

    /// The identifiers of live messages behind this one, in order, `most` at most.
    pub fn ids(&self, after: Option<MessageId>, most: usize) -> Vec<MessageId> {
        read::ids(&self.shared, after, most)
    }

    /// The live messages behind an identifier, in order, `most` at most; each with its envelope.
    pub fn page(
        &self,
        after: Option<MessageId>,
        most: usize,
    ) -> Vec<(Stored, Result<Bytes, ReadError>)> {
        read::page(&self.shared, after, most)
    }

    /// Reads a message back.
    ///
    /// # Errors
    /// See [`ReadError`]; `Damaged` when the envelope or the inline body is.
    pub fn load(&self, id: MessageId) -> Result<Loaded, ReadError> {
        read::load(&self.shared, id)
    }
}
