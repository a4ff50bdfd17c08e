//! The disk: every file call of this crate, behind a trait so that tests can lose and tear writes.
//!
//! Promises: [`RealDisk`] owns its directory alone (an exclusive lock for as long as it lives), and
//! a file created with a length has that space, so that a full disk shows at creation and never in
//! the middle of a segment. What root creates belongs to whom the directory belongs to. Names are
//! plain file names within the one directory. [`ReadOnlyDisk`] opens nothing for writing, and keeps
//! owners away while it lives.
//! Refuses: a directory that another process owns, and creating a name that exists.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{label, superblock};

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
    /// The file has another name, perhaps that of somebody's backup: it is not to be changed.
    fn is_linked(&self, name: &str) -> io::Result<bool>;
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
        let directory = File::open(path)?;
        if is_remote(file_system(&directory)?) {
            let why = "a network file system, on which no sync and no lock can be relied on";
            return Err(io::Error::new(ErrorKind::Unsupported, why));
        }
        let lock = create_lock(path, &directory)?;
        lock.try_lock().map_err(owned)?;
        Ok(Self { path: path.to_path_buf(), directory, _lock: lock })
    }
}

impl RealDisk {
    /// Why what is written here may not outlast the machine, if that is so: for the operator.
    pub fn doubt(&self) -> Option<&'static str> {
        doubt(file_system(&self.directory).ok()?)
    }
}

/// The number that the system gives to the kind of file system (statfs(2)).
fn file_system(directory: &File) -> io::Result<u32> {
    Ok(rustix::fs::fstatfs(directory)?.f_type as u32)
}

/// NFS, SMB in both forms, CIFS and Ceph.
fn is_remote(kind: u32) -> bool {
    matches!(kind, 0x6969 | 0x517B | 0xFE53_4D42 | 0xFF53_4D42 | 0x00C3_6400)
}

fn doubt(kind: u32) -> Option<&'static str> {
    match kind {
        0x0102_1994 | 0x8584_58F6 => Some("a file system in memory: a power cut loses all mail"),
        0x794C_7630 => Some("an overlay, as containers have: mail goes with the container"),
        0x6573_5546 => Some("a file system in user space, whose syncs may mean little"),
        _ => None,
    }
}

const LOCK: &str = "lock";

fn create_lock(path: &Path, directory: &File) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let lock = options.open(path.join(LOCK))?;
    give_to_owner(directory, &lock)?;
    Ok(lock)
}

fn owned(error: fs::TryLockError) -> io::Error {
    match error {
        fs::TryLockError::WouldBlock => {
            io::Error::new(ErrorKind::WouldBlock, "another daemon owns it, or a tool reads it")
        }
        fs::TryLockError::Error(error) => error,
    }
}

/// A tool that root runs must leave nothing behind that the daemon's user cannot open.
fn give_to_owner(directory: &File, file: &File) -> io::Result<()> {
    let (owner, ours) = (directory.metadata()?, file.metadata()?);
    if ours.uid() == 0 && owner.uid() != 0 {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// A spool's directory, to be read only. What would change it fails.
#[derive(Debug)]
pub struct ReadOnlyDisk {
    path: PathBuf,
    directory: File,
    _lock: Option<File>,
}

impl ReadOnlyDisk {
    /// Opens the directory and locks it against owners; other readers may lock it as well.
    ///
    /// # Errors
    /// `ErrorKind::NotFound` when there is no directory, or nothing of a spool in it;
    /// `ErrorKind::WouldBlock` when a process owns it; else what the operating system said. All
    /// name the directory.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Self::share(path).map_err(|error| {
            let text = format!("spool directory {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        })
    }

    fn share(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        let names = list(path)?;
        if !names.iter().any(|name| label::segment_slot(name).is_some() || name == superblock::NAME)
        {
            return Err(io::Error::new(ErrorKind::NotFound, "no spool is in it"));
        }
        let lock = match File::open(path.join(LOCK)) {
            // A copy without its lock: one is needed to keep a daemon away. Where none can be
            // made, no daemon can start either.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match create_lock(path, &directory) {
                    Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => None,
                    other => Some(other?),
                }
            }
            other => Some(other?),
        };
        if let Some(lock) = &lock {
            lock.try_lock_shared().map_err(owned)?;
        }
        Ok(Self { path: path.to_path_buf(), directory, _lock: lock })
    }
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        // A name that is not text is none of ours.
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

fn free_space(directory: &File) -> io::Result<u64> {
    let figures = rustix::fs::fstatvfs(directory)?;
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(ErrorKind::PermissionDenied, "it was opened to be read only"))
}

impl Disk for ReadOnlyDisk {
    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn DiskFile>> {
        read_only()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        // The system refuses to write to it.
        Ok(Arc::new(File::open(self.path.join(name))?))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        read_only()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        read_only()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.path)
    }

    fn sync_dir(&self) -> io::Result<()> {
        read_only()
    }

    fn is_linked(&self, name: &str) -> io::Result<bool> {
        Ok(fs::metadata(self.path.join(name))?.nlink() > 1)
    }

    fn free_space(&self) -> io::Result<u64> {
        free_space(&self.directory)
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
        let made = give_to_owner(&self.directory, &file).and_then(|()| allocate(&file, octets));
        if let Err(error) = made {
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
        list(&self.path)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn is_linked(&self, name: &str) -> io::Result<bool> {
        Ok(fs::metadata(self.path.join(name))?.nlink() > 1)
    }

    fn free_space(&self) -> io::Result<u64> {
        free_space(&self.directory)
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

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

#[cfg(test)]
pub(crate) mod memory;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_outlast_the_machine_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let own = file_system(&File::open(dir.path()).unwrap()).unwrap();
        assert_eq!(RealDisk::open(dir.path()).unwrap().doubt(), doubt(own));
        assert!(is_remote(0x6969) && !is_remote(own));
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let disk = RealDisk::open(memory.path()).unwrap();
        assert!(disk.doubt().is_some_and(|doubt| doubt.contains("memory")));
    }

    #[test]
    fn a_second_name_shows() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        disk.create("x", 10).unwrap();
        assert!(!disk.is_linked("x").unwrap());
        fs::hard_link(dir.path().join("x"), dir.path().join("y")).unwrap();
        assert!(disk.is_linked("x").unwrap());
    }

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

    /// Only root can make files for others; elsewhere there is nothing to see.
    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(dir.path(), Some(12_345), Some(12_346)).is_err() {
            return;
        }
        let disk = RealDisk::open(dir.path()).unwrap();
        disk.create("x", 1).unwrap();
        for name in ["lock", "x"] {
            let made = fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!((made.uid(), made.gid()), (12_345, 12_346), "{name}");
        }
    }

    #[test]
    fn readers_change_nothing_and_keep_owners_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        assert_eq!(ReadOnlyDisk::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!path.exists());
        let owner = RealDisk::open(&path).unwrap();
        assert_eq!(ReadOnlyDisk::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
        owner.create(superblock::NAME, 8).unwrap();
        assert_eq!(ReadOnlyDisk::open(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(owner);
        let readers = [ReadOnlyDisk::open(&path).unwrap(), ReadOnlyDisk::open(&path).unwrap()];
        assert_eq!(RealDisk::open(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
        let [disk, _] = &readers;
        let file = disk.open(superblock::NAME).unwrap();
        assert!(file.write_at(0, b"x").is_err());
        assert!(disk.create("x", 0).is_err() && disk.remove(superblock::NAME).is_err());
        assert!(disk.rename(superblock::NAME, "x").is_err());
        let mut octets = [1; 9];
        assert_eq!((file.read_at(0, &mut octets).unwrap(), octets[0]), (8, 0));
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
