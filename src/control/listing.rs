//! Queued messages and routes as lines of JSON, with the member names that `postqueue -j` taught.

use angarium_queue::entry::{RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::spool::{ReadError, Spool};
use serde::{Deserialize, Serialize};

use crate::dispatch::RouteLoad;
use crate::envelope::Envelope;
use crate::net::clock;

/// A queued message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    /// Those who did not get it yet, and those who got it.
    pub recipients: Vec<Recipient>,
    /// Why the envelope can't be read, if it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// A recipient of a queued message.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Recipient {
    /// The final recipient.
    pub address: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
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

/// A destination with its load.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: String,
    /// Jobs that could be delivered now.
    pub ready: usize,
    /// Deliveries under way.
    pub under_way: usize,
}

pub(super) fn all(spool: &Spool) -> Vec<u8> {
    let mut lines = Vec::new();
    for stored in spool.scan() {
        push_line(&mut lines, &describe(&stored, spool.envelope(stored.id)));
    }
    lines
}

pub(super) fn one(spool: &Spool, id: MessageId) -> Result<Vec<u8>, ReadError> {
    let stored = spool.get(id).ok_or(ReadError::Gone)?;
    let mut line = Vec::new();
    push_line(&mut line, &describe(&stored, spool.envelope(id)));
    Ok(line)
}

pub(super) fn routes(loads: &[RouteLoad]) -> Vec<u8> {
    let mut lines = Vec::new();
    for load in loads {
        let destination = load.destination.clone();
        push_line(&mut lines, &Route { destination, ready: load.ready, under_way: load.assigned });
    }
    lines
}

fn push_line(lines: &mut Vec<u8>, value: &impl Serialize) {
    // Values of our own types always have a form in JSON.
    if serde_json::to_writer(&mut *lines, value).is_ok() {
        lines.push(b'\n');
    }
}

fn describe(stored: &Stored, envelope: Result<bytes::Bytes, ReadError>) -> Message {
    let envelope = envelope
        .map_err(|error| error.to_string())
        .and_then(|envelope| Envelope::decode(&envelope));
    let (envelope, damage) = match envelope {
        Ok(envelope) => (Some(envelope), None),
        Err(why) => (None, Some(why)),
    };
    let address = |index: usize| {
        let known = envelope.as_ref().and_then(|envelope| envelope.recipients.get(index));
        known.map_or_else(|| "?".to_owned(), |recipient| recipient.address.to_string())
    };
    let states = stored.recipients.iter().enumerate();
    Message {
        queue_name: queue_name(stored).to_owned(),
        queue_id: stored.id.to_string(),
        arrival_time: stored.arrived_ms / 1000,
        message_size: stored.size,
        sender: envelope.as_ref().map_or("?".into(), |envelope| envelope.reverse_path.to_string()),
        recipients: states.map(|(index, state)| recipient(address(index), state)).collect(),
        damage,
    }
}

fn queue_name(stored: &Stored) -> &'static str {
    let now_ms = clock::now_ms();
    let due = |state: &RecipientState| matches!(state, RecipientState::Pending { due_ms, .. } if *due_ms <= now_ms);
    match stored.held {
        true => "hold",
        false if stored.recipients.iter().any(due) => "active",
        false => "deferred",
    }
}

fn recipient(address: String, state: &RecipientState) -> Recipient {
    match state {
        RecipientState::Pending { attempts, due_ms, reason } => Recipient {
            address,
            state: "pending".to_owned(),
            attempts: *attempts,
            next_attempt: due_ms / 1000,
            reason: reason.as_ref().map(ToString::to_string),
            report_owed: false,
        },
        RecipientState::Delivered => {
            Recipient { address, state: "delivered".to_owned(), ..Recipient::default() }
        }
        RecipientState::Failed { reason, report_owed, .. } => Recipient {
            address,
            state: "failed".to_owned(),
            reason: Some(reason.to_string()),
            report_owed: *report_owed,
            ..Recipient::default()
        },
    }
}
