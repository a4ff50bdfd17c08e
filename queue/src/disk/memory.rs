//! A disk in memory for the tests beside the code: it can be full, and its syncs can fail.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Disk, DiskFile};
use crate::shared::lock;

pub(crate) struct MemoryDisk {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    /// Octets of all files that there may be.
    pub(crate) capacity: AtomicU64,
    /// Every sync fails.
    pub(crate) broken: Arc<AtomicBool>,
}

struct MemoryFile {
    octets: Mutex<Vec<u8>>,
    broken: Arc<AtomicBool>,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        let (files, broken) = (Mutex::default(), Arc::default());
        Self { files, capacity: AtomicU64::new(u64::MAX), broken }
    }
}

impl MemoryDisk {
    pub(crate) fn contents(&self, name: &str) -> Vec<u8> {
        lock(&lock(&self.files)[name].octets).clone()
    }
}

impl Disk for MemoryDisk {
    fn create(&self, name: &str, octets: u64) -> io::Result<Arc<dyn DiskFile>> {
        if octets > self.free_space()? {
            return Err(ErrorKind::StorageFull.into());
        }
        let octets = Mutex::new(vec![0; octets as usize]);
        let file = Arc::new(MemoryFile { octets, broken: self.broken.clone() });
        lock(&self.files).insert(name.into(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = lock(&self.files).get(name).cloned();
        file.map(|file| file as Arc<dyn DiskFile>).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.files).remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_linked(&self, _: &str) -> io::Result<bool> {
        Ok(false)
    }

    fn free_space(&self) -> io::Result<u64> {
        let used: usize = lock(&self.files).values().map(|file| lock(&file.octets).len()).sum();
        Ok(self.capacity.load(Ordering::Relaxed).saturating_sub(used as u64))
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        let mut all = lock(&self.octets);
        let end = offset as usize + octets.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        all[offset as usize..end].copy_from_slice(octets);
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let all = lock(&self.octets);
        let rest = all.get(offset as usize..).unwrap_or_default();
        let octets = rest.len().min(buffer.len());
        buffer[..octets].copy_from_slice(&rest[..octets]);
        Ok(octets)
    }

    fn sync(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) { Err(io::Error::other("injected")) } else { Ok(()) }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.octets).len() as u64)
    }
}
