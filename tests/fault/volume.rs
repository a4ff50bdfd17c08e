//! A small file system of its own, and a file that eats what is left of it.
//!
//! Promises: the file system is taken away on drop, also when the test fails; what used it must
//! have ended by then. Nothing outside of the given directories is touched.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use crate::support::temporary_directory;

/// What the file system takes of the disk below it.
const OCTETS: u64 = 256 << 20;

/// A mounted ext4 image.
#[derive(Debug)]
pub struct Volume {
    place: PathBuf,
    /// Holds the image and the place where it is mounted.
    _directory: tempfile::TempDir,
}

impl Volume {
    /// Makes one and mounts it.
    ///
    /// # Errors
    /// What the tool said that could not do its work.
    pub fn mount() -> Result<Self, String> {
        let directory = temporary_directory();
        let (image, place) = (directory.path().join("image"), directory.path().join("volume"));
        File::create(&image).and_then(|made| made.set_len(OCTETS)).unwrap();
        std::fs::create_dir(&place).unwrap();
        // No blocks are kept back for root: full is full.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place))?;
        Ok(Self { place, _directory: directory })
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Octets that may still be taken.
    pub fn free(&self) -> u64 {
        let figures = statvfs(&self.place).unwrap();
        figures.blocks_available() * figures.fragment_size()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let plain = run(Command::new("umount").arg(&self.place));
        if plain.is_err() {
            // Something still holds a file: it goes when that does.
            let _ = run(Command::new("umount").arg("-l").arg(&self.place));
        }
    }
}

/// Says loudly that a small file system can't be made here, and why.
pub fn left_out(why: &str) {
    // Past the capture of a passing test's output, which would swallow it.
    let _ = writeln!(std::io::stderr(), "LEFT OUT: a full disk needs root and a mount: {why}");
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
}

/// Eats every block that is free, and goes on with each that comes free, until dropped: then it
/// gives all of it back.
#[derive(Debug)]
pub struct Ballast {
    file: PathBuf,
    stopping: Arc<AtomicBool>,
    eater: Option<JoinHandle<()>>,
}

impl Ballast {
    /// Begins to eat in this directory.
    pub fn start(place: &Path) -> Self {
        let file = place.join("ballast");
        let stopping = Arc::new(AtomicBool::new(false));
        let (output, stop) = (File::create(&file).unwrap(), Arc::clone(&stopping));
        let eater = std::thread::spawn(move || eat(&output, &stop));
        Self { file, stopping, eater: Some(eater) }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.eater.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Large pieces first, small ones when those no longer fit. Synced, so that no block is only
/// promised.
fn eat(mut output: &File, stopping: &AtomicBool) {
    let piece = vec![b'b'; 1 << 20];
    let mut size = piece.len();
    while !stopping.load(Ordering::Relaxed) {
        match output.write(&piece[..size]) {
            Ok(_) => continue,
            Err(_) if size > 512 => size /= 2,
            Err(_) => {
                let _ = output.sync_data();
                size = piece.len();
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
