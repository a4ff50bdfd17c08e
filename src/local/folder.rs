//! The folder of the local ends: where it is, who may do what in it.
//!
//! Promises that everyone may pass through to the socket and the maildrop, and that nobody but the
//! daemon may list either. Where the folder lies in the spool, the spool's own files stay closed to
//! others, whatever their names.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Pass, and nothing else.
const PASS_MODE: u32 = 0o711;
/// Leave files, which belong to the folder's group; take away none of another's.
const MAILDROP_MODE: u32 = 0o3733;
const DAMAGED_MODE: u32 = 0o700;
/// Others may neither read nor write.
const OTHERS: u32 = 0o077;

/// The local ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ends {
    folder: PathBuf,
}

impl Ends {
    /// Those in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("submit")
    }

    /// Where letters wait for a daemon.
    pub fn maildrop(&self) -> PathBuf {
        self.folder.join("maildrop")
    }

    /// Where files go that are no letters.
    pub fn damaged(&self) -> PathBuf {
        self.folder.join("damaged")
    }

    /// Makes what is missing, with its permissions.
    pub fn make(&self, spool: &Path) -> io::Result<()> {
        if self.folder.starts_with(spool) {
            open_the_way(spool)?;
        }
        for (path, mode) in [
            (self.folder.clone(), PASS_MODE),
            (self.maildrop(), MAILDROP_MODE),
            (self.damaged(), DAMAGED_MODE),
        ] {
            if !path.is_dir() {
                DirBuilder::new().mode(DAMAGED_MODE).create(&path)?;
            }
            set_mode(&path, mode)?;
        }
        Ok(())
    }
}

/// Lets others pass through the spool, after its files were closed to them.
fn open_the_way(spool: &Path) -> io::Result<()> {
    for entry in fs::read_dir(spool)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let mode = meta.permissions().mode();
        if meta.is_file() && mode & OTHERS != 0 {
            set_mode(&entry.path(), mode & !OTHERS)?;
        }
    }
    let mode = fs::metadata(spool)?.permissions().mode();
    set_mode(spool, mode | PASS_MODE & 0o011)
}

/// Sets it only where it differs: the folder may be another's who has prepared it.
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let now = fs::metadata(path)?.permissions().mode() & 0o7777;
    if now == mode & 0o7777 {
        Ok(())
    } else {
        fs::set_permissions(path, Permissions::from_mode(mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn others_pass_and_see_nothing() {
        let root = tempfile::tempdir().unwrap();
        let spool = root.path().join("spool");
        DirBuilder::new().mode(0o700).create(&spool).unwrap();
        fs::write(spool.join("learned"), b"private").unwrap();
        set_mode(&spool.join("learned"), 0o644).unwrap();
        let ends = Ends::new(spool.join("local"));
        for _ in 0..2 {
            ends.make(&spool).unwrap();
            assert_eq!(mode(&spool), 0o711);
            assert_eq!(mode(&spool.join("learned")), 0o600);
            assert_eq!(mode(&spool.join("local")), 0o711);
            assert_eq!(mode(&ends.maildrop()), 0o3733);
            assert_eq!(mode(&ends.damaged()), 0o700);
        }
    }
}
