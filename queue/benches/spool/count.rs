//! Who counts: octets written to the disk, and groups synced.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use angarium_queue::disk::{Disk, DiskFile, RealDisk};
use angarium_queue::spool::{Observer, Synced};

/// A directory of the real disk that counts what is written to its files.
pub(crate) struct Counted {
    disk: RealDisk,
    written: Arc<AtomicU64>,
}

impl Counted {
    /// Opens the directory; the count goes on in `written`.
    pub(crate) fn open(path: &Path, written: Arc<AtomicU64>) -> Self {
        Self { disk: RealDisk::open(path).unwrap(), written }
    }

    fn counted(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountedFile { file, written: self.written.clone() })
    }
}

impl Disk for Counted {
    fn create(&self, name: &str, octets: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name, octets).map(|file| self.counted(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.counted(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn is_linked(&self, name: &str) -> io::Result<bool> {
        self.disk.is_linked(name)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }
}

struct CountedFile {
    file: Arc<dyn DiskFile>,
    written: Arc<AtomicU64>,
}

impl DiskFile for CountedFile {
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        self.written.fetch_add(octets.len() as u64, Ordering::Relaxed);
        self.file.write_at(offset, octets)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

/// Counts the groups that became durable.
#[derive(Debug, Default)]
pub(crate) struct Groups(AtomicU64);

impl Groups {
    /// So far.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Observer for Groups {
    fn writing(&self) {}

    fn synced(&self, _: Synced) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
