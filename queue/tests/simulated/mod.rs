//! A disk in memory that crashes, tears, refuses and runs full, all by seed.
//!
//! What was written and not synced is kept per sector of 512 octets, what was done to the directory
//! per operation. A crash keeps, loses or half keeps each of them by the seed. A sync that fails
//! drops its pages as Linux does: they read well until the crash, and a later sync saves none.
//! It can also lie, write to a wrong place, stop in the middle of a write, run full at a creation,
//! let bits rot, and hand out space with old octets in it. A copy shares what has not changed.

// Each test takes what it needs; and a test may fail where it stands.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test target uses its share")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod faults;
mod file;
mod harm;
pub mod help;
mod inode;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use angarium_queue::disk::{Disk, DiskFile};
use faults::Faults;
use file::SimulatedFile;
pub use harm::Hit;
pub use inode::Fate;
use inode::Inode;

#[derive(Clone)]
enum Change {
    Create(String, usize),
    Remove(String),
    Rename(String, String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

struct State {
    random: fastrand::Rng,
    inodes: Vec<Arc<Inode>>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    capacity: u64,
    /// Steps (writes, syncs, directory operations) done so far.
    steps: u64,
    crashed: bool,
    faults: Faults,
    /// What bit rot and misdirected writes have spoilt.
    hits: Vec<Hit>,
    log: Vec<String>,
    observer: Option<Observer>,
}

/// Called after each step with the disk as it is then.
pub type Observer = Arc<dyn Fn(SimulatedDisk, usize) + Send + Sync>;

#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

fn crashed() -> io::Error {
    io::Error::other("crashed")
}

impl State {
    /// Counts a step; at the crash it is still taken, but nobody hears of it.
    fn step(&mut self, what: impl FnOnce() -> String) -> io::Result<bool> {
        if self.crashed {
            return Err(crashed());
        }
        self.steps += 1;
        self.log.push(what());
        if self.faults.crash_at == Some(self.steps) {
            self.crashed = true;
        }
        Ok(self.crashed)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].cache.len() as u64).sum()
    }

    fn inode(&mut self, number: usize) -> &mut Inode {
        Arc::make_mut(&mut self.inodes[number])
    }

    /// Keeps, loses or half keeps each thing that was not synced.
    fn settle(&mut self, fate: Fate) {
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.changes) {
            if fate.keeps(&mut self.random) {
                change.apply(&mut names);
            }
        }
        self.names = names.clone();
        self.durable_names = names;
        let garbage = self.faults.garbage;
        for inode in self.inodes.iter_mut().filter(|inode| !inode.is_clean()) {
            Arc::make_mut(inode).settle(fate, garbage, &mut self.random);
        }
    }
}

impl SimulatedDisk {
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            capacity: u64::MAX,
            steps: 0,
            crashed: false,
            faults: Faults::default(),
            hits: Vec::new(),
            log: Vec::new(),
            observer: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn arc(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Calls `observer` after each step with a copy of the disk and the number of the step.
    pub fn observe(&self, observer: impl Fn(Self, usize) + Send + Sync + 'static) {
        self.state().observer = Some(Arc::new(observer));
    }

    /// Stops observing; the copies seen are then all there are. Answers the observer.
    pub fn observed(&self) -> Option<Observer> {
        self.state().observer.take()
    }

    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    pub fn crash_at(&self, step: u64) {
        self.state().faults.crash_at = Some(step);
    }

    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    pub fn fail_sync_at(&self, step: u64) {
        self.state().faults.failing_syncs.insert(step);
    }

    /// Every sync fails, as long as this is so.
    pub fn fail_next_syncs(&self, broken: bool) {
        self.state().faults.broken = broken;
    }

    /// The write at this step stops in its middle.
    pub fn cut_write_at(&self, step: u64) {
        self.state().faults.short_writes.insert(step);
    }

    /// The creation at this step finds no room.
    pub fn fill_at(&self, step: u64) {
        self.state().faults.full.insert(step);
    }

    /// From this step on syncs keep nothing, and say nothing of it.
    pub fn lie_from(&self, step: u64) {
        self.state().faults.lying_from = Some(step);
    }

    /// The first sync from this step on writes to a wrong place.
    pub fn misdirect_from(&self, step: u64) {
        self.state().faults.misdirected_from = Some(step);
    }

    /// Space that was never written may hold anything after a crash.
    pub fn set_garbage(&self, garbage: bool) {
        self.state().faults.garbage = garbage;
    }

    pub fn set_capacity(&self, octets: u64) {
        self.state().capacity = octets;
    }

    pub fn used(&self) -> u64 {
        self.state().used()
    }

    pub fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Nothing waits for a sync: every crash leaves the same.
    pub fn is_clean(&self) -> bool {
        let state = self.state();
        state.changes.is_empty() && state.inodes.iter().all(|inode| inode.is_clean())
    }

    /// What the disk holds after the power came back, by this seed. The old disk is dead.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        self.after_crash(Fate::Mixed, seed)
    }

    /// What the disk holds after a crash with this fate.
    pub fn after_crash(&self, fate: Fate, seed: u64) -> Self {
        let next = self.successor(seed);
        next.state().settle(fate);
        next
    }

    /// What the next process sees after this one was killed: all that was written, none of it
    /// synced.
    pub fn after_kill(&self, seed: u64) -> Self {
        self.successor(seed)
    }

    fn successor(&self, seed: u64) -> Self {
        let mut old = self.state();
        old.crashed = true;
        old.copy(seed)
    }
}

impl State {
    fn copy(&self, seed: u64) -> SimulatedDisk {
        let next = SimulatedDisk::new(seed);
        let old = self;
        let mut state = next.state();
        state.inodes = old.inodes.clone();
        state.names = old.names.clone();
        state.durable_names = old.durable_names.clone();
        state.changes = old.changes.clone();
        state.capacity = old.capacity;
        state.hits = old.hits.clone();
        state.faults.garbage = old.faults.garbage;
        drop(state);
        next
    }

    fn seen(&self) {
        if let Some(observer) = &self.observer {
            observer(self.copy(0), self.steps as usize);
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, name: &str, octets: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let dead = state.step(|| format!("create {name} {octets}"))?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let step = state.steps;
        let full = state.faults.full.remove(&step);
        if full || state.used().saturating_add(octets) > state.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        // The length is metadata like the name: it is only kept for sure once synced.
        state.inodes.push(Arc::new(Inode::zeros(octets as usize)));
        let inode = state.inodes.len() - 1;
        state.names.insert(name.into(), inode);
        state.changes.push(Change::Create(name.into(), inode));
        state.seen();
        if dead {
            return Err(crashed());
        }
        Ok(Arc::new(SimulatedFile { state: self.state.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        if state.crashed {
            return Err(crashed());
        }
        let inode = *state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile { state: self.state.clone(), inode }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let dead = state.step(|| format!("remove {name}"))?;
        state.names.remove(name).ok_or(ErrorKind::NotFound)?;
        state.changes.push(Change::Remove(name.into()));
        state.seen();
        if dead { Err(crashed()) } else { Ok(()) }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let dead = state.step(|| format!("rename {from} {to}"))?;
        let inode = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.into(), inode);
        state.changes.push(Change::Rename(from.into(), to.into()));
        state.seen();
        if dead { Err(crashed()) } else { Ok(()) }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        if state.crashed {
            return Err(crashed());
        }
        Ok(state.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.step(|| "sync_dir".into())? {
            return Err(crashed());
        }
        let step = state.steps;
        if state.faults.lies(step) {
            state.seen();
            return Ok(());
        }
        let changes = std::mem::take(&mut state.changes);
        if state.faults.sync_fails(step) {
            let mut names = std::mem::take(&mut state.durable_names);
            for change in changes {
                if state.random.bool() {
                    change.apply(&mut names);
                }
            }
            state.durable_names = names;
            return Err(io::Error::other("injected"));
        }
        state.durable_names = state.names.clone();
        state.seen();
        Ok(())
    }

    fn is_linked(&self, name: &str) -> io::Result<bool> {
        let state = self.state();
        let inode = *state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(state.names.values().filter(|other| **other == inode).count() > 1)
    }

    fn free_space(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}
