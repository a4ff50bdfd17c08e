//! The writer: one thread that makes batches durable, in groups, in the order they came.
//!
//! The next group starts when the last sync returned; what came meanwhile goes into it. There is no
//! timer, except that batches nobody waits for wait a little for company.
//! Promises: a batch is answered after its sync, and the index shows it just before. A failed write
//! or sync is followed by one attempt in a new segment; when that fails too, everything waiting and
//! everything later is refused as unavailable, and the owner is told once.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::disk::is_full;
use crate::frame::LABEL_SPACE;
use crate::group::{Added, Appended, Group};
use crate::housekeeping::Housekeeping;
use crate::log::Log;
use crate::op::{CommitError, NewBody, Op};
use crate::open::Synced;
use crate::shared::{Batch, Queue, Shared, lock};

/// How long between two looks at a full disk, or at the room that somebody asked about.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many groups go by between two looks at the room that is left, when there is no idle time.
const GROUPS_PER_LOOK: u64 = 16;

/// Called once, when nothing can be recorded any more.
pub(crate) type OnFailure = Box<dyn Fn(&str) + Send + Sync>;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    housekeeping: Housekeeping,
    appended: Appended,
    /// Control batches that nobody waits for and for which there was no room: they go first.
    parked: VecDeque<Batch>,
    /// Groups so far.
    groups: u64,
    on_failure: OnFailure,
}

/// Why the writer ends before it was told to.
struct Fatal(String);

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: Log,
        housekeeping: Housekeeping,
        on_failure: OnFailure,
    ) -> Self {
        let appended = Appended::new(shared.claim);
        Self { shared, log, housekeeping, appended, parked: VecDeque::new(), groups: 0, on_failure }
    }

    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        self.refresh_room();
        while let Some(batches) = self.gather() {
            if let Err(Fatal(why)) = self.process(batches) {
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
    }

    /// Waits for work; `None` when there is none and none will come.
    fn gather(&self) -> Option<VecDeque<Batch>> {
        let options = &self.shared.options;
        let company = options.completion_batch;
        let delay = Duration::from_millis(options.completion_delay_ms);
        let wake = &self.shared.wake;
        let mut queue = lock(&self.shared.queue);
        loop {
            if queue.awaited > 0 || queue.closing || queue.batches.len() >= company {
                break;
            }
            if !queue.batches.is_empty() {
                let alone =
                    |q: &mut Queue| q.awaited == 0 && !q.closing && q.batches.len() < company;
                let waited = wake.wait_timeout_while(queue, delay, alone);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            if queue.room_asked || !self.parked.is_empty() {
                let idle = |q: &mut Queue| q.batches.is_empty() && !q.closing;
                let waited = wake.wait_timeout_while(queue, PATIENCE, idle);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = woken;
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
            return None;
        }
        Some(queue.take_all())
    }

    /// Makes the batches durable, group by group.
    fn process(&mut self, batches: VecDeque<Batch>) -> Result<(), Fatal> {
        if batches.is_empty() {
            self.refresh_room();
        }
        let mut waiting = std::mem::take(&mut self.parked);
        waiting.extend(batches);
        while !waiting.is_empty() {
            let outcome = self.fill(&mut waiting).and_then(|group| self.commit(group));
            if let Err(fatal) = outcome {
                refuse(waiting, &fatal.0);
                return Err(fatal);
            }
            let freed = self.housekeeping.after_group(&self.shared, self.log.active());
            if freed {
                self.log.lay_spare_by();
            }
            self.groups = self.groups.wrapping_add(1);
            if freed || self.groups.is_multiple_of(GROUPS_PER_LOOK) {
                self.refresh_room();
            }
        }
        Ok(())
    }

    /// Takes as many batches as fit into the segment, opening a new one where the first does not.
    fn fill(&mut self, waiting: &mut VecDeque<Batch>) -> Result<Group, Fatal> {
        let mut group = Group::new(self.log.frames());
        if waiting.iter().any(|batch| !batch.ops.is_empty()) {
            self.add_moves(&mut group)?;
        }
        while let Some(batch) = waiting.pop_front() {
            if !self.parked.is_empty() && batch.is_control() && !batch.ops.is_empty() {
                self.no_room(batch);
                continue;
            }
            match group.add(batch, &self.log, &self.appended, &self.shared) {
                Added::Taken => {}
                Added::Refused(batch, error) => batch.answer(Err(error)),
                Added::NoRoom(batch, _) if !group.is_empty() => {
                    waiting.push_front(batch);
                    break;
                }
                Added::NoRoom(batch, need) => match self.roll(batch.is_control(), need) {
                    Ok(true) => {
                        waiting.push_front(batch);
                        group = Group::new(self.log.frames());
                    }
                    Ok(false) => self.no_room(batch),
                    Err(fatal) => {
                        waiting.push_front(batch);
                        return Err(fatal);
                    }
                },
            }
            if group.octets() >= self.shared.options.group_max_octets {
                break;
            }
        }
        Ok(group)
    }

    /// Puts messages that keep an old segment from being freed in front of the group.
    fn add_moves(&mut self, group: &mut Group) -> Result<(), Fatal> {
        // On a full disk they have what is left of this segment, and no more.
        let full = self.shared.full.load(Ordering::Relaxed);
        let octets_max = if full { self.log.append_room() } else { u64::MAX };
        if octets_max < LABEL_SPACE {
            return Ok(());
        }
        let movings = self.housekeeping.plan(&self.shared, self.log.active(), octets_max);
        for moving in movings {
            if group.add_move(&moving, &self.log) {
                continue;
            }
            if full || !group.is_empty() || !self.roll(false, 0)? {
                break;
            }
            *group = Group::new(self.log.frames());
            if !group.add_move(&moving, &self.log) {
                break;
            }
        }
        Ok(())
    }

    /// Opens a new segment; `false` when there is no room for one.
    fn roll(&mut self, control: bool, need: u64) -> Result<bool, Fatal> {
        // Like a failed write, a failed creation is tried again once.
        let opened = self.log.roll(control, need);
        let opened = match opened {
            Err(error) if !is_full(&error) => self.log.roll(control, need),
            other => other,
        };
        self.refresh_room();
        match opened {
            Ok(()) => {
                if let Some(number) = self.log.active() {
                    lock(&self.shared.index).segment(number);
                }
                if !control {
                    self.log.lay_spare_by();
                    self.shared.full.store(false, Ordering::Relaxed);
                }
                Ok(true)
            }
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(Fatal(format!("no segment can be opened: {error}"))),
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
        let observer = self.shared.options.observer.clone().filter(|_| group.octets() > 0);
        if let Some(observer) = &observer {
            observer.writing();
        }
        if group.octets() > 0
            && let Err(first) = self.log.write(group.frames())
        {
            let control = group.is_control();
            let need = group.octets() as u64;
            let second = match self.roll(control, need) {
                Ok(true) => {
                    group.encode_again(self.log.frames());
                    self.log.write(group.frames()).map_err(|error| error.to_string())
                }
                Ok(false) => Err("no room for a new segment".into()),
                Err(Fatal(why)) => Err(why),
            };
            if let Err(second) = second {
                let why = format!("a write failed ({first}), and then again ({second})");
                keep_content(&group.batches);
                refuse(group.batches.into(), &why);
                return Err(Fatal(why));
            }
        }
        if let Some(observer) = observer {
            observer.synced(Synced { batches: group.batches.len(), octets: group.octets() });
        }
        self.publish(group);
        Ok(())
    }

    fn publish(&mut self, mut group: Group) {
        let octets = group.octets() as u64;
        let mut index = lock(&self.shared.index);
        if octets > 0 {
            index.add_used(group.segment(), octets);
        }
        for record in group.take_records() {
            self.appended.note(&record);
            index.apply(record);
        }
        for op in group.batches.iter().flat_map(|batch| &batch.ops) {
            if let Op::Append(message) = op
                && index.get(message.id).is_some_and(|entry| entry.place.staged)
            {
                keep(op);
            }
        }
        drop(index);
        for batch in group.batches {
            batch.answer(Ok(()));
        }
    }

    fn refresh_room(&self) {
        let options = &self.shared.options;
        let least = options.segment_size.saturating_mul(2).saturating_add(options.min_free);
        let low = self.shared.disk.free_space().is_ok_and(|free| free < least);
        self.shared.low.store(low, Ordering::Relaxed);
        if !low {
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

/// After a write that failed for good: the frame may be on the disk all the same, and the message
/// may appear after a restart. Then its body must be there.
fn keep_content(batches: &[Batch]) {
    batches.iter().flat_map(|batch| &batch.ops).for_each(keep);
}

fn keep(op: &Op) {
    if let Op::Append(message) = op
        && let NewBody::Staged(staged) = &message.body
    {
        staged.keep();
    }
}
