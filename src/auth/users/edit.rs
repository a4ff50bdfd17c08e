//! Changes of the file of users: one at a time, written whole or not at all.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::file::Accounts;

/// Why the file was not read or a change not made.
#[derive(Debug)]
pub enum EditError {
    /// The file has a fault, or the change is none: a sentence.
    Refused(String),
    /// The disk failed.
    Io(PathBuf, io::Error),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

/// The file of users while nobody else changes it.
#[derive(Debug)]
pub struct Editor {
    path: PathBuf,
    /// What the file has; to be changed.
    pub accounts: Accounts,
    _lock: File,
}

impl Editor {
    /// Waits for others to be done, and reads.
    ///
    /// # Errors
    /// What is wrong with the file or with the disk.
    pub fn open(path: &Path) -> Result<Self, EditError> {
        let lock = with_suffix(path, ".lock");
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&lock);
        let held = opened.and_then(|file| file.lock().map(|()| file));
        let held = held.map_err(|error| EditError::Io(lock, error))?;
        let accounts = Accounts::read(path)?;
        Ok(Self { path: path.to_owned(), accounts, _lock: held })
    }

    /// Writes what was changed. A file that was not there is given to the owner, a user and a
    /// group.
    ///
    /// # Errors
    /// What the disk refused.
    pub fn save(mut self, owner: Option<(u32, u32)>) -> Result<(), EditError> {
        self.accounts.make_seed().map_err(EditError::Refused)?;
        let text = self.accounts.text().map_err(EditError::Refused)?;
        replace(&self.path, &text, owner).map_err(|error| EditError::Io(self.path.clone(), error))
    }
}

/// Writes a file beside it, and puts it in its place; the owner stays, and that the group may read.
/// A new file is given to this owner, and is for it alone.
pub(super) fn replace(path: &Path, text: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    match (fs::metadata(path), owner) {
        // Only root can give a file away; whoever else writes owns it already.
        (Ok(old), _) => {
            // A group that is not the old one is let in to nothing.
            if fchown(&file, Some(old.uid()), Some(old.gid())).is_ok() {
                file.set_permissions(Permissions::from_mode(0o600 | old.mode() & 0o040))?;
            }
        }
        (Err(_), Some((user, group))) => fchown(&file, Some(user), Some(group))?,
        (Err(_), None) => {}
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
