//! DELIVERBY (RFC 2852 4.1.3, 4.1.4): who gets a message that has a deadline, and how much time.
//!
//! Promises that a message to be returned when late is sent nowhere once it is, and only to servers
//! that return it in their turn with the time that is left; and that time spent here is taken off.

use super::Way;
use crate::delivery::outcome::Outcome;
use crate::envelope::Envelope;
use crate::syntax::parameter::deadline::{Deadline, Mode, SECONDS_MAX};

/// The message with the time that is left of its deadline, where it has one; times in ms since the
/// epoch.
pub fn aged(envelope: &Envelope, arrived_ms: u64, now_ms: u64) -> Option<Envelope> {
    let deadline = envelope.parameters.deadline?;
    let left_ms = i128::from(deadline.at_ms(arrived_ms)) - i128::from(now_ms);
    let seconds = i64::try_from(left_ms.div_euclid(1000)).unwrap_or(i64::MIN);
    let seconds = seconds.clamp(-SECONDS_MAX, SECONDS_MAX);
    let mut aged = envelope.clone();
    aged.parameters.deadline = Some(Deadline { seconds, ..deadline });
    Some(aged)
}

/// Whether a sender who rules out no report hears that a message with a deadline went this way, to be
/// told of it by nobody else (RFC 2852 4.1.4.1, 4.1.4.2): where that was asked for, and where the
/// deadline stays behind.
pub fn is_reported(envelope: &Envelope, way: &Way<'_>) -> bool {
    let passed_on = way.features.offers("DELIVERBY");
    let reported = |deadline: Deadline| match deadline.mode {
        _ if passed_on => deadline.trace,
        Mode::Notify => true,
        Mode::Return => false,
    };
    !way.is_final && envelope.parameters.deadline.is_some_and(reported)
}

/// What keeps a message from going this way with the time that it has left.
pub(super) fn obstacle(envelope: &Envelope, way: &Way<'_>) -> Option<Outcome> {
    let Deadline { seconds, mode: Mode::Return, .. } = envelope.parameters.deadline? else {
        return None;
    };
    let min_s = way.features.deadline_min_s.unwrap_or(0);
    // A next hop that is no mailstore can be told of whole seconds alone.
    let why = if seconds < i64::from(!way.is_final) {
        "5.4.7 the time that was set for it is over".to_owned()
    } else if way.is_final {
        return None;
    } else if !way.features.offers("DELIVERBY") {
        "5.3.3 it has to be returned when late, and the next hop offers no DELIVERBY".to_owned()
    } else if seconds < min_s {
        format!("5.4.7 it has {seconds} seconds left, and the next hop wants {min_s}")
    } else {
        return None;
    };
    Some(Outcome::Failed(why))
}

#[cfg(test)]
mod tests {
    use super::super::Security;
    use super::*;
    use crate::delivery::features::Features;
    use crate::registry::parameter::Parameter;
    use crate::syntax::parameter::MailParameters;
    use crate::syntax::reply::ServerReply;

    fn envelope(words: &str) -> Envelope {
        let parameters = MailParameters::parse(words, Parameter::named).unwrap();
        Envelope { parameters, ..Envelope::default() }
    }

    fn on_way<T>(keywords: &str, is_final: bool, ask: impl Fn(&Way<'_>) -> T) -> T {
        let lines = ["mx.example", keywords].map(str::to_owned).into();
        let features = Features::of(&ServerReply { code: 250, status: None, lines });
        ask(&Way { features: &features, is_final, security: Security::Clear })
    }

    fn refusal(envelope: &Envelope, keywords: &str, is_final: bool) -> Option<String> {
        let outcome = on_way(keywords, is_final, |way| obstacle(envelope, way));
        outcome.map(|outcome| outcome.reason()[..5].to_owned())
    }

    #[test]
    fn who_asked_hears_of_each_relay_and_of_a_deadline_that_stays_behind() {
        for (words, keywords, is_final, expected) in [
            ("BY=60;NT", "DELIVERBY", false, true),
            ("BY=60;RT", "DELIVERBY", false, true),
            ("BY=60;N", "DELIVERBY", false, false),
            ("BY=60;N", "SIZE", false, true),
            ("BY=60;N", "SIZE", true, false),
            ("BY=60;RT", "DELIVERBY", true, false),
            ("", "SIZE", false, false),
        ] {
            let told = on_way(keywords, is_final, |way| is_reported(&envelope(words), way));
            assert_eq!(told, expected, "{words} {keywords}");
        }
    }

    #[test]
    fn what_must_be_returned_goes_only_to_who_returns_it() {
        let goes = |words: &str, keywords: &str, is_final| {
            refusal(&envelope(words), keywords, is_final).is_none()
        };
        assert!(goes("", "SIZE", false));
        assert!(!goes("BY=60;R", "SIZE", false));
        assert!(goes("BY=60;R", "DELIVERBY", false));
        assert!(goes("BY=60;R", "SIZE", true));
        assert!(goes("BY=60;N", "SIZE", false));
    }

    #[test]
    fn time_is_taken_off_and_what_is_left_must_do() {
        let came_ms = 1_800_000_000_000;
        let after =
            |words: &str, spent_ms: u64| aged(&envelope(words), came_ms, came_ms + spent_ms);
        assert_eq!(after("", 1), None);
        let left = |words: &str, spent_ms| {
            let deadline = after(words, spent_ms).unwrap().parameters.deadline.unwrap();
            deadline.to_string()
        };
        assert_eq!(left("BY=60;R", 0), "60;R");
        assert_eq!(left("BY=60;RT", 1), "59;RT", "never more than there is");
        assert_eq!(left("BY=60;N", 61_000), "-1;N");
        assert_eq!(left("BY=-999999999;NT", 61_000), "-999999999;NT", "nine digits");
        assert_eq!(left("BY=1;N", u64::MAX - came_ms), "-999999999;N");
        let why = |spent_ms, is_final| {
            refusal(&after("BY=60;R", spent_ms).unwrap(), "DELIVERBY 30", is_final)
        };
        assert_eq!((why(30_000, false), why(30_001, true)), (None, None));
        assert_eq!(why(30_001, false).as_deref(), Some("5.4.7"));
        assert_eq!(why(59_001, false).as_deref(), Some("5.4.7"));
        assert_eq!((why(60_000, true), why(60_001, true).as_deref()), (None, Some("5.4.7")));
        let late = after("BY=60;N", 600_000).unwrap();
        assert_eq!(refusal(&late, "DELIVERBY 30", false), None, "it is told of, and goes on");
    }
}
