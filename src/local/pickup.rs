//! Empties the maildrop: at the start, and every few seconds from then on.
//!
//! A letter goes the way of one that came by the socket: through a session, as the account that owns
//! the file. Promises that a file is removed only after the message is in the queue; that a letter
//! which is refused is told to its sender by a report, and kept aside where that can't be; that a
//! letter which is refused for now holds up none of other accounts; and that what can be neither
//! taken nor moved is told of once.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Letter;
use super::folder::Ends;
use super::hand_over::{Refused, Verdict, hand_over};
use super::host::Host;
use super::maildrop::{self, Found};
use crate::event;
use crate::net::clock;
use crate::receive::Caller;
use crate::report::{Action, Original, Recipient, Report};
use crate::syntax::path::Mailbox;

/// How often the maildrop is looked at, and how often while something in it is refused for now.
const LOOK_TIME: Duration = Duration::from_secs(2);
const RETRY_TIME: Duration = Duration::from_secs(30);
/// Names of one look; what is beyond waits until there are fewer.
const NAMES_MAX: usize = 100_000;
/// A writer that has not finished by then is dead.
const UNFINISHED_MS_MAX: u64 = 24 * 3600 * 1000;

/// What became of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// It is gone from the maildrop, or will be once its writer has finished.
    Done,
    /// It is refused for now, as others of this account would be.
    Waits(u32),
    /// It can't be taken, and why.
    Bad(String),
}

/// Empties the maildrop until `stop`.
pub async fn run(host: Arc<Host>, ends: Ends, mut stop: watch::Receiver<bool>) {
    let mut pickup = Pickup { host, ends, stuck: HashSet::new() };
    loop {
        let pause = pickup.look(&stop).await;
        if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

struct Pickup {
    host: Arc<Host>,
    ends: Ends,
    /// What could not be moved out of the way.
    stuck: HashSet<PathBuf>,
}

impl Pickup {
    /// Takes what is there; how long to wait for the next look.
    async fn look(&mut self, stop: &watch::Receiver<bool>) -> Duration {
        let folder = self.ends.maildrop();
        let paths = match spawn_blocking(move || list(&folder)).await {
            Ok(Ok(paths)) => paths,
            Ok(Err(error)) => {
                event::trouble("the maildrop can't be read", error);
                return RETRY_TIME;
            }
            Err(_) => return RETRY_TIME,
        };
        self.stuck.retain(|path| paths.contains(path));
        let mut waiting = HashSet::new();
        for path in paths {
            if *stop.borrow() {
                break;
            }
            if self.stuck.contains(&path) || owner(&path).is_some_and(|uid| waiting.contains(&uid))
            {
                continue;
            }
            match self.take(&path).await {
                Step::Done => {}
                Step::Waits(uid) => drop(waiting.insert(uid)),
                Step::Bad(why) => self.set_aside(path, &why),
            }
        }
        if waiting.is_empty() { LOOK_TIME } else { RETRY_TIME }
    }

    async fn take(&self, path: &Path) -> Step {
        let octets_max = self.host.current().rules.settings.limits.message_octets_max;
        let file = path.to_owned();
        match spawn_blocking(move || maildrop::read(&file, octets_max)).await {
            Ok(Found::Letter(uid, letter)) => self.submit(path, uid, &letter).await,
            Ok(Found::Unfinished(since_ms)) => {
                match clock::now_ms().saturating_sub(since_ms) > UNFINISHED_MS_MAX {
                    true => Step::Bad("it was never finished, or may not be read".to_owned()),
                    false => Step::Done,
                }
            }
            Ok(Found::Gone) | Err(_) => Step::Done,
            Ok(Found::Bad(why)) => Step::Bad(why),
        }
    }

    async fn submit(&self, path: &Path, uid: u32, letter: &Letter) -> Step {
        let caller = match self.host.caller(uid).await {
            Ok(caller) => caller,
            Err(why) => return Step::Bad(why),
        };
        match self.hand_in(&caller, letter).await {
            Verdict::NotNow(why) => {
                event::trouble("a letter waits in the maildrop", why);
                return Step::Waits(uid);
            }
            Verdict::Accepted(refused) if refused.is_empty() => {}
            Verdict::Accepted(refused) | Verdict::Refused(refused) => {
                if let Err(why) = self.tell(&caller, letter, &refused).await {
                    return Step::Bad(why);
                }
            }
        }
        match std::fs::remove_file(path) {
            Ok(()) => Step::Done,
            // Where it stays, it would be sent again.
            Err(error) => Step::Bad(format!("it was sent, and can't be removed: {error}")),
        }
    }

    /// Through a session of our own, as if the caller had connected.
    async fn hand_in(&self, caller: &Caller, letter: &Letter) -> Verdict {
        let (ours, theirs) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => return Verdict::NotNow(error.to_string()),
        };
        let (host, caller) = (Arc::clone(&self.host), caller.clone());
        // A task of its own: a session that panics is one letter that waits.
        let served = tokio::spawn(async move { host.serve(theirs, caller).await });
        let hostname = self.host.current().report.hostname.clone();
        let verdict = hand_over(ours, &hostname, letter).await;
        let _ = served.await;
        verdict
    }

    /// Reports to the sender who was refused; the error says why that could not be.
    async fn tell(
        &self,
        caller: &Caller,
        letter: &Letter,
        refused: &[Refused],
    ) -> Result<(), String> {
        let said = refused.first().map_or_else(
            || "it has no recipient".to_owned(),
            |(address, reply)| format!("{address} {}", reply.one_line()),
        );
        // Who may not use an address may not have it written to, either.
        let to = caller
            .bound_to
            .as_ref()
            .map(|bound| bound.own.clone())
            .or_else(|| letter.from.parse().ok());
        let Some(to) = to else {
            return Err(format!("it was refused: {said}; and it names no sender"));
        };
        let report = self.report(&to, letter, refused);
        match self.hand_in(caller, &report).await {
            Verdict::Accepted(_) => Ok(()),
            Verdict::NotNow(why) => Err(format!("it was refused: {said}; no report: {why}")),
            Verdict::Refused(_) => Err(format!("it was refused: {said}; so was the report")),
        }
    }

    fn report(&self, to: &Mailbox, letter: &Letter, refused: &[Refused]) -> Letter {
        let now_ms = clock::now_ms();
        let id = format!("{:x}.{:x}", now_ms, fastrand::u64(..));
        let whole = refused.iter().find(|(address, _)| address.is_empty());
        let reason = |address: &str| {
            let of_one = refused.iter().find(|(refused, _)| refused == address);
            whole.or(of_one).map(|(_, reply)| format!("said {}", reply.one_line()))
        };
        let told = |address: &String| {
            Some(Recipient {
                reason: reason(address)?,
                address: address.clone(),
                original: None,
                expired: false,
                remote: None,
                attempted_ms: Some(now_ms),
            })
        };
        let recipients: Vec<Recipient> = letter.recipients.iter().filter_map(told).collect();
        let written = Report {
            id: &id,
            now_ms,
            to,
            action: Action::Failed,
            recipients: &recipients,
            original: Original {
                id: &id,
                arrived_ms: now_ms,
                envelope_id: None,
                deliver_by_ms: None,
                content: &letter.content,
                whole: true,
                ret: None,
                utf8: false,
            },
            others: &[],
            date: clock::date,
        };
        let content = written.write(&self.host.current().report).content;
        Letter { from: String::new(), recipients: vec![to.to_string()], content }
    }

    /// Keeps a file that can't be taken where the operator finds it.
    fn set_aside(&mut self, path: PathBuf, why: &str) {
        let Some(name) = path.file_name() else { return };
        let to = self.ends.damaged().join(name);
        let what = match std::fs::rename(&path, &to) {
            Ok(()) => format!("{}: {why}", to.display()),
            Err(error) => {
                let what = format!("{}: {why}; and it can't be moved: {error}", path.display());
                self.stuck.insert(path);
                what
            }
        };
        event::trouble("a file of the maildrop was set aside", what);
    }
}

/// Whose a file is.
fn owner(path: &Path) -> Option<u32> {
    std::fs::symlink_metadata(path).ok().map(|meta| meta.uid())
}

/// What is there, the oldest first by their names.
fn list(folder: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.take(NAMES_MAX);
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}
