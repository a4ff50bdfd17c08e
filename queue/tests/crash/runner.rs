//! Operations against a spool on a simulated disk, told to the oracle as they go.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, mpsc};

use angarium_queue::entry::{Change, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::spool::{CommitError, NewBody, NewMessage, Op, Options, Spool, Staged};
use fastrand::Rng;

use crate::model::{Body, Step, Verdict, World};
use crate::simulated::{SimulatedDisk, help};

/// Recipients that are acted upon: one message in six is left alone, so that old segments keep
/// something alive.
const SPARED: u64 = 6;

pub fn options() -> Options {
    Options { segment_size: 24 << 10, reserve: 6 << 10, inline_max: 2 << 10, ..help::options() }
}

pub type Shared = Arc<Mutex<World>>;

/// Runs operations against a spool, and keeps the world up to date.
pub struct Runner {
    pub spool: Spool,
    pub world: Shared,
    disk: SimulatedDisk,
    random: RefCell<Rng>,
}

impl Runner {
    /// A runner on a spool that was just opened: its identifiers must be new.
    pub fn new(disk: &SimulatedDisk, spool: Spool, world: Shared, seed: u64) -> Self {
        let random = RefCell::new(Rng::with_seed(seed));
        Self { spool, world, disk: disk.clone(), random }
    }

    pub fn below(&self, end: usize) -> usize {
        self.random.borrow_mut().usize(0..end)
    }

    /// The live messages that the oracle is sure of.
    pub fn live(&self) -> Vec<Stored> {
        self.world.lock().unwrap().acknowledged.live.values().cloned().collect()
    }

    /// Runs until so many batches were waited for, or the first that fails. One without room was
    /// not stored, and is forgotten.
    pub fn run(&self, commits: usize) -> Result<(), CommitError> {
        for _ in 0..commits {
            for _ in 0..self.below(3) {
                if let Some(step) = self.change() {
                    self.record(step)?;
                }
            }
            match self.batch().and_then(|batch| self.commit(batch)) {
                Err(CommitError::Full) => {}
                other => other?,
            }
            // Until the writer has put the house in order, no step of ours shall interfere.
            self.commit(Vec::new())?;
        }
        Ok(())
    }

    fn record(&self, step: Step) -> Result<(), CommitError> {
        self.world.lock().unwrap().flying.push(vec![step.clone()]);
        self.spool.record(vec![self.op(&step)?]);
        Ok(())
    }

    /// Commits and waits.
    pub fn commit(&self, batch: Vec<Step>) -> Result<(), CommitError> {
        let ops = batch.iter().map(|step| self.op(step)).collect::<Result<Vec<_>, _>>()?;
        let world = self.world.clone();
        let place = {
            let flying = &mut world.lock().unwrap().flying;
            flying.push(batch);
            flying.len() - 1
        };
        let (sender, receiver) = mpsc::channel();
        let done = move |result: Result<(), CommitError>| {
            let mut world = world.lock().unwrap();
            match &result {
                Ok(()) => world.land(),
                // It must not come back.
                Err(CommitError::Full) => drop(world.flying.remove(place)),
                Err(_) => {}
            }
            drop(world);
            sender.send(result).unwrap();
        };
        self.spool.commit(ops, Box::new(done));
        receiver.recv().unwrap()
    }

    /// The spool's form of a step; stages the body where there is one to be staged.
    fn op(&self, step: &Step) -> Result<Op, CommitError> {
        Ok(match step.clone() {
            Step::Append { id, recipients, body, staged, held } => {
                let mut message = help::message(id, recipients, &[&body.0]);
                if staged {
                    message.body = NewBody::Staged(self.stage(id, &body.0)?);
                }
                Op::Append(NewMessage { held, ..message })
            }
            Step::Update(id, recipient, change) => {
                Op::Update { id, changes: vec![(recipient, change)] }
            }
            Step::Hold(id) => Op::Hold(id),
            Step::Release(id) => Op::Release(id),
            Step::Remove(id) => Op::Remove(id),
            Step::Told(id, at_ms) => Op::Told(id, at_ms),
            Step::Via(id, via) => Op::Via(id, via.into()),
        })
    }

    fn stage(&self, id: MessageId, body: &[u8]) -> Result<Staged, CommitError> {
        let mut staging = self.spool.stage(id)?;
        for part in body.chunks(1_500) {
            staging.write(part)?;
        }
        staging.finish()
    }

    /// A body. Half of them hold what stands in the spool's own files, at any alignment: labels,
    /// groups, records, footers.
    fn body(&self, length: usize) -> Body {
        let mut random = self.random.borrow_mut();
        let mut body = help::octets(random.u64(..), length);
        let names = self.disk.names();
        if let Some(name) = random.choice(&names).filter(|_| length > 0) {
            let octets = self.disk.contents(name);
            let from = random.usize(0..octets.len().max(8) / 8) * 8;
            let shift = [0, 1, 4, 8, 20, 512][random.usize(0..6)].min(length);
            if random.bool() {
                let source = octets.get(from..).unwrap_or_default();
                let copied = source.len().min(length - shift);
                body[shift..shift + copied].copy_from_slice(&source[..copied]);
            }
        }
        Body(body.into())
    }

    pub fn append(&self, length: usize, staged: bool) -> Result<Step, CommitError> {
        let id = self.spool.next_id()?;
        let (recipients, held) = (1 + self.below(2) as u32, self.below(8) == 0);
        Ok(Step::Append { id, recipients, body: self.body(length), staged, held })
    }

    fn batch(&self) -> Result<Vec<Step>, CommitError> {
        let mut batch = Vec::new();
        let number = self.random.borrow_mut().u64(..);
        match self.below(10) {
            kind @ 0..6 => {
                let staged = self.below(5) == 0;
                let length = self.below(if staged { 9_000 } else { 2_048 });
                batch.push(self.append(length, staged)?);
                if kind == 5 {
                    // A report and what it closes.
                    batch.extend(self.change());
                    batch.extend(self.some().map(|known| Step::Told(known.id, number)));
                }
            }
            6 => batch.extend(self.some().map(|known| Step::Hold(known.id))),
            7 => {
                batch.extend(self.some().map(|known| Step::Release(known.id)));
                let via = format!("smtp://h{}:25", number % 256);
                batch.extend(self.some().map(|known| Step::Via(known.id, via)));
            }
            8 => batch.extend(self.some().map(|known| Step::Remove(known.id))),
            _ => {
                batch.extend(self.change());
                batch.extend(self.change());
            }
        }
        Ok(batch)
    }

    fn some(&self) -> Option<Stored> {
        let live = self.live();
        let some = self.random.borrow_mut().choice(live)?;
        (some.id.counter() % SPARED != 1).then_some(some)
    }

    fn change(&self) -> Option<Step> {
        let known = self.some()?;
        let mut random = self.random.borrow_mut();
        let recipient = random.u32(0..known.recipients.len() as u32);
        let reason: Arc<str> = format!("{}", random.u16(..)).into();
        let change = match random.u8(0..8) {
            0 | 1 => Change::Deferred { attempts: 3, due_ms: random.u64(..), reason },
            2 => Change::Failed { expired: random.bool(), reason, report_owed: true },
            3 => Change::Failed { expired: random.bool(), reason, report_owed: false },
            4 => Change::Taken { reason },
            _ => Change::Delivered,
        };
        Some(Step::Update(known.id, recipient, change))
    }
}

/// Reads a message back: its body, or why it cannot be read. Fails when the octets are wrong.
pub fn read(spool: &Spool, id: MessageId, body: &Body) -> Verdict<Result<(), String>> {
    let envelope = help::envelope(id);
    let loaded = spool.load(id);
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if loaded.envelope != envelope {
        return Err(format!("{id}: a wrong envelope was handed out"));
    }
    let mut all = Vec::new();
    loop {
        match loaded.body.next_chunk() {
            Ok(Some(chunk)) => all.extend_from_slice(&chunk),
            Ok(None) if all == *body.0 => return Ok(Ok(())),
            Ok(None) => return Err(format!("{id}: wrong octets were handed out")),
            // The last chunk is held back, so nobody takes the others for good.
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
}
