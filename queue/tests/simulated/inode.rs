//! One file of the simulated disk: what the machine sees of it, and what the medium has.
//!
//! Sectors of 512 octets that were written and not synced have a fate of their own each.

use std::collections::BTreeSet;

use fastrand::Rng;

pub const SECTOR: usize = 512;

/// What a crash does to what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// All of it is lost.
    Lost,
    /// All of it is kept.
    Kept,
    /// Each sector and each change of a name is kept, lost or half kept, by the disk's seed.
    Mixed,
}

impl Fate {
    /// Whether one thing is kept.
    pub fn keeps(self, random: &mut Rng) -> bool {
        match self {
            Self::Lost => false,
            Self::Kept => true,
            Self::Mixed => random.bool(),
        }
    }
}

/// Contents of one file.
#[derive(Default, Clone)]
pub struct Inode {
    /// As the machine sees it.
    pub cache: Vec<u8>,
    /// As the medium has it.
    pub medium: Vec<u8>,
    pub dirty: BTreeSet<usize>,
    /// The medium lacks something that counts as synced; a crash shows it.
    pub adrift: bool,
}

impl Inode {
    /// A new file; its length is kept for sure only once synced.
    pub fn zeros(octets: usize) -> Self {
        Self { cache: vec![0; octets], ..Self::default() }
    }

    /// A file that is as it is for sure.
    pub fn durable(octets: &[u8]) -> Self {
        let (cache, medium) = (octets.to_vec(), octets.to_vec());
        Self { cache, medium, ..Self::default() }
    }

    pub fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.cache.len() == self.medium.len() && !self.adrift
    }

    pub fn write(&mut self, offset: usize, octets: &[u8]) {
        let end = offset + octets.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(octets);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    /// Takes what is dirty to the medium, as far as `keep` says; nothing is dirty any more.
    pub fn sync(&mut self, mut keep: impl FnMut() -> bool) {
        self.medium.resize(self.cache.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            if !keep() {
                self.adrift = true;
            } else {
                let start = sector * SECTOR;
                let end = (start + SECTOR).min(self.cache.len());
                self.medium[start..end].copy_from_slice(&self.cache[start..end]);
            }
        }
    }

    /// The power fails. `garbage`: space that was never written may hold anything then.
    pub fn settle(&mut self, fate: Fate, garbage: bool, random: &mut Rng) {
        let longer = self.cache.len() != self.medium.len() && fate.keeps(random);
        let size = if longer { self.cache.len() } else { self.medium.len() };
        let mut settled = std::mem::take(&mut self.medium);
        let synced = settled.len();
        settled.resize(self.cache.len().max(size), 0);
        if garbage {
            settled.iter_mut().skip(synced).for_each(|octet| *octet = random.u8(..));
        }
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.cache.len());
            let half = (start + SECTOR / 2).min(end);
            let kept = match fate {
                Fate::Lost => start..start,
                Fate::Kept => start..end,
                Fate::Mixed => match random.u8(0..4) {
                    0 => start..start,
                    1 => start..half,
                    2 => half..end,
                    _ => start..end,
                },
            };
            settled[kept.clone()].copy_from_slice(&self.cache[kept]);
        }
        settled.truncate(size);
        self.adrift = false;
        self.cache.clone_from(&settled);
        self.medium = settled;
    }
}
