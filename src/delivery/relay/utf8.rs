//! SMTPUTF8 (RFC 6531 3.2, 3.6): who gets a message that needs it.
//!
//! A domain never does, since it has A-labels, and neither does a message of which it was only said:
//! both go on without. Nothing is downgraded. The header of a message that was not declared passes
//! as it is, whatever its octets. Of a declared one the header section counts; the headers of parts
//! within its body are content like the rest of that.

use super::Way;
use crate::delivery::outcome::Outcome;
use crate::envelope::{Envelope, Recipient};
use crate::syntax::path::ReversePath;

/// What needs SMTPUTF8 goes only where that is offered.
pub(super) fn obstacle(
    envelope: &Envelope,
    recipient: &Recipient,
    way: &Way<'_>,
) -> Option<Outcome> {
    if way.features.offers("SMTPUTF8") {
        return None;
    }
    let why = if recipient.address.needs_utf8() {
        "5.6.7 its address is in UTF-8, and the next hop offers no SMTPUTF8"
    } else if is_from_utf8(envelope) {
        "5.6.7 the sender's address is in UTF-8, and the next hop offers no SMTPUTF8"
    } else if envelope.parameters.utf8 && envelope.eight_bit_header {
        "5.6.9 its header is in UTF-8, and the next hop offers no SMTPUTF8"
    } else {
        return None;
    };
    Some(Outcome::Failed(why.to_owned()))
}

/// Whether the reverse-path needs it.
pub(super) fn is_from_utf8(envelope: &Envelope) -> bool {
    matches!(&envelope.reverse_path, ReversePath::Mailbox(mailbox) if mailbox.needs_utf8())
}

#[cfg(test)]
mod tests {
    use super::super::{Security, addressee, transaction};
    use super::*;
    use crate::delivery::features::Features;
    use crate::registry::parameter::Parameter;
    use crate::syntax::parameter::MailParameters;
    use crate::syntax::path::parse_reverse_path;
    use crate::syntax::reply::ServerReply;

    fn message(words: &str, from: &str, to: &str, eight_bit_header: bool) -> Envelope {
        Envelope {
            reverse_path: parse_reverse_path(from).unwrap(),
            recipients: vec![Recipient::new(to.parse().unwrap())],
            parameters: MailParameters::parse(words, Parameter::named).unwrap(),
            eight_bit_header,
            ..Envelope::default()
        }
    }

    fn status(keywords: &str, envelope: &Envelope) -> Option<String> {
        let lines = ["mx.example", keywords].map(str::to_owned).into();
        let features = Features::of(&ServerReply { code: 250, status: None, lines });
        let way = Way { features: &features, is_final: false, security: Security::Clear };
        let outcome = obstacle(envelope, &envelope.recipients[0], &way)?;
        let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
        why.split(' ').next().map(str::to_owned)
    }

    #[test]
    fn what_needs_it_goes_only_where_it_is_offered() {
        for (words, from, to, header, expected) in [
            ("SMTPUTF8", "s@c.example", "ü@d.example", false, Some("5.6.7")),
            ("SMTPUTF8", "ü@c.example", "a@d.example", false, Some("5.6.7")),
            ("", "", "ü@d.example", false, Some("5.6.7")),
            ("SMTPUTF8", "s@c.example", "a@d.example", true, Some("5.6.9")),
            ("SMTPUTF8", "s@bücher.example", "a@例子.example", false, None),
            ("SMTPUTF8", "", "a@d.example", false, None),
            ("", "s@c.example", "a@d.example", true, None),
        ] {
            let envelope = message(words, from, to, header);
            assert_eq!(status("8BITMIME", &envelope).as_deref(), expected, "{words} {from} {to}");
            assert_eq!(status("SMTPUTF8", &envelope), None, "{words} {from} {to}");
        }
    }

    #[test]
    fn it_is_declared_where_an_address_needs_it() {
        for (words, from, to, expected) in [
            ("SMTPUTF8", "s@c.example", "a@d.example", true),
            ("", "", "ü@d.example", true),
            ("", "ü@c.example", "a@d.example", true),
            ("", "s@bücher.example", "a@d.example", false),
        ] {
            let envelope = message(words, from, to, true);
            let going = envelope.recipients.iter().map(addressee).collect();
            let transaction = transaction(&envelope, going, 1, false);
            assert_eq!(transaction.parameters.utf8, expected, "{words} {from} {to}");
            assert!(transaction.recipients[0].path.ends_with("@d.example"));
        }
    }
}
