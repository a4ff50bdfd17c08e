//! After a crash: the next start, what it must find, and the start after that.

use std::sync::{Arc, Mutex};

use angarium_queue::spool::{Recovery, Spool};
use fastrand::Rng;

use crate::model::{Verdict, World};
use crate::runner::{Runner, options, read};
use crate::simulated::{Fate, SimulatedDisk};

/// How a run ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    Power(Fate),
    /// The process is killed; what it wrote is in the system's cache.
    Kill,
}

impl Crash {
    pub const MIXED: Self = Self::Power(Fate::Mixed);

    /// By seed: most often a power cut that keeps some and loses some.
    pub fn pick(random: &mut Rng) -> Self {
        match random.u8(0..8) {
            0 | 1 => Self::Kill,
            2 => Self::Power(Fate::Lost),
            3 => Self::Power(Fate::Kept),
            _ => Self::MIXED,
        }
    }

    pub fn happen(self, disk: &SimulatedDisk, seed: u64) -> SimulatedDisk {
        match self {
            Self::Power(fate) => disk.after_crash(fate, seed),
            Self::Kill => disk.after_kill(seed),
        }
    }
}

/// What a start after a crash left.
pub struct Recovered {
    pub disk: SimulatedDisk,
    pub spool: Spool,
    pub world: World,
}

/// Crashes, recovers by way of a crash during the recovery, checks, and recovers once more.
pub fn recover(from: &SimulatedDisk, world: &World, crash: Crash, seed: u64) -> Verdict<Recovered> {
    let mut random = Rng::with_seed(seed);
    let mut disk = crash.happen(from, seed);
    if random.bool() {
        disk.crash_at(random.u64(1..14));
        drop(Spool::open(disk.arc(), options(), Box::new(|_| {})));
        disk = Crash::pick(&mut random).happen(&disk, seed ^ 1);
    }
    let recovered = start(disk, world)?;
    if random.u8(0..4) > 0 {
        return Ok(recovered);
    }
    // Nothing has happened since: the next start must find the same.
    let Recovered { disk, spool, world } = recovered;
    drop(spool);
    let disk = Crash::pick(&mut random).happen(&disk, seed ^ 3);
    start(disk, &world).map_err(|why| format!("a second start: {why}"))
}

/// Opens the spool, and checks all that can be read.
pub fn start(disk: SimulatedDisk, world: &World) -> Verdict<Recovered> {
    let opened = Spool::open(disk.arc(), options(), Box::new(|_| {}));
    let (spool, report) = opened.map_err(|error| format!("it does not open: {error}"))?;
    let epoch = spool.next_id().map_err(|error| error.to_string())?.epoch();
    if epoch <= world.epoch {
        return Err(format!("epoch {epoch} was given twice"));
    }
    no_alarm(&report)?;
    let scan = spool.scan();
    let acknowledged = world.explain(&scan)?;
    for stored in &scan {
        read(&spool, stored.id, &acknowledged.bodies[&stored.id])??;
    }
    let world = World { acknowledged, flying: Vec::new(), epoch, twice: world.twice };
    Ok(Recovered { disk, spool, world })
}

/// Nothing is damaged but, perhaps, a last write that was never acknowledged.
fn no_alarm(report: &Recovery) -> Verdict<()> {
    let torn = |what: &str| what.starts_with("the last group is not whole");
    let good = report.damage.len() <= 1 && report.damage.iter().all(|d| torn(&d.what));
    if good && report.set_aside.is_empty() {
        return Ok(());
    }
    Err(format!("a false alarm: {:?}, set aside {:?}", report.damage, report.set_aside))
}

/// Goes on from a recovered spool, crashes somewhere, and recovers once more.
pub fn go_on(recovered: Recovered, commits: usize, seed: u64) -> Verdict<Recovered> {
    let Recovered { disk, spool, world } = recovered;
    let mut random = Rng::with_seed(seed);
    disk.crash_at(disk.steps() + random.u64(1..25));
    let world = Arc::new(Mutex::new(world));
    let runner = Runner::new(&disk, spool, world.clone(), seed);
    let _ = runner.run(commits);
    drop(runner);
    let world = world.lock().unwrap().clone();
    recover(&disk, &world, Crash::pick(&mut random), seed ^ 2)
        .map_err(|why| format!("a second crash: {why}"))
}
