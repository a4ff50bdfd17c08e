//! The daemon under test: one process, one spool, one configuration file.
//!
//! Promises: `start` returns when the listener accepts connections, or panics with the log. The
//! process is killed on drop. `restart` comes back on the same port, spool and configuration.
//! `ANGARIUM_BINARY` names another binary than the one just built.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::process::{Process, read, tail};
use super::{START, free_port, loopback, temporary_directory, wait_until};

/// The name that every daemon under test calls itself.
pub const HOSTNAME: &str = "angarium.test";

/// Where a daemon lives: its directory and its port, known before its configuration is written.
#[derive(Debug)]
pub struct Site {
    /// Holds the configuration, the spool, the control socket and the log; goes on drop.
    pub directory: tempfile::TempDir,
    /// Where its first listener is bound.
    pub address: SocketAddr,
}

impl Site {
    /// A fresh directory and a free port.
    pub fn new() -> Self {
        Self { directory: temporary_directory(), address: loopback(free_port()) }
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A whole configuration: ours, with what the test adds to each part.
    pub fn configuration(&self, parts: &Parts<'_>) -> String {
        let Parts { top, listener, tables } = parts;
        let spool = self.path("spool");
        let socket = self.path("control");
        format!(
            "hostname = \"{HOSTNAME}\"\nspool = {spool:?}\n{top}\n\n\
             [[listener]]\nbind = \"{}\"\nrole = \"mx\"\n{listener}\n\n\
             [control]\nsocket = {socket:?}\n\n\
             [log]\nformat = \"json\"\n\n{tables}\n",
            self.address
        )
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// What a test adds to the configuration.
#[derive(Debug, Default, Clone, Copy)]
pub struct Parts<'a> {
    /// Top-level keys beside hostname and spool.
    pub top: &'a str,
    /// Keys of the first listener beside bind and role.
    pub listener: &'a str,
    /// Tables: `[[domain]]`, `[relay]`, `[[route]]`, `[queue]`, …; not `[control]` nor `[log]`.
    pub tables: &'a str,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    site: Site,
}

impl Daemon {
    /// Starts one with the tables of the test, and defaults for all the rest.
    pub fn start(tables: &str) -> Self {
        Self::start_with(&Parts { tables, ..Parts::default() })
    }

    /// Starts one with keys of the test in every part.
    pub fn start_with(parts: &Parts<'_>) -> Self {
        let site = Site::new();
        let text = site.configuration(parts);
        Self::start_at(site, &text)
    }

    /// Starts one at a prepared site with exactly this configuration.
    pub fn start_at(site: Site, configuration: &str) -> Self {
        std::fs::write(site.path("angarium.toml"), configuration).unwrap();
        let process = Self::spawn(&site, Command::new(binary()));
        let mut daemon = Self { process, site };
        daemon.await_listener();
        daemon
    }

    fn spawn(site: &Site, mut command: Command) -> Process {
        command.args(["serve", "--config"]).arg(site.path("angarium.toml"));
        command.current_dir(site.directory.path());
        Process::start(&mut command, &site.path("output"), &site.path("log"))
    }

    fn listens_or_ends(&mut self) -> bool {
        let address = self.site.address;
        wait_until(START, || self.process.has_ended() || TcpStream::connect(address).is_ok())
    }

    fn await_listener(&mut self) {
        let up = self.listens_or_ends();
        let ended = self.process.has_ended();
        assert!(up && !ended, "the daemon does not listen; its log:\n{}", self.log());
    }

    /// Where the first listener is.
    pub fn addr(&self) -> SocketAddr {
        self.site.address
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A path in the daemon's directory: `spool`, `angarium.toml`, `control`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.site.path(name)
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill_9(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; the exit status, or a panic when it still runs after ten seconds.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::SIGTERM);
        self.process
            .wait()
            .unwrap_or_else(|| panic!("SIGTERM does not end the daemon:\n{}", self.log_tail()))
    }

    /// SIGHUP: read the configuration again.
    pub fn hangup(&mut self) {
        self.process.signal(Signal::SIGHUP);
    }

    /// Ends it, if it still runs, and starts it again on the same spool and port.
    pub fn restart(&mut self) {
        if !self.process.has_ended() {
            self.terminate();
        }
        self.process = Self::spawn(&self.site, Command::new(binary()));
        self.await_listener();
    }

    /// Ends it, and starts it again by a command that takes the daemon's own behind its arguments
    /// and becomes it. Such a start may fail: the daemon listens then, or has ended.
    pub fn restart_under(&mut self, mut wrapper: Command) {
        if !self.process.has_ended() {
            self.terminate();
        }
        wrapper.arg(binary());
        self.process = Self::spawn(&self.site, wrapper);
        let up = self.listens_or_ends();
        assert!(up, "the daemon neither listens nor ends; its log:\n{}", self.log());
    }

    /// Writes another configuration to its file; a hangup or a restart makes it count.
    pub fn rewrite(&self, parts: &Parts<'_>) {
        let text = self.site.configuration(parts);
        std::fs::write(self.site.path("angarium.toml"), text).unwrap();
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// The exit status, when it ends by itself within ten seconds.
    pub fn wait(&mut self) -> Option<ExitStatus> {
        self.process.wait()
    }

    /// All log lines so far, of every start.
    pub fn log(&self) -> String {
        read(&self.site.path("log"))
    }

    /// The last log lines, for a panic message.
    pub fn log_tail(&self) -> String {
        tail(&self.log(), 40)
    }

    /// Runs `angarium queue ARGUMENTS`: its standard output and exit code.
    pub fn queue(&self, arguments: &[&str]) -> (String, i32) {
        let (output, code) = self.queue_octets(arguments);
        (String::from_utf8(output).unwrap(), code)
    }

    /// The same with the output as octets, for `queue cat`.
    pub fn queue_octets(&self, arguments: &[&str]) -> (Vec<u8>, i32) {
        self.ask("queue", arguments)
    }

    /// Runs `angarium route ARGUMENTS`: its standard output and exit code.
    pub fn route(&self, arguments: &[&str]) -> (String, i32) {
        let (output, code) = self.ask("route", arguments);
        (String::from_utf8(output).unwrap(), code)
    }

    /// Runs `angarium limits ARGUMENTS`: its standard output and exit code.
    pub fn limits(&self, arguments: &[&str]) -> (String, i32) {
        let (output, code) = self.ask("limits", arguments);
        (String::from_utf8(output).unwrap(), code)
    }

    fn ask(&self, command: &str, arguments: &[&str]) -> (Vec<u8>, i32) {
        let done = Command::new(binary())
            .arg(command)
            .args(arguments)
            .arg("--config")
            .arg(self.site.path("angarium.toml"))
            .output()
            .unwrap();
        (done.stdout, done.status.code().unwrap_or(-1))
    }

    /// The messages in the queue, as `queue ls --json` lists them.
    pub fn rows(&self) -> Vec<Value> {
        let (output, code) = self.queue(&["ls", "--json"]);
        assert_eq!(code, 0, "queue ls --json fails; it printed:\n{output}");
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until the queue is empty; panics with what is left in it when `limit` has passed.
    pub fn drain(&self, limit: Duration) {
        if wait_until(limit, || self.rows().is_empty()) {
            return;
        }
        let (left, _) = self.queue(&["ls", "--json"]);
        panic!("still queued:\n{left}\nthe log ends:\n{}", self.log_tail());
    }
}

impl Drop for Daemon {
    /// A panic in the daemon is a fault of ours, even where the test has not felt it.
    fn drop(&mut self) {
        self.process.kill();
        let log = self.log();
        if !std::thread::panicking() {
            assert!(!log.contains("panicked at"), "the daemon has panicked:\n{log}");
        }
    }
}

/// The program under test.
pub fn binary() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_angarium"));
    std::env::var_os("ANGARIUM_BINARY").map_or_else(|| built.to_path_buf(), PathBuf::from)
}
