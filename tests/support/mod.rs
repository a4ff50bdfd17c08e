//! What the tests share that run the daemon from outside.
//!
//! `Daemon` starts the program and takes it away again, `smtp::Client` speaks to it octet by
//! octet, `store::Store` stands in for a mailstore or a next hop, `dns::Dns` for a name server,
//! `corpus()` gives messages.
//! Promises: servers listen on loopback only, each in a temporary directory or on a port of its
//! own; every wait is bounded; what was started here is ended by its process id, and nothing else
//! is. A helper that cannot do its work panics with what it saw.

#![allow(dead_code, reason = "each test target uses its own share of the helpers")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(unreachable_pub, reason = "every test target includes these modules")]

pub mod corpus;
pub mod daemon;
pub mod dns;
pub mod numbered;
pub mod process;
pub mod smtp;
pub mod socket;
pub mod store;
pub mod tls;
pub mod users;

#[allow(unused_imports, reason = "each test target uses its own share of the helpers")]
pub use {corpus::corpus, daemon::Daemon};

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take until it listens, or until it has ended.
pub const START: Duration = Duration::from_secs(10);

/// How long a handful of messages may take on their way.
pub const ARRIVAL: Duration = Duration::from_secs(60);

/// Whether the long forms of the tests are asked for.
pub fn long() -> bool {
    std::env::var_os("ANGARIUM_LONG").is_some()
}

/// Asks `condition` every 10 ms until it holds; false when `limit` has passed before.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A loopback port that nobody listens on, outside the range the system picks from by itself.
///
/// It is this process's as long as it lives: a lock says so to the tests that run beside it. Without
/// that a daemon that is down for a moment could come back to find another test's in its place.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() * 61 % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (begin + step) % COUNT;
        if reserve(port) && TcpListener::bind(loopback(port)).is_ok() {
            return port;
        }
    }
    panic!("no loopback port is free");
}

/// Takes the lock of a port; it goes with the process.
fn reserve(port: u16) -> bool {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("angarium-ports");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = File::options().create(true).append(true).open(folder.join(port.to_string()));
    let lock = lock.unwrap();
    let ours = lock.try_lock().is_ok();
    if ours {
        HELD.lock().unwrap().push(lock);
    }
    ours
}

/// 127.0.0.1 with a port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A fresh temporary directory that daemons under another user may pass through.
pub fn temporary_directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("angarium-harness-").tempdir().unwrap();
    open_to_all(directory.path(), 0o755);
    directory
}

/// Sets the permissions of a file or directory.
pub fn open_to_all(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
