//! Who is told of what, and of a delay, when.
//!
//! Promises nothing to the null reverse-path (rfc5321bis 4.5.5) and nothing that NOTIFY does not ask
//! for (RFC 3461 4.1). Of a delay nothing is told to strangers, who are often forged, nor about mail
//! that no person waits for; and once for each threshold that a message passes.

use crate::envelope::{Envelope, Origin};
use crate::syntax::parameter::dsn::Notify;

/// What a sender may want to hear of a recipient (RFC 3461 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It was delivered, or left to a server that does not report.
    Success,
    /// It was given up.
    Failure,
    /// It takes longer.
    Delay,
}

/// Whether the sender wants to hear of this event. Who did not say hears of what goes wrong.
pub fn is_wanted(envelope: &Envelope, recipient: u32, event: Event) -> bool {
    let recipient = envelope.recipients.get(recipient as usize);
    let notify = recipient.and_then(|known| known.parameters.notify);
    !envelope.reverse_path.is_null()
        && match (notify, event) {
            (None, event) => event != Event::Success,
            (Some(notify), Event::Success) => notify.success,
            (Some(notify), Event::Failure) => notify.failure,
            (Some(notify), Event::Delay) => notify.delay,
        }
}

/// Whether the sender can be told of a recipient, and did not rule it out.
pub fn may_be_told(envelope: &Envelope, recipient: u32) -> bool {
    let recipient = envelope.recipients.get(recipient as usize);
    let notify = recipient.and_then(|known| known.parameters.notify);
    !envelope.reverse_path.is_null() && notify != Some(Notify::NEVER)
}

/// Whether this sender may be told of a delay at all.
pub fn may_hear(envelope: &Envelope) -> bool {
    envelope.origin == Origin::Relay && !envelope.reverse_path.is_null()
}

/// Whether a threshold was passed since the sender was told last; 0 is never.
pub fn is_due(thresholds_ms: &[u64], arrived_ms: u64, told_ms: u64, now_ms: u64) -> bool {
    let passed_ms =
        thresholds_ms.iter().map(|threshold_ms| arrived_ms.saturating_add(*threshold_ms));
    passed_ms.into_iter().any(|passed_ms| passed_ms > told_ms && passed_ms <= now_ms)
}

/// The header section that `content` begins with, without the empty line.
pub(super) fn header(content: &[u8]) -> &[u8] {
    if content.starts_with(b"\r\n") {
        return &[];
    }
    let end = memchr::memmem::find(content, b"\r\n\r\n").map_or(content.len(), |at| at + 2);
    content.get(..end).unwrap_or(content)
}

/// Whether a message says of itself that it went to many or was made by a machine: `Precedence`,
/// the fields of lists (RFC 2369, 2919), `Auto-Submitted` (RFC 3834 5).
pub fn is_automatic(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(header(content));
    let unfolded = text.replace("\r\n ", " ").replace("\r\n\t", " ");
    unfolded.split("\r\n").filter_map(|line| line.split_once(':')).any(|(name, value)| {
        let word = value.trim_start().split([';', ' ', '\t', '(']).next().unwrap_or_default();
        match name.trim_end().to_ascii_lowercase().as_str() {
            "list-id" | "list-unsubscribe" => true,
            "precedence" => ["bulk", "list", "junk"].iter().any(|p| word.eq_ignore_ascii_case(p)),
            "auto-submitted" => !word.is_empty() && !word.eq_ignore_ascii_case("no"),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::path::parse_reverse_path;

    #[test]
    fn each_threshold_counts_once() {
        let thresholds = [100, 50];
        let due = |told_ms, now_ms| is_due(&thresholds, 1_000, told_ms, now_ms);
        assert!(!due(0, 1_049));
        assert!(due(0, 1_050));
        assert!(!due(1_060, 1_099));
        assert!(due(1_060, 1_100));
        assert!(!due(1_200, 9_000));
        assert!(!is_due(&[], 1_000, 0, 9_000));
    }

    #[test]
    fn only_known_senders_hear_of_a_delay() {
        let envelope = |from: &str, origin| Envelope {
            reverse_path: parse_reverse_path(from).unwrap(),
            origin,
            ..Envelope::default()
        };
        assert!(may_hear(&envelope("a@b.example", Origin::Relay)));
        assert!(!may_hear(&envelope("a@b.example", Origin::Stranger)));
        assert!(!may_hear(&envelope("", Origin::Relay)));
    }

    #[test]
    fn notify_says_what_is_wanted() {
        use crate::envelope::Recipient;
        use crate::registry::parameter::Parameter;
        use crate::syntax::parameter::RcptParameters;

        let wanted = |from: &str, words: &str| {
            let parameters = RcptParameters::parse(words, Parameter::named).unwrap();
            let one = Recipient { parameters, ..Recipient::new("r@b.example".parse().unwrap()) };
            let reverse_path = parse_reverse_path(from).unwrap();
            let envelope = Envelope { reverse_path, recipients: vec![one], ..Envelope::default() };
            [Event::Success, Event::Failure, Event::Delay]
                .map(|event| is_wanted(&envelope, 0, event))
        };
        for (words, expected) in [
            ("", [false, true, true]),
            ("NOTIFY=NEVER", [false, false, false]),
            ("NOTIFY=SUCCESS", [true, false, false]),
            ("NOTIFY=FAILURE", [false, true, false]),
            ("NOTIFY=DELAY", [false, false, true]),
            ("NOTIFY=SUCCESS,FAILURE,DELAY", [true, true, true]),
        ] {
            assert_eq!(wanted("a@b.example", words), expected, "{words}");
            assert_eq!(wanted("", words), [false; 3], "{words}");
        }
    }

    #[test]
    fn knows_mail_that_nobody_waits_for() {
        for field in [
            "Precedence: bulk",
            "PRECEDENCE:\r\n\tLIST",
            "precedence : Junk (no answers)",
            "List-Id: <l.example>",
            "List-Unsubscribe: <mailto:x@y.example>",
            "Auto-Submitted: auto-generated; x=y",
        ] {
            let content = format!("Subject: x\r\n{field}\r\n\r\nbody\r\n");
            assert!(is_automatic(content.as_bytes()), "{field}");
        }
        for content in [
            "Auto-Submitted: no\r\n\r\nx",
            "Auto-Submitted: NO (a person)\r\n\r\nx",
            "Precedence: first-class\r\n\r\nx",
            "Subject: a\r\n Precedence: bulk\r\n\r\nx",
            "Subject: a\r\n\r\nPrecedence: bulk\r\n",
            "\r\nList-Id: x\r\n",
            "",
        ] {
            assert!(!is_automatic(content.as_bytes()), "{content:?}");
        }
    }
}
