//! Makes one report of delays: from messages of one sender to a message on stable storage.
//!
//! Promises that the report and the note that its messages were told of become durable in one
//! batch, and that each is looked at once more before: what has ended, is held, was told of or is
//! nobody's to wait for is left out. Blocks on the disk, so it runs beside the dispatcher.

use std::collections::HashMap;
use std::sync::Arc;

use angarium_queue::entry::{RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::Recipients;
use angarium_queue::spool::{CommitError, Loaded, NewMessage, Op, ReadError, Room, Spool};

use super::gather::Sender;
use super::notify::{self, Inherited, Trouble};
use crate::envelope::Envelope;
use crate::event;
use crate::intake::Accepted;
use crate::net::clock;
use crate::report::due::{self, Event};
use crate::report::{self, Action, Original, Other, Report, Settings};
use crate::syntax::parameter::deadline::{Deadline, Mode};
use crate::syntax::parameter::dsn::EnvelopeId;

/// A message that waits.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) id: MessageId,
    /// Until when it is tried, in ms since the epoch.
    pub(super) until_ms: u64,
    /// What keeps its recipients now, where that is not the reply to their last attempt.
    pub(super) reasons: Vec<(Recipients, Arc<str>)>,
}

/// A report of delays to be made.
#[derive(Debug)]
pub(super) struct Warning {
    pub(super) sender: Sender,
    /// In the order they came due; never empty.
    pub(super) messages: Vec<Delayed>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Warned {
    pub(super) warning: Warning,
    pub(super) result: Result<Told, Trouble>,
}

/// A report of delays that was stored.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) report: Accepted,
    /// The messages it tells of, each with the number of recipients that wait.
    pub(super) of: Vec<(MessageId, usize)>,
}

/// Makes the report and stores it with what it tells of.
pub(super) async fn warn(spool: Spool, settings: Arc<Settings>, warning: Warning) -> Warned {
    let blocking = spool.clone();
    let (made, warning) = notify::beside(move || {
        let made = make(&blocking, &settings, &warning);
        (made, warning)
    })
    .await;
    let result = match made {
        Ok((told, message)) => commit(&spool, &told, message).await.map(|()| told),
        Err(trouble) => Err(trouble),
    };
    Warned { warning, result }
}

async fn commit(spool: &Spool, told: &Told, message: NewMessage) -> Result<(), Trouble> {
    let now_ms = message.arrived_ms;
    let mut batch = vec![Op::Append(message)];
    batch.extend(told.of.iter().map(|(id, _)| Op::Told(*id, now_ms)));
    notify::commit(spool, batch).await
}

/// The delivery-status is about one message (RFC 3464 2.1): the first of those to be told of.
fn make(
    spool: &Spool,
    settings: &Settings,
    warning: &Warning,
) -> Result<(Told, NewMessage), Trouble> {
    // What little room is left is for failures.
    if spool.room() == Room::Low {
        return Err(Trouble::Refused(CommitError::Full));
    }
    let mut subjects =
        warning.messages.iter().filter_map(|delayed| Subject::read(spool, settings, delayed));
    let first = subjects.next().ok_or(Trouble::Unwanted)?;
    let mut of = vec![(first.id, first.recipients.len())];
    let mut others = Vec::new();
    let mut inherited = first.inherited;
    for subject in subjects {
        inherited.require_tls |= subject.inherited.require_tls;
        of.push((subject.id, subject.recipients.len()));
        others.push(subject.named());
    }
    let id = spool.next_id().map_err(Trouble::Refused)?;
    let report = Report {
        id: &id.to_string(),
        now_ms: clock::now_ms(),
        to: &warning.sender.reverse_path,
        action: Action::Delayed { until_ms: first.until_ms },
        recipients: &first.recipients,
        original: Original {
            id: &first.id.to_string(),
            arrived_ms: first.stored.arrived_ms,
            envelope_id: first.envelope_id.as_deref(),
            deliver_by_ms: first.deliver_by_ms,
            content: &first.content,
            whole: first.whole,
            ret: None,
            utf8: first.utf8,
        },
        others: &others,
        date: clock::date,
    };
    let tenant = Arc::clone(&warning.sender.tenant);
    let (report, message) = notify::message(spool, settings, (id, tenant), &report, inherited)
        .map_err(Trouble::Refused)?;
    Ok((Told { report, of }, message))
}

/// A message as it stands, of which there is something to tell.
struct Subject {
    id: MessageId,
    until_ms: u64,
    stored: Stored,
    deliver_by_ms: Option<u64>,
    inherited: Inherited,
    recipients: Vec<report::Recipient>,
    envelope_id: Option<String>,
    utf8: bool,
    content: Vec<u8>,
    whole: bool,
}

impl Subject {
    fn read(spool: &Spool, settings: &Settings, delayed: &Delayed) -> Option<Self> {
        let (id, until_ms) = (delayed.id, delayed.until_ms);
        let stored = spool.get(id)?;
        let envelope = match notify::envelope(spool, id) {
            Ok(envelope) => envelope,
            Err(Trouble::Unreadable(why)) => {
                event::unreadable(id, why);
                return None;
            }
            Err(_) => return None,
        };
        if !is_to_be_told(settings, &envelope, &stored, clock::now_ms()) {
            return None;
        }
        let (content, whole) = match spool.load(id) {
            Ok(Loaded { body, .. }) => notify::read(body, report::HEADER_OCTETS_MAX),
            Err(ReadError::Gone) => return None,
            // The delay is worth telling without the message.
            Err(ReadError::Damaged(_) | ReadError::Io(_)) => (Vec::new(), false),
        };
        let late = is_late(&envelope, &stored, clock::now_ms());
        if !late && due::is_automatic(&content) {
            return None;
        }
        let mut recipients = waiting(&delayed.reasons, &stored.recipients, &envelope, late);
        if late {
            recipients.iter_mut().for_each(say_late);
        }
        let deliver_by_ms = notify::deliver_by_ms(&envelope, &stored);
        (!recipients.is_empty()).then_some(Self {
            id,
            until_ms,
            stored,
            deliver_by_ms,
            inherited: Inherited::of(&envelope),
            recipients,
            envelope_id: envelope.parameters.envelope_id.as_ref().map(EnvelopeId::decoded),
            utf8: envelope.parameters.utf8,
            content,
            whole,
        })
    }

    fn named(self) -> Other {
        let more = self.recipients.len().saturating_sub(report::OTHER_RECIPIENTS_MAX);
        let first = self.recipients.into_iter().take(report::OTHER_RECIPIENTS_MAX);
        Other {
            id: self.id.to_string(),
            arrived_ms: self.stored.arrived_ms,
            recipients: first.map(|recipient| recipient.address).collect(),
            more,
        }
    }
}

/// Whether a sender is to hear of a delay now, and has not heard yet.
pub(super) fn is_to_be_told(
    settings: &Settings,
    envelope: &Envelope,
    stored: &Stored,
    now_ms: u64,
) -> bool {
    let warnings_ms = &settings.delay_warning_ms;
    let since_ms = envelope.released_ms(stored.arrived_ms);
    let is_due = || due::is_due(warnings_ms, since_ms, stored.told_ms, now_ms);
    !stored.held && (due::may_hear(envelope) && is_due() || is_late(envelope, stored, now_ms))
}

/// Whether the sender asked to hear that a message is late, which it is by now, and has not heard
/// (RFC 2852 4.1.4).
pub(super) fn is_late(envelope: &Envelope, stored: &Stored, now_ms: u64) -> bool {
    let told = |deadline: &Deadline| deadline.mode == Mode::Notify;
    let deadline = envelope.parameters.deadline.filter(told);
    let late_ms = deadline.map(|deadline| deadline.at_ms(stored.arrived_ms));
    !envelope.reverse_path.is_null()
        && late_ms.is_some_and(|late_ms| stored.told_ms < late_ms && late_ms <= now_ms)
}

/// That a message is late, and what kept it where that is known.
fn say_late(recipient: &mut report::Recipient) {
    let late = "4.4.7 not delivered by the time that was set for it";
    recipient.reason = match recipient.reason.as_str() {
        "" => late.to_owned(),
        reason => format!("{late}; the last attempt: {reason}"),
    };
}

/// Those who wait and of whom the sender wants to hear, in the order of the envelope, each with what
/// keeps it. Where that is not known,
/// what the last attempt was told does; without either there is nothing to tell of it.
fn waiting<'a>(
    reasons: &'a [(Recipients, Arc<str>)],
    states: &[RecipientState],
    envelope: &Envelope,
    late: bool,
) -> Vec<report::Recipient> {
    let each = |(indices, reason): &'a (Recipients, Arc<str>)| {
        indices.iter().map(move |index| (*index, reason))
    };
    let now: HashMap<u32, &Arc<str>> = reasons.iter().flat_map(each).collect();
    let waiting = |(index, state): (usize, &RecipientState)| {
        let RecipientState::Pending { reason, .. } = state else { return None };
        let index = u32::try_from(index).ok()?;
        let wanted = due::is_wanted(envelope, index, Event::Delay);
        let wanted = wanted || late && due::may_be_told(envelope, index);
        if !wanted {
            return None;
        }
        let known = now.get(&index).copied().or(reason.as_ref());
        let reason = known.map(ToString::to_string).or(late.then(String::new))?;
        Some(report::Recipient { reason, ..notify::named(index, envelope) })
    };
    states.iter().enumerate().filter_map(waiting).collect()
}
