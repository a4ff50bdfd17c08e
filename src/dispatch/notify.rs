//! Makes one report of failures or successes: from what an attempt settled to a message on stable storage.
//!
//! Promises that the report and what it tells of become durable in one batch, so that neither is
//! there without the other; a report that can't be stored leaves everything as it was. Blocks on the
//! disk, so it runs beside the dispatcher.

use std::sync::Arc;

use angarium_queue::entry::{Change, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::spool::{Body, CommitError, Loaded, NewBody, NewMessage, Op, ReadError, Spool};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::record;
use crate::envelope::{Envelope, Origin, Recipient};
use crate::intake::Accepted;
use crate::net::clock;
use crate::report::{self, Action, Original, Report, Settings, Written};
use crate::syntax::parameter::dsn::EnvelopeId;
use crate::syntax::parameter::priority::Priority;
use crate::syntax::parameter::{MailParameters, body};
use crate::syntax::path::{Mailbox, ReversePath};

/// What the envelope of a report names as its session.
const SESSION: &str = "report";
/// Up to this many octets a report waits in memory for its group.
const INLINE_OCTETS_MAX: usize = 128 * 1024;

/// A report to be made.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The message it is about.
    pub(super) id: MessageId,
    /// What it tells.
    pub(super) action: Action,
    /// The recipients it tells of, with what is owed; that ends once it is made.
    pub(super) changes: Vec<(u32, Change)>,
    /// The host that the attempt was made at, and when; unknown after a restart.
    pub(super) remote: Option<String>,
    pub(super) attempted_ms: Option<u64>,
    /// The changes are recorded already.
    pub(super) again: bool,
}

impl Order {
    /// What becomes of the recipients once they are told of.
    pub(super) fn ended(&self) -> Vec<(u32, Change)> {
        self.changes.iter().map(|(index, change)| (*index, ended(change))).collect()
    }
}

fn ended(change: &Change) -> Change {
    match change {
        Change::Failed { expired, reason, .. } => {
            Change::Failed { expired: *expired, reason: reason.clone(), report_owed: false }
        }
        Change::Taken { .. } => Change::Delivered,
        other => other.clone(),
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Notified {
    pub(super) order: Order,
    pub(super) result: Result<Accepted, Trouble>,
}

/// Why there is no report.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The message is gone: the operator took it away.
    Gone,
    /// Nobody waits for it, or nobody can be told.
    Unwanted,
    /// The envelope can't be read.
    Unreadable(String),
    /// The spool did not take it.
    Refused(CommitError),
}

/// Makes the report and stores it with what it tells of.
pub(super) async fn notify(spool: Spool, settings: Arc<Settings>, order: Order) -> Notified {
    let blocking = spool.clone();
    let (made, order) = beside(move || {
        let made = make(&blocking, &settings, &order);
        (made, order)
    })
    .await;
    let result = match made {
        Ok((accepted, message)) => {
            let told = Op::Update { id: order.id, changes: order.ended() };
            commit(&spool, vec![Op::Append(message), told]).await.map(|()| accepted)
        }
        Err(trouble) => Err(trouble),
    };
    Notified { order, result }
}

/// Runs what blocks beside the dispatcher. A panic of ours ends the report with it, and what it is
/// about stays as it was.
pub(super) async fn beside<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(make).await {
        Ok(made) => made,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Waits until a batch is durable.
pub(super) async fn commit(spool: &Spool, batch: Vec<Op>) -> Result<(), Trouble> {
    let (done, synced) = oneshot::channel();
    spool.commit(batch, Box::new(move |result| drop(done.send(result))));
    let lost = Err(CommitError::Unavailable("the writer is gone".to_owned()));
    synced.await.unwrap_or(lost).map_err(Trouble::Refused)
}

fn make(
    spool: &Spool,
    settings: &Settings,
    order: &Order,
) -> Result<(Accepted, NewMessage), Trouble> {
    let envelope = envelope(spool, order.id)?;
    let ReversePath::Mailbox(to) = &envelope.reverse_path else { return Err(Trouble::Unwanted) };
    let stored = spool.get(order.id).ok_or(Trouble::Gone)?;
    let (content, whole) = match spool.load(order.id) {
        Ok(Loaded { body, .. }) => read(body, settings.wanted_octets()),
        Err(ReadError::Gone) => return Err(Trouble::Gone),
        // The failure is worth telling without the message.
        Err(ReadError::Damaged(_) | ReadError::Io(_)) => (Vec::new(), false),
    };
    let envelope_id = envelope.parameters.envelope_id.as_ref().map(EnvelopeId::decoded);
    let id = spool.next_id().map_err(Trouble::Refused)?;
    let report = Report {
        id: &id.to_string(),
        now_ms: clock::now_ms(),
        to,
        action: order.action,
        recipients: &told(order, &envelope),
        original: Original {
            id: &order.id.to_string(),
            arrived_ms: stored.arrived_ms,
            envelope_id: envelope_id.as_deref(),
            deliver_by_ms: deliver_by_ms(&envelope, &stored),
            content: &content,
            // RFC 8689 5: as if RET=HDRS had been said.
            whole: whole && !envelope.parameters.require_tls,
            ret: envelope.parameters.ret,
            utf8: envelope.parameters.utf8,
        },
        others: &[],
        date: clock::date,
    };
    let inherited = Inherited::of(&envelope);
    message(spool, settings, (id, stored.tenant), &report, inherited).map_err(Trouble::Refused)
}

/// What a report takes over from the message that it is about: the priority (RFC 6710 5), and that it
/// must travel by TLS (RFC 8689 5).
#[derive(Clone, Copy, Debug)]
pub(super) struct Inherited {
    priority: Option<Priority>,
    pub(super) require_tls: bool,
}

impl Inherited {
    pub(super) fn of(envelope: &Envelope) -> Self {
        let MailParameters { priority, require_tls, .. } = envelope.parameters;
        Self { priority, require_tls }
    }
}

/// The report as a message like any other, on the account of what it is about.
pub(super) fn message(
    spool: &Spool,
    settings: &Settings,
    (id, tenant): (MessageId, Arc<str>),
    report: &Report<'_>,
    inherited: Inherited,
) -> Result<(Accepted, NewMessage), CommitError> {
    let Written { content, eight_bit } = report.write(settings);
    let envelope = addressed(report.to.clone(), eight_bit, inherited);
    let (arrived_ms, size) = (report.now_ms, content.len() as u64);
    let message = NewMessage {
        id,
        arrived_ms,
        tenant: Arc::clone(&tenant),
        held: false,
        recipients: 1,
        envelope: envelope.encode().into(),
        body: body(spool, id, content)?,
    };
    Ok((Accepted { id, arrived_ms, tenant, size, envelope }, message))
}

/// The envelope of a report: from nobody, so that its own failure ends there (rfc5321bis 4.5.5).
fn addressed(to: Mailbox, eight_bit: bool, inherited: Inherited) -> Envelope {
    let Inherited { priority, require_tls } = inherited;
    // Its header is in UTF-8 where the address is (RFC 6531 3.4).
    let utf8 = to.needs_utf8();
    let eight_bit = eight_bit || utf8;
    let body = eight_bit.then_some(body::Body::EightBitMime);
    Envelope {
        reverse_path: ReversePath::Null,
        recipients: vec![Recipient::new(to)],
        parameters: MailParameters {
            body,
            utf8,
            priority,
            require_tls,
            ..MailParameters::default()
        },
        eight_bit,
        eight_bit_header: utf8,
        session: SESSION.to_owned(),
        origin: Origin::Report,
        ..Envelope::default()
    }
}

/// By when the sender wanted a message delivered, in ms since the epoch.
pub(super) fn deliver_by_ms(envelope: &Envelope, stored: &Stored) -> Option<u64> {
    envelope.parameters.deadline.map(|deadline| deadline.at_ms(stored.arrived_ms))
}

/// Those that it tells of.
fn told(order: &Order, envelope: &Envelope) -> Vec<report::Recipient> {
    let told = |(index, change): &(u32, Change)| {
        let (expired, reason) = match change {
            Change::Failed { expired, reason, .. } => (*expired, &**reason),
            Change::Taken { reason } => (false, record::told(reason).1),
            Change::Delivered | Change::Deferred { .. } => return None,
        };
        let (remote, attempted_ms) = (order.remote.clone(), order.attempted_ms);
        let known = report::Recipient { remote, attempted_ms, ..named(*index, envelope) };
        Some(report::Recipient { expired, reason: reason.to_owned(), ..known })
    };
    order.changes.iter().filter_map(told).collect()
}

pub(super) fn named(index: u32, envelope: &Envelope) -> report::Recipient {
    let recipient = envelope.recipients.get(index as usize);
    report::Recipient {
        address: recipient
            .map_or_else(|| format!("recipient {index}"), |known| known.address.to_string()),
        original: recipient.and_then(Recipient::named),
        expired: false,
        reason: String::new(),
        remote: None,
        attempted_ms: None,
    }
}

pub(super) fn envelope(spool: &Spool, id: MessageId) -> Result<Envelope, Trouble> {
    match spool.envelope(id) {
        Ok(stored) => Envelope::decode(&stored).map_err(Trouble::Unreadable),
        Err(ReadError::Gone) => Err(Trouble::Gone),
        Err(error) => Err(Trouble::Unreadable(error.to_string())),
    }
}

/// The first octets of a body, and whether that was all. What can't be read is left out.
pub(super) fn read(mut body: Body, most: usize) -> (Vec<u8>, bool) {
    let mut content = Vec::new();
    while let Ok(chunk) = body.next_chunk() {
        let Some(chunk) = chunk else { return (content, true) };
        content.extend_from_slice(&chunk);
        if content.len() > most {
            break;
        }
    }
    (content, false)
}

/// A long report goes to the disk by itself, as every long message does.
fn body(spool: &Spool, id: MessageId, content: Vec<u8>) -> Result<NewBody, CommitError> {
    if content.len() <= INLINE_OCTETS_MAX {
        return Ok(NewBody::Inline(vec![content.into()]));
    }
    let mut staging = spool.stage(id)?;
    staging.write(&content)?;
    Ok(NewBody::Staged(staging.finish()?))
}
