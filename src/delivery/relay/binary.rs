//! BINARYMIME (RFC 3030 3): content of any octets goes by BDAT, and only to who offers it; never by
//! DATA. Elsewhere it has to be converted before.

use super::Way;
use crate::envelope::Envelope;
use crate::syntax::parameter::body::Body;

/// Whether a message may hold any octets.
pub fn is_binary(envelope: &Envelope) -> bool {
    envelope.parameters.body == Some(Body::BinaryMime)
}

/// Whether it may go this way as it is.
pub fn passes(way: &Way<'_>) -> bool {
    way.features.offers("BINARYMIME") && way.features.offers("CHUNKING")
}

#[cfg(test)]
mod tests {
    use super::super::Security;
    use super::*;
    use crate::delivery::features::Features;
    use crate::registry::parameter::Parameter;
    use crate::syntax::parameter::MailParameters;
    use crate::syntax::reply::ServerReply;

    #[test]
    fn it_goes_only_where_any_octets_can_come_in_chunks() {
        let passes = |keywords: &str| {
            let lines = ["mx.example"].into_iter().chain(keywords.split(' '));
            let lines = lines.map(str::to_owned).collect();
            let features = Features::of(&ServerReply { code: 250, status: None, lines });
            passes(&Way { features: &features, is_final: true, security: Security::Clear })
        };
        assert!(passes("CHUNKING BINARYMIME"));
        for lacking in ["CHUNKING", "BINARYMIME", "8BITMIME BINARYMIME", "8BITMIME CHUNKING"] {
            assert!(!passes(lacking), "{lacking}");
        }
    }

    #[test]
    fn only_what_is_declared_so_is_binary() {
        let is_binary = |words: &str| {
            let parameters = MailParameters::parse(words, Parameter::named).unwrap();
            is_binary(&Envelope { parameters, eight_bit: true, ..Envelope::default() })
        };
        assert!(is_binary("BODY=BINARYMIME"));
        assert!(!is_binary("BODY=8BITMIME") && !is_binary("BODY=7BIT") && !is_binary(""));
    }
}
