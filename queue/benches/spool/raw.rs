//! The bare disk: writes and syncs into space that was written before.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Written over and over, as the spool's own space is.
const SPACE: usize = 64 << 20;

/// A file whose space has all been written.
pub(crate) struct Raw {
    file: File,
    octets: Vec<u8>,
    at: usize,
}

impl Raw {
    /// Takes the space, and writes it.
    pub(crate) fn new(directory: &Path) -> Self {
        let file = File::create(directory.join("raw")).unwrap();
        let octets = noise(1 << 20);
        for at in (0..SPACE).step_by(octets.len()) {
            file.write_all_at(&octets, at as u64).unwrap();
        }
        file.sync_all().unwrap();
        Self { file, octets, at: 0 }
    }

    /// Writes so many pieces and syncs, again and again; how many syncs a second.
    pub(crate) fn rate(&mut self, piece: usize, pieces: usize, lasting: Duration) -> f64 {
        let (begin, mut syncs) = (Instant::now(), 0_u32);
        while begin.elapsed() < lasting {
            for _ in 0..pieces {
                self.write(piece);
            }
            self.file.sync_data().unwrap();
            syncs += 1;
        }
        f64::from(syncs) / begin.elapsed().as_secs_f64()
    }

    fn write(&mut self, piece: usize) {
        if self.at + piece > SPACE {
            self.at = 0;
        }
        self.file.write_all_at(&self.octets[..piece], self.at as u64).unwrap();
        self.at += piece;
    }
}

/// Octets that nobody can shrink, the same in each run.
pub(crate) fn noise(octets: usize) -> Vec<u8> {
    let mut noise = vec![0; octets];
    fastrand::Rng::with_seed(1).fill(&mut noise);
    noise
}
