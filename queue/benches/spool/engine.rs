//! How a spool is opened here: with the options as they are by default.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use angarium_queue::disk::{Disk, RealDisk};
use angarium_queue::spool::{Options, Recovery, Spool};

use crate::count::{Counted, Groups};

/// Opens the spool in this directory, all of it known.
pub(crate) fn open(path: &Path) -> (Spool, Recovery) {
    let disk = Arc::new(RealDisk::open(path).unwrap());
    Spool::open(disk, Options::default(), Box::new(failed)).unwrap()
}

/// Opens a spool so that it accepts as soon as it can; the closure waits until all of it is known.
pub(crate) fn open_early(disk: Arc<dyn Disk>) -> (Spool, impl FnOnce() -> Recovery) {
    let (spool, recovering) = Spool::start(disk, Options::default(), Box::new(failed)).unwrap();
    (spool, move || recovering.finish().unwrap())
}

fn failed(why: &str) {
    // Whoever waits for the spool fails by that.
    eprintln!("the spool failed: {why}");
}

/// A new spool of which is known what it writes.
pub(crate) struct Watched {
    pub(crate) spool: Spool,
    pub(crate) groups: Arc<Groups>,
    written: Arc<AtomicU64>,
}

impl Watched {
    /// Opens one in an empty directory.
    pub(crate) fn open(path: &Path) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let disk = Arc::new(Counted::open(path, written.clone()));
        let groups = Arc::new(Groups::default());
        let options = Options { observer: Some(groups.clone()), ..Options::default() };
        let (spool, _) = Spool::open(disk, options, Box::new(failed)).unwrap();
        Self { spool, groups, written }
    }

    /// Octets written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether as much was written as makes all the files in use twice over: its space is then
    /// recycled, if it ever is.
    pub(crate) fn is_round(&self, path: &Path) -> bool {
        let files = std::fs::read_dir(path).unwrap();
        // A file may go while they are looked at.
        let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        self.written() >= 2 * sizes.sum::<u64>()
    }
}

/// Ends the spool, opens it again, and wants to find so many messages and no damage.
pub(crate) fn end(spool: Spool, path: &Path, count: usize) {
    assert_eq!(spool.len(), count);
    spool.shutdown();
    drop(spool);
    let (spool, recovery) = open(path);
    assert!(recovery.damage.is_empty(), "{:?}", recovery.damage);
    assert_eq!((spool.len(), recovery.messages), (count, count));
}
