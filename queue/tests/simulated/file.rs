//! An open file of the simulated disk.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use angarium_queue::disk::DiskFile;

use super::inode::SECTOR;
use super::{State, crashed};

pub struct SimulatedFile {
    pub state: Arc<Mutex<State>>,
    pub inode: usize,
}

impl SimulatedFile {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let dead = state.step(|| format!("write {} {offset} {}", self.inode, octets.len()))?;
        let end = offset as usize + octets.len();
        let grown = end.saturating_sub(state.inodes[self.inode].cache.len()) as u64;
        if grown > 0 && state.used().saturating_add(grown) > state.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        let step = state.steps;
        let short = state.faults.short_writes.remove(&step);
        let written = if short {
            let sectors = octets.len() / SECTOR;
            state.random.usize(0..=sectors) * SECTOR
        } else {
            octets.len()
        };
        state.inode(self.inode).write(offset as usize, &octets[..written]);
        state.seen();
        match (dead, short) {
            (true, _) => Err(crashed()),
            (false, true) => Err(io::Error::other("injected: a short write")),
            (false, false) => Ok(()),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.state();
        if state.crashed {
            return Err(crashed());
        }
        let rest = state.inodes[self.inode].cache.get(offset as usize..).unwrap_or_default();
        let octets = rest.len().min(buffer.len());
        buffer[..octets].copy_from_slice(&rest[..octets]);
        Ok(octets)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.step(|| format!("sync {}", self.inode))? {
            return Err(crashed());
        }
        let step = state.steps;
        if state.faults.lies(step) {
            state.seen();
            return Ok(());
        }
        let fails = state.faults.sync_fails(step);
        if !fails && state.faults.misdirects(step) {
            state.misdirect(self.inode);
        } else {
            let mut random = state.random.clone();
            state.inode(self.inode).sync(|| !fails || random.bool());
            state.random = random;
        }
        state.seen();
        if fails { Err(io::Error::other("injected")) } else { Ok(()) }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.state().inodes[self.inode].cache.len() as u64)
    }
}
