//! A second spool with every live message under its own id, beside the running daemon or without one.
//!
//! Promises that the folder holds a spool only when the backup is whole: what is under way lies in
//! `incomplete`, and goes when the backup fails. The files belong to whom the first spool's belong
//! to, where root makes them.
//! Refuses: a folder that holds anything.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::copy::{CopyError, Source, copy};
use angarium_queue::disk::RealDisk;
use angarium_queue::id::MessageId;
use angarium_queue::snapshot::Snapshot;
use angarium_queue::spool::{CommitError, Options, Spool};
use nix::unistd::{User, geteuid};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::client::{EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL, Failure};
use super::{Answer, Services, head, listing};
use crate::event;
use crate::net::clock;

/// How often progress is told.
const TELL_TIME: Duration = Duration::from_secs(1);
/// Lines of progress that may wait for the client.
const LINES: usize = 4;
/// Where a backup lies until it is whole.
const UNDER_WAY: &str = "incomplete";
/// What the spool's folder has beside messages that must survive: the routes that are paused.
const PAUSES: &str = "paused";

/// What the daemon answers, a line of JSON each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// So many messages were copied.
    Copied(usize),
    /// The backup is whole.
    Finished(Summary),
    /// There is none.
    Failed(Failure),
}

/// What a backup holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Messages.
    pub messages: usize,
    /// Octets of their content.
    pub octets: u64,
    /// Messages that could not be read: the id, and why.
    pub damaged: Vec<(String, String)>,
}

/// The spool that is copied.
pub struct Original<'a> {
    source: &'a dyn Source,
    folder: &'a Path,
    shard: u8,
    epoch: u32,
    /// Messages from here on are too young.
    limit: Option<MessageId>,
}

impl<'a> Original<'a> {
    /// A spool that nobody has open.
    pub fn at_rest(snapshot: &'a Snapshot, folder: &'a Path) -> Self {
        let (shard, epoch) = (snapshot.shard(), snapshot.epoch());
        Self { source: snapshot, folder, shard, epoch, limit: None }
    }

    /// A spool at work: what is accepted from now on stays out, lest the copy never end.
    fn at_work(spool: &'a Spool, folder: &'a Path) -> Result<Self, CommitError> {
        let (shard, epoch) = (spool.shard(), spool.epoch());
        Ok(Self { source: spool, folder, shard, epoch, limit: Some(spool.next_id()?) })
    }

    /// Makes the backup in `to`. `tell` hears now and then how many messages there are, and ends
    /// it by answering `false`.
    ///
    /// # Errors
    /// A sentence for the operator; nothing is left of the backup.
    pub fn back_up(
        &self,
        to: &Path,
        tell: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Summary, Failure> {
        let failed = |error: &io::Error| refused(to, error);
        let made = empty_folder(to, Some(self.folder)).map_err(|error| failed(&error))?;
        let work = to.join(UNDER_WAY);
        let copied = make_folder(&work, Some(self.folder))
            .map_err(|error| failed(&error))
            .and_then(|()| self.copy_to(&work, tell))
            .and_then(|summary| {
                settle(&work, to).map_err(|error| failed(&error))?;
                Ok(summary)
            });
        if copied.is_err() {
            // Both are ours alone: the folder was empty.
            let _ = fs::remove_dir_all(&work);
            let _ = if made { fs::remove_dir(to) } else { Ok(()) };
        }
        copied
    }

    fn copy_to(
        &self,
        work: &Path,
        tell: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Summary, Failure> {
        let io = |what: String| Failure { exit: EX_IOERR, message: format!("backup: {what}") };
        let disk = RealDisk::open(work).map_err(|error| io(error.to_string()))?;
        let options = Options {
            shard: self.shard,
            adopt: true,
            least_epoch: self.epoch + 1,
            background: false,
            ..Options::default()
        };
        let opened = Spool::open(Arc::new(disk), options, Box::new(|_| {}));
        let (target, _) = opened.map_err(|error| io(error.to_string()))?;
        let mut go_on = |copied: &angarium_queue::copy::Copied| tell(copied.messages);
        let copied = copy(self.source, self.limit, &target, &mut go_on);
        target.shutdown();
        let copied = copied.map_err(|error| match error {
            CopyError::Target(CommitError::Full) => {
                let message = "backup: its disk has no room".to_owned();
                Failure { exit: EX_TEMPFAIL, message }
            }
            CopyError::Target(error) => io(error.to_string()),
            CopyError::Stopped => {
                Failure { exit: EX_TEMPFAIL, message: "backup: it was stopped".to_owned() }
            }
        })?;
        match fs::read(self.folder.join(PAUSES)) {
            Ok(text) => write_paused(work, self.folder, &text).map_err(|e| io(e.to_string()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io(error.to_string())),
        }
        let damaged = copied.damaged.into_iter().map(|(id, why)| (id.to_string(), why));
        let (messages, octets) = (copied.messages, copied.octets);
        Ok(Summary { messages, octets, damaged: damaged.collect() })
    }
}

fn write_paused(work: &Path, like: &Path, text: &[u8]) -> io::Result<()> {
    let path = work.join(PAUSES);
    fs::write(&path, text)?;
    give_as(&path, like)?;
    File::open(&path)?.sync_all()
}

/// Makes a whole backup a spool: the superblock comes last.
fn settle(work: &Path, to: &Path) -> io::Result<()> {
    const LAST: &str = "superblock";
    for entry in fs::read_dir(work)? {
        let name = entry?.file_name();
        if name != LAST && name != "lock" {
            fs::rename(work.join(&name), to.join(&name))?;
        }
    }
    File::open(to)?.sync_all()?;
    fs::rename(work.join(LAST), to.join(LAST))?;
    fs::remove_dir_all(work)?;
    File::open(to)?.sync_all()
}

/// Sees to it that a folder is there and empty; whether it was made. One that is made has the
/// owner of `like`.
pub fn empty_folder(folder: &Path, like: Option<&Path>) -> io::Result<bool> {
    match fs::read_dir(folder).map(|mut entries| entries.next()) {
        Ok(None) => Ok(false),
        Ok(Some(_)) => {
            let text = "there is something in it; a new or an empty folder is needed";
            Err(io::Error::new(ErrorKind::DirectoryNotEmpty, text))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_folder(folder, like)?;
            if let Some(parent) = folder.parent().filter(|parent| parent.is_dir()) {
                File::open(parent)?.sync_all()?;
            }
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

fn make_folder(folder: &Path, like: Option<&Path>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    like.map_or(Ok(()), |like| give_as(folder, like))
}

/// What root makes belongs to whom the other path belongs to.
fn give_as(path: &Path, like: &Path) -> io::Result<()> {
    let owner = fs::metadata(like)?;
    if geteuid().is_root() && owner.uid() != 0 {
        chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// What the operator hears when a folder can't be had.
pub fn refused(folder: &Path, error: &io::Error) -> Failure {
    let who = if error.kind() == ErrorKind::PermissionDenied { writer() } else { String::new() };
    Failure { exit: EX_CANTCREAT, message: format!("{}: {error}{who}", folder.display()) }
}

fn writer() -> String {
    let uid = geteuid();
    let name = User::from_uid(uid).ok().flatten().map_or_else(String::new, |user| user.name);
    format!("; it is written by user {name} ({uid}): make it a folder that is theirs")
}

/// Answers a request for a backup: a line for each second, and the outcome.
pub(super) async fn answer(
    to: PathBuf,
    services: &Services,
    output: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    output.write_all(&head(&Answer::Done)).await?;
    let (lines, mut told) = mpsc::channel(LINES);
    let (spool, folder) = (services.spool.clone(), services.folder.clone());
    spawn_blocking(move || {
        let outcome = match beside(&spool, &folder, &to, &lines) {
            Ok(summary) => {
                event::backed_up(to.display(), summary.messages, summary.damaged.len());
                Progress::Finished(summary)
            }
            Err(failure) => {
                event::trouble("a backup failed", &failure.message);
                Progress::Failed(failure)
            }
        };
        let _ = lines.blocking_send(outcome);
    });
    while let Some(progress) = told.recv().await {
        let mut line = Vec::new();
        listing::push_line(&mut line, &progress);
        output.write_all(&line).await?;
    }
    Ok(())
}

fn beside(
    spool: &Spool,
    folder: &Path,
    to: &Path,
    lines: &mpsc::Sender<Progress>,
) -> Result<Summary, Failure> {
    let original = Original::at_work(spool, folder);
    let original = original
        .map_err(|error| Failure { exit: EX_TEMPFAIL, message: format!("backup: {error}") })?;
    let mut last = clock::instant();
    original.back_up(to, &mut |messages| {
        if last.elapsed() >= TELL_TIME {
            last = clock::instant();
            // A client that is slow misses a line.
            let _ = lines.try_send(Progress::Copied(messages));
        }
        !lines.is_closed()
    })
}
