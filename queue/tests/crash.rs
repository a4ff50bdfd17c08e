//! Crash consistency: whatever moment the power fails, what was acknowledged is there.
//!
//! A script of random operations runs once on the simulated disk, which is copied after each step.
//! Each copy then suffers a power cut (or its process is killed first), is recovered, with a crash
//! during recovery too, and compared with the oracle: the acknowledged operations, plus any of
//! those in flight, each whole or not at all. Bodies must be equal to the octet. From some of the
//! recovered disks the script goes on, to crash again.
//! A failure names its seed and step; `ANGARIUM_CRASH_SEEDS=N` runs N scripts instead of a few.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod simulated;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use angarium_queue::disk::Disk;
use angarium_queue::entry::{Change, RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::spool::{CommitError, NewMessage, Op, Options, Spool};
use fastrand::Rng;
use simulated::SimulatedDisk;
use simulated::help;

/// An operation that can be done twice: for the spool and for the oracle.
#[derive(Clone, Debug)]
enum Step {
    Append { id: MessageId, recipients: u32, length: usize, staged: bool, held: bool },
    Update(MessageId, u32, Change),
    Hold(MessageId),
    Release(MessageId),
    Remove(MessageId),
    Told(MessageId, u64),
    Via(MessageId, String),
}

/// What the spool should hold.
#[derive(Clone, Default)]
struct Model {
    live: BTreeMap<MessageId, Stored>,
    appended: BTreeSet<MessageId>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append { id, recipients, length, held, .. } => {
                let stored = Stored {
                    id: *id,
                    arrived_ms: 1_000 + id.counter(),
                    size: *length as u64,
                    held: *held,
                    told_ms: 0,
                    via: "".into(),
                    tenant: "tenant".into(),
                    recipients: vec![RecipientState::fresh(); *recipients as usize],
                };
                if self.appended.insert(*id) {
                    self.live.insert(*id, stored);
                }
            }
            Step::Update(id, recipient, change) => {
                let Some(stored) = self.live.get_mut(id) else { return };
                stored.recipients[*recipient as usize].apply(change);
                if stored.is_ended() {
                    self.live.remove(id);
                }
            }
            Step::Hold(id) => self.set_held(id, true),
            Step::Release(id) => self.set_held(id, false),
            Step::Remove(id) => {
                self.live.remove(id);
            }
            Step::Told(id, at_ms) => {
                let Some(stored) = self.live.get_mut(id) else { return };
                stored.told_ms = stored.told_ms.max(*at_ms);
            }
            Step::Via(id, via) => {
                let Some(stored) = self.live.get_mut(id) else { return };
                stored.via = via.as_str().into();
            }
        }
    }

    fn set_held(&mut self, id: &MessageId, held: bool) {
        if let Some(stored) = self.live.get_mut(id) {
            stored.held = held;
        }
    }

    fn holds(&self, scan: &[Stored]) -> bool {
        self.live.values().eq(scan)
    }
}

/// What is certain, and what is under way.
#[derive(Clone, Default)]
struct World {
    acknowledged: Model,
    flying: Vec<Vec<Step>>,
}

impl World {
    /// Finds what happened to the batches in flight; panics when nothing explains the scan.
    ///
    /// `twice`: a failed sync may have left some of them in an older segment, too.
    fn explain(&self, scan: &[Stored], twice: bool, context: &str) -> Model {
        let all = 1u32 << self.flying.len();
        for first in 0..if twice { all } else { 1 } {
            for second in 0..all {
                let mut model = self.acknowledged.clone();
                for chosen in [first, second] {
                    for (place, batch) in self.flying.iter().enumerate() {
                        if chosen & (1 << place) != 0 {
                            batch.iter().for_each(|step| model.apply(step));
                        }
                    }
                }
                if model.holds(scan) {
                    return model;
                }
            }
        }
        let expected: Vec<_> = self.acknowledged.live.values().collect();
        panic!(
            "{context}: nothing explains what was recovered\nacknowledged {expected:?}\n\
             in flight {:?}\nrecovered {scan:?}",
            self.flying
        );
    }
}

fn options() -> Options {
    Options { segment_size: 12 << 10, reserve: 1 << 10, inline_max: 2 << 10, ..help::options() }
}

fn open(disk: Arc<dyn Disk>, context: &str) -> Spool {
    let opened = Spool::open(disk, options(), Box::new(|_| {}));
    opened.unwrap_or_else(|error| panic!("{context}: {error}")).0
}

/// A body by its id. Half of them contain what looks like the spool's own labels and frames.
fn body_of(id: MessageId, length: usize) -> Vec<u8> {
    let mut body = help::octets(id.as_u64(), length);
    if id.counter().is_multiple_of(2) {
        for place in body.chunks_exact_mut(64) {
            place[..12].copy_from_slice(b"ANGARLOG\x01\0\0\0");
        }
    }
    body
}

fn check_bodies(spool: &Spool, scan: &[Stored], context: &str) {
    for stored in scan {
        let body = help::body(spool, stored.id);
        let expected = body_of(stored.id, stored.size as usize);
        assert!(body.as_ref() == Ok(&expected), "{context}: {} {:?}", stored.id, body.err());
    }
}

/// Runs random operations against a spool, and keeps the world up to date.
struct Runner {
    spool: Spool,
    world: Arc<Mutex<World>>,
    random: Rng,
    known: Vec<MessageId>,
}

impl Runner {
    fn new(spool: Spool, world: Arc<Mutex<World>>, seed: u64) -> Self {
        let known = world.lock().unwrap().acknowledged.live.keys().copied().collect();
        Self { spool, world, random: Rng::with_seed(seed), known }
    }

    /// Runs until so many batches were waited for, or the first that fails.
    fn run(&mut self, commits: usize) -> Result<(), CommitError> {
        for _ in 0..commits {
            for _ in 0..self.random.usize(0..3) {
                if let Some(step) = self.change() {
                    self.world.lock().unwrap().flying.push(vec![step.clone()]);
                    self.spool.record(vec![self.op(&step)?]);
                }
            }
            let batch = self.batch()?;
            self.commit(batch)?;
            // Until the writer has put the house in order, no step of ours shall interfere.
            self.commit(Vec::new())?;
        }
        Ok(())
    }

    fn commit(&self, batch: Vec<Step>) -> Result<(), CommitError> {
        let ops = batch.iter().map(|step| self.op(step)).collect::<Result<Vec<_>, _>>()?;
        let world = self.world.clone();
        if !batch.is_empty() {
            world.lock().unwrap().flying.push(batch);
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = move |result: Result<(), CommitError>| {
            if result.is_ok() {
                let mut world = world.lock().unwrap();
                for batch in std::mem::take(&mut world.flying) {
                    batch.iter().for_each(|step| world.acknowledged.apply(step));
                }
            }
            sender.send(result).unwrap();
        };
        self.spool.commit(ops, Box::new(done));
        receiver.recv().unwrap()
    }

    /// The spool's form of a step; stages the body where there is one to be staged.
    fn op(&self, step: &Step) -> Result<Op, CommitError> {
        Ok(match step.clone() {
            Step::Append { id, recipients, length, staged, held } => {
                let body = body_of(id, length);
                let mut message = help::message(id, recipients, &[&body]);
                if staged {
                    let mut staging = self.spool.stage(id)?;
                    for part in body.chunks(1_500) {
                        staging.write(part)?;
                    }
                    let body = angarium_queue::spool::NewBody::Staged(staging.finish()?);
                    message = NewMessage { body, ..message };
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

    fn append(&mut self) -> Result<Step, CommitError> {
        let id = self.spool.next_id()?;
        self.known.push(id);
        let staged = self.random.u8(0..5) == 0;
        let most = if staged { 4_000 } else { 2_048 };
        let (recipients, length) = (self.random.u32(1..3), self.random.usize(0..most));
        Ok(Step::Append { id, recipients, length, staged, held: self.random.u8(0..8) == 0 })
    }

    fn batch(&mut self) -> Result<Vec<Step>, CommitError> {
        let mut batch = Vec::new();
        match self.random.u8(0..10) {
            0..5 => batch.push(self.append()?),
            5 => {
                // A report and what it closes.
                batch.push(self.append()?);
                batch.extend(self.change());
                let at_ms = self.random.u64(..);
                batch.extend(self.known().map(|id| Step::Told(id, at_ms)));
            }
            6 => batch.extend(self.known().map(Step::Hold)),
            7 => {
                batch.extend(self.known().map(Step::Release));
                let via = format!("smtp://h{}:25", self.random.u8(..));
                batch.extend(self.known().map(|id| Step::Via(id, via)));
            }
            8 => batch.extend(self.known().map(Step::Remove)),
            _ => {
                batch.extend(self.change());
                batch.extend(self.change());
            }
        }
        Ok(batch)
    }

    fn known(&mut self) -> Option<MessageId> {
        // One message in six is left alone, so that old segments keep something alive.
        self.random.choice(&self.known).copied().filter(|id| id.counter() % 6 != 1)
    }

    fn change(&mut self) -> Option<Step> {
        let id = self.known()?;
        let model = self.world.lock().unwrap().acknowledged.live.get(&id).cloned()?;
        let recipient = self.random.u32(0..model.recipients.len() as u32);
        let reason: Arc<str> = format!("{}", self.random.u16(..)).into();
        let change = match self.random.u8(0..8) {
            0 | 1 => Change::Deferred { attempts: 3, due_ms: self.random.u64(..), reason },
            2 => Change::Failed { expired: self.random.bool(), reason, report_owed: true },
            3 => Change::Failed { expired: self.random.bool(), reason, report_owed: false },
            _ => Change::Delivered,
        };
        Some(Step::Update(id, recipient, change))
    }
}

/// Recovers a disk that has crashed, by way of a crash during recovery; checks it.
fn recover(
    crashed: &SimulatedDisk,
    world: &World,
    twice: bool,
    seed: u64,
    context: &str,
) -> (SimulatedDisk, Spool, World) {
    let mut random = Rng::with_seed(seed);
    let mut disk = match random.u8(0..4) {
        0 => crashed.after_kill(seed),
        _ => crashed.after_power_cut(seed),
    };
    if random.bool() {
        disk.crash_at(random.u64(1..12));
        drop(Spool::open(disk.arc(), options(), Box::new(|_| {})));
        disk = disk.after_power_cut(seed ^ 1);
    }
    let spool = open(disk.arc(), context);
    let scan = spool.scan();
    let acknowledged = world.explain(&scan, twice, context);
    check_bodies(&spool, &scan, context);
    (disk, spool, World { acknowledged, flying: Vec::new() })
}

/// Goes on from a recovered spool, crashes again somewhere, and recovers once more.
fn go_on(disk: SimulatedDisk, spool: Spool, world: World, seed: u64, context: &str) {
    disk.crash_at(disk.steps() + Rng::with_seed(seed).u64(1..25));
    let world = Arc::new(Mutex::new(world));
    let mut runner = Runner::new(spool, world.clone(), seed);
    let _ = runner.run(8);
    drop(runner);
    let world = world.lock().unwrap().clone();
    recover(&disk, &world, false, seed ^ 2, &format!("{context}, second crash"));
}

/// How many scripts to run: a few, or as many as the environment says.
fn seeds(few: u64) -> u64 {
    std::env::var("ANGARIUM_CRASH_SEEDS").map_or(few, |text| text.parse().unwrap())
}

/// Runs one script, with a crash at each step. Answers the steps.
fn crash_everywhere(seed: u64) -> usize {
    let disk = SimulatedDisk::new(seed);
    let world = Arc::new(Mutex::new(World::default()));
    let copies = Arc::new(Mutex::new(Vec::new()));
    let (seen, copied) = (world.clone(), copies.clone());
    disk.observe(move |copy| {
        copied.lock().unwrap().push((copy, seen.lock().unwrap().clone()));
    });
    let mut runner = Runner::new(open(disk.arc(), "first"), world, seed);
    runner.run(45).unwrap();
    drop(runner);
    disk.observed();
    let copies = std::mem::take(&mut *copies.lock().unwrap());
    for (step, (copy, world)) in copies.iter().enumerate() {
        let context = format!("seed {seed}, step {step} ({})", disk.log()[step]);
        let fate = seed << 20 | (step as u64) << 4;
        let (disk, spool, world) = recover(copy, world, false, fate, &context);
        if step % 4 == 0 {
            go_on(disk, spool, world, fate, &context);
        }
    }
    copies.len()
}

/// Every second script, so that two tests share the work.
fn crash_in_scripts(first: u64) {
    let (mut scripts, mut steps) = (0, 0);
    for seed in (first..seeds(20)).step_by(2) {
        scripts += 1;
        steps += crash_everywhere(seed);
    }
    println!("{steps} crash points in {scripts} scripts");
    assert!(steps > scripts * 100);
}

#[test]
fn a_crash_at_any_step_loses_nothing_acknowledged() {
    crash_in_scripts(0);
}

#[test]
fn a_crash_at_any_step_of_other_scripts_loses_nothing() {
    crash_in_scripts(1);
}

/// A sync fails, and somewhat later the power.
#[test]
fn a_failed_sync_loses_nothing_acknowledged() {
    for seed in 0..seeds(4) {
        // Opening an empty spool takes nine steps, and answers for its own failures.
        let mut step = 10;
        loop {
            let context = format!("seed {seed}, sync {step} fails");
            let disk = SimulatedDisk::new(seed);
            disk.fail_sync_at(step);
            if step % 2 == 0 {
                disk.crash_at(step + 1 + step % 7);
            }
            let world = Arc::new(Mutex::new(World::default()));
            let mut runner = Runner::new(open(disk.arc(), &context), world.clone(), seed);
            let outcome = runner.run(30);
            drop(runner);
            let end = disk.steps();
            let log = disk.log();
            let around = &log[step as usize - 6..(step as usize).min(log.len())];
            if !disk.has_crashed() && !around.iter().any(|line| line.contains(".content")) {
                // Only staging answers for a single failure; the writer heals it.
                assert!(outcome.is_ok(), "{context}: {outcome:?} {around:?}");
            }
            let world = world.lock().unwrap().clone();
            let (disk, spool, world) = recover(&disk, &world, true, seed ^ step, &context);
            go_on(disk, spool, world, seed ^ step, &context);
            step += 1;
            if step > end {
                break;
            }
        }
    }
}
