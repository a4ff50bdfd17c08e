//! The engine that keeps messages in a log on a disk: its parts put together, started and ended.
//!
//! Promises what [`Engine`] asks for; batches that name messages of earlier starts wait until
//! recovery has read them. Dropping it ends its threads, after everything that was committed.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use crate::census::{Count, Standing};
use crate::chores::Chores;
use crate::disk::Disk;
use crate::entry::Stored;
use crate::id::MessageId;
use crate::index::Index;
use crate::label::{Label, Use, segment_name};
use crate::log::{Log, Sealing};
use crate::op::{CommitError, Op};
use crate::open::{Damage, OpenError, Options, Recovery};
use crate::pool::Pool;
use crate::read::{self, Loaded, ReadError};
use crate::recovery::{Begun, Read, begin, read_log, set_aside};
use crate::shared::{Batch, Done, Shared, lock};
use crate::staging::Staging;
use crate::writer::{OnFailure, Writer};

/// Whether there is room for more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Free,
    /// Refuse new mail; what is in the spool goes on.
    Low,
}

/// What stands behind a [`Spool`](crate::spool::Spool), whose methods say what these promise.
pub(crate) trait Engine: Send + Sync {
    fn epoch(&self) -> u32;
    fn next_id(&self) -> Result<MessageId, CommitError>;
    fn stage(&self, id: MessageId) -> Result<Staging, CommitError>;
    fn commit(&self, ops: Vec<Op>, done: Option<Done>);
    fn load(&self, id: MessageId) -> Result<Loaded, ReadError>;
    fn envelope(&self, id: MessageId) -> Result<Bytes, ReadError>;
    fn get(&self, id: MessageId) -> Option<Stored>;
    fn standing(&self, id: MessageId) -> Option<Standing>;
    fn page(&self, after: Option<MessageId>, most: usize) -> Page;
    fn ids(&self, after: Option<MessageId>, most: usize) -> Vec<MessageId>;
    fn shard(&self) -> u8;
    fn inline_max(&self) -> usize;
    fn census(&self) -> [(Standing, Count); Standing::ALL.len()];
    fn len(&self) -> usize;
    fn failure(&self) -> Option<String>;
    fn room(&self, octets: u64) -> Room;
    fn shutdown(&self);
}

/// Some messages, each with its envelope.
pub(crate) type Page = Vec<(Stored, Result<Bytes, ReadError>)>;

/// The engine on a disk.
pub(crate) struct LogEngine {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    housekeeper: Mutex<Option<JoinHandle<()>>>,
}

/// A spool that takes new messages while it reads what it had before.
pub struct Recovering {
    shared: Arc<Shared>,
    begun: Begun,
}

impl fmt::Debug for Recovering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovering").field("claim", &self.shared.claim.epoch).finish()
    }
}

impl LogEngine {
    /// Claims the spool, finds the end of its log, and starts its threads.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        options: Options,
        on_failure: OnFailure,
    ) -> Result<(Self, Recovering), OpenError> {
        options.check()?;
        let (superblock, mut begun) = begin(&*disk, &options)?;
        let sizes = (options.segment_size, options.short_segment());
        let (next, serial) = (begun.next_slot, begun.next_serial);
        let pool = Arc::new(Pool::new(disk.clone(), begun.claim, sizes, next, serial));
        begun.log.iter().for_each(|_| pool.count_used());
        begun.bulk.iter().for_each(|_| pool.count_used());
        for (slot, size) in begun.free.drain(..) {
            pool.add_free(slot, size);
        }
        let log = Log::new(pool.clone(), options.reserve, begun.number);
        let background = options.background;
        let shared = Arc::new(Shared::new(disk, options, pool, begun.claim));
        let mut chores = Chores::new(shared.clone(), superblock);
        chores.work();
        let (inline, housekeeper) = if background {
            let thread = thread::Builder::new().name("spool-keeper".into());
            (None, Some(thread.spawn(move || chores.run())?))
        } else {
            (Some(chores), None)
        };
        let writer = Writer::new(shared.clone(), log, inline, on_failure);
        let thread = thread::Builder::new().name("spool-writer".into());
        let writer = Mutex::new(Some(thread.spawn(move || writer.run())?));
        let housekeeper = Mutex::new(housekeeper);
        let engine = Self { shared: shared.clone(), writer, housekeeper };
        Ok((engine, Recovering { shared, begun }))
    }

    fn close(&self) {
        lock(&self.shared.queue).closing = true;
        self.shared.wake.notify_one();
        join(&self.writer);
        lock(&self.shared.errands).closing = true;
        self.shared.errand.notify_one();
        join(&self.housekeeper);
    }
}

impl Engine for LogEngine {
    fn epoch(&self) -> u32 {
        self.shared.claim.epoch
    }

    fn next_id(&self) -> Result<MessageId, CommitError> {
        let claim = self.shared.claim;
        let counter = self.shared.counter.fetch_add(1, Ordering::Relaxed);
        MessageId::new(claim.shard, claim.epoch, counter)
            .ok_or_else(|| CommitError::Unavailable("no identifier is left".into()))
    }

    fn stage(&self, id: MessageId) -> Result<Staging, CommitError> {
        match self.failure() {
            Some(why) => Err(CommitError::Unavailable(why)),
            None => Ok(Staging::in_bulk(self.shared.bulk.clone(), id)),
        }
    }

    fn commit(&self, ops: Vec<Op>, done: Option<Done>) {
        let batch = Batch::new(ops, done);
        let mut queue = lock(&self.shared.queue);
        if let Some(why) = queue.refusal() {
            drop(queue);
            return batch.answer(Err(CommitError::Unavailable(why)));
        }
        if let Some(early) = &mut queue.early
            && batch.names_earlier(self.shared.claim.epoch)
        {
            return early.push(batch);
        }
        queue.awaited += usize::from(batch.done.is_some());
        queue.batches.push_back(batch);
        let company = self.shared.options.completion_batch;
        // The first one starts the wait, an awaited one or enough company ends it.
        let (awaited, waiting) = (queue.awaited, queue.batches.len());
        self.shared.arrived.store(true, Ordering::Release);
        drop(queue);
        if awaited == 1 || waiting == 1 || waiting == company {
            self.shared.wake.notify_one();
        }
    }

    fn load(&self, id: MessageId) -> Result<Loaded, ReadError> {
        read::load(&self.shared, id)
    }

    fn envelope(&self, id: MessageId) -> Result<Bytes, ReadError> {
        read::envelope(&self.shared, id)
    }

    fn get(&self, id: MessageId) -> Option<Stored> {
        read::get(&self.shared, id)
    }

    fn standing(&self, id: MessageId) -> Option<Standing> {
        lock(&self.shared.index).standing_of(id)
    }

    fn page(&self, after: Option<MessageId>, most: usize) -> Page {
        read::page(&self.shared, after, most)
    }

    fn ids(&self, after: Option<MessageId>, most: usize) -> Vec<MessageId> {
        read::ids(&self.shared, after, most)
    }

    fn shard(&self) -> u8 {
        self.shared.claim.shard
    }

    fn inline_max(&self) -> usize {
        self.shared.options.inline_max
    }

    fn census(&self) -> [(Standing, Count); Standing::ALL.len()] {
        lock(&self.shared.index).census()
    }

    fn len(&self) -> usize {
        lock(&self.shared.index).len()
    }

    fn failure(&self) -> Option<String> {
        lock(&self.shared.queue).refusal()
    }

    fn room(&self, octets: u64) -> Room {
        let shared = &self.shared;
        let mut queue = lock(&shared.queue);
        if !queue.room_asked {
            queue.room_asked = true;
            shared.wake.notify_one();
        }
        drop(queue);
        let room = shared.room.load(Ordering::Relaxed);
        let needed = shared.options.low_water().saturating_add(octets);
        if room <= needed || shared.full.load(Ordering::Relaxed) { Room::Low } else { Room::Free }
    }

    fn shutdown(&self) {
        self.close();
    }
}

impl Recovering {
    /// Reads all that the spool had before, and makes it known. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk fails. The spool must then not be used any more.
    pub fn finish(mut self) -> Result<Recovery, OpenError> {
        let shared = &self.shared;
        let read = read_log(&*shared.disk, &mut self.begun)?;
        // What damage may hide must outlast it: a start after this one would not see it any more.
        for label in self.begun.bulk.iter().filter(|_| read.doubtful) {
            mark_kept(shared, label)?;
        }
        let (mut report, sealing) = take_over(shared, &self.begun, read)?;
        for slot in &self.begun.unknown {
            report.set_aside.push(set_aside(&*shared.disk, &segment_name(*slot))?);
        }
        let mut errands = lock(&shared.errands);
        errands.sealing.extend(sealing);
        errands.recovered = true;
        errands.wanted = true;
        drop(errands);
        shared.errand.notify_one();
        let mut queue = lock(&shared.queue);
        let early = queue.early.take().unwrap_or_default();
        let refusal = queue.refusal();
        if refusal.is_none() {
            queue.awaited += early.iter().filter(|batch| batch.done.is_some()).count();
            queue.batches.extend(early);
            drop(queue);
            shared.wake.notify_one();
        } else if let Some(why) = refusal {
            drop(queue);
            for batch in early {
                batch.answer(Err(CommitError::Unavailable(why.clone())));
            }
        }
        Ok(report)
    }
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    let thread = lock(thread).take();
    // The last handle may be dropped by a `done` on the writer thread itself.
    if let Some(thread) = thread.filter(|t| t.thread().id() != thread::current().id()) {
        let _ = thread.join();
    }
}

impl Drop for LogEngine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Makes durable that nothing new is put into a bulk segment.
fn mark_kept(shared: &Shared, label: &Label) -> io::Result<()> {
    let file = shared.pool.file(label.slot)?;
    file.write_at(0, &Label { usage: Use::Kept, ..*label }.encode())?;
    file.sync()
}

/// Makes known what was read. Writes nothing.
pub(crate) fn take_over(
    shared: &Shared,
    begun: &Begun,
    read: Read,
) -> io::Result<(Recovery, Vec<Sealing>)> {
    let Read { index, mut report, sealing, doubtful } = read;
    for label in &begun.bulk {
        let kept = doubtful || label.usage == Use::Kept;
        shared.bulk.adopt(label, kept)?;
    }
    index.extents().for_each(|extent| shared.bulk.use_blocks(extent));
    missing_bodies(shared, &index, &mut report);
    lock(&shared.index).join(index);
    Ok((report, sealing))
}

/// Reports messages whose body lies in no segment.
fn missing_bodies(shared: &Shared, index: &Index, report: &mut Recovery) {
    let missing: BTreeSet<u32> = index
        .extents()
        .map(|extent| extent.slot)
        .filter(|slot| shared.bulk.size(*slot).is_none())
        .collect();
    for slot in missing {
        let what = "the segment is missing or holds no bodies, and messages name it".into();
        report.damage.push(Damage { file: segment_name(slot), offset: 0, octets: 0, what });
    }
}
