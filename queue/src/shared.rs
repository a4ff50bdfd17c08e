//! What the spool's handles and its writer thread share.
//!
//! Locks are held for memory operations only, never across a file call.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::bulk::Bulk;
use crate::disk::Disk;
use crate::index::Index;
use crate::log::Sealing;
use crate::op::{CommitError, NewMessage, Op};
use crate::open::Options;
use crate::pool::Pool;
use crate::record::Moving;
use crate::superblock::Claim;

/// Called with the fate of a batch, on the writer thread.
pub(crate) type Done = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// Operations that become durable together or not at all.
pub(crate) struct Batch {
    pub(crate) ops: Vec<Op>,
    /// One checksum for each append: that of its inline body.
    pub(crate) crcs: Vec<u32>,
    /// Absent when nobody waits.
    pub(crate) done: Option<Done>,
}

impl Batch {
    /// Checksums of bodies are made here, on the caller's thread.
    pub(crate) fn new(ops: Vec<Op>, done: Option<Done>) -> Self {
        let appends = ops.iter().filter_map(append);
        let crcs = appends.map(|message| message.body.inline_crc()).collect();
        Self { ops, crcs, done }
    }

    pub(crate) fn appends(&self) -> impl Iterator<Item = &NewMessage> {
        self.ops.iter().filter_map(append)
    }

    /// It names a message that this start has not made.
    pub(crate) fn names_earlier(&self, epoch: u32) -> bool {
        self.ops.iter().any(|op| op.id().epoch() != epoch)
    }

    /// Without appends: it may use the reserve.
    pub(crate) fn is_control(&self) -> bool {
        self.appends().next().is_none()
    }

    /// Tells whoever waits. A panic of theirs must not end the writer.
    pub(crate) fn answer(self, result: Result<(), CommitError>) {
        if let Some(done) = self.done {
            drop(self.ops);
            let call = std::panic::AssertUnwindSafe(move || done(result));
            let _ = std::panic::catch_unwind(call);
        }
    }
}

fn append(op: &Op) -> Option<&NewMessage> {
    match op {
        Op::Append(message) => Some(message),
        _ => None,
    }
}

/// What waits for the writer.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) batches: VecDeque<Batch>,
    /// Messages that move forward with the next group.
    pub(crate) moves: Vec<Moving>,
    /// Recovery still reads: what names earlier messages waits here.
    pub(crate) early: Option<Vec<Batch>>,
    /// How many of them somebody waits for.
    pub(crate) awaited: usize,
    /// No more will come: finish what is there.
    pub(crate) closing: bool,
    /// Nothing can be recorded any more, and why.
    pub(crate) failed: Option<String>,
    /// Somebody asked how much room there is.
    pub(crate) room_asked: bool,
}

impl Queue {
    /// Why nothing more is taken, if that is so.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.failed.clone().or_else(|| self.closing.then(|| "it was shut down".into()))
    }

    pub(crate) fn take_all(&mut self) -> VecDeque<Batch> {
        self.awaited = 0;
        std::mem::take(&mut self.batches)
    }
}

/// What the writer leaves to the housekeeper.
#[derive(Default)]
pub(crate) struct Errands {
    /// Full segments without a footer.
    pub(crate) sealing: Vec<Sealing>,
    /// The segment that is written to.
    pub(crate) active: Option<u32>,
    /// It will soon be full.
    pub(crate) half_full: bool,
    /// Something may be freed or moved.
    pub(crate) wanted: bool,
    /// Messages were handed to the writer, and are not in a group yet.
    pub(crate) moving: bool,
    /// All of the log has been read.
    pub(crate) recovered: bool,
    /// Do what is left, and end.
    pub(crate) closing: bool,
}

/// All there is to know of an open spool.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) claim: Claim,
    pub(crate) queue: Mutex<Queue>,
    /// Something changed in the queue.
    pub(crate) wake: Condvar,
    /// The queue has something that the writer has not taken.
    pub(crate) arrived: AtomicBool,
    pub(crate) index: Mutex<Index>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) bulk: Arc<Bulk>,
    pub(crate) errands: Mutex<Errands>,
    /// There is something for the housekeeper.
    pub(crate) errand: Condvar,
    /// The counter of the next identifier.
    pub(crate) counter: AtomicU64,
    /// Octets that appends may still take, in the log and beside it.
    pub(crate) room: AtomicU64,
    /// Appends are being refused.
    pub(crate) full: AtomicBool,
}

impl Shared {
    /// Of a spool of which nothing has been read yet.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        options: Options,
        pool: Arc<Pool>,
        claim: Claim,
    ) -> Self {
        Self {
            disk,
            options,
            claim,
            queue: Mutex::new(Queue { early: Some(Vec::new()), ..Queue::default() }),
            wake: Condvar::new(),
            arrived: AtomicBool::new(false),
            index: Mutex::new(Index::default()),
            bulk: Arc::new(Bulk::new(pool.clone())),
            pool,
            errands: Mutex::new(Errands::default()),
            errand: Condvar::new(),
            counter: AtomicU64::new(0),
            room: AtomicU64::new(u64::MAX),
            full: AtomicBool::new(false),
        }
    }
}

/// Takes a lock. What it guards is changed by steps that cannot panic half-way, so a panic
/// elsewhere while it was held does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
