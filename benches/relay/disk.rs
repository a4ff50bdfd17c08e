//! The disk without a server: where spools go, and how fast it syncs.
//!
//! Promises that spools are on a disk and not in memory, whatever the temporary directory is.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::support::temporary_directory;

const BLOCK: [u8; 4096] = [b'x'; 4096];
const BLOCKS: u64 = 4096;

/// Makes sure that temporary directories are on a disk: else they go to the one of long-lived ones.
pub(crate) fn choose() {
    let in_memory = |path: &Path| statfs(path).unwrap().filesystem_type() == TMPFS_MAGIC;
    if in_memory(&std::env::temp_dir()) {
        let other = Path::new("/var/tmp");
        assert!(!in_memory(other), "name a directory on a disk with TMPDIR");
        tempfile::env::override_temp_dir(other).unwrap();
    }
}

/// Writes 4 KiB and syncs, into space already written, one after the other; how many a second.
pub(crate) fn syncs(lasting: Duration) -> f64 {
    let directory = temporary_directory();
    let file = File::create(directory.path().join("blocks")).unwrap();
    for block in 0..BLOCKS {
        file.write_all_at(&BLOCK, block * 4096).unwrap();
    }
    file.sync_all().unwrap();
    let (begin, mut count) = (Instant::now(), 0_u64);
    while begin.elapsed() < lasting {
        file.write_all_at(&BLOCK, count % BLOCKS * 4096).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    count as f64 / begin.elapsed().as_secs_f64()
}
