//! The writer: one thread that makes batches durable, in groups, in the order they came.
//!
//! The next group starts when the last sync returned; what came meanwhile goes into it. There is no
//! timer, except that batches nobody waits for wait a little for company.
//! Promises: a batch is answered after its sync, and the index shows it just before. A failed write
//! or sync is followed by one attempt in a new segment; when that fails too, everything waiting and
//! everything later is refused as unavailable, and the owner is told once.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use crate::appended::Appended;
use crate::chores::Chores;
use crate::disk::is_full;
use crate::group::{Added, Group};
use crate::label::BLOCK;
use crate::log::Log;
use crate::mark::Place;
use crate::op::{CommitError, NewBody, Op};
use crate::open::{Options, Synced};
use crate::pool;
use crate::record::{Meaning, Moving, decode};
use crate::shared::{Batch, Queue, Shared, lock};

/// How long between two looks at a full disk, or at the room that somebody asked about.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the writer looks for more work before it sleeps; each takes about half a microsecond.
const LINGER: u32 = 100;

/// How many groups go by between two looks at the room that is left, when there is no idle time.
const GROUPS_PER_LOOK: u64 = 16;

/// Called once, when nothing can be recorded any more.
pub(crate) type OnFailure = Box<dyn Fn(&str) + Send + Sync>;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    /// Housekeeping, where it has no thread of its own.
    chores: Option<Chores>,
    appended: Appended,
    /// What the last group was written from.
    buffer: Vec<u8>,
    /// The last group is known to be durable by what stands after it, or there is none.
    closed: bool,
    /// Control batches that nobody waits for and for which there was no room: they go first.
    parked: VecDeque<Batch>,
    /// Groups so far.
    groups: u64,
    on_failure: OnFailure,
}

/// Why the writer ends before it was told to.
struct Fatal(String);

/// What the writer is woken for.
enum Woken {
    Work(VecDeque<Batch>),
    /// Nothing has come for a while.
    Idle,
    /// Nothing will come any more.
    End,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: Log,
        chores: Option<Chores>,
        on_failure: OnFailure,
    ) -> Self {
        let appended = Appended::new(shared.claim);
        Self {
            shared,
            log,
            chores,
            appended,
            buffer: Vec::new(),
            closed: true,
            parked: VecDeque::new(),
            groups: 0,
            on_failure,
        }
    }

    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        self.refresh_room();
        loop {
            let done = match self.gather() {
                Woken::Work(batches) => self.process(batches),
                Woken::Idle => self.close_last_group(),
                Woken::End => break,
            };
            if let Err(Fatal(why)) = done {
                return self.fail(why);
            }
        }
        // Told to end: one last look for room, for what found none so far.
        if !self.parked.is_empty()
            && let Err(Fatal(why)) = self.process(VecDeque::new())
        {
            return self.fail(why);
        }
        for batch in std::mem::take(&mut self.parked) {
            batch.answer(Err(CommitError::Full));
        }
        self.log.retire();
        self.nudge(true);
    }

    /// Waits for work.
    fn gather(&self) -> Woken {
        self.linger();
        let options = &self.shared.options;
        let company = options.completion_batch;
        let delay = Duration::from_millis(options.completion_delay_ms);
        let wake = &self.shared.wake;
        let moves = |q: &Queue| options.background && !q.moves.is_empty();
        let mut queue = lock(&self.shared.queue);
        loop {
            let enough = queue.batches.len() >= company;
            if queue.awaited > 0 || queue.closing || enough || moves(&queue) {
                break;
            }
            if !queue.batches.is_empty() {
                let alone =
                    |q: &mut Queue| q.awaited == 0 && !q.closing && q.batches.len() < company;
                let waited = wake.wait_timeout_while(queue, delay, alone);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            let room = queue.room_asked || !self.parked.is_empty();
            if room || (options.background && !self.closed) {
                let idle = |q: &mut Queue| q.batches.is_empty() && !q.closing && !moves(q);
                let waited = wake.wait_timeout_while(queue, PATIENCE, idle);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                if timeout.timed_out() && !room {
                    return Woken::Idle;
                }
                if timeout.timed_out() {
                    queue.room_asked = false;
                    break;
                }
            } else {
                let woken = wake.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
            }
        }
        if queue.closing && queue.batches.is_empty() {
            return Woken::End;
        }
        self.shared.arrived.store(false, Ordering::Release);
        Woken::Work(queue.take_all())
    }

    /// Stays awake for a moment after a group: who was just answered often has more, and waking a
    /// thread that sleeps takes a good part of the time of a sync.
    fn linger(&self) {
        for _ in 0..LINGER {
            if !self.shared.options.background || self.shared.arrived.load(Ordering::Acquire) {
                return;
            }
            thread::yield_now();
        }
    }

    /// Makes the batches durable, group by group.
    fn process(&mut self, batches: VecDeque<Batch>) -> Result<(), Fatal> {
        if batches.is_empty() {
            self.refresh_room();
        }
        let mut waiting = std::mem::take(&mut self.parked);
        waiting.extend(batches);
        loop {
            let outcome = self.fill(&mut waiting).and_then(|group| self.commit(group));
            if let Err(fatal) = outcome {
                refuse(waiting, &fatal.0);
                return Err(fatal);
            }
            self.groups = self.groups.wrapping_add(1);
            if self.groups.is_multiple_of(GROUPS_PER_LOOK) {
                self.refresh_room();
            }
            if waiting.is_empty() {
                return Ok(());
            }
        }
    }

    /// A group without a record says that the one before it is durable.
    fn close_last_group(&mut self) -> Result<(), Fatal> {
        self.closed = true;
        if !self.log.fits_empty() {
            return Ok(());
        }
        let mut group = Group::new(self.log.space(), std::mem::take(&mut self.buffer));
        group.finish();
        if let Err(error) = self.write(&group) {
            // Nobody waits for it; what comes next goes to another segment.
            let _ = error;
        }
        Ok(())
    }

    /// Takes as many batches as fit into the segment, opening a new one where the first does not.
    fn fill(&mut self, waiting: &mut VecDeque<Batch>) -> Result<Group, Fatal> {
        let mut group = Group::new(self.log.space(), std::mem::take(&mut self.buffer));
        self.add_moves(&mut group)?;
        while let Some(batch) = waiting.pop_front() {
            if !self.parked.is_empty() && batch.is_control() && !batch.ops.is_empty() {
                self.no_room(batch);
                continue;
            }
            match group.add(batch, &self.log, &self.appended, &self.shared) {
                Added::Taken => {}
                Added::Refused(batch, error) => batch.answer(Err(error)),
                Added::NoRoom(batch) if !group.is_empty() => {
                    waiting.push_front(batch);
                    break;
                }
                Added::NoRoom(batch) => match self.roll(batch.is_control()) {
                    Ok(true) => {
                        waiting.push_front(batch);
                        group = Group::new(self.log.space(), group.into_buffer());
                    }
                    Ok(false) => self.no_room(batch),
                    Err(fatal) => {
                        waiting.push_front(batch);
                        return Err(fatal);
                    }
                },
            }
            if group.octets().len() >= self.shared.options.group_max_octets {
                break;
            }
        }
        Ok(group)
    }

    /// Puts messages that keep an old segment from being freed in front of the group, if they are
    /// still as they were when they were read.
    fn add_moves(&mut self, group: &mut Group) -> Result<(), Fatal> {
        let moves = std::mem::take(&mut lock(&self.shared.queue).moves);
        if moves.is_empty() {
            return Ok(());
        }
        lock(&self.shared.errands).moving = false;
        // On a full disk they have what is left of this segment, and no more.
        let full = self.shared.full.load(Ordering::Relaxed);
        for moving in &moves {
            if !self.still_is(moving) || full && self.log.append_room() < BLOCK {
                continue;
            }
            if group.add_move(moving, &self.log) {
                continue;
            }
            if full || !group.is_empty() || !self.roll(false)? {
                break;
            }
            *group = Group::new(self.log.space(), Vec::new());
            if !group.add_move(moving, &self.log) {
                break;
            }
        }
        Ok(())
    }

    fn still_is(&self, moving: &Moving) -> bool {
        lock(&self.shared.index).get(moving.id).is_some_and(|known| {
            known.row.place == moving.from
                && known.row.is_held() == moving.held
                && known.extra == moving.known
        })
    }

    /// Opens a new segment; `false` when there is no room for one.
    fn roll(&mut self, control: bool) -> Result<bool, Fatal> {
        // Like a failed write, a failed creation is tried again once.
        let opened = match self.log.roll(control) {
            Err(error) if !is_full(&error) => self.log.roll(control),
            other => other,
        };
        self.refresh_room();
        match opened {
            Ok(label) => {
                lock(&self.shared.index).segments.add(label);
                self.nudge(true);
                if !control {
                    self.shared.full.store(false, Ordering::Relaxed);
                }
                Ok(true)
            }
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(Fatal(format!("no segment can be opened: {error}"))),
        }
    }

    /// Tells the housekeeper what there is to do, or does it.
    fn nudge(&mut self, wanted: bool) {
        let sealing = self.log.take_sealing();
        let half_full = self.log.is_half_full();
        let mut errands = lock(&self.shared.errands);
        let wanted = wanted || !sealing.is_empty() || half_full && !errands.half_full;
        errands.sealing.extend(sealing);
        errands.active = self.log.active();
        errands.half_full = half_full;
        errands.wanted |= wanted;
        drop(errands);
        match &mut self.chores {
            Some(chores) if wanted => chores.work(),
            None if wanted => self.shared.errand.notify_one(),
            _ => {}
        }
    }

    fn no_room(&mut self, batch: Batch) {
        if !batch.is_control() {
            self.shared.full.store(true, Ordering::Relaxed);
        } else if batch.done.is_none() {
            // A completion must not be lost for want of room: it waits, and goes first.
            return self.parked.push_back(batch);
        }
        batch.answer(Err(CommitError::Full));
    }

    /// Writes and syncs a group, twice if need be; then lets the index and the waiting know.
    fn commit(&mut self, mut group: Group) -> Result<(), Fatal> {
        if group.is_silent() {
            self.publish(group);
            return Ok(());
        }
        group.finish();
        let observer = self.shared.options.observer.clone();
        if let Some(observer) = &observer {
            observer.writing();
        }
        if let Err(first) = self.write(&group) {
            let second = match self.roll(group.is_control()) {
                Ok(true) => {
                    group.encode_again(self.log.space());
                    self.write(&group)
                }
                // The label of the next segment will void what may have been written.
                Ok(false) => Err(pool::full()),
                Err(Fatal(why)) => Err(io::Error::other(why)),
            };
            if second.as_ref().is_err_and(is_full) {
                keep_content(&group.batches);
                group.batches.into_iter().for_each(|batch| self.no_room(batch));
                return Ok(());
            }
            if let Err(second) = second {
                let why = format!("a write failed ({first}), and then again ({second})");
                keep_content(&group.batches);
                refuse(group.batches.into(), &why);
                return Err(Fatal(why));
            }
        }
        self.closed = false;
        if let Some(observer) = observer {
            observer.synced(Synced { batches: group.batches.len(), octets: group.octets().len() });
        }
        self.publish(group);
        Ok(())
    }

    fn write(&mut self, group: &Group) -> io::Result<()> {
        self.shared.bulk.traffic.group_begins();
        let written = self.log.write(group.octets(), group.start(), group.records());
        self.shared.bulk.traffic.group_ends();
        written
    }

    fn publish(&mut self, mut group: Group) {
        let mut index = lock(&self.shared.index);
        for written in group.records() {
            let Some(meaning) = decode(group.record(written)) else { continue };
            if let Meaning::Append(message) = &meaning {
                self.appended.note(message.id);
            }
            let place = Place { slot: group.slot(), offset: written.offset as u32 };
            index.apply(&meaning, place, (written.octets + written.body) as u32);
        }
        let freed = index.take_freed();
        let oldest = index.segments.oldest();
        let idle = oldest.is_some_and(|oldest| {
            oldest.messages == 0 && Some(oldest.label.slot) != self.log.active()
        });
        let crowded = index.segments.len() > 1 && index.segments.mostly_dead();
        drop(index);
        group.keep_content();
        self.shared.bulk.release(&freed);
        for batch in std::mem::take(&mut group.batches) {
            batch.answer(Ok(()));
        }
        self.buffer = group.into_buffer();
        self.buffer.shrink_to(2 * self.shared.options.group_max_octets);
        self.nudge(idle || crowded || !freed.is_empty());
    }

    fn refresh_room(&self) {
        let Options { segment_size, min_free, .. } = self.shared.options;
        let Ok(free) = self.shared.disk.free_space() else { return };
        let new = free.checked_sub(min_free).map(|free| free / segment_size.max(1));
        let room = new.map_or(0, |new| {
            let segments = new.saturating_add(self.shared.pool.ready());
            segments.saturating_mul(segment_size).saturating_add(self.log.append_room())
        });
        self.shared.room.store(room, Ordering::Relaxed);
        if room > self.shared.options.low_water() {
            self.shared.full.store(false, Ordering::Relaxed);
        }
    }

    fn fail(self, why: String) {
        let mut queue = lock(&self.shared.queue);
        queue.failed = Some(why.clone());
        let waiting = queue.take_all();
        drop(queue);
        refuse(waiting, &why);
        refuse(self.parked, &why);
        (self.on_failure)(&why);
    }
}

fn refuse(batches: VecDeque<Batch>, why: &str) {
    for batch in batches {
        batch.answer(Err(CommitError::Unavailable(why.to_owned())));
    }
}

/// After a write that failed: the group may be on the disk all the same, and until another segment
/// voids it, its messages may appear after a restart. Then their bodies must be there.
fn keep_content(batches: &[Batch]) {
    batches.iter().flat_map(|batch| &batch.ops).for_each(keep);
}

pub(crate) fn keep(op: &Op) {
    if let Op::Append(message) = op
        && let NewBody::Staged(staged) = &message.body
    {
        staged.keep();
    }
}
