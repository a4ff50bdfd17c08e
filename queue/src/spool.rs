//! The spool: the one face of the store. Open it, commit batches, read messages back.
//!
//! Promises: see the invariants in the crate's documentation. A commit is answered on the writer
//! thread, after the sync. [`Spool::open`], [`Spool::stage`] and what it returns,
//! [`Spool::load`], [`Spool::envelope`] and [`Spool::shutdown`] may block on the disk; nothing else
//! does. Handles are cheap to clone; dropping the last one shuts the spool down.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

pub use crate::census::{Count, Standing};
pub use crate::content::{Staged, Staging};
use crate::disk::{Disk, is_full};
use crate::entry::Stored;
use crate::housekeeping::Housekeeping;
use crate::id::MessageId;
use crate::log::Log;
pub use crate::op::{CommitError, NewBody, NewMessage, Op};
pub use crate::open::{Damage, Observer, OpenError, Options, Recovery, Synced};
use crate::read;
pub use crate::read::{Body, Loaded, ReadError};
use crate::recovery::recover;
use crate::shared::{Batch, Queue, Shared, lock};
use crate::writer::{OnFailure, Writer};

/// Whether there is room for more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Free,
    /// Refuse new mail; what is in the spool goes on.
    Low,
}

/// A handle on an open spool.
#[derive(Clone)]
pub struct Spool {
    owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("claim", &self.owner.shared.claim.epoch).finish()
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
        options.check()?;
        let recovered = recover(&*disk, &options)?;
        let mut report = recovered.report;
        let mut log = Log::new(disk.clone(), recovered.claim, &options, recovered.next_segment);
        let shared = Arc::new(Shared {
            disk,
            options,
            claim: recovered.claim,
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            index: Mutex::new(recovered.index),
            counter: AtomicU64::new(0),
            low: AtomicBool::new(false),
            full: AtomicBool::new(false),
        });
        // Freeing comes first: a full disk may then have room for the new segment.
        let mut housekeeping = Housekeeping::default();
        housekeeping.after_group(&shared, None);
        report.set_aside.append(&mut housekeeping.set_aside);
        match log.roll(true, 0) {
            Err(error) if !is_full(&error) => return Err(error.into()),
            _ => {}
        }
        log.lay_spare_by();
        if let Some(number) = log.active() {
            lock(&shared.index).segment(number);
        }
        let thread = start(shared.clone(), log, housekeeping, on_failure)?;
        let owner = Owner { shared, thread: Mutex::new(Some(thread)) };
        Ok((Self { owner: Arc::new(owner) }, report))
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// A new identifier.
    ///
    /// # Errors
    /// `Unavailable` when this start has given out all it has (2^36).
    pub fn next_id(&self) -> Result<MessageId, CommitError> {
        let claim = self.shared().claim;
        let counter = self.shared().counter.fetch_add(1, Ordering::Relaxed);
        MessageId::new(claim.shard, claim.epoch, counter)
            .ok_or_else(|| CommitError::Unavailable("no identifier is left".into()))
    }

    /// Begins a body that is to lie in a file of its own. Blocks on the disk.
    ///
    /// # Errors
    /// `Full` without room; `Unavailable` when the disk fails or the id has a body already.
    pub fn stage(&self, id: MessageId) -> Result<Staging, CommitError> {
        Staging::create(self.shared().disk.clone(), id)
    }

    /// Makes a batch durable, all of it or nothing, and then calls `done` on the writer thread.
    ///
    /// `done` should be short: the next group waits for it. An empty batch is answered when all
    /// that came before is durable. After a failure or a shutdown, `done` is called at once, on the
    /// calling thread.
    pub fn commit(&self, batch: Vec<Op>, done: Box<dyn FnOnce(Result<(), CommitError>) + Send>) {
        self.enqueue(Batch { ops: batch, done: Some(done) });
    }

    /// Like [`commit`](Self::commit), for what nobody waits for: completions of deliveries.
    ///
    /// They may wait a little for company. When there is no room for them, they wait for room.
    pub fn record(&self, batch: Vec<Op>) {
        if !batch.is_empty() {
            self.enqueue(Batch { ops: batch, done: None });
        }
    }

    fn enqueue(&self, batch: Batch) {
        let mut queue = lock(&self.shared().queue);
        if let Some(why) = queue.refusal() {
            drop(queue);
            return batch.answer(Err(CommitError::Unavailable(why)));
        }
        queue.awaited += usize::from(batch.done.is_some());
        queue.batches.push_back(batch);
        let company = self.shared().options.completion_batch;
        // The first one starts the wait, an awaited one or enough company ends it.
        let (awaited, waiting) = (queue.awaited, queue.batches.len());
        drop(queue);
        if awaited == 1 || waiting == 1 || waiting == company {
            self.shared().wake.notify_one();
        }
    }

    /// Reads a message back. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReadError`]; `Damaged` when the envelope or the inline body is.
    pub fn load(&self, id: MessageId) -> Result<Loaded, ReadError> {
        read::load(self.shared(), id)
    }

    /// Reads a message's envelope back. Blocks on the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn envelope(&self, id: MessageId) -> Result<Bytes, ReadError> {
        read::envelope(self.shared(), id)
    }

    /// What is known of a live message.
    pub fn get(&self, id: MessageId) -> Option<Stored> {
        lock(&self.shared().index).get(id).map(|entry| entry.stored.clone())
    }

    /// Every live message, in the order of the identifiers.
    pub fn scan(&self) -> Vec<Stored> {
        lock(&self.shared().index).scan()
    }

    /// How many live messages there are of each standing, and since when. Costs the same for few
    /// and for many.
    pub fn census(&self) -> [(Standing, Count); Standing::ALL.len()] {
        lock(&self.shared().index).census().counts()
    }

    /// Why nothing can be accepted or recorded any more, if that is so.
    pub fn failure(&self) -> Option<String> {
        lock(&self.shared().queue).refusal()
    }

    /// Live messages.
    pub fn len(&self) -> usize {
        lock(&self.shared().index).len()
    }

    /// No message is in the spool.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is room for more. The answer may be a second old.
    pub fn room(&self) -> Room {
        let shared = self.shared();
        let mut queue = lock(&shared.queue);
        if !queue.room_asked {
            queue.room_asked = true;
            shared.wake.notify_one();
        }
        drop(queue);
        if shared.low.load(Ordering::Relaxed) || shared.full.load(Ordering::Relaxed) {
            Room::Low
        } else {
            Room::Free
        }
    }

    /// Waits until everything committed and recorded so far is durable, and ends the writer.
    ///
    /// Later commits are refused. Reading goes on.
    pub fn shutdown(&self) {
        self.owner.close();
    }
}

impl Owner {
    fn close(&self) {
        lock(&self.shared.queue).closing = true;
        self.shared.wake.notify_one();
        let thread = lock(&self.thread).take();
        // The last handle may be dropped by a `done` on the writer thread itself.
        if let Some(thread) = thread.filter(|t| t.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

fn start(
    shared: Arc<Shared>,
    log: Log,
    housekeeping: Housekeeping,
    on_failure: OnFailure,
) -> Result<JoinHandle<()>, OpenError> {
    let writer = Writer::new(shared, log, housekeeping, on_failure);
    Ok(thread::Builder::new().name("spool-writer".into()).spawn(move || writer.run())?)
}
