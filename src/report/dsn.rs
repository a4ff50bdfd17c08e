//! The part for machines: message/delivery-status (RFC 3464).
//!
//! Promises a registered fallback where a peer gave no status of the right class, and fields of
//! seven-bit text on lines that no field of a peer's making can begin.

use super::{Action, Recipient, Report, Settings};
use crate::registry::status::EnhancedStatus;

/// Lines are folded before this column where there is a space.
const COLUMNS: usize = 76;
/// A word without spaces is cut here, to stay within the 998 octets of a line.
const WORD_OCTETS_MAX: usize = 900;

/// The status of what was given up because of its age: "Delivery time expired".
const EXPIRED: EnhancedStatus = EnhancedStatus::new(5, 4, 7);

/// The fields of the message and of each recipient.
pub(super) fn write(report: &Report<'_>, settings: &Settings) -> String {
    let mut out = String::new();
    let original = &report.original;
    if let Some(envelope_id) = original.envelope_id {
        field(&mut out, "Original-Envelope-Id", envelope_id);
    }
    field(&mut out, "Reporting-MTA", &format!("dns; {}", settings.hostname));
    field(&mut out, "Arrival-Date", &(report.date)(original.arrived_ms));
    if let Some(deliver_by_ms) = original.deliver_by_ms {
        field(&mut out, "Deliver-By-Date", &(report.date)(deliver_by_ms));
    }
    for recipient in report.recipients {
        out.push_str("\r\n");
        write_recipient(report, recipient, &mut out);
    }
    out
}

fn write_recipient(report: &Report<'_>, recipient: &Recipient, out: &mut String) {
    if let Some(original) = &recipient.original {
        field(out, "Original-Recipient", &format!("rfc822; {original}"));
    }
    field(out, "Final-Recipient", &format!("rfc822; {}", recipient.address));
    let action = match report.action {
        Action::Failed => "failed",
        Action::Delayed { .. } => "delayed",
    };
    field(out, "Action", action);
    field(out, "Status", &status(report.action, recipient).to_string());
    match reply(&recipient.reason) {
        Some(said) => {
            // RFC 3464 2.3.5: the host that reported the status, so only where one did.
            if let Some(remote) = &recipient.remote {
                field(out, "Remote-MTA", &format!("dns; {remote}"));
            }
            folded(out, "Diagnostic-Code", &format!("smtp; {said}"));
        }
        // No server said this, so it is no code of SMTP's (2.3.6); ours is a private type (4).
        None => folded(out, "Diagnostic-Code", &format!("X-Angarium; {}", recipient.reason)),
    }
    if let Some(attempted_ms) = recipient.attempted_ms {
        field(out, "Last-Attempt-Date", &(report.date)(attempted_ms));
    }
    if let Action::Delayed { until_ms } = report.action {
        field(out, "Will-Retry-Until", &(report.date)(until_ms));
    }
}

/// The reply of a server within a reason, as `delivery::outcome` words it.
pub(super) fn reply(reason: &str) -> Option<&str> {
    let said = reason.strip_prefix("said ")?;
    let code = said.get(..3)?;
    if !code.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let stage = said.rfind(" (").filter(|_| said.ends_with(')'));
    said.get(..stage.unwrap_or(said.len()))
}

/// The status of a recipient: the one given if its class fits, else one that is registered.
pub(super) fn status(action: Action, recipient: &Recipient) -> EnhancedStatus {
    let class = match action {
        Action::Failed if recipient.expired => return EXPIRED,
        Action::Failed => 5,
        Action::Delayed { .. } => 4,
    };
    given(&recipient.reason).filter(|status| status.class == class).unwrap_or_else(|| {
        // Without a reply it was the network; else nobody knows.
        let subject = if class == 4 && reply(&recipient.reason).is_none() { 4 } else { 0 };
        EnhancedStatus::new(class, subject, 0)
    })
}

/// The status that a reason names, whatever its class.
pub(super) fn given(reason: &str) -> Option<EnhancedStatus> {
    let text = reply(reason).map_or(Some(reason), |said| said.get(4..))?;
    EnhancedStatus::parse_prefix(text).map(|(status, _)| status)
}

/// The value in printable ASCII; all else becomes `?`, so that it can't begin a field of its own.
fn clean(value: &str) -> String {
    value.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

/// Appends a field of a bounded value, octet for octet: spaces count in an address.
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!("{name}: {}\r\n", clean(value)));
}

/// Appends a field of words; every line after the first begins with a space.
fn folded(out: &mut String, name: &str, value: &str) {
    let clean = clean(value);
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    for word in clean.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rest.len().min(WORD_OCTETS_MAX));
            if column + 1 + piece.len() > COLUMNS && column > name.len() + 1 {
                out.push_str("\r\n");
                column = 0;
            }
            out.push(' ');
            out.push_str(piece);
            column += 1 + piece.len();
            rest = left;
        }
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::outcome::{Outcome, Stage, of_reply};
    use crate::syntax::reply::ReplyReader;

    fn reason(line: &str) -> String {
        let mut input = bytes::BytesMut::from(format!("{line}\r\n").as_str());
        let reply = ReplyReader::default().read(&mut input).unwrap().unwrap();
        match of_reply(Stage::Recipient, &reply) {
            Outcome::Failed(reason) | Outcome::Deferred(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn recipient(reason: &str, expired: bool) -> Recipient {
        Recipient {
            address: "a@b.example".into(),
            original: None,
            expired,
            reason: reason.into(),
            remote: None,
            attempted_ms: None,
        }
    }

    #[test]
    fn finds_the_reply_in_the_words_of_an_outcome() {
        assert_eq!(reply(&reason("550 5.1.1 no (really)")), Some("550 5.1.1 no (really)"));
        assert_eq!(reply(&reason("450-4.2.0 a\r\n450 4.2.0 b")), Some("450 4.2.0 a / 4.2.0 b"));
        assert_eq!(reply("said 550 cut sho"), Some("550 cut sho"));
        for own in ["can't connect", "5.3.4 too large", "said nothing (x)", ""] {
            assert_eq!(reply(own), None, "{own}");
        }
    }

    #[test]
    fn a_status_fits_its_class() {
        let later = Action::Delayed { until_ms: 0 };
        for (action, reason, expired, expected) in [
            (Action::Failed, reason("550 5.1.1 no"), false, "5.1.1"),
            (Action::Failed, reason("550 no"), false, "5.0.0"),
            (Action::Failed, reason("554 4.1.1 no"), false, "5.0.0"),
            (Action::Failed, "5.3.4 large".into(), false, "5.3.4"),
            (Action::Failed, reason("450 4.2.1 busy"), true, "5.4.7"),
            (later, reason("450 4.2.1 busy"), false, "4.2.1"),
            (later, reason("450 busy"), false, "4.0.0"),
            (later, "can't connect".into(), false, "4.4.0"),
        ] {
            let status = status(action, &recipient(&reason, expired));
            assert_eq!(status.to_string(), expected, "{reason}");
            assert!(status.name().is_some(), "{status} is not registered");
        }
    }

    #[test]
    fn no_value_begins_a_field() {
        let mut out = String::new();
        let value = format!("smtp; 550 é\r\nAction: delivered {}", "x".repeat(2_000));
        folded(&mut out, "Diagnostic-Code", &value);
        let lines: Vec<_> = out.split_terminator("\r\n").collect();
        assert!(lines[0].starts_with("Diagnostic-Code: smtp; 550 ???Action: delivered"));
        assert!(lines[1..].iter().all(|line| line.starts_with(' ')));
        assert!(lines.iter().all(|line| line.len() < 998));
    }
}
