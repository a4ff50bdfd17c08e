//! What of it all is run, and where.
//!
//! Promises that the directories are on a disk and not in memory, that they are removed, and that a
//! part for which there is no room is left out and says so.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::figures;

/// As in statfs(2).
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// Twice what a message of 512 octets takes on the disk, and room beside them.
const DISK_PER_MESSAGE: u64 = 2000;
const DISK_BESIDE: u64 = 1 << 30;

/// What was asked for.
pub(crate) struct Plan {
    pub(crate) quick: bool,
    pub(crate) ten_million: bool,
    /// Parts of the names of the figures that are wanted; none for all.
    fragments: Vec<String>,
    below: PathBuf,
}

impl Plan {
    /// Reads the command line; what cargo adds is passed over.
    pub(crate) fn new(arguments: &[String]) -> Self {
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let fragments = arguments.iter().filter(|argument| !argument.starts_with("--"));
        let below = std::env::var_os("ANGARIUM_BENCH_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        std::fs::create_dir_all(&below).unwrap();
        assert!(on_disk(&below), "name a directory on a disk with ANGARIUM_BENCH_DIR");
        Self {
            quick: has("--quick"),
            ten_million: has("--ten-million"),
            fragments: fragments.cloned().collect(),
            below,
        }
    }

    /// One of the two: the first for a quick run.
    pub(crate) fn pick<T>(&self, quick: T, whole: T) -> T {
        if self.quick { quick } else { whole }
    }

    /// How many messages are many.
    pub(crate) fn many(&self) -> usize {
        self.pick(100_000, 1_000_000)
    }

    /// Whether a figure is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.fragments.is_empty() || self.fragments.iter().any(|part| name.contains(part.as_str()))
    }

    /// Whether any of them is.
    pub(crate) fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    /// Prints a figure, if it was asked for.
    pub(crate) fn print(&self, name: &str, value: f64, unit: &str) {
        if self.wants(name) {
            figures::print(name, value, unit);
        }
    }

    /// A new directory for so many messages of 512 octets; `None` without room for them.
    pub(crate) fn directory_for(&self, part: &str, count: usize) -> Option<TempDir> {
        self.directory(part, DISK_BESIDE + DISK_PER_MESSAGE * count as u64)
    }

    /// A new directory for a part that needs so many octets; `None` without room for them.
    pub(crate) fn directory(&self, part: &str, octets: u64) -> Option<TempDir> {
        let figures = rustix::fs::statvfs(&self.below).unwrap();
        let free = figures.f_bavail * figures.f_frsize;
        if free < octets {
            let (needed, free) = (octets >> 20, free >> 20);
            println!("# LEFT OUT: {part} needs {needed} MiB of disk, and {free} MiB are free");
            return None;
        }
        Some(tempfile::Builder::new().prefix("spool-").tempdir_in(&self.below).unwrap())
    }
}

fn on_disk(path: &Path) -> bool {
    rustix::fs::statfs(path).unwrap().f_type != TMPFS_MAGIC
}
