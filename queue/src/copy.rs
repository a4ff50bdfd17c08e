//! Copying messages from one spool into another, with all that became of them.
//!
//! Promises that a message is in the copy whole, with its states, or not at all; that what cannot be
//! read is told and left out, and all else copied; and that a message which ends under way is no
//! fault. What is copied is checked by its checksums as it is read.

use std::sync::mpsc::{self, Receiver};

use bytes::Bytes;

use crate::entry::{Change, RecipientState, Stored};
use crate::id::MessageId;
use crate::op::{CommitError, NewBody, NewMessage, Op};
use crate::read::{Body, Loaded, ReadError};
use crate::snapshot::Snapshot;
use crate::spool::Spool;

/// Identifiers that are looked at at once.
const PAGE: usize = 256;
/// What may wait for the target's disk at once: messages, and octets in memory.
const WAITING_MESSAGES: usize = 256;
const WAITING_OCTETS: u64 = 1 << 20;

/// Where messages come from.
pub trait Source {
    /// Identifiers of live messages behind this one, in order.
    fn ids(&self, after: Option<MessageId>, most: usize) -> Vec<MessageId>;
    /// Reads a message back.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn load(&self, id: MessageId) -> Result<Loaded, ReadError>;
}

impl Source for Spool {
    fn ids(&self, after: Option<MessageId>, most: usize) -> Vec<MessageId> {
        self.ids(after, most)
    }

    fn load(&self, id: MessageId) -> Result<Loaded, ReadError> {
        self.load(id)
    }
}

impl Source for Snapshot {
    fn ids(&self, after: Option<MessageId>, most: usize) -> Vec<MessageId> {
        self.ids(after, most)
    }

    fn load(&self, id: MessageId) -> Result<Loaded, ReadError> {
        self.load(id)
    }
}

/// What was copied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Copied {
    /// Messages.
    pub messages: usize,
    /// Octets of their bodies.
    pub octets: u64,
    /// Messages that could not be read, and why.
    pub damaged: Vec<(MessageId, String)>,
}

/// Why a copy ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CopyError {
    /// The target took no more.
    Target(CommitError),
    /// The caller wanted no more of it.
    Stopped,
}

impl From<CommitError> for CopyError {
    fn from(error: CommitError) -> Self {
        Self::Target(error)
    }
}

/// Copies every live message before `limit` into another spool, which must adopt them. `go_on` is
/// asked now and then.
///
/// # Errors
/// See [`CopyError`]; what was copied until then is in the target.
pub fn copy(
    source: &dyn Source,
    limit: Option<MessageId>,
    target: &Spool,
    go_on: &mut dyn FnMut(&Copied) -> bool,
) -> Result<Copied, CopyError> {
    let mut copying = Copying { target, waiting: Vec::new(), octets: 0, copied: Copied::default() };
    let mut last = None;
    loop {
        let ids = source.ids(last, PAGE);
        last = ids.last().copied().or(last);
        let all = ids.is_empty();
        for id in ids.into_iter().filter(|id| limit.is_none_or(|limit| *id < limit)) {
            copying.take(source, id)?;
            if copying.is_full() {
                copying.settle()?;
                if !go_on(&copying.copied) {
                    return Err(CopyError::Stopped);
                }
            }
        }
        if all || limit.is_some_and(|limit| last >= Some(limit)) {
            copying.settle()?;
            return Ok(copying.copied);
        }
    }
}

struct Copying<'a> {
    target: &'a Spool,
    /// A batch for each message: what the writer makes of them is one group all the same.
    waiting: Vec<Receipt>,
    /// Octets of bodies in memory.
    octets: u64,
    copied: Copied,
}

impl Copying<'_> {
    fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MESSAGES || self.octets >= WAITING_OCTETS
    }

    fn take(&mut self, source: &dyn Source, id: MessageId) -> Result<(), CopyError> {
        let read = match source.load(id) {
            Ok(Loaded { stored, envelope, body }) => {
                let octets = body.len();
                self.body(id, body)?.map(|body| (octets, restore(&stored, envelope, body)))
            }
            Err(error) => Err(error),
        };
        match read {
            Ok((octets, ops)) => {
                self.copied.messages += 1;
                self.copied.octets += octets;
                self.octets += octets.min(self.target.inline_max() as u64);
                self.waiting.push(begin_commit(self.target, ops));
            }
            // The blocks of a message that ends while it is read may hold another one's body.
            Err(_) if source.ids(before(id), 1).first() != Some(&id) => {}
            Err(error) => self.copied.damaged.push((id, error.to_string())),
        }
        Ok(())
    }

    fn body(
        &self,
        id: MessageId,
        mut body: Body,
    ) -> Result<Result<NewBody, ReadError>, CommitError> {
        let octets = body.len();
        store_body(self.target, id, octets, &mut || body.next_chunk())
    }

    /// Waits until all that was taken is durable.
    fn settle(&mut self) -> Result<(), CommitError> {
        self.octets = 0;
        self.waiting.drain(..).try_for_each(Receipt::wait)
    }
}

fn before(id: MessageId) -> Option<MessageId> {
    id.as_u64().checked_sub(1).map(MessageId::from_u64)
}

/// Commits a batch and waits until it is durable.
///
/// # Errors
/// See [`CommitError`].
pub fn commit(spool: &Spool, batch: Vec<Op>) -> Result<(), CommitError> {
    begin_commit(spool, batch).wait()
}

/// Commits a batch; others may be committed before this one is waited for.
pub fn begin_commit(spool: &Spool, batch: Vec<Op>) -> Receipt {
    let (done, answer) = mpsc::channel();
    spool.commit(batch, Box::new(move |result| drop(done.send(result))));
    Receipt { answer }
}

/// A batch that is on its way to the disk.
#[derive(Debug)]
pub struct Receipt {
    answer: Receiver<Result<(), CommitError>>,
}

impl Receipt {
    /// Waits until the batch is durable.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn wait(self) -> Result<(), CommitError> {
        let gone = |_| Err(CommitError::Unavailable("the writer is gone".into()));
        self.answer.recv().unwrap_or_else(gone)
    }
}

/// Puts a body of so many octets, which comes in chunks, where a message of that size has it: in
/// memory, or on the disk. An error of its reader is the inner one; nothing is then left of it.
///
/// # Errors
/// `Full` or `Unavailable`, of the spool.
pub fn store_body<E>(
    spool: &Spool,
    id: MessageId,
    octets: u64,
    next: &mut dyn FnMut() -> Result<Option<Bytes>, E>,
) -> Result<Result<NewBody, E>, CommitError> {
    let mut parts = Vec::new();
    let mut staging =
        if octets > spool.inline_max() as u64 { Some(spool.stage(id)?) } else { None };
    loop {
        match (next(), &mut staging) {
            (Ok(Some(chunk)), Some(staging)) => staging.write(&chunk)?,
            (Ok(Some(chunk)), None) => parts.push(chunk),
            (Ok(None), _) => break,
            (Err(error), _) => return Ok(Err(error)),
        }
    }
    Ok(Ok(match staging {
        Some(staging) => NewBody::Staged(staging.finish()?),
        None => NewBody::Inline(parts),
    }))
}

/// The steps, for one batch, that make a message what it was elsewhere.
pub fn restore(stored: &Stored, envelope: Bytes, body: NewBody) -> Vec<Op> {
    let id = stored.id;
    let mut ops = vec![Op::Append(NewMessage {
        id,
        arrived_ms: stored.arrived_ms,
        tenant: stored.tenant.clone(),
        held: stored.held,
        recipients: stored.recipients.len() as u32,
        envelope,
        body,
    })];
    let numbered = (0..).zip(&stored.recipients);
    let changes: Vec<_> =
        numbered.filter_map(|(number, state)| Some((number, change_to(state)?))).collect();
    if stored.told_ms > 0 {
        ops.push(Op::Told(id, stored.told_ms));
    }
    if !stored.via.is_empty() {
        ops.push(Op::Via(id, stored.via.clone()));
    }
    if !changes.is_empty() {
        ops.push(Op::Update { id, changes });
    }
    ops
}

/// What makes a fresh recipient come to this state.
fn change_to(state: &RecipientState) -> Option<Change> {
    match state.clone() {
        RecipientState::Pending { attempts: 0, due_ms: 0, reason: None } => None,
        RecipientState::Pending { attempts, due_ms, reason } => {
            let reason = reason.unwrap_or_else(|| "".into());
            Some(Change::Deferred { attempts, due_ms, reason })
        }
        RecipientState::Delivered => Some(Change::Delivered),
        RecipientState::Taken { reason } => Some(Change::Taken { reason }),
        RecipientState::Failed { expired, reason, report_owed } => {
            Some(Change::Failed { expired, reason, report_owed })
        }
    }
}
