//! DSN (RFC 3461 5.2.1): which names of a recipient go on.

use crate::envelope::Recipient;
use crate::syntax::parameter::RcptParameters;
use crate::syntax::parameter::dsn::ORIGINAL_OCTETS_MAX;

/// What goes on for a recipient: as it came, and the name it had where it was rewritten, so that
/// reports from further on speak of an address that the sender knows.
pub(super) fn parameters(recipient: &Recipient) -> RcptParameters {
    let original = recipient.named().filter(|named| named.octets() <= ORIGINAL_OCTETS_MAX);
    RcptParameters { original, ..recipient.parameters.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::parameter::Parameter;

    #[test]
    fn a_rewritten_recipient_keeps_its_name() {
        let words = |original: Option<&str>, given: &str| {
            let address = "r@b.example".parse().unwrap();
            let original = original.map(str::to_owned);
            let parameters = RcptParameters::parse(given, Parameter::named).unwrap();
            let mut words = String::new();
            super::parameters(&Recipient { address, original, parameters })
                .write(&mut words, |_| true);
            words
        };
        assert_eq!(words(None, ""), "");
        assert_eq!(words(Some("a+b@c.example"), ""), " ORCPT=rfc822;a+2Bb@c.example");
        assert_eq!(words(Some("ü@c.example"), ""), " ORCPT=utf-8;ü@c.example");
        let given = "NOTIFY=DELAY ORCPT=x-y;a+2Bb";
        assert_eq!(words(Some("o@c.example"), given), format!(" {given}"));
        assert_eq!(words(Some(&"x".repeat(600)), ""), "");
    }
}
