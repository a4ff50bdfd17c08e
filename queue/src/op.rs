//! What may be committed: new messages, changes to recipients, and the operator's verbs.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::is_full;
use crate::entry::Change;
use crate::id::MessageId;
use crate::record::RECIPIENTS_MAX;
use crate::staging::Staged;

/// A message to be stored.
#[derive(Debug)]
pub struct NewMessage {
    /// From [`Spool::next_id`](crate::spool::Spool::next_id).
    pub id: MessageId,
    /// When it arrived, in ms since the epoch.
    pub arrived_ms: u64,
    /// On whose account it is.
    pub tenant: Arc<str>,
    /// Accept it, but hold it until the operator releases it.
    pub held: bool,
    /// How many recipients it has; changes name them by index from 0. The envelope has an octet for
    /// each at least, so that no damage can make a short record claim a million.
    pub recipients: u32,
    /// What the caller wants back with it; the spool does not look inside.
    pub envelope: Bytes,
    /// The body.
    pub body: NewBody,
}

impl NewMessage {
    /// Refuses what breaks a limit.
    pub(crate) fn check(&self, inline_max: usize) -> Result<(), CommitError> {
        let why = match &self.body {
            NewBody::Inline(_) if self.body.octets() > inline_max as u64 => {
                format!("a body of more than {inline_max} octets must be staged")
            }
            NewBody::Staged(staged) if staged.id() != self.id => {
                "the body was staged for another message".into()
            }
            _ if self.recipients > RECIPIENTS_MAX => {
                format!("a message may have {RECIPIENTS_MAX} recipients")
            }
            _ if self.recipients as usize > self.envelope.len() => {
                "each recipient takes an octet of the envelope at least".into()
            }
            _ => return Ok(()),
        };
        Err(CommitError::Unavailable(why))
    }
}

/// The body of a new message.
#[derive(Debug)]
pub enum NewBody {
    /// In memory; the parts are stored one after the other.
    Inline(Vec<Bytes>),
    /// Staged before, by [`Spool::stage`](crate::spool::Spool::stage) under the same id.
    Staged(Staged),
}

impl NewBody {
    /// The checksum of a body in memory; a staged one has it already.
    pub(crate) fn inline_crc(&self) -> u32 {
        let Self::Inline(parts) = self else { return 0 };
        let mut hasher = crc32fast::Hasher::new();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize()
    }

    pub(crate) fn octets(&self) -> u64 {
        match self {
            Self::Inline(parts) => parts.iter().map(|part| part.len() as u64).sum(),
            Self::Staged(staged) => staged.octets(),
        }
    }
}

/// One step of a batch. Steps that name a message the spool does not have change nothing.
#[derive(Debug)]
pub enum Op {
    /// Store a message. Repeated for an id that is or was stored, it changes nothing.
    Append(NewMessage),
    /// Move recipients on. A message whose recipients have all ended is gone.
    Update {
        /// The message.
        id: MessageId,
        /// Index of the recipient in the envelope's order, and what became of it.
        changes: Vec<(u32, Change)>,
    },
    /// Hold a message.
    Hold(MessageId),
    /// Let a held message go on.
    Release(MessageId),
    /// Forget a message: the operator's end.
    Remove(MessageId),
    /// Remember that the sender was told of a delay, at this time in ms since the epoch.
    Told(MessageId, u64),
    /// Remember by which way the operator wants a message to leave, as the caller writes it; empty
    /// for the way its recipients lead to.
    Via(MessageId, Arc<str>),
}

impl Op {
    /// The message it is about.
    pub(crate) fn id(&self) -> MessageId {
        match self {
            Self::Append(message) => message.id,
            Self::Update { id, .. }
            | Self::Hold(id)
            | Self::Release(id)
            | Self::Remove(id)
            | Self::Told(id, _)
            | Self::Via(id, _) => *id,
        }
    }
}

/// Why a batch did not become durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// The message belongs to another start or another shard: this owner may not store it.
    Fenced,
    /// The disk failed, the spool was shut down, or the batch breaks a limit; the text says which.
    Unavailable(String),
    /// No room. Nothing was stored; the same batch may be offered again later.
    Full,
}

impl CommitError {
    pub(crate) fn from_io(error: &io::Error) -> Self {
        if is_full(error) { Self::Full } else { Self::Unavailable(error.to_string()) }
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => f.write_str("the message belongs to another owner of the spool"),
            Self::Unavailable(why) => write!(f, "the spool is unavailable: {why}"),
            Self::Full => f.write_str("the spool is full"),
        }
    }
}

impl std::error::Error for CommitError {}
