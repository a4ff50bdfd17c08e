//! A disk in memory that crashes, tears, refuses and runs full, all by seed.
//!
//! What was written and not synced is kept per sector of 512 octets, what was done to the directory
//! per operation. A crash keeps, loses or half keeps each of them by the seed. A sync that fails
//! drops its pages as Linux does: they read well until the crash, and a later sync saves none.

// Each test takes what it needs; and a test may fail where it stands.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test target uses its share")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

pub mod help;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use angarium_queue::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// Contents of one file.
#[derive(Default, Clone)]
struct Inode {
    /// As the machine sees it.
    cache: Vec<u8>,
    /// As the medium has it.
    medium: Vec<u8>,
    dirty: BTreeSet<usize>,
}

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
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    capacity: u64,
    /// Steps (writes, syncs, directory operations) done so far.
    steps: u64,
    /// The step that never comes to its end.
    crash_at: Option<u64>,
    crashed: bool,
    /// The steps whose sync fails.
    failing: BTreeSet<u64>,
    /// Every sync from now on fails.
    broken: bool,
    log: Vec<String>,
    observer: Option<Observer>,
}

/// Called after each step with the disk as it is then.
type Observer = Arc<dyn Fn(SimulatedDisk) + Send + Sync>;

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
        if self.crash_at == Some(self.steps) {
            self.crashed = true;
        }
        Ok(self.crashed)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].cache.len() as u64).sum()
    }

    fn sync_fails(&mut self) -> bool {
        self.broken || self.failing.remove(&self.steps)
    }

    /// Keeps, loses or half keeps each thing that was not synced.
    fn settle(&mut self) {
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.changes) {
            if self.random.bool() {
                change.apply(&mut names);
            }
        }
        self.names = names.clone();
        self.durable_names = names;
        for inode in &mut self.inodes {
            let longer = inode.cache.len() != inode.medium.len() && self.random.bool();
            let size = if longer { inode.cache.len() } else { inode.medium.len() };
            let mut settled = inode.medium.clone();
            settled.resize(inode.cache.len().max(size), 0);
            for sector in std::mem::take(&mut inode.dirty) {
                let start = sector * SECTOR;
                let end = (start + SECTOR).min(inode.cache.len());
                let half = (start + SECTOR / 2).min(end);
                let kept = match self.random.u8(0..4) {
                    0 => start..start,
                    1 => start..half,
                    2 => half..end,
                    _ => start..end,
                };
                settled[kept.clone()].copy_from_slice(&inode.cache[kept]);
            }
            settled.truncate(size);
            inode.cache = settled.clone();
            inode.medium = settled;
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
            crash_at: None,
            crashed: false,
            failing: BTreeSet::new(),
            broken: false,
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

    /// Calls `observer` after each step with a copy of the disk.
    pub fn observe(&self, observer: impl Fn(Self) + Send + Sync + 'static) {
        self.state().observer = Some(Arc::new(observer));
    }

    /// Stops observing; the copies seen are then all there are.
    pub fn observed(&self) {
        self.state().observer = None;
    }

    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    pub fn crash_at(&self, step: u64) {
        self.state().crash_at = Some(step);
    }

    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    pub fn fail_sync_at(&self, step: u64) {
        self.state().failing.insert(step);
    }

    /// The next sync fails.
    pub fn fail_next_syncs(&self, broken: bool) {
        self.state().broken = broken;
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

    /// What the disk holds after the power came back, by this seed. The old disk is dead.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let next = self.successor(seed);
        next.state().settle();
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
        drop(state);
        next
    }

    fn seen(&self) {
        if let Some(observer) = &self.observer {
            observer(self.copy(0));
        }
    }
}

impl SimulatedDisk {
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[name]].cache.clone()
    }

    /// Replaces a file's contents, durably.
    pub fn put(&self, name: &str, octets: &[u8]) {
        let mut state = self.state();
        let inode =
            Inode { cache: octets.to_vec(), medium: octets.to_vec(), dirty: BTreeSet::new() };
        state.inodes.push(inode);
        let number = state.inodes.len() - 1;
        state.names.insert(name.into(), number);
        state.durable_names.insert(name.into(), number);
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, name: &str, octets: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let dead = state.step(|| format!("create {name} {octets}"))?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if state.used().saturating_add(octets) > state.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        // The length is metadata like the name: it is only kept for sure once synced.
        let cache = vec![0; octets as usize];
        state.inodes.push(Inode { cache, ..Inode::default() });
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
        let changes = std::mem::take(&mut state.changes);
        if state.sync_fails() {
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

    fn free_space(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

struct SimulatedFile {
    state: Arc<Mutex<State>>,
    inode: usize,
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let dead = state.step(|| format!("write {} {offset} {}", self.inode, octets.len()))?;
        let end = offset as usize + octets.len();
        let grown = end.saturating_sub(state.inodes[self.inode].cache.len()) as u64;
        if grown > 0 && state.used().saturating_add(grown) > state.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        if end > inode.cache.len() {
            inode.cache.resize(end, 0);
        }
        inode.cache[offset as usize..end].copy_from_slice(octets);
        inode.dirty.extend(offset as usize / SECTOR..end.div_ceil(SECTOR));
        state.seen();
        if dead { Err(crashed()) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.state.lock().unwrap();
        if state.crashed {
            return Err(crashed());
        }
        let rest = state.inodes[self.inode].cache.get(offset as usize..).unwrap_or_default();
        let octets = rest.len().min(buffer.len());
        buffer[..octets].copy_from_slice(&rest[..octets]);
        Ok(octets)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.step(|| format!("sync {}", self.inode))? {
            return Err(crashed());
        }
        let fails = state.sync_fails();
        let mut random = state.random.clone();
        let inode = &mut state.inodes[self.inode];
        inode.medium.resize(inode.cache.len(), 0);
        for sector in std::mem::take(&mut inode.dirty) {
            if fails && random.bool() {
                continue;
            }
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(inode.cache.len());
            inode.medium[start..end].copy_from_slice(&inode.cache[start..end]);
        }
        state.random = random;
        state.seen();
        if fails { Err(io::Error::other("injected")) } else { Ok(()) }
    }

    fn shrink(&self, octets: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let dead = state.step(|| format!("shrink {} {octets}", self.inode))?;
        let inode = &mut state.inodes[self.inode];
        inode.cache.truncate(octets as usize);
        inode.dirty.retain(|sector| sector * SECTOR < octets as usize);
        state.seen();
        if dead { Err(crashed()) } else { Ok(()) }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.state.lock().unwrap().inodes[self.inode].cache.len() as u64)
    }
}
