//! The envelope: reverse-path, recipients and parameters, and how it stands in the queue.
//!
//! Promises that what was encoded is decoded again, by this version and later ones: unknown fields
//! are ignored, missing ones have defaults. The queue itself never looks inside.

use serde::{Deserialize, Serialize};

use crate::syntax::parameter::dsn::OriginalRecipient;
use crate::syntax::parameter::{MailParameters, RcptParameters};
use crate::syntax::path::{Mailbox, ReversePath};

/// One recipient of a message in our care.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recipient {
    /// Where it goes, after rewriting: the final recipient.
    #[serde(rename = "to")]
    pub address: Mailbox,
    /// What the client said, where that was another address.
    #[serde(rename = "orig", default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// What the client asked for it.
    #[serde(rename = "with", default, skip_serializing_if = "RcptParameters::is_empty")]
    pub parameters: RcptParameters,
}

impl Recipient {
    /// A recipient of whom nothing else is known.
    pub fn new(address: Mailbox) -> Self {
        Self { address, original: None, parameters: RcptParameters::default() }
    }

    /// The recipient that the sender named: with ORCPT, or else the one that was rewritten, if any
    /// was.
    pub fn named(&self) -> Option<OriginalRecipient> {
        let given = self.parameters.original.clone();
        given.or_else(|| self.original.as_deref().map(OriginalRecipient::of))
    }
}

/// Where a message came from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// From a client that nothing is known of; its reverse-path may be forged.
    #[default]
    Stranger,
    /// From a client that may relay.
    Relay,
    /// From ourselves: a report to a sender.
    Report,
}

/// What travels with a message beside its content.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// Where reports go.
    #[serde(rename = "from", with = "reverse_path_text")]
    pub reverse_path: ReversePath,
    /// Who shall get it; the queue's recipient numbers are indices into this.
    #[serde(rename = "rcpt")]
    pub recipients: Vec<Recipient>,
    /// What the client asked for the message, and declared of its content; times count from its
    /// arrival.
    #[serde(rename = "with", default, skip_serializing_if = "MailParameters::is_empty")]
    pub parameters: MailParameters,
    /// An octet of the content has the eighth bit set, declared or not.
    #[serde(rename = "8bit", default, skip_serializing_if = "is_false")]
    pub eight_bit: bool,
    /// An octet of the header has it.
    #[serde(rename = "8bit-header", default, skip_serializing_if = "is_false")]
    pub eight_bit_header: bool,
    /// A line of the content is longer than SMTP allows.
    #[serde(rename = "long", default, skip_serializing_if = "is_false")]
    pub long_lines: bool,
    /// The session that brought it, as the log names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "is_stranger")]
    pub origin: Origin,
}

impl Envelope {
    /// When a message is released that came at `arrived_ms`; from then its lifetime counts. Both in
    /// ms since the epoch.
    pub fn released_ms(&self, arrived_ms: u64) -> u64 {
        self.parameters.hold.map_or(arrived_ms, |hold| hold.release_ms(arrived_ms))
    }

    /// As the queue stores it.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As the queue stored it; an error says what is wrong with it.
    pub fn decode(stored: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(stored).map_err(|error| format!("envelope: {error}"))
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_stranger(origin: &Origin) -> bool {
    *origin == Origin::Stranger
}

mod reverse_path_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::syntax::path::{ReversePath, parse_reverse_path};

    pub(super) fn serialize<S: Serializer>(
        path: &ReversePath,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(path)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ReversePath, D::Error> {
        parse_reverse_path(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::parameter::Parameter;

    #[test]
    fn survives_the_queue() {
        let address: Mailbox = "\"odd one\"@d.example".parse().unwrap();
        for reverse_path in [ReversePath::Null, ReversePath::Mailbox(address.clone())] {
            let envelope = Envelope {
                reverse_path,
                recipients: vec![Recipient {
                    address: address.clone(),
                    original: Some("x".into()),
                    parameters: RcptParameters::parse("NOTIFY=NEVER", Parameter::named).unwrap(),
                }],
                parameters: MailParameters::parse("BODY=8BITMIME RET=HDRS", Parameter::named)
                    .unwrap(),
                eight_bit: true,
                eight_bit_header: true,
                long_lines: true,
                session: "s1".into(),
                origin: Origin::Relay,
            };
            assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
    }

    #[test]
    fn reads_later_versions_and_refuses_nonsense() {
        let later = br#"{"from":"","rcpt":[{"to":"a@b.example"}],"deadline":5}"#;
        let later = Envelope::decode(later).unwrap();
        assert_eq!((later.recipients.len(), later.origin), (1, Origin::Stranger));
        assert!(Envelope::decode(b"\0\0").is_err());
        assert!(Envelope::decode(br#"{"from":"","rcpt":[{"to":"a b"}]}"#).is_err());
    }
}
