//! smtp-sink, the next hop that keeps or counts everything.
//!
//! Promises: it listens on loopback and writes into a temporary directory. A dump is parsed back
//! into the octets that came over the wire: the lines that smtp-sink puts in front stay as trace
//! fields, line ends become CRLF again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::compare::trace_fields;
use crate::support::corpus::to_crlf;
use crate::support::process::Process;
use crate::support::socket::Place;
use crate::support::{START, free_port, loopback, open_to_all, temporary_directory, wait_until};

/// The name that smtp-sink calls itself.
pub(crate) const HOSTNAME: &str = "sink.test";

/// A running smtp-sink.
pub(crate) struct Sink {
    address: SocketAddr,
    process: Process,
    // Last, so that it goes when the process has ended.
    directory: tempfile::TempDir,
}

impl Sink {
    /// One that dumps each message into a file.
    pub(crate) fn dumping() -> Self {
        let directory = temporary_directory();
        let dumps = directory.path().join("dumps");
        std::fs::create_dir(&dumps).unwrap();
        open_to_all(&dumps, 0o777);
        let template = format!("{}/%s.", dumps.display());
        Self::start(directory, &["-d", &template])
    }

    /// One that only counts, and keeps nothing.
    pub(crate) fn counting() -> Self {
        Self::start(temporary_directory(), &["-c"])
    }

    fn start(directory: tempfile::TempDir, options: &[&str]) -> Self {
        let address = loopback(free_port());
        let mut command = Command::new("smtp-sink");
        command.current_dir(directory.path()).args(["-u", "nobody", "-h", HOSTNAME]);
        command.args(options).arg(address.to_string()).arg("200");
        let (output, error) = (directory.path().join("output"), directory.path().join("error"));
        let mut process = Process::start(&mut command, &output, &error);
        let up = wait_until(START, || process.has_ended() || Place::Tcp(address).connect().is_ok());
        assert!(up && !process.has_ended(), "smtp-sink: {}", process.error());
        Self { directory, process, address }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `via` or `deliver` for it.
    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// How many messages the counting sink has taken.
    pub(crate) fn count(&self) -> usize {
        let output = self.process.output();
        let last = output.rsplit("mesg=").next().unwrap_or_default();
        let digits: String = last.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    /// Waits until so many whole dumps are there.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize, limit: std::time::Duration) {
        let arrived = wait_until(limit, || self.files().len() >= count);
        assert!(arrived, "{} of {count} messages are in the sink", self.files().len());
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path().join("dumps")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The dumps, by their recipient; panics when one has been given two messages, or a message
    /// has several recipients.
    #[track_caller]
    pub(crate) fn by_recipient(&self) -> HashMap<String, Vec<u8>> {
        let mut messages = HashMap::new();
        for file in self.files() {
            let dump = std::fs::read(&file).unwrap();
            // Behind the content smtp-sink writes an empty line, as mailbox files want it.
            let octets = to_crlf(dump.strip_suffix(b"\n").unwrap());
            let (fields, _) = trace_fields(&octets);
            let mut to = fields.iter().filter(|(name, _)| name == "X-Rcpt-Args");
            let (Some((_, recipient)), None) = (to.next(), to.next()) else {
                panic!("not one recipient: {fields:?}");
            };
            let address = recipient.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            let twice = messages.insert(address.clone(), octets);
            assert!(twice.is_none(), "{address} has been given two messages");
        }
        messages
    }
}
