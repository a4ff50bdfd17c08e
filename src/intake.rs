//! Floor 5: from content on its way in to a message on stable storage.
//!
//! Promises that a message is acknowledged only after the spool's sync, that what was half received
//! leaves nothing behind, and that all content held in memory stays within one budget: what is
//! large, or comes when the budget is spent, goes to the disk as it comes. Only a message whose long
//! lines are to be broken is whole in memory, one at a time.

use std::net::IpAddr;
use std::sync::Arc;

use angarium_queue::id::MessageId;
use angarium_queue::spool::{CommitError, NewBody, NewMessage, Op, Room, Spool, Staging};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::delivery::convert::to_short_lines;
use crate::envelope::Envelope;
use crate::event;
use crate::net::clock;
use crate::net::tls::Facts;
use crate::registry::reply::{self, Reply};
use crate::syntax::content::{TraitReader, Traits};
use crate::syntax::header::{self, Received, Start};

/// Up to this many octets a message waits in memory for its group.
const INLINE_OCTETS_MAX: usize = 128 * 1024;
/// The least that is kept as a part of its own.
const PART_OCTETS: usize = 4096;
/// What is written to a staged body at a time.
const STAGE_OCTETS: usize = 64 * 1024;

/// Messages whose long lines are broken at a time: each is whole in memory for that.
const REFLOWS_MAX: usize = 1;

/// The tenant of messages that we write ourselves.
const OURSELVES: &str = "angarium";

/// A message that was made safe, for the scheduler.
#[derive(Debug)]
pub struct Accepted {
    /// Its id.
    pub id: MessageId,
    /// When it was accepted.
    pub arrived_ms: u64,
    /// On whose account it is.
    pub tenant: Arc<str>,
    /// Octets of the content.
    pub size: u64,
    /// Its envelope.
    pub envelope: Envelope,
}

/// What the trace field tells of how a message came (rfc5321bis 4.4).
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The name that the client gave.
    pub hello: &'a str,
    /// Where the client is; none where that is not told.
    pub client: Option<IpAddr>,
    /// The account of a program of this machine, which then stands for the client.
    pub caller: Option<u32>,
    /// A registered `with` protocol.
    pub with: &'a str,
    /// What the handshake agreed on, if there was one.
    pub tls: Option<&'a Facts>,
    /// Whether a lone recipient is named.
    pub names_recipient: bool,
}

impl Trace<'_> {
    /// The path for the FOR clause: what the client said, where it said one mailbox (7.6).
    fn recipient(&self, envelope: &Envelope) -> Option<String> {
        let [only] = envelope.recipients.as_slice() else { return None };
        let said = only.original.clone().unwrap_or_else(|| only.address.to_string());
        Some(said).filter(|said| self.names_recipient && said.contains('@'))
    }
}

/// The way into the queue, shared by all sessions.
#[derive(Debug)]
pub struct Intake {
    spool: Spool,
    hostname: String,
    budget: Arc<Semaphore>,
    reflows: Semaphore,
    accepted: mpsc::UnboundedSender<Accepted>,
}

impl Intake {
    /// An intake that holds at most `memory_octets` of content in memory, and tells `accepted` of
    /// each message made safe.
    pub fn new(
        spool: Spool,
        hostname: &str,
        memory_octets: u64,
        accepted: mpsc::UnboundedSender<Accepted>,
    ) -> Self {
        let octets = usize::try_from(memory_octets).unwrap_or(usize::MAX);
        let budget = Arc::new(Semaphore::new(octets.min(Semaphore::MAX_PERMITS)));
        let reflows = Semaphore::new(REFLOWS_MAX);
        Self { spool, hostname: hostname.to_owned(), budget, reflows, accepted }
    }

    /// Whether there is room for one more message of the size that was declared; 0 for none.
    pub fn check_room(&self, size: u64) -> Result<(), Reply> {
        match self.spool.room_for(size) {
            Room::Free => Ok(()),
            Room::Low => Err(reply::NO_ROOM),
        }
    }

    /// Opens a place for a message's content, which is charged to `tenant`.
    pub fn begin(
        self: &Arc<Self>,
        mut envelope: Envelope,
        trace: &Trace<'_>,
        tenant: Arc<str>,
        session: &str,
    ) -> Result<Incoming, Reply> {
        let id = self.spool.next_id().map_err(|error| refusal(session, &error))?;
        session.clone_into(&mut envelope.session);
        let arrived_ms = clock::now_ms();
        let mut field = String::new();
        Received {
            hello: trace.hello,
            peer: trace.client,
            caller: trace.caller,
            by: &self.hostname,
            with: trace.with,
            id: &id.to_string(),
            recipient: trace.recipient(&envelope).as_deref(),
            priority: envelope.parameters.priority,
            tls: trace.tls.map(|facts| header::Tls {
                cipher: &facts.cipher,
                protocol: facts.protocol,
                group: facts.group.as_deref(),
            }),
            date: &clock::date(arrived_ms),
        }
        .write(&mut field);
        // It names a recipient in UTF-8 only where the client did.
        envelope.eight_bit_header = !field.is_ascii();
        Ok(Incoming {
            intake: Arc::clone(self),
            id,
            arrived_ms,
            envelope,
            tenant,
            hold: None,
            reflows: false,
            start: Some(field.into_bytes()),
            trace_octets: 0,
            octets: 0,
            traits: TraitReader::default(),
            held: Held::Memory { parts: Vec::new(), tail: Vec::new(), octets: 0, permits: None },
        }
        .with_trace_octets())
    }

    /// Makes a message of our own safe, which is small and whole; its id once it is on stable
    /// storage. It is charged to nobody who sends.
    pub async fn post(
        &self,
        envelope: Envelope,
        write: impl FnOnce(MessageId) -> Vec<u8>,
    ) -> Result<MessageId, CommitError> {
        let id = self.spool.next_id()?;
        let content = write(id);
        let (arrived_ms, size) = (clock::now_ms(), content.len() as u64);
        let tenant: Arc<str> = OURSELVES.into();
        let message = NewMessage {
            id,
            arrived_ms,
            tenant: Arc::clone(&tenant),
            held: false,
            recipients: u32::try_from(envelope.recipients.len()).unwrap_or(u32::MAX),
            envelope: envelope.encode().into(),
            body: NewBody::Inline(vec![content.into()]),
        };
        self.store(message).await?;
        let _ = self.accepted.send(Accepted { id, arrived_ms, tenant, size, envelope });
        Ok(id)
    }

    /// Waits until a message is on stable storage.
    async fn store(&self, message: NewMessage) -> Result<(), CommitError> {
        let (done, synced) = oneshot::channel();
        let tell = Box::new(move |result| drop(done.send(result)));
        self.spool.commit(vec![Op::Append(message)], tell);
        let lost = Err(CommitError::Unavailable("the writer is gone".to_owned()));
        synced.await.unwrap_or(lost)
    }
}

/// Where the content is so far.
enum Held {
    Memory {
        parts: Vec<Bytes>,
        /// Small pieces, together until they are worth a part: a client that sends octet by octet
        /// must not cost an allocation each.
        tail: Vec<u8>,
        octets: usize,
        permits: Option<OwnedSemaphorePermit>,
    },
    Disk {
        staging: Staging,
        pending: Vec<u8>,
    },
    /// A write failed; nothing is left.
    Lost,
}

impl Held {
    /// All of it. Blocks on the disk.
    fn whole(&self) -> Result<Vec<u8>, CommitError> {
        match self {
            Self::Memory { parts, tail, .. } => Ok([&*parts.concat(), tail].concat()),
            Self::Disk { staging, pending } => Ok([staging.read_back()?, pending.clone()].concat()),
            Self::Lost => Err(CommitError::Unavailable("the content is lost".to_owned())),
        }
    }
}

/// A message under way. Dropping it forgets it.
pub struct Incoming {
    intake: Arc<Intake>,
    id: MessageId,
    arrived_ms: u64,
    envelope: Envelope,
    tenant: Arc<str>,
    /// Which rule wants it held, and why.
    hold: Option<(String, Arc<str>)>,
    /// Whether lines that are too long are broken.
    reflows: bool,
    /// The trace field and the first octets, until it is known whether an empty line goes between.
    start: Option<Vec<u8>>,
    trace_octets: usize,
    octets: u64,
    traits: TraitReader,
    held: Held,
}

impl Incoming {
    fn with_trace_octets(mut self) -> Self {
        self.trace_octets = self.start.as_ref().map_or(0, Vec::len);
        self
    }

    /// Keeps the message for the operator once it is accepted: by which rule, and why.
    pub fn held(mut self, hold: Option<(String, Arc<str>)>) -> Self {
        self.hold = hold;
        self
    }

    /// Breaks lines of more than 998 octets where MIME can write them otherwise (RFC 6409 8.7).
    pub fn reflowed(mut self, reflows: bool) -> Self {
        self.reflows = reflows;
        self
    }

    /// Takes the next piece of content.
    pub async fn write(&mut self, piece: Vec<u8>) -> Result<(), Reply> {
        self.octets += piece.len() as u64;
        self.traits.look(&piece);
        let Some(mut start) = self.start.take() else { return self.keep(piece).await };
        start.extend_from_slice(&piece);
        match self.judge_start(start, false) {
            Some(start) => self.keep(start).await,
            None => Ok(()),
        }
    }

    /// Makes the message safe; its id once it is on stable storage.
    pub async fn commit(mut self) -> Result<MessageId, Reply> {
        if let Some(start) = self.start.take() {
            let start = self.judge_start(start, true).unwrap_or_default();
            self.keep(start).await?;
        }
        if self.reflows && self.traits.traits().long_lines {
            self.reflow().await?;
        }
        let (id, arrived_ms) = (self.id, self.arrived_ms);
        let session = self.envelope.session.clone();
        let Traits { eight_bit, eight_bit_header, long_lines } = self.traits.traits();
        self.envelope.eight_bit = eight_bit || self.envelope.eight_bit_header;
        self.envelope.eight_bit_header |= eight_bit_header;
        self.envelope.long_lines = long_lines;
        let (body, permits) = self.take_body().await?;
        let message = NewMessage {
            id,
            arrived_ms,
            tenant: Arc::clone(&self.tenant),
            held: self.hold.is_some(),
            recipients: u32::try_from(self.envelope.recipients.len()).unwrap_or(u32::MAX),
            envelope: self.envelope.encode().into(),
            body,
        };
        let stored = self.intake.store(message).await;
        stored.map_err(|error| refusal(&session, &error))?;
        drop(permits);
        let (sender, count) = (self.envelope.reverse_path.clone(), self.envelope.recipients.len());
        // The receiver is gone only while the daemon stops; the queue has the message.
        let (tenant, size, envelope) = (self.tenant, self.octets, self.envelope);
        let _ = self.intake.accepted.send(Accepted { id, arrived_ms, tenant, size, envelope });
        event::accepted(id, &session, &sender, count, self.octets);
        if let Some((by, reason)) = &self.hold {
            event::held(id, &session, by, reason);
        }
        Ok(id)
    }

    /// Puts an empty line where the message has no header; `None` while that can't be told, and the
    /// octets are kept for the next piece.
    fn judge_start(&mut self, mut start: Vec<u8>, complete: bool) -> Option<Vec<u8>> {
        let content = start.get(self.trace_octets..).unwrap_or_default();
        match header::judge_start(content, complete) {
            Some(Start::Header) => Some(start),
            Some(Start::Text) => {
                self.traits.without_header();
                start.splice(self.trace_octets..self.trace_octets, *b"\r\n");
                Some(start)
            }
            None => {
                self.start = Some(start);
                None
            }
        }
    }

    async fn reflow(&mut self) -> Result<(), Reply> {
        let intake = Arc::clone(&self.intake);
        let _place = intake.reflows.acquire().await.map_err(|_| reply::LOCAL_ERROR)?;
        let held = std::mem::replace(&mut self.held, Held::Lost);
        let reflowed = spawn_blocking(move || {
            let short = held.whole().map(|whole| to_short_lines(&whole));
            short.map(|short| (held, short))
        });
        let reflowed = reflowed.await.map_err(|_| reply::LOCAL_ERROR)?;
        let (held, short) = reflowed.map_err(|error| refusal(&self.envelope.session, &error))?;
        let Some(short) = short else {
            self.held = held;
            return Ok(());
        };
        drop(held);
        let content = short.get(self.trace_octets..).unwrap_or_default();
        self.octets = content.len() as u64;
        self.traits = TraitReader::default();
        self.traits.look(content);
        event::reflowed(self.id);
        self.held = Held::Memory { parts: Vec::new(), tail: Vec::new(), octets: 0, permits: None };
        self.keep(short).await
    }

    async fn keep(&mut self, piece: Vec<u8>) -> Result<(), Reply> {
        if let Held::Memory { parts, tail, octets, permits } = &mut self.held {
            let wanted = piece.len();
            let fits = *octets + wanted <= INLINE_OCTETS_MAX;
            let budget = &self.intake.budget;
            let granted = u32::try_from(wanted)
                .ok()
                .filter(|_| fits)
                .and_then(|count| Arc::clone(budget).try_acquire_many_owned(count).ok());
            if let Some(granted) = granted {
                match permits {
                    Some(permits) => permits.merge(granted),
                    None => *permits = Some(granted),
                }
                *octets += wanted;
                if piece.len() >= PART_OCTETS && tail.is_empty() {
                    parts.push(piece.into());
                } else {
                    tail.extend_from_slice(&piece);
                }
                if tail.len() >= PART_OCTETS {
                    parts.push(std::mem::take(tail).into());
                }
                return Ok(());
            }
            self.move_to_disk()?;
        }
        self.keep_on_disk(&piece).await
    }

    fn move_to_disk(&mut self) -> Result<(), Reply> {
        let staging = self.intake.spool.stage(self.id);
        let staging = staging.map_err(|error| refusal(&self.envelope.session, &error))?;
        let was = std::mem::replace(&mut self.held, Held::Lost);
        let pending = match was {
            Held::Memory { parts, tail, .. } => [parts.concat(), tail].concat(),
            Held::Disk { .. } | Held::Lost => Vec::new(),
        };
        self.held = Held::Disk { staging, pending };
        Ok(())
    }

    async fn keep_on_disk(&mut self, piece: &[u8]) -> Result<(), Reply> {
        match std::mem::replace(&mut self.held, Held::Lost) {
            Held::Disk { staging, mut pending } => {
                pending.extend_from_slice(piece);
                self.held = if pending.len() >= STAGE_OCTETS {
                    let staging = self.write_out(staging, pending).await?;
                    Held::Disk { staging, pending: Vec::new() }
                } else {
                    Held::Disk { staging, pending }
                };
                Ok(())
            }
            Held::Memory { .. } | Held::Lost => Err(reply::LOCAL_ERROR),
        }
    }

    async fn write_out(&self, mut staging: Staging, octets: Vec<u8>) -> Result<Staging, Reply> {
        let written = spawn_blocking(move || staging.write(&octets).map(|()| staging)).await;
        let written = written.map_err(|_| reply::LOCAL_ERROR)?;
        written.map_err(|error| refusal(&self.envelope.session, &error))
    }

    async fn take_body(&mut self) -> Result<(NewBody, Option<OwnedSemaphorePermit>), Reply> {
        match std::mem::replace(&mut self.held, Held::Lost) {
            Held::Memory { mut parts, tail, permits, .. } => {
                parts.push(tail.into());
                Ok((NewBody::Inline(parts), permits))
            }
            Held::Disk { staging, pending } => {
                let staging = self.write_out(staging, pending).await?;
                let staged = spawn_blocking(move || staging.finish()).await;
                let staged = staged.map_err(|_| reply::LOCAL_ERROR)?;
                let staged = staged.map_err(|error| refusal(&self.envelope.session, &error))?;
                Ok((NewBody::Staged(staged), None))
            }
            Held::Lost => Err(reply::LOCAL_ERROR),
        }
    }
}

/// What the client hears of a spool that refused; the log has the rest.
fn refusal(session: &str, error: &CommitError) -> Reply {
    event::content_refused(session, error);
    match error {
        CommitError::Full => reply::NO_ROOM,
        CommitError::Fenced | CommitError::Unavailable(_) => reply::LOCAL_ERROR,
    }
}
