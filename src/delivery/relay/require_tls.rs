//! REQUIRETLS (RFC 8689 4.2.1): who gets a message that must travel by TLS with servers of proven
//! name.
//!
//! A mailstore on this machine is the end of the way, and counts as secured. The header field
//! `TLS-Required: No` changes nothing here: it is about policies of the recipient's side, and what the
//! operator asks of a next hop is none.

use super::{Security, Way};
use crate::delivery::outcome::Outcome;
use crate::envelope::Envelope;

/// Such a message goes only where it stays as it must.
pub(super) fn obstacle(envelope: &Envelope, way: &Way<'_>) -> Option<Outcome> {
    if !envelope.parameters.require_tls {
        return None;
    }
    let why = match way.security {
        Security::Local => return None,
        Security::Verified if way.features.offers("REQUIRETLS") => return None,
        Security::Verified => "5.7.30 it must travel by TLS, and the next hop offers no REQUIRETLS",
        Security::Encrypted => {
            "5.7.10 it must travel by TLS with a server of proven name, which the next hop is not"
        }
        Security::Clear => "5.7.10 it must travel by TLS, and the next hop is reached without",
    };
    Some(Outcome::Failed(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::features::Features;
    use crate::registry::parameter::Parameter;
    use crate::syntax::parameter::MailParameters;
    use crate::syntax::reply::ServerReply;

    fn status(words: &str, keywords: &str, security: Security) -> Option<String> {
        let parameters = MailParameters::parse(words, Parameter::named).unwrap();
        let envelope = Envelope { parameters, ..Envelope::default() };
        let lines = ["mx.example", keywords].map(str::to_owned).into();
        let features = Features::of(&ServerReply { code: 250, status: None, lines });
        let way = Way { features: &features, is_final: false, security };
        let outcome = obstacle(&envelope, &way)?;
        let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
        why.split(' ').next().map(str::to_owned)
    }

    #[test]
    fn such_a_message_goes_only_where_it_stays_under_tls() {
        use Security::{Clear, Encrypted, Local, Verified};
        for (security, keywords, expected) in [
            (Clear, "REQUIRETLS", Some("5.7.10")),
            (Encrypted, "REQUIRETLS", Some("5.7.10")),
            (Verified, "SIZE", Some("5.7.30")),
            (Verified, "REQUIRETLS", None),
            (Local, "SIZE", None),
        ] {
            let found = status("REQUIRETLS", keywords, security);
            assert_eq!(found.as_deref(), expected, "{security:?} {keywords}");
            assert_eq!(status("", keywords, security), None);
        }
    }
}
