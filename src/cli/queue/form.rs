//! A message's envelope and states as JSON for people: what `queue dump` writes beside the content.
//!
//! Promises that what is written is read again as it was, whatever it holds, and that a member whose
//! name is unknown is refused rather than passed over: people edit these files.

use std::sync::Arc;

use angarium_queue::entry::{RecipientState, Stored};
use angarium_queue::id::MessageId;
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::route::next_hop::NextHop;

/// All of a message but its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    /// The id it had.
    pub(super) id: String,
    #[serde(with = "moment")]
    arrived: u64,
    /// Octets of the content.
    pub(super) size: u64,
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    held: bool,
    /// The way out that the operator chose.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    via: String,
    /// When the sender was told of a delay.
    #[serde(default, with = "moment", skip_serializing_if = "is_zero")]
    told: u64,
    pub(super) envelope: Envelope,
    /// One for each recipient of the envelope, in its order.
    recipients: Vec<Recipient>,
}

/// What became of a recipient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipient {
    to: String,
    state: State,
    #[serde(default, skip_serializing_if = "is_none")]
    attempts: u32,
    /// When to try next; at once without it.
    #[serde(default, with = "moment", skip_serializing_if = "is_zero")]
    due: u64,
    /// The last reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Given up because of its age.
    #[serde(default, skip_serializing_if = "is_false")]
    expired: bool,
    /// The sender has yet to be told.
    #[serde(default, skip_serializing_if = "is_false")]
    report_owed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Pending,
    Delivered,
    Failed,
}

impl Form {
    pub(super) fn new(stored: &Stored, envelope: Envelope) -> Self {
        let addresses = envelope.recipients.iter().map(|recipient| recipient.address.to_string());
        let recipients = addresses.zip(&stored.recipients).map(|(to, state)| describe(to, state));
        Self {
            id: stored.id.to_string(),
            arrived: stored.arrived_ms,
            size: stored.size,
            tenant: stored.tenant.to_string(),
            held: stored.held,
            via: stored.via.to_string(),
            told: stored.told_ms,
            recipients: recipients.collect(),
            envelope,
        }
    }

    /// As it stands in a file.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Reads a file; an error says `line:column: what`.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let text = error.to_string();
            let place = format!(" at line {line} column {column}");
            format!("{line}:{column}: {}", text.strip_suffix(&place).unwrap_or(&text))
        })
    }

    /// The message that it tells of, under another id; an error says what does not fit.
    pub(super) fn stored(&self, id: MessageId) -> Result<Stored, String> {
        let (known, states) = (&self.envelope.recipients, &self.recipients);
        if known.len() != states.len() {
            let (known, states) = (known.len(), states.len());
            return Err(format!("envelope.rcpt has {known} recipients, but recipients {states}"));
        }
        for (at, (one, state)) in known.iter().zip(states).enumerate() {
            if one.address.to_string() != state.to {
                let (address, to) = (&one.address, &state.to);
                return Err(format!("envelope.rcpt[{at}] is {address}, but recipients[{at}] {to}"));
            }
        }
        if !self.via.is_empty()
            && let Err(error) = self.via.parse::<NextHop>()
        {
            return Err(format!("via {}: {error}", self.via));
        }
        let stored = Stored {
            id,
            arrived_ms: self.arrived,
            size: self.size,
            held: self.held,
            told_ms: self.told,
            via: self.via.as_str().into(),
            tenant: self.tenant.as_str().into(),
            recipients: states.iter().map(Recipient::state).collect(),
        };
        match stored.is_ended() {
            true => Err("no recipient is left that waits for anything".to_owned()),
            false => Ok(stored),
        }
    }
}

fn describe(to: String, state: &RecipientState) -> Recipient {
    let blank = Recipient {
        to,
        state: State::Delivered,
        attempts: 0,
        due: 0,
        reason: None,
        expired: false,
        report_owed: false,
    };
    match state {
        RecipientState::Pending { attempts, due_ms, reason } => {
            let reason = reason.as_deref().map(str::to_owned);
            Recipient { state: State::Pending, attempts: *attempts, due: *due_ms, reason, ..blank }
        }
        RecipientState::Delivered => blank,
        RecipientState::Taken { reason } => {
            Recipient { reason: Some(reason.to_string()), report_owed: true, ..blank }
        }
        RecipientState::Failed { expired, reason, report_owed } => Recipient {
            state: State::Failed,
            reason: Some(reason.to_string()),
            expired: *expired,
            report_owed: *report_owed,
            ..blank
        },
    }
}

impl Recipient {
    fn state(&self) -> RecipientState {
        let reason = self.reason.as_deref().map(Arc::from);
        match self.state {
            State::Pending => {
                let (attempts, due_ms) = (self.attempts, self.due);
                RecipientState::Pending { attempts, due_ms, reason }
            }
            State::Delivered if self.report_owed => {
                RecipientState::Taken { reason: reason.unwrap_or_else(|| "".into()) }
            }
            State::Delivered => RecipientState::Delivered,
            State::Failed => RecipientState::Failed {
                expired: self.expired,
                reason: reason.unwrap_or_else(|| "".into()),
                report_owed: self.report_owed,
            },
        }
    }
}

fn is_zero(at_ms: &u64) -> bool {
    *at_ms == 0
}

fn is_none(attempts: &u32) -> bool {
    *attempts == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Moments as RFC 3339 writes them; what has no such form is a number of milliseconds.
mod moment {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Number(u64),
    }

    pub(super) fn serialize<S: Serializer>(at_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let known = i64::try_from(*at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        match known {
            Some(timestamp) => serializer.collect_str(&timestamp),
            None => serializer.serialize_u64(*at_ms),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let written = Written::deserialize(deserializer);
        let text = match written.map_err(|_| D::Error::custom("no date and time"))? {
            Written::Number(at_ms) => return Ok(at_ms),
            Written::Text(text) => text,
        };
        let timestamp: Timestamp = text.parse().map_err(D::Error::custom)?;
        u64::try_from(timestamp.as_millisecond()).map_err(|_| D::Error::custom("before 1970"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = RecipientState> {
        let reason = || any::<String>().prop_map(|text| Arc::from(text.as_str()));
        prop_oneof![
            (any::<u32>(), any::<u64>(), proptest::option::of(reason())).prop_map(
                |(attempts, due_ms, reason)| RecipientState::Pending { attempts, due_ms, reason }
            ),
            Just(RecipientState::Delivered),
            reason().prop_map(|reason| RecipientState::Taken { reason }),
            (any::<bool>(), reason(), any::<bool>()).prop_map(|(expired, reason, report_owed)| {
                RecipientState::Failed { expired, reason, report_owed }
            }),
        ]
    }

    fn envelope(recipients: usize) -> Envelope {
        let list: Vec<_> = (0..recipients)
            .map(|number| format!(r#"{{"to":"\"odd {number}\"@d.example","orig":"x"}}"#))
            .collect();
        let text = format!(r#"{{"from":"s@d.example","rcpt":[{}]}}"#, list.join(","));
        Envelope::decode(text.as_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(
            number in any::<u64>(),
            times in any::<(u64, u64)>(),
            size in any::<u64>(),
            held in any::<bool>(),
            via in prop_oneof![Just(""), Just("smtp://other.example:25")],
            tenant in any::<String>(),
            recipients in proptest::collection::vec(states(), 1..5),
        ) {
            let stored = Stored {
                id: MessageId::from_u64(number),
                arrived_ms: times.0,
                size,
                held,
                told_ms: times.1,
                via: via.into(),
                tenant: tenant.into(),
                recipients,
            };
            let form = Form::new(&stored, envelope(stored.recipients.len()));
            let read = Form::read(&form.write()).unwrap();
            prop_assert_eq!(&read, &form);
            match read.stored(stored.id) {
                Ok(again) => prop_assert_eq!(again, stored),
                Err(_) => prop_assert!(stored.is_ended()),
            }
        }
    }

    const GOOD: &str = r#"{
  "id": "0000001000000000",
  "arrived": "2026-03-04T05:06:07.089Z",
  "size": 3,
  "envelope": {"from": "", "rcpt": [{"to": "a@b.example"}]},
  "recipients": [{"to": "a@b.example", "state": "pending"}]
}"#;

    #[test]
    fn reads_what_people_write() {
        let stored = Form::read(GOOD.as_bytes()).unwrap().stored(MessageId::from_u64(1)).unwrap();
        assert_eq!(stored.arrived_ms, 1_772_600_767_089);
        assert_eq!(stored.recipients, [RecipientState::fresh()]);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (part, instead, says) in [
            ("\"size\": 3,", "\"size\": -3,", "4:12: invalid value: integer `-3`, expected u64"),
            ("\"size\": 3,", "\"size\": 3", "5:3: expected `,` or `}`"),
            ("\"size\"", "\"sice\"", "4:8: unknown field `sice`"),
            ("2026-03-04T", "yesterday ", "3:"),
            ("\"pending\"", "\"ended\"", "6:55: unknown variant `ended`"),
        ] {
            let error = Form::read(GOOD.replace(part, instead).as_bytes()).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn says_what_does_not_fit() {
        for (part, instead, says) in [
            (
                "[{\"to\": \"a@b.example\"}]",
                "[]",
                "envelope.rcpt has 0 recipients, but recipients 1",
            ),
            ("[{\"to\": \"a@b", "[{\"to\": \"c@b", "envelope.rcpt[0] is c@b.example, but recipien"),
            ("\"size\": 3,", "\"size\": 3, \"via\": \"there\",", "via there: "),
            ("pending", "delivered", "no recipient is left"),
        ] {
            let text = GOOD.replacen(part, instead, 1);
            let form = Form::read(text.as_bytes()).unwrap();
            let error = form.stored(MessageId::from_u64(1)).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
