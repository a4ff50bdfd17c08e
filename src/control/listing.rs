//! Queued messages as lines of JSON, with the member names that `postqueue -j` taught.

use std::collections::HashMap;
use std::sync::Arc;

use angarium_queue::entry::{RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::Waits;
use angarium_queue::spool::{ReadError, Spool};
use serde::{Deserialize, Serialize};

use crate::dispatch::Waiting;
use crate::envelope::Envelope;
use crate::net::clock;
use crate::route::Table;
use crate::syntax::parameter::deadline::Mode;
use crate::syntax::parameter::priority::Priority;

/// A queued message.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Message {
    /// `active`, `deferred` or `hold`.
    pub queue_name: String,
    /// The queue id.
    pub queue_id: String,
    /// Seconds since the epoch.
    pub arrival_time: u64,
    /// Octets of the content.
    pub message_size: u64,
    /// The reverse-path; empty for null.
    pub sender: String,
    /// On whose account it is: a user, or the address of a client.
    #[serde(default)]
    pub tenant: String,
    /// Those who did not get it yet, and those who got it.
    pub recipients: Vec<Recipient>,
    /// When its sender wants it released, in seconds since the epoch, where that is later than its
    /// arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_time: Option<u64>,
    /// By when its sender wants it delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_by: Option<DeliverBy>,
    /// Its priority, from -9 to 9, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i8>,
    /// Why the envelope can't be read, if it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// By when a message is to be delivered.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct DeliverBy {
    /// In seconds since the epoch.
    pub time: u64,
    /// What becomes of it when late: it is `returned`, or its sender is `told` and it goes on.
    pub late: String,
}

impl Message {
    /// Whether it waits for the release that its sender wants.
    pub fn is_unreleased(&self) -> bool {
        let waits =
            |one: &Recipient| one.attempts == 0 && Some(one.next_attempt) == self.release_time;
        self.recipients.iter().filter(|one| one.state == "pending").any(waits)
    }
}

/// A recipient of a queued message.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Recipient {
    /// The final recipient.
    pub address: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Where its mail goes by the present configuration.
    #[serde(default)]
    pub destination: String,
    /// Failed attempts.
    #[serde(default)]
    pub attempts: u32,
    /// When the next attempt is due, in seconds since the epoch; 0 is at once.
    #[serde(default)]
    pub next_attempt: u64,
    /// What the last attempt was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A report to the sender is still to be made.
    #[serde(default)]
    pub report_owed: bool,
}

/// What a message waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reasons {
    /// The message itself.
    #[serde(flatten)]
    pub message: Message,
    /// Each part of it that is not settled.
    pub waiting: Vec<Part>,
}

/// The recipients of a message that go the same way.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Where to.
    pub destination: String,
    /// The recipients.
    pub recipients: Vec<String>,
    /// `release`, `future-release`, `time`, `turn`, `pause`, `result`, `outage`, `window`, `rate`, `route` or
    /// `tenant`.
    pub waits_for: String,
    /// When it is due, in seconds since the epoch, where it waits for a time: its own, the next look
    /// at a next hop that can't be reached, or when a rate allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    /// Since when its next hop can't be reached, in seconds since the epoch, where it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Deliveries under way at its next hop, where it waits for one of them to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<u32>,
    /// What the next hop said, where that is why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// After the first failed attempt past this it is given up, in seconds since the epoch.
    pub deadline: u64,
}

/// Describes messages by the present configuration.
pub(super) struct Lister<'a> {
    pub(super) spool: &'a Spool,
    pub(super) table: Arc<Table>,
    /// What is wrong at destinations that can't be reached.
    pub(super) outages: HashMap<String, String>,
}

pub(super) fn reasons(message: &Message, waiting: &[Waiting]) -> Vec<u8> {
    let part = |part: &Waiting| {
        let address = |index: &u32| {
            let known = message.recipients.get(*index as usize);
            known.map_or_else(|| "?".to_owned(), |recipient| recipient.address.clone())
        };
        Part {
            destination: part.destination.clone(),
            recipients: part.recipients.iter().map(address).collect(),
            deadline: part.deadline_ms / 1000,
            ..waits(part)
        }
    };
    let mut line = Vec::new();
    let waiting = waiting.iter().map(part).collect();
    push_line(&mut line, &Reasons { message: message.clone(), waiting });
    line
}

/// What a part waits for, without what it is.
fn waits(part: &Waiting) -> Part {
    let of = |waits_for: &str| Part { waits_for: waits_for.to_owned(), ..Part::default() };
    let at = |at_ms: u64| Some(at_ms / 1000);
    match &part.waits {
        Waits::Held => of("release"),
        Waits::Until(due_ms) if *due_ms == part.release_ms => {
            Part { due: at(*due_ms), ..of("future-release") }
        }
        Waits::Until(due_ms) => Part { due: at(*due_ms), ..of("time") },
        Waits::Turn => of("turn"),
        Waits::Paused => of("pause"),
        Waits::Result => of("result"),
        Waits::Outage(outage) => Part {
            since: at(outage.since_ms),
            due: outage.probe_ms.and_then(at),
            reason: Some(outage.reply.to_string()),
            ..of("outage")
        },
        Waits::Window(under_way) => Part { under_way: Some(*under_way), ..of("window") },
        Waits::Rate(at_ms, reply) => {
            let reason = reply.as_ref().map(ToString::to_string);
            Part { due: at(*at_ms), reason, ..of("rate") }
        }
        Waits::Route(at_ms) => Part { due: at_ms.and_then(at), ..of("route") },
        Waits::Tenant(at_ms) => Part { due: at_ms.and_then(at), ..of("tenant") },
    }
}

pub(super) fn push_line(lines: &mut Vec<u8>, value: &impl Serialize) {
    // Values of our own types always have a form in JSON.
    if serde_json::to_writer(&mut *lines, value).is_ok() {
        lines.push(b'\n');
    }
}

impl Lister<'_> {
    /// One message, as a line.
    pub(super) fn one(&self, id: MessageId) -> Result<Vec<u8>, ReadError> {
        let stored = self.spool.get(id).ok_or(ReadError::Gone)?;
        let mut line = Vec::new();
        push_line(&mut line, &self.describe(&stored));
        Ok(line)
    }

    /// One message.
    pub(super) fn describe(&self, stored: &Stored) -> Message {
        let envelope = self.spool.envelope(stored.id).map_err(|error| error.to_string());
        let (envelope, damage) = match envelope.and_then(|octets| Envelope::decode(&octets)) {
            Ok(envelope) => (Some(envelope), None),
            Err(why) => (None, Some(why)),
        };
        let sender = envelope.as_ref().map(|envelope| envelope.reverse_path.to_string());
        let known = envelope.as_ref().map(|envelope| envelope.recipients.as_slice());
        let released_ms = envelope.as_ref().map(|envelope| envelope.released_ms(stored.arrived_ms));
        let release_ms = released_ms.filter(|&at_ms| at_ms > stored.arrived_ms);
        let recipients = stored.recipients.iter().enumerate().map(|(index, state)| {
            let due_ms = due_ms(state, release_ms);
            let mailbox = known.and_then(|known| known.get(index)).map(|known| &known.address);
            let destination = match mailbox {
                _ if !stored.via.is_empty() => stored.via.to_string(),
                Some(mailbox) => self.table.destination(mailbox).to_string(),
                None => String::new(),
            };
            let outage = self.outages.get(&destination).filter(|_| is_due(due_ms)).cloned();
            let described = described(state);
            Recipient {
                address: mailbox.map_or_else(|| "?".to_owned(), ToString::to_string),
                destination,
                next_attempt: due_ms.unwrap_or(0) / 1000,
                reason: outage.or(described.reason),
                ..described
            }
        });
        let recipients: Vec<Recipient> = recipients.collect();
        Message {
            queue_name: self.queue_name(stored, &recipients, release_ms).to_owned(),
            queue_id: stored.id.to_string(),
            arrival_time: stored.arrived_ms / 1000,
            message_size: stored.size,
            sender: sender.unwrap_or_else(|| "?".to_owned()),
            tenant: stored.tenant.to_string(),
            recipients,
            release_time: release_ms.map(|at_ms| at_ms / 1000),
            deliver_by: envelope.as_ref().and_then(|envelope| deliver_by(envelope, stored)),
            priority: envelope
                .as_ref()
                .and_then(|envelope| envelope.parameters.priority)
                .map(Priority::level),
            damage,
        }
    }

    /// A message is active while a recipient can be tried.
    fn queue_name(
        &self,
        stored: &Stored,
        recipients: &[Recipient],
        release_ms: Option<u64>,
    ) -> &'static str {
        let mut states = stored.recipients.iter().zip(recipients);
        let active = states.any(|(state, one)| {
            is_due(due_ms(state, release_ms)) && !self.outages.contains_key(&one.destination)
        });
        match stored.held {
            true => "hold",
            false if active => "active",
            false => "deferred",
        }
    }
}

fn deliver_by(envelope: &Envelope, stored: &Stored) -> Option<DeliverBy> {
    let deadline = envelope.parameters.deadline?;
    let late = match deadline.mode {
        Mode::Return => "returned",
        Mode::Notify => "told",
    };
    Some(DeliverBy { time: deadline.at_ms(stored.arrived_ms) / 1000, late: late.to_owned() })
}

/// When the next attempt for one that waits is due; what was never put off waits for its release.
fn due_ms(state: &RecipientState, release_ms: Option<u64>) -> Option<u64> {
    match state {
        RecipientState::Pending { due_ms: 0, .. } => Some(release_ms.unwrap_or(0)),
        RecipientState::Pending { due_ms, .. } => Some(*due_ms),
        _ => None,
    }
}

fn is_due(due_ms: Option<u64>) -> bool {
    due_ms.is_some_and(|due_ms| due_ms <= clock::now_ms())
}

fn described(state: &RecipientState) -> Recipient {
    match state {
        RecipientState::Pending { attempts, reason, .. } => Recipient {
            state: "pending".to_owned(),
            attempts: *attempts,
            reason: reason.as_ref().map(ToString::to_string),
            ..Recipient::default()
        },
        RecipientState::Delivered => {
            Recipient { state: "delivered".to_owned(), ..Recipient::default() }
        }
        RecipientState::Taken { reason } => Recipient {
            state: "delivered".to_owned(),
            reason: Some(reason.to_string()),
            report_owed: true,
            ..Recipient::default()
        },
        RecipientState::Failed { reason, report_owed, .. } => Recipient {
            state: "failed".to_owned(),
            reason: Some(reason.to_string()),
            report_owed: *report_owed,
            ..Recipient::default()
        },
    }
}
