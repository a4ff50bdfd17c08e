//! The part for machines: message/delivery-status (RFC 3464), message/global-delivery-status (RFC
//! 6533).
//!
//! Promises a registered fallback where a peer gave no status of the right class, and fields of
//! text, seven-bit in the first form, on lines that no field of a peer's making can begin.

use super::{Action, Recipient, Report, Settings};
use crate::registry::status::EnhancedStatus;
use crate::syntax::parameter::dsn::embed;

/// Lines are folded before this column where there is a space.
const COLUMNS: usize = 76;
/// A word without spaces is cut here, to stay within the 998 octets of a line.
const WORD_OCTETS_MAX: usize = 900;

/// The status of what was given up because of its age: "Delivery time expired".
const EXPIRED: EnhancedStatus = EnhancedStatus::new(5, 4, 7);

/// The fields of the message and of each recipient.
pub(super) fn write(report: &Report<'_>, settings: &Settings) -> String {
    let original = &report.original;
    let mut fields = Fields { text: String::new(), utf8: original.utf8 };
    if let Some(envelope_id) = original.envelope_id {
        fields.add("Original-Envelope-Id", envelope_id);
    }
    fields.add("Reporting-MTA", &format!("dns; {}", settings.hostname));
    fields.add("Arrival-Date", &(report.date)(original.arrived_ms));
    if let Some(deliver_by_ms) = original.deliver_by_ms {
        fields.add("Deliver-By-Date", &(report.date)(deliver_by_ms));
    }
    for recipient in report.recipients {
        fields.text.push_str("\r\n");
        write_recipient(report, recipient, &mut fields);
    }
    fields.text
}

fn write_recipient(report: &Report<'_>, recipient: &Recipient, fields: &mut Fields) {
    if let Some(original) = &recipient.original {
        fields.add_address("Original-Recipient", original.address_type(), &original.address());
    }
    let address_type = if recipient.address.is_ascii() { "rfc822" } else { "utf-8" };
    fields.add_address("Final-Recipient", address_type, &recipient.address);
    fields.add("Action", report.action.word());
    fields.add("Status", &status(report.action, recipient).to_string());
    match reply(&recipient.reason) {
        Some(said) => {
            // RFC 3464 2.3.5: the host that reported the status, so only where one did.
            if let Some(remote) = &recipient.remote {
                fields.add("Remote-MTA", &format!("dns; {remote}"));
            }
            fields.add_words("Diagnostic-Code", &format!("smtp; {said}"));
        }
        // No server said this, so it is no code of SMTP's (2.3.6); ours is a private type (4).
        None => fields.add_words("Diagnostic-Code", &format!("X-Angarium; {}", recipient.reason)),
    }
    if let Some(attempted_ms) = recipient.attempted_ms {
        fields.add("Last-Attempt-Date", &(report.date)(attempted_ms));
    }
    if let Action::Delayed { until_ms } = report.action {
        fields.add("Will-Retry-Until", &(report.date)(until_ms));
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
        Action::Relayed | Action::Delivered => 2,
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

/// Fields as they are written.
struct Fields {
    text: String,
    /// They may be in UTF-8 (RFC 6533 5).
    utf8: bool,
}

impl Fields {
    /// The printable characters of a value; all else becomes `?`, so that it can't begin a field of
    /// its own.
    fn clean(&self, value: &str) -> String {
        let is_fine =
            |c: char| matches!(c, ' '..='~') || self.utf8 && !c.is_ascii() && !c.is_control();
        value.chars().map(|c| if is_fine(c) { c } else { '?' }).collect()
    }

    /// Appends a field of a bounded value, octet for octet: spaces count in an address.
    fn add(&mut self, name: &str, value: &str) {
        let value = self.clean(value);
        self.text.push_str(&format!("{name}: {value}\r\n"));
    }

    /// Appends an address; where the field must be ASCII, one of type `utf-8` is embedded in it
    /// (RFC 6533 3).
    fn add_address(&mut self, name: &str, address_type: &str, address: &str) {
        let is_embedded = !self.utf8 && address_type.eq_ignore_ascii_case("utf-8");
        let address = embed(address, |c| is_embedded && !c.is_ascii());
        self.add(name, &format!("{address_type}; {address}"));
    }

    /// Appends a field of words; every line after the first begins with a space.
    fn add_words(&mut self, name: &str, value: &str) {
        let clean = self.clean(value);
        let out = &mut self.text;
        out.push_str(name);
        out.push(':');
        let mut column = name.len() + 1;
        for word in clean.split(' ').filter(|word| !word.is_empty()) {
            let mut rest = word;
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rest.floor_char_boundary(WORD_OCTETS_MAX));
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
        for (utf8, shown) in [(false, '?'), (true, 'é')] {
            let mut fields = Fields { text: String::new(), utf8 };
            let value = format!("smtp; 550 é\r\nAction: delivered {}", "é".repeat(2_000));
            fields.add_words("Diagnostic-Code", &value);
            let lines: Vec<_> = fields.text.split_terminator("\r\n").collect();
            let first = format!("Diagnostic-Code: smtp; 550 {shown}??Action: delivered");
            assert!(lines[0].starts_with(&first), "{}", lines[0]);
            assert!(lines[1..].iter().all(|line| line.starts_with(' ')));
            assert!(lines.iter().all(|line| line.len() < 998));
        }
    }
}
