//! Random scripts: a crash at every step of each, and faults of the disk at every step they can hit.

use std::sync::{Arc, Mutex};

use fastrand::Rng;

use crate::model::{Verdict, World};
use crate::recover::{Crash, go_on, recover, start};
use crate::runner::{Runner, Shared};
use crate::simulated::{Fate, SimulatedDisk};

/// Batches of a script that are waited for.
const COMMITS: usize = 45;

/// A disk as it was after a step, what was known then, and the step.
pub struct Moment {
    pub disk: SimulatedDisk,
    pub world: World,
    pub step: usize,
}

/// Keeps a copy of the disk and the world after each step; answers where they are kept.
pub fn watch(disk: &SimulatedDisk, world: &Shared) -> Arc<Mutex<Vec<Moment>>> {
    let moments = Arc::new(Mutex::new(Vec::new()));
    let (seen, kept) = (world.clone(), moments.clone());
    disk.observe(move |copy, step| {
        let world = seen.lock().unwrap().clone();
        kept.lock().unwrap().push(Moment { disk: copy, world, step });
    });
    moments
}

/// Opens an empty spool for a script.
fn begin(disk: &SimulatedDisk, world: &Shared, seed: u64) -> Verdict<Runner> {
    let first = world.lock().unwrap().clone();
    let spool = start(disk.clone(), &first)?.spool;
    world.lock().unwrap().epoch = 1;
    Ok(Runner::new(disk, spool, world.clone(), seed))
}

/// Runs one script, with a crash at each step, or at one alone. Answers how many crashes.
pub fn crash_everywhere(seed: u64, only: Option<usize>) -> Verdict<usize> {
    let (disk, world) = (SimulatedDisk::new(seed), Shared::default());
    disk.set_garbage(seed.is_multiple_of(3));
    let moments = watch(&disk, &world);
    let runner = begin(&disk, &world, seed)?;
    runner.run(COMMITS).map_err(|error| format!("script {seed}: {error}"))?;
    drop(runner);
    disk.observed();
    let moments = std::mem::take(&mut *moments.lock().unwrap());
    let log = disk.log();
    let chosen = moments.iter().filter(|moment| only.is_none_or(|only| only == moment.step));
    let mut crashes = 0;
    for moment in chosen {
        let Moment { step, .. } = *moment;
        crash_here(moment, seed << 20 | (step as u64) << 4).map_err(|why| {
            let what = &log[step - 1];
            format!("script {seed}, step {step} ({what}): {why}{}", replay("script", seed, step))
        })?;
        crashes += 1;
    }
    Ok(crashes)
}

fn crash_here(moment: &Moment, fate: u64) -> Verdict<()> {
    let crash = Crash::pick(&mut Rng::with_seed(fate ^ 4));
    let recovered = recover(&moment.disk, &moment.world, crash, fate)?;
    if moment.step.is_multiple_of(4) {
        go_on(recovered, 8, fate)?;
    }
    Ok(())
}

/// What to run to see a failure again.
pub fn replay(kind: &str, seed: impl std::fmt::Display, step: usize) -> String {
    format!(
        "\nreplay: ANGARIUM_REPLAY='{kind} {seed} {step}' cargo nextest run -p angarium-queue \
         --test crash -E 'test(=replays::one_case)' --no-capture"
    )
}

/// What the disk does wrong once, and whom the steps of a script say it to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A sync fails and its pages are gone; later ones succeed.
    Sync,
    /// A write stops in its middle.
    Write,
    /// There is no room for a new file.
    Create,
}

impl Fault {
    fn hits(self, line: &str) -> bool {
        line.starts_with(match self {
            Self::Sync => "sync",
            Self::Write => "write",
            Self::Create => "create",
        })
    }

    fn inject(self, disk: &SimulatedDisk, step: u64) {
        match self {
            Self::Sync => disk.fail_sync_at(step),
            Self::Write => disk.cut_write_at(step),
            Self::Create => disk.fill_at(step),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Write => "write",
            Self::Create => "create",
        }
    }
}

/// Runs a script again and again, with a fault at each step that it can hit, or at one alone, and
/// with a crash somewhat later. Answers how many times.
pub fn fault_everywhere(fault: Fault, seed: u64, only: Option<usize>) -> Verdict<usize> {
    let (disk, world) = (SimulatedDisk::new(seed), Shared::default());
    let runner = begin(&disk, &world, seed)?;
    let opened = disk.steps() as usize;
    runner.run(COMMITS).map_err(|error| format!("script {seed}: {error}"))?;
    drop(runner);
    let mut faults = 0;
    for (place, line) in disk.log().iter().enumerate() {
        let step = place + 1;
        // Opening an empty spool answers for its own failures.
        let chosen = only.is_none_or(|only| only == step) && step > opened && fault.hits(line);
        if chosen {
            faults += 1;
            fault_here(fault, seed, step as u64).map_err(|why| {
                let again = replay(fault.name(), seed, step);
                format!("script {seed}, {fault:?} at step {step} ({line}): {why}{again}")
            })?;
        }
    }
    Ok(faults)
}

fn fault_here(fault: Fault, seed: u64, step: u64) -> Verdict<()> {
    let mut random = Rng::with_seed(seed << 20 | step);
    let (disk, world) = (SimulatedDisk::new(seed), Shared::default());
    let runner = begin(&disk, &world, seed)?;
    world.lock().unwrap().twice = fault != Fault::Create;
    fault.inject(&disk, step);
    if random.bool() {
        disk.crash_at(step + random.u64(1..8));
    }
    let outcome = runner.run(COMMITS);
    if let Err(error) = outcome
        && !disk.has_crashed()
        && ["a write failed", "no segment"].iter().any(|text| error.to_string().contains(text))
    {
        // Staging answers for a single failure; the writer heals it.
        return Err(format!("not healed: {error}"));
    }
    let world = world.lock().unwrap().clone();
    let fate = random.u64(..);
    let recovered = recover(&disk, &world, Crash::pick(&mut random), fate)?;
    drop(runner);
    go_on(recovered, 8, fate).map(drop)
}

/// The sync of a large body fails, the process is killed, and the next one puts a body beside it.
pub fn body_beside(seed: u64) -> Verdict<()> {
    let (disk, world) = (SimulatedDisk::new(seed), Shared::default());
    let runner = begin(&disk, &world, seed)?;
    let id = runner.spool.next_id().unwrap();
    let mut staging = runner.spool.stage(id).unwrap();
    staging.write(&[1; 3_000]).unwrap();
    disk.fail_sync_at(disk.steps() + 1);
    staging.finish().expect_err("the sync fails");
    let disk = disk.after_kill(seed);
    drop(runner);
    let before = world.lock().unwrap().clone();
    let recovered = start(disk, &before)?;
    let runner = Runner::new(&recovered.disk, recovered.spool, world.clone(), seed);
    let step = runner.append(6_000, true).map_err(|error| error.to_string())?;
    runner.commit(vec![step]).map_err(|error| error.to_string())?;
    let world = world.lock().unwrap().clone();
    recover(&recovered.disk, &world, Crash::Power(Fate::Lost), seed).map(drop)
}

/// A disk that keeps nothing from some step on, and says that it does: the answer should be what
/// the oracle has to say of it.
pub fn lie(seed: u64) -> Verdict<()> {
    let (disk, world) = (SimulatedDisk::new(seed), Shared::default());
    let runner = begin(&disk, &world, seed)?;
    disk.lie_from(disk.steps() + 1 + seed % 20);
    runner.run(COMMITS).map_err(|error| format!("script {seed}: {error}"))?;
    let world = world.lock().unwrap().clone();
    recover(&disk, &world, Crash::Power(Fate::Lost), seed)
        .map_err(|why| format!("lie {seed}: {why}{}", replay("lie", seed, 0)))?;
    Ok(())
}
