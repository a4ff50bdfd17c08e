//! The daemon under strace, which answers chosen system calls with an error of the disk.
//!
//! Promises: the process that is started is the daemon itself, strace only follows it; both are in
//! one process group. What was injected is on record, so that a test can tell that its fault came.
//! strace counts the calls of each thread by itself: "the third" is the third of every thread.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::read;

/// What makes written octets durable.
pub const SYNC: &str = "fdatasync";
/// That, and what makes names durable.
pub const EVERY_SYNC: &str = "fdatasync,fsync";
/// What writes at an offset, as only files are written.
pub const WRITE: &str = "pwrite64,pwritev,pwritev2";
/// What takes space for a file.
pub const ALLOCATE: &str = "fallocate";

/// Which calls fail, how, and when.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The system calls.
    pub calls: &'static str,
    /// The name of the error.
    pub error: &'static str,
    /// `3`: the third of a thread; `3+`: all from it on; `3..5`: three of them.
    pub when: &'static str,
}

impl Fault {
    /// The command that runs another with this fault; its record goes to a file.
    pub fn command(&self, record: &Path) -> Command {
        let Self { calls, error, when } = self;
        let mut command = Command::new("strace");
        // The daemon is the direct child (-D), and other calls run at full speed (--seccomp-bpf).
        command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-ttt", "-T", "-o"]).arg(record);
        command.args(["-e", &format!("trace={calls},{EVERY_SYNC}")]);
        command.args(["-e", &format!("inject={calls}:error={error}:when={when}"), "--"]);
        command
    }
}

/// Where the record of a daemon in this directory is.
pub fn record(directory: &Path) -> PathBuf {
    directory.join("strace")
}

/// Whether a fault has been injected, by the record.
pub fn has_struck(record: &Path) -> bool {
    read(record).contains("(INJECTED)")
}

/// A sync that has succeeded: when it began and ended, in seconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Sync {
    /// Not before the daemon asked for it.
    pub began: f64,
    /// Before the daemon went on.
    pub ended: f64,
}

/// The syncs that have succeeded, by the record.
pub fn syncs(record: &Path) -> Vec<Sync> {
    let mut unfinished = HashMap::new();
    read(record).lines().filter_map(|line| sync(line, &mut unfinished)).collect()
}

/// `THREAD TIME fdatasync(9) = 0 <SECONDS>`; or two lines, where another thread came between:
/// `THREAD TIME fdatasync(9 <unfinished ...>`, `THREAD TIME <... fdatasync resumed>) = 0 <SECONDS>`.
fn sync(line: &str, unfinished: &mut HashMap<String, f64>) -> Option<Sync> {
    let (thread, rest) = line.split_once(' ')?;
    let (time, call) = rest.trim_start().split_once(' ')?;
    let time: f64 = time.parse().ok()?;
    let name = call.trim_start_matches("<... ").split(['(', ' ']).next()?;
    if !EVERY_SYNC.split(',').any(|sync| sync == name) {
        return None;
    }
    if call.ends_with("<unfinished ...>") {
        unfinished.insert(thread.to_owned(), time);
        return None;
    }
    let resumed = unfinished.remove(thread).filter(|_| call.starts_with("<..."));
    let (_, result) = call.rsplit_once(") = ").or_else(|| call.rsplit_once("= "))?;
    let seconds = result.strip_prefix("0 <")?.strip_suffix('>')?;
    let began = resumed.unwrap_or(time);
    Some(Sync { began, ended: began + seconds.parse::<f64>().ok()? })
}

/// Says loudly what is left out when strace is not installed.
pub fn strace_is_here() -> bool {
    let here = Command::new("strace").arg("-V").output().is_ok();
    if !here {
        let required = std::env::var_os("ANGARIUM_REQUIRE_PEERS").is_some();
        assert!(!required, "strace is missing; tests/run installs it");
        // Past the capture of a passing test's output, which would swallow it.
        let _ = writeln!(std::io::stderr(), "LEFT OUT: strace is not installed");
    }
    here
}
