//! Peers whose packages conflict with Postfix's: unpacked by tests/run, and run in private.
//!
//! Such a peer has paths and users compiled into it that the machine does not have. It gets them
//! in a mount namespace of its own, where `/var` is a temporary directory that holds its program,
//! its configuration and its queue, and where the users and the resolver in `/etc` are ours. It
//! runs in a process namespace too: with its first process all of them end.
//!
//! Promises: nothing outside the temporary directory changes; no DNS is asked but on loopback,
//! where nobody answers. The folder is `peers` beside the build's results, or what
//! `ANGARIUM_PEERS` names.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::postfix::count_files;
use crate::support::process::{Process, tail};
use crate::support::socket::Place;
use crate::support::{START, temporary_directory, wait_until};

/// The user that Exim runs as; it has a user and a group of that number.
pub(crate) const EXIM_USER: u32 = 64_101;

/// Of each user its name and number, which is its group's as well.
const USERS: [(&str, u32); 5] = [
    ("root", 0),
    ("nobody", 65_534),
    ("Debian-exim", EXIM_USER),
    ("opensmtpd", 64_102),
    ("opensmtpq", 64_103),
];

/// Makes the namespace's files and runs the peer. Its arguments: the temporary directory, the
/// package's folder, and the command. The shell stays, as the first process of the namespace: it
/// keeps the signal that tells of the death of `unshare`, which a change of user takes away.
const ENTER: &str = "set -e
mount --bind \"$2\" \"$1/program\"
mount --rbind \"$1\" /var
for file in passwd group hosts resolv.conf; do mount --bind \"/var/etc/$file\" \"/etc/$file\"; done
shift 2
\"$@\"
exit $?";

/// Where a file of a package is: `usr/sbin/smtpd` of `opensmtpd`.
pub(crate) fn file(package: &str, name: &str) -> PathBuf {
    let beside = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers");
    let peers = std::env::var_os("ANGARIUM_PEERS").map_or_else(beside, PathBuf::from);
    peers.join(package).join(name)
}

/// Whether this machine gives us namespaces; inside most containers it does not.
pub(crate) fn namespaces_are_here() -> bool {
    let tried = unshare().arg("true").output();
    tried.is_ok_and(|tried| tried.status.success())
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    command
}

/// The directory that a peer sees as `/var`, before and while it runs there.
pub(crate) struct Unpacked {
    process: Option<Process>,
    // Last, so that it goes when the process has ended.
    directory: tempfile::TempDir,
}

impl Unpacked {
    /// One with the files of `/etc`, a place for the program, and these directories.
    pub(crate) fn new(directories: &[&str]) -> Self {
        let unpacked = Self { directory: temporary_directory(), process: None };
        for name in ["etc", "program"].iter().chain(directories) {
            std::fs::create_dir_all(unpacked.path(name)).unwrap();
        }
        let passwd = USERS.map(|(name, id)| format!("{name}:x:{id}:{id}::/:/bin/false\n"));
        let group = USERS.map(|(name, id)| format!("{name}:x:{id}:\n"));
        unpacked.write("etc/passwd", &passwd.concat());
        unpacked.write("etc/group", &group.concat());
        unpacked.write("etc/hosts", "127.0.0.1 localhost\n");
        unpacked.write("etc/resolv.conf", "nameserver 127.0.0.1\n");
        unpacked
    }

    /// Writes a file that the peer finds below `/var`.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Gives a directory to a user and its group.
    pub(crate) fn give(&self, name: &str, user: u32) {
        chown(self.path(name), Some(user), Some(user)).unwrap();
    }

    /// Starts the peer, and waits until it listens.
    pub(crate) fn start(&mut self, package: &str, command: &[&str], address: SocketAddr) {
        let mut unshare = unshare();
        unshare.args(["sh", "-c", ENTER, "sh"]).arg(self.directory.path());
        unshare.arg(file(package, "")).args(command);
        // The libraries that came with the package.
        unshare.env("LD_LIBRARY_PATH", "/var/program/lib");
        let mut process = Process::start(&mut unshare, &self.path("output"), &self.path("error"));
        let place = Place::Tcp(address);
        let up = wait_until(START, || process.has_ended() || place.connect().is_ok());
        let good = up && !process.has_ended();
        assert!(good, "{package} does not start:\n{}{}", process.output(), process.error());
        self.process = Some(process);
    }

    /// Waits until no file is left in the directories of its queue; panics with the end of its
    /// log when `limit` has passed.
    #[track_caller]
    pub(crate) fn drain(&self, queue: &[&str], log: &str, limit: Duration) {
        let empty = || queue.iter().all(|name| count_files(&self.path(name)) == 0);
        let drained = wait_until(limit, empty);
        assert!(drained, "the peer keeps mail:\n{}", tail(&self.read(log), 30));
    }

    /// A file of the peer's as text.
    pub(crate) fn read(&self, name: &str) -> String {
        crate::support::process::read(&self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Unpacked {
    /// SIGTERM does not pass `unshare`. SIGKILL needs nobody's help: the queue goes anyway.
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }
}
