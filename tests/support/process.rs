//! A process of ours: started with its output in a file, ended on drop.
//!
//! Promises: `Process` signals only the process and the group that it started itself, and after
//! `end` or a drop that process is gone and reaped.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::{START, wait_until};

/// A child process whose standard output and error go to files.
#[derive(Debug)]
pub struct Process {
    child: Child,
    status: Option<ExitStatus>,
    output: PathBuf,
    error: PathBuf,
}

impl Process {
    /// Starts `command` as the leader of a process group, which is ended with it.
    pub fn start(command: &mut Command, output: &Path, error: &Path) -> Self {
        Self::start_with(command, Stdio::null(), output, error)
    }

    /// The same with another standard input than none.
    pub fn start_with(command: &mut Command, input: Stdio, output: &Path, error: &Path) -> Self {
        let append = |path: &Path| File::options().create(true).append(true).open(path).unwrap();
        let child = command
            .process_group(0)
            .stdin(input)
            .stdout(append(output))
            .stderr(append(error))
            .spawn()
            .unwrap_or_else(|fault| panic!("cannot start {command:?}: {fault}"));
        Self { child, status: None, output: output.into(), error: error.into() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if !self.has_ended() {
            kill(self.pid(), signal).unwrap();
        }
    }

    /// Whether it has ended (and is reaped).
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_some()
    }

    /// Waits for its end, ten seconds at most; None when it still runs then.
    pub fn wait(&mut self) -> Option<ExitStatus> {
        wait_until(START, || self.has_ended());
        self.status
    }

    /// Ends it: SIGTERM first, then SIGKILL to what is left of its group.
    pub fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        self.wait();
        self.kill();
    }

    /// SIGKILL, to its group as well, and reaps it.
    pub fn kill(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        if !self.has_ended() {
            self.child.kill().unwrap();
            self.status = Some(self.child.wait().unwrap());
        }
    }

    /// What it has written to standard output, so far.
    pub fn output(&self) -> String {
        read(&self.output)
    }

    /// What it has written to standard error, so far.
    pub fn error(&self) -> String {
        read(&self.error)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        let _ = kill(self.pid(), Signal::SIGTERM);
        if self.wait().is_none() {
            self.kill();
        }
    }
}

/// A file as text; empty when there is none yet.
pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The last lines of a text, for a panic message.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
