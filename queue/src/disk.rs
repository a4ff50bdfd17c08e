//! The disk: every file call of this crate, behind a trait so that tests can lose and tear writes.
//!
//! Promises: [`RealDisk`] owns its directory alone (an exclusive lock for as long as it lives), and
//! a file created with a length has that space, so that a full disk shows at creation and never in
//! the middle of a segment. Names are plain file names within the one directory.
//! Refuses: a directory that another process owns, and creating a name that exists.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of files, and what the spool needs of it. Errors are the operating system's.
pub trait Disk: Send + Sync {
    /// Creates a file of that many zero octets, for which the space is taken. Fails when the name
    /// exists; leaves no file behind when there is no room (`ErrorKind::StorageFull`).
    fn create(&self, name: &str, octets: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a name. Open files stay readable.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames a file, replacing what had the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// All names, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes creations, removals and renames so far durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Octets that may still be taken.
    fn free_space(&self) -> io::Result<u64>;
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Writes all octets at the offset; extends the file where needed.
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()>;
    /// Reads until the buffer is full or the file ends; answers how many octets were read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Makes what was written durable. After an error, what was written since the last success may
    /// be lost, and a later success says nothing about it.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file off behind so many octets; like a write, it lasts for sure once synced.
    fn shrink(&self, octets: u64) -> io::Result<()>;
    /// The file's length in octets.
    fn size(&self) -> io::Result<u64>;
}

/// No room is left, by the disk or by a quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Reads a range that must lie within the file; an early end is `ErrorKind::UnexpectedEof`.
pub(crate) fn read_exact_at(file: &dyn DiskFile, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    if file.read_at(at, buffer)? < buffer.len() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// A directory of the machine's file system, owned by this process.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    directory: File,
    /// Held, never read: dropping it gives the directory up.
    _lock: File,
}

impl RealDisk {
    /// Opens the directory, creating it (mode 0700) where it is missing, and locks it.
    ///
    /// # Errors
    /// `ErrorKind::WouldBlock` when another process owns the directory; else what the operating
    /// system said. Both name the directory.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        Self::claim(&path).map_err(|error| {
            let text = format!("spool directory {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        })
    }

    fn claim(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(ErrorKind::WouldBlock, "another daemon owns it")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_path_buf(), directory: File::open(path)?, _lock: lock })
    }
}

/// Takes the space for a new file, by writing zeros where the file system cannot promise it.
fn allocate(file: &File, octets: u64) -> io::Result<()> {
    if octets == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, octets) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let zeros = vec![0; 1 << 20];
            let mut at = 0;
            while at < octets {
                let part = zeros.get(..(octets - at).min(1 << 20) as usize).unwrap_or(&zeros);
                file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str, octets: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = allocate(&file, octets) {
            // The file is ours, empty and useless: it must not hold what little space there is.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn free_space(&self) -> io::Result<u64> {
        let figures = rustix::fs::fstatvfs(&self.directory)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }
}

impl DiskFile for File {
    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        self.write_all_at(octets, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(octets) => done += octets,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn shrink(&self, octets: u64) -> io::Result<()> {
        self.set_len(octets)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/spool");
        let first = RealDisk::open(&path).unwrap();
        let error = RealDisk::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("another daemon"), "{error}");
        drop(first);
        RealDisk::open(&path).unwrap();
    }

    #[test]
    fn files_hold_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let file = disk.create("x", 100).unwrap();
        assert_eq!(file.size().unwrap(), 100);
        assert_eq!(disk.create("x", 1).err().unwrap().kind(), ErrorKind::AlreadyExists);
        file.write_at(98, b"abcd").unwrap();
        file.sync().unwrap();
        let mut buffer = [9; 6];
        assert_eq!(file.read_at(97, &mut buffer).unwrap(), 5);
        assert_eq!(&buffer, b"\0abcd\x09");
        disk.rename("x", "y").unwrap();
        disk.sync_dir().unwrap();
        let mut names = disk.list().unwrap();
        names.sort();
        assert_eq!(names, ["lock", "y"]);
        assert!(disk.free_space().unwrap() > 0);
        disk.remove("y").unwrap();
        assert_eq!(disk.open("y").err().unwrap().kind(), ErrorKind::NotFound);
    }
}
