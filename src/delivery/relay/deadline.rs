//! DELIVERBY (RFC 2852 4.1.3): who gets a message that has a deadline.

use super::Way;
use crate::delivery::outcome::Outcome;
use crate::envelope::Envelope;
use crate::syntax::parameter::deadline::Mode;

/// A message to be returned when late goes only where somebody returns it.
pub(super) fn obstacle(envelope: &Envelope, way: &Way<'_>) -> Option<Outcome> {
    let deadline = envelope.parameters.deadline?;
    let must_return = deadline.mode == Mode::Return && !way.is_final;
    (must_return && !way.features.offers("DELIVERBY")).then(|| {
        let why = "5.3.3 it has to be returned when late, and the next hop offers no DELIVERBY";
        Outcome::Failed(why.to_owned())
    })
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
    fn what_must_be_returned_goes_only_to_who_returns_it() {
        let goes = |words: &str, keywords: &str, is_final| {
            let parameters = MailParameters::parse(words, Parameter::named).unwrap();
            let envelope = Envelope { parameters, ..Envelope::default() };
            let lines = ["mx.example", keywords].map(str::to_owned).into();
            let features = Features::of(&ServerReply { code: 250, status: None, lines });
            let way = Way { features: &features, is_final, security: Security::Clear };
            obstacle(&envelope, &way).is_none()
        };
        assert!(goes("", "SIZE", false));
        assert!(!goes("BY=60;R", "SIZE", false));
        assert!(goes("BY=60;R", "DELIVERBY", false));
        assert!(goes("BY=60;R", "SIZE", true));
        assert!(goes("BY=60;N", "SIZE", false));
    }
}
