//! The spool on the disk: `queue fsck` and `queue backup`, and how all tools get at it.
//!
//! Promises that a tool never works beside a running daemon on the same spool, and that reading
//! one changes nothing; a backup beside a running daemon is made by that daemon.

use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, absolute};
use std::sync::Arc;

use angarium_queue::disk::ReadOnlyDisk;
use angarium_queue::fsck::{self, Report};
use angarium_queue::snapshot::Snapshot;
use angarium_queue::spool::OpenError;
use bytesize::ByteSize;
use serde_json::json;

use super::print;
use crate::config::Config;
use crate::control::Request;
use crate::control::backup::{Original, Progress, Summary};
use crate::control::client::{
    self, EX_DATAERR, EX_IOERR, EX_NOINPUT, EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE, Failure,
};

/// Files of the daemon in the folder of its spool.
const OF_THE_DAEMON: &[&str] = &[
    "control",
    "limits",
    "limits.new",
    "local",
    "logins",
    "logins.new",
    "paused",
    "paused.new",
    "recipients",
    "recipients.new",
    "self-signed.key",
    "self-signed.new",
    "self-signed.pem",
];

/// Why the spool can't be had.
pub(super) fn refusal(error: &io::Error) -> Failure {
    let (exit, remedy) = match error.kind() {
        ErrorKind::NotFound => (EX_NOINPUT, ""),
        ErrorKind::WouldBlock => (
            EX_TEMPFAIL,
            "; stop the daemon, or work on a copy that `angarium queue backup` makes beside it",
        ),
        ErrorKind::PermissionDenied => (EX_NOPERM, ""),
        _ => (EX_IOERR, ""),
    };
    Failure { exit, message: format!("{error}{remedy}") }
}

/// Why the spool can't be read.
pub(super) fn unreadable(spool: &Path, error: OpenError) -> Failure {
    match error {
        OpenError::Io(error) => refusal(&error),
        other => {
            Failure { exit: EX_DATAERR, message: format!("spool {}: {other}", spool.display()) }
        }
    }
}

fn open(config: &Config) -> io::Result<Arc<ReadOnlyDisk>> {
    ReadOnlyDisk::open(&config.spool).map(Arc::new)
}

/// What the spool holds.
pub(super) fn snapshot(config: &Config) -> Result<Snapshot, Failure> {
    let disk = open(config).map_err(|error| refusal(&error))?;
    Snapshot::open(disk).map_err(|error| unreadable(&config.spool, error))
}

/// The failure of a tool that could not read everything.
pub(super) fn damage_found(places: usize) -> Failure {
    let plural = if places == 1 { "" } else { "s" };
    Failure { exit: EX_DATAERR, message: format!("damage in {places} place{plural}") }
}

pub(super) fn fsck(config: &Config, as_json: bool) -> Result<(), Failure> {
    let disk = open(config).map_err(|error| refusal(&error))?;
    let report =
        fsck::check(disk, OF_THE_DAEMON).map_err(|error| unreadable(&config.spool, error))?;
    let text = if as_json { json(&report) } else { text(&report, &config.spool) };
    print(text.as_bytes());
    match report.damage.len() {
        0 => Ok(()),
        places => Err(damage_found(places)),
    }
}

fn text(report: &Report, spool: &Path) -> String {
    let segments = &report.segments;
    let mut text = format!(
        "spool      {}\nmessages   {}, {}\nsegments   {} of the log, {} of large bodies, {} free",
        spool.display(),
        report.messages,
        ByteSize(report.octets),
        segments.log,
        segments.bulk,
        segments.free
    );
    if segments.unknown > 0 {
        text.push_str(&format!(", {} of which nothing can be told", segments.unknown));
    }
    text.push('\n');
    for (what, names) in [("set aside", &report.set_aside), ("strangers", &report.strangers)] {
        if !names.is_empty() {
            text.push_str(&format!("{what}  {}\n", names.join(", ")));
        }
    }
    for damage in &report.damage {
        text.push_str(&format!("damage     {damage}\n"));
    }
    if report.damage.is_empty() {
        text.push_str("no damage\n");
    }
    text
}

fn json(report: &Report) -> String {
    let segments = &report.segments;
    let damage = report.damage.iter().map(|damage| {
        json!({
            "file": damage.file,
            "offset": damage.offset,
            "octets": damage.octets,
            "what": damage.what,
        })
    });
    let report = json!({
        "messages": report.messages,
        "octets": report.octets,
        "segments": {
            "log": segments.log,
            "bulk": segments.bulk,
            "free": segments.free,
            "unknown": segments.unknown,
        },
        "damage": damage.collect::<Vec<_>>(),
        "set_aside": report.set_aside,
        "strangers": report.strangers,
    });
    format!("{report}\n")
}

pub(super) fn backup(config: &Config, folder: &Path) -> Result<(), Failure> {
    // The daemon stands elsewhere.
    let to = absolute(folder).map_err(|error| refusal(&error))?;
    let summary = match open(config) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => beside_the_daemon(config, &to)?,
        Err(error) => return Err(refusal(&error)),
        Ok(disk) => {
            let snapshot =
                Snapshot::open(disk).map_err(|error| unreadable(&config.spool, error))?;
            for damage in &snapshot.report().damage {
                eprintln!("{damage}");
            }
            let made = Original::at_rest(&snapshot, &config.spool).back_up(&to, &mut show)?;
            finish(&made, &to);
            let places = snapshot.report().damage.len() + made.damaged.len();
            return if places == 0 { Ok(()) } else { Err(damage_found(places)) };
        }
    };
    finish(&summary, &to);
    match summary.damaged.len() {
        0 => Ok(()),
        places => Err(damage_found(places)),
    }
}

fn finish(summary: &Summary, to: &Path) {
    for (id, why) in &summary.damaged {
        eprintln!("{id}: {why}");
    }
    let plural = if summary.messages == 1 { "" } else { "s" };
    let (messages, size) = (summary.messages, ByteSize(summary.octets));
    println!("{messages} message{plural}, {size}, in the spool {}", to.display());
}

fn show(messages: usize) -> bool {
    if io::stderr().is_terminal() {
        eprintln!("{messages} messages so far");
    }
    true
}

fn beside_the_daemon(config: &Config, to: &Path) -> Result<Summary, Failure> {
    let mut outcome = None;
    let request = Request::Backup(to.to_owned());
    let followed = client::follow(&config.control_socket(), &request, |progress| match progress {
        Progress::Copied(messages) => drop(show(messages)),
        Progress::Finished(summary) => outcome = Some(Ok(summary)),
        Progress::Failed(failure) => outcome = Some(Err(failure)),
    });
    followed?;
    outcome.unwrap_or_else(|| {
        let message = "the daemon ended before the backup was whole".to_owned();
        Err(Failure { exit: EX_UNAVAILABLE, message })
    })
}
