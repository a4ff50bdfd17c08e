//! Every sequence of up to three operations, with a crash at each step of its last one.
//!
//! The steps of the operations before the last are those of a shorter sequence, so that no crash
//! point is tried twice. Each crash has several fates: all that was not synced is lost, or kept, or
//! some of it by seed, or only the process dies. After the recovery one more operation runs, and
//! crashes. Of the sequences of four to six operations a sample is run: 200, with `ANGARIUM_LONG`
//! 20,000.

use std::sync::{Arc, LazyLock, Mutex};

use angarium_queue::entry::Change;
use angarium_queue::id::MessageId;
use angarium_queue::spool::CommitError;

use crate::model::{Step, Verdict, World};
use crate::recover::{Crash, Recovered, recover, start};
use crate::runner::{Runner, Shared};
use crate::scripts::{Moment, replay, watch};
use crate::simulated::{Fate, SimulatedDisk};

/// The operations, by the letters that name a sequence.
const ACTS: [(char, Act); 13] = [
    ('a', Act::Small),
    ('s', Act::Staged),
    ('c', Act::Complete),
    ('f', Act::FailWithReport),
    ('o', Act::Owe),
    ('d', Act::Defer),
    ('h', Act::Hold),
    ('r', Act::Remove),
    ('l', Act::Fill),
    ('m', Act::Move),
    ('e', Act::FailSync),
    ('p', Act::PowerCut),
    ('k', Act::Kill),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    /// Accept a message with a small body.
    Small,
    /// Accept one with a large body.
    Staged,
    /// All recipients of the oldest message are delivered.
    Complete,
    /// A message fails, and in the same batch its report is accepted.
    FailWithReport,
    /// A message fails, and its report is owed.
    Owe,
    Defer,
    Hold,
    Remove,
    /// Accept until the segment is full and another is opened.
    Fill,
    /// Accept and deliver until the oldest segment is moved or freed.
    Move,
    /// Accept a message; the sync of it fails.
    FailSync,
    /// A power cut and a start.
    PowerCut,
    /// The process is killed and started.
    Kill,
}

/// More than any operation needs.
const ROUNDS_MAX: usize = 24;

fn act(letter: char) -> Act {
    ACTS.iter().find(|(name, _)| *name == letter).unwrap().1
}

/// What all sequences begin with: a few live messages, segments nearly all dead, one recycled.
static BEGINNING: LazyLock<(SimulatedDisk, World)> = LazyLock::new(|| {
    let (disk, world) = (SimulatedDisk::new(0), Shared::default());
    let recovered = start(disk.clone(), &World::default()).unwrap();
    world.lock().unwrap().epoch = 1;
    let mut stage = Stage { runner: Runner::new(&disk, recovered.spool, world, 0), disk };
    for act in [Act::Small, Act::Small, Act::Staged, Act::Move, Act::Small, Act::Owe, Act::Move] {
        stage.perform(act, 0).unwrap();
    }
    let Stage { runner, disk } = stage;
    let world = runner.world.lock().unwrap().clone();
    drop(runner);
    (disk, world)
});

/// A spool in the middle of a sequence.
struct Stage {
    runner: Runner,
    disk: SimulatedDisk,
}

impl Stage {
    /// A copy of the beginning, started.
    fn new(seed: u64) -> Verdict<Self> {
        let (disk, world) = &*BEGINNING;
        let Recovered { disk, spool, world } = start(disk.after_kill(seed), world)?;
        let world = Arc::new(Mutex::new(world));
        Ok(Self { runner: Runner::new(&disk, spool, world, seed), disk })
    }

    /// Does one thing; an error of the spool is one of the verdict, unless the disk has crashed.
    fn perform(&mut self, act: Act, seed: u64) -> Verdict<()> {
        match act {
            Act::PowerCut => self.restart(Crash::MIXED, seed),
            Act::Kill => self.restart(Crash::Kill, seed),
            _ => match self.operate(act) {
                Err(error) if !self.disk.has_crashed() => Err(format!("{act:?}: {error}")),
                _ => Ok(()),
            },
        }
    }

    fn restart(&mut self, crash: Crash, seed: u64) -> Verdict<()> {
        let observer = self.disk.observed();
        let disk = crash.happen(&self.disk, seed);
        if let Some(observer) = observer {
            disk.observe(move |copy, step| observer(copy, step));
        }
        let before = self.runner.world.lock().unwrap().clone();
        let Recovered { spool, world, .. } = start(disk.clone(), &before)?;
        let shared = self.runner.world.clone();
        *shared.lock().unwrap() = world;
        self.runner = Runner::new(&disk, spool, shared, seed);
        self.disk = disk;
        Ok(())
    }

    fn operate(&self, act: Act) -> Result<(), CommitError> {
        match act {
            Act::Fill => return self.until(opens_segment, false),
            Act::Move => return self.until(frees_segment, true),
            Act::FailSync => {
                self.runner.world.lock().unwrap().twice = true;
                self.disk.fail_sync_at(self.disk.steps() + 2);
            }
            _ => {}
        }
        let batch = self.batch(act)?;
        self.runner.commit(batch)?;
        self.runner.commit(Vec::new())
    }

    /// Accepts messages, and delivers them where that is wanted, until the disk has done something.
    fn until(&self, done: impl Fn(&str) -> bool, deliver: bool) -> Result<(), CommitError> {
        let before = self.disk.log().len();
        for _ in 0..ROUNDS_MAX {
            let accepted = self.runner.append(1_500, false)?;
            let Step::Append { id, recipients, .. } = accepted else { break };
            self.runner.commit(vec![accepted])?;
            if deliver {
                let delivered = |who| Step::Update(id, who, Change::Delivered);
                self.runner.commit((0..recipients).map(delivered).collect())?;
            }
            self.runner.commit(Vec::new())?;
            if self.disk.log()[before..].iter().any(|line| done(line)) {
                return Ok(());
            }
        }
        panic!("it never comes about: {:?}", &self.disk.log()[before..]);
    }

    fn batch(&self, act: Act) -> Result<Vec<Step>, CommitError> {
        let live = self.runner.live();
        let (Some(first), Some(last)) = (live.first(), live.last()) else {
            return Ok(vec![self.runner.append(700, false)?]);
        };
        let every = |id: MessageId, recipients: usize, change: Change| {
            (0..recipients as u32).map(move |who| Step::Update(id, who, change.clone()))
        };
        let failed = |report_owed| Change::Failed {
            expired: false,
            reason: "550 no such user".into(),
            report_owed,
        };
        Ok(match act {
            Act::Staged => vec![self.runner.append(6_000, true)?],
            Act::Complete => every(first.id, first.recipients.len(), Change::Delivered).collect(),
            Act::FailWithReport => {
                let mut batch = vec![self.runner.append(300, false)?];
                batch.extend(every(last.id, last.recipients.len(), failed(false)));
                batch
            }
            Act::Owe => every(last.id, 1, failed(true)).collect(),
            Act::Defer => {
                let reason = format!("450 {}", self.disk.steps()).into();
                let change = Change::Deferred { attempts: 1, due_ms: 9, reason };
                every(first.id, first.recipients.len(), change).collect()
            }
            Act::Hold if first.held => vec![Step::Release(first.id)],
            Act::Hold => vec![Step::Hold(first.id)],
            Act::Remove => vec![Step::Remove(last.id)],
            _ => vec![self.runner.append(700, false)?],
        })
    }
}

/// A label and a group behind it are written at once.
fn opens_segment(line: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    words[0] == "write" && words[2] == "0" && words[3] != "60"
}

/// A label alone is written to a segment; the superblock is the first file.
fn frees_segment(line: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    words[0] == "write" && words[1] != "0" && words[2] == "0" && words[3] == "60"
}

/// Runs a sequence, with a crash at each step of its last operation, or at one alone. Answers how
/// many crashes.
pub fn run(letters: &str, only: Option<usize>) -> Verdict<usize> {
    let context =
        |why: String| format!("sequence {letters}: {why}{}", replay("sequence", letters, 0));
    let seed = letters.bytes().fold(7, |seed: u64, letter| seed * 31 + u64::from(letter));
    let mut stage = Stage::new(seed).map_err(context)?;
    let (before, last) = letters.split_at(letters.len() - 1);
    for letter in before.chars() {
        stage.perform(act(letter), seed).map_err(context)?;
    }
    let moments = watch(&stage.disk, &stage.runner.world);
    stage.perform(act(last.chars().next().unwrap()), seed).map_err(context)?;
    stage.disk.observed();
    let log = stage.disk.log();
    drop(stage);
    let moments = std::mem::take(&mut *moments.lock().unwrap());
    let mut crashes = 0;
    for moment in moments.iter().filter(|moment| only.is_none_or(|o| o == 0 || o == moment.step)) {
        let step = moment.step;
        crashes += crash_here(moment, seed).map_err(|why| {
            let again = replay("sequence", letters, step);
            format!("sequence {letters}, step {step} ({}): {why}{again}", log[step - 1])
        })?;
    }
    Ok(crashes)
}

/// All fates of one crash. One is enough where all was synced.
fn crash_here(moment: &Moment, seed: u64) -> Verdict<usize> {
    let fates = [
        Crash::Power(Fate::Lost),
        Crash::Power(Fate::Kept),
        Crash::Kill,
        Crash::MIXED,
        Crash::MIXED,
    ];
    let fates = if moment.disk.is_clean() { &fates[..1] } else { &fates[..] };
    for (place, crash) in fates.iter().enumerate() {
        let seed = seed << 16 | (moment.step as u64) << 4 | place as u64;
        let recovered = recover(&moment.disk, &moment.world, *crash, seed);
        let recovered = recovered.map_err(|why| format!("{crash:?}: {why}"))?;
        once_more(recovered, seed).map_err(|why| format!("{crash:?}, once more: {why}"))?;
    }
    Ok(fates.len())
}

/// One more operation, and a crash in it.
fn once_more(recovered: Recovered, seed: u64) -> Verdict<()> {
    let Recovered { disk, spool, world } = recovered;
    let mut random = fastrand::Rng::with_seed(seed);
    let act = ACTS[random.usize(0..ACTS.len() - 2)].1;
    disk.crash_at(disk.steps() + random.u64(1..7));
    let world = Arc::new(Mutex::new(world));
    let mut stage = Stage { runner: Runner::new(&disk, spool, world.clone(), seed), disk };
    stage.perform(act, seed)?;
    let world = world.lock().unwrap().clone();
    recover(&stage.disk, &world, Crash::pick(&mut random), seed ^ 5).map(drop)
}

/// Every sequence of so many operations whose first is one of this share's.
fn all(length: u32, share: usize, shares: usize) -> impl Iterator<Item = String> {
    let count = ACTS.len().pow(length);
    let letters = move |number: usize| {
        let digit = move |place| number / ACTS.len().pow(place) % ACTS.len();
        (0..length).map(move |place| ACTS[digit(place)].0).collect()
    };
    (share..count).step_by(shares).map(letters)
}

fn every(share: usize) {
    let (mut sequences, mut crashes) = (0, 0);
    for letters in (1..=3).flat_map(|length| all(length, share, 4)) {
        sequences += 1;
        crashes += run(&letters, None).unwrap_or_else(|why| panic!("{why}"));
    }
    println!("{sequences} sequences of up to 3 operations, {crashes} crash points");
    let long = std::env::var_os("ANGARIUM_LONG").is_some();
    sample(share as u64, if long { 5_000 } else { 50 });
}

/// Longer sequences than can all be run.
fn sample(share: u64, samples: usize) {
    let mut random = fastrand::Rng::with_seed(share);
    let mut crashes = 0;
    for _ in 0..samples {
        let length = random.usize(4..=6);
        let letters: String = (0..length).map(|_| ACTS[random.usize(0..ACTS.len())].0).collect();
        crashes += run(&letters, None).unwrap_or_else(|why| panic!("{why}"));
    }
    println!("{samples} sequences of 4 to 6 operations, {crashes} crash points");
}

/// All had ended, and the crash came when the only segment of the log was not durable yet.
#[test]
fn a_freed_segment_stays_freed() {
    run("pccrc", None).unwrap_or_else(|why| panic!("{why}"));
}

mod every_sequence_of_three_loses_nothing {
    use super::*;

    #[test]
    fn first() {
        every(0);
    }

    #[test]
    fn second() {
        every(1);
    }

    #[test]
    fn third() {
        every(2);
    }

    #[test]
    fn fourth() {
        every(3);
    }
}
