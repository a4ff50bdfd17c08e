//! What the spool's handles and its writer thread share.
//!
//! Locks are held for memory operations only, never across a file call.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;
use crate::index::Index;
use crate::op::{CommitError, Op};
use crate::open::Options;
use crate::superblock::Claim;

/// Called with the fate of a batch, on the writer thread.
pub(crate) type Done = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// Operations that become durable together or not at all.
pub(crate) struct Batch {
    pub(crate) ops: Vec<Op>,
    /// Absent when nobody waits.
    pub(crate) done: Option<Done>,
}

impl Batch {
    /// Without appends: it may use the reserve.
    pub(crate) fn is_control(&self) -> bool {
        !self.ops.iter().any(|op| matches!(op, Op::Append(_)))
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

/// What waits for the writer.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) batches: VecDeque<Batch>,
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

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) claim: Claim,
    pub(crate) queue: Mutex<Queue>,
    /// Something changed in the queue.
    pub(crate) wake: Condvar,
    pub(crate) index: Mutex<Index>,
    /// The counter of the next identifier.
    pub(crate) counter: AtomicU64,
    /// The file system has little room left.
    pub(crate) low: AtomicBool,
    /// Appends are being refused.
    pub(crate) full: AtomicBool,
}

/// Takes a lock. What it guards is changed by steps that cannot panic half-way, so a panic
/// elsewhere while it was held does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
