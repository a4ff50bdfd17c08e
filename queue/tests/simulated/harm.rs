//! What is looked at and spoilt from outside: bits that rot, writes that land in a wrong place.

use std::sync::Arc;

use super::inode::{Inode, SECTOR};
use super::{SimulatedDisk, State};

const BLOCK: usize = 4096;

/// A stretch of a file whose octets on the medium are no longer what was put there.
#[derive(Clone, Debug)]
pub struct Hit {
    pub file: usize,
    pub offset: usize,
    /// What stood there, and what should stand there.
    pub octets: Vec<u8>,
}

impl State {
    /// What is dirty goes to a place where something else stands. The cache does not know.
    pub(super) fn misdirect(&mut self, from: usize) {
        let dirty = std::mem::take(&mut self.inode(from).dirty);
        let Some(first) = dirty.first().map(|first| first * SECTOR) else { return };
        let end = dirty.last().map_or(first, |last| (last + 1) * SECTOR);
        let source = self.inode(from);
        source.medium.resize(source.cache.len(), 0);
        source.adrift = true;
        let octets = source.cache[first..end.min(source.cache.len())].to_vec();
        self.hits.push(Hit { file: from, offset: first, octets: octets.clone() });
        let files: Vec<_> = self.durable_names.values().copied().collect();
        let to = self.random.choice(files).unwrap_or(from);
        let room = self.inodes[to].medium.len().saturating_sub(octets.len());
        let offset = self.random.usize(0..=room) / BLOCK * BLOCK;
        let target = self.inode(to);
        let end = (offset + octets.len()).min(target.medium.len());
        let before = target.medium[offset..end].to_vec();
        target.adrift = true;
        target.medium[offset..end].copy_from_slice(&octets[..end - offset]);
        self.hits.push(Hit { file: to, offset, octets: before });
    }
}

impl SimulatedDisk {
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        // The spool may have removed it since its name was seen.
        state.names.get(name).map_or_else(Vec::new, |inode| state.inodes[*inode].cache.clone())
    }

    pub fn file(&self, number: usize) -> Vec<u8> {
        self.state().inodes[number].cache.clone()
    }

    /// The octets of the files where so many writes went last.
    pub fn last_writes(&self, most: usize) -> Vec<u8> {
        let state = self.state();
        let writes = state.log.iter().rev().filter_map(|line| line.strip_prefix("write "));
        let stretch = |line: &str| {
            let mut numbers = line.split(' ').map(|number| number.parse::<usize>().unwrap());
            let (file, start) = (numbers.next().unwrap(), numbers.next().unwrap());
            state.inodes[file].cache[start..start + numbers.next().unwrap()].to_vec()
        };
        writes.take(most).flat_map(stretch).collect()
    }

    /// What was spoilt so far.
    pub fn hits(&self) -> Vec<Hit> {
        self.state().hits.clone()
    }

    /// Turns a bit of some file over, in the cache and on the medium. Answers where.
    pub fn rot(&self, random: &mut fastrand::Rng) -> Hit {
        let file = random.choice(self.files()).unwrap();
        let octets = self.file(file).len();
        self.rot_at(file, random.usize(0..octets), 1 << random.u8(0..8))
    }

    /// Turns bits of one octet over.
    pub fn rot_at(&self, file: usize, offset: usize, bits: u8) -> Hit {
        let mut state = self.state();
        let block = offset / BLOCK * BLOCK;
        let inode = state.inode(file);
        let end = (block + BLOCK).min(inode.medium.len());
        let hit = Hit { file, offset, octets: inode.medium[block..end].to_vec() };
        inode.medium[offset] ^= bits;
        inode.cache[offset] = inode.medium[offset];
        state.hits.push(hit.clone());
        hit
    }

    /// The files that have a name.
    pub fn files(&self) -> Vec<usize> {
        self.state().names.values().copied().collect()
    }

    /// Replaces a file's contents, durably.
    pub fn put(&self, name: &str, octets: &[u8]) {
        let mut state = self.state();
        state.inodes.push(Arc::new(Inode::durable(octets)));
        let number = state.inodes.len() - 1;
        state.names.insert(name.into(), number);
        state.durable_names.insert(name.into(), number);
    }
}
