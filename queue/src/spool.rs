//! The spool: the one face of the store. Open it, commit batches, read messages back.
//!
//! Promises: see the invariants in the crate's documentation. Two engines keep them: a log on a disk,
//! and one in memory, which keeps all of them but the one that needs a disk. A commit is answered
//! after the sync, on the writer's thread. Handles are cheap to clone; dropping the last one shuts
//! the spool down. May block on the disk: opening, staging, and all that reads a message back.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use crate::census::{Count, Standing};
use crate::disk::Disk;
use crate::engine::{Engine, LogEngine};
pub use crate::engine::{Recovering, Room};
use crate::entry::Stored;
use crate::id::MessageId;
pub use crate::memory::Memory;
pub use crate::op::{CommitError, NewBody, NewMessage, Op};
pub use crate::open::{Damage, Observer, OpenError, Options, Recovery, Synced};
pub use crate::read::{Body, Loaded, ReadError};
pub use crate::staging::{Staged, Staging};

/// Messages that are read at once when all are.
const PAGE: usize = 256;

/// A handle on an open spool.
#[derive(Clone)]
pub struct Spool {
    engine: Arc<dyn Engine>,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("epoch", &self.engine.epoch()).finish()
    }
}

impl Spool {
    /// Claims the spool on this disk with the next epoch, reads it, and starts its writer.
    ///
    /// `on_failure` is called once, on the writer thread, when nothing can be accepted or recorded
    /// any more: stop accepting *and* delivering, as completions would be lost.
    ///
    /// # Errors
    /// See [`OpenError`]. Damage is no error: it is in the [`Recovery`]. Neither is a full disk.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        on_failure: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Result<(Self, Recovery), OpenError> {
        let (spool, recovering) = Self::start(disk, options, on_failure)?;
        let report = recovering.finish()?;
        Ok((spool, report))
    }

    /// Like [`open`](Self::open), but new messages may be committed at once, before those of
    /// earlier starts are known. The rest is read by [`Recovering::finish`]; until that is done,
    /// batches that name earlier messages wait, and no space is freed.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn start(
        disk: Arc<dyn Disk>,
        options: Options,
        on_failure: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Result<(Self, Recovering), OpenError> {
        let (engine, recovering) = LogEngine::start(disk, options, on_failure)?;
        Ok((Self { engine: Arc::new(engine) }, recovering))
    }

    /// Claims messages that are kept in memory alone; whoever owned them before is fenced off.
    pub fn in_memory(memory: &Memory, options: Options) -> Self {
        Self { engine: Arc::new(memory.claim(options)) }
    }

    /// A new identifier.
    ///
    /// # Errors
    /// `Unavailable` when this start has given out all it has (2^36).
    pub fn next_id(&self) -> Result<MessageId, CommitError> {
        self.engine.next_id()
    }

    /// Begins a body that is to lie apart from its message. What is written to it blocks on the disk.
    ///
    /// # Errors
    /// `Unavailable` after a failure or a shutdown.
    pub fn stage(&self, id: MessageId) -> Result<Staging, CommitError> {
        self.engine.stage(id)
    }

    /// Makes a batch durable, all of it or nothing, and then calls `done` on the writer thread.
    ///
    /// `done` should be short: the next group waits for it. An empty batch is answered when all
    /// that came before is durable. After a failure or a shutdown, `done` is called at once, on the
    /// calling thread.
    pub fn commit(&self, batch: Vec<Op>, done: Box<dyn FnOnce(Result<(), CommitError>) + Send>) {
        self.engine.commit(batch, Some(done));
    }

    /// Like [`commit`](Self::commit), for what nobody waits for: completions of deliveries.
    ///
    /// They may wait a little for company. When there is no room for them, they wait for room.
    pub fn record(&self, batch: Vec<Op>) {
        if !batch.is_empty() {
            self.engine.commit(batch, None);
        }
    }

    /// Reads a message back. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReadError`]; `Damaged` when the envelope or the inline body is.
    pub fn load(&self, id: MessageId) -> Result<Loaded, ReadError> {
        self.engine.load(id)
    }

    /// Reads a message's envelope back. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn envelope(&self, id: MessageId) -> Result<Bytes, ReadError> {
        self.engine.envelope(id)
    }

    /// What is known of a live message. Reads its record back.
    pub fn get(&self, id: MessageId) -> Option<Stored> {
        self.engine.get(id)
    }

    /// What a live message waits for. Does not touch the disk.
    pub fn standing(&self, id: MessageId) -> Option<Standing> {
        self.engine.standing(id)
    }

    /// The number of this start; identifiers of earlier ones have lower epochs.
    pub fn epoch(&self) -> u32 {
        self.engine.epoch()
    }

    /// The live messages behind an identifier, in order, `most` at most; each with its envelope.
    /// Reads their records back.
    pub fn page(
        &self,
        after: Option<MessageId>,
        most: usize,
    ) -> Vec<(Stored, Result<Bytes, ReadError>)> {
        self.engine.page(after, most)
    }

    /// The identifiers of live messages behind this one, in order, `most` at most. Reads nothing.
    pub fn ids(&self, after: Option<MessageId>, most: usize) -> Vec<MessageId> {
        self.engine.ids(after, most)
    }

    /// The shard it was opened as.
    pub fn shard(&self) -> u8 {
        self.engine.shard()
    }

    /// Octets of the largest body that is appended from memory; larger ones are staged.
    pub fn inline_max(&self) -> usize {
        self.engine.inline_max()
    }

    /// Every live message, in the order of the identifiers. Reads their records back.
    pub fn scan(&self) -> Vec<Stored> {
        let mut all: Vec<Stored> = Vec::new();
        loop {
            let page = self.page(all.last().map(|stored| stored.id), PAGE);
            if page.is_empty() {
                return all;
            }
            all.extend(page.into_iter().map(|(stored, _)| stored));
        }
    }

    /// How many live messages there are of each standing, and since when. Costs the same for few
    /// and for many.
    pub fn census(&self) -> [(Standing, Count); Standing::ALL.len()] {
        self.engine.census()
    }

    /// Why nothing can be accepted or recorded any more, if that is so.
    pub fn failure(&self) -> Option<String> {
        self.engine.failure()
    }

    /// Live messages.
    pub fn len(&self) -> usize {
        self.engine.len()
    }

    /// No message is in the spool.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is room for more. The answer may be a second old.
    pub fn room(&self) -> Room {
        self.engine.room(0)
    }

    /// Whether there is room for a message of so many octets. The answer may be a second old.
    pub fn room_for(&self, octets: u64) -> Room {
        self.engine.room(octets)
    }

    /// Waits until everything committed and recorded so far is durable, and ends the writer.
    ///
    /// Later commits are refused. Reading goes on.
    pub fn shutdown(&self) {
        self.engine.shutdown();
    }
}
