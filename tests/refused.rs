//! Extensions that are known and never served: each verb and each parameter of them, in a session.
//!
//! Promises that the registry's rows decide, with a reason that holds for good.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod machine;

use angarium::registry::extension::{self, Support, head};
use angarium::session::Settings;
use angarium::syntax::content::BareLineEnds;
use machine::Machine;

const NEVER: [&str; 16] = [
    "SEND",
    "SOML",
    "SAML",
    "TURN",
    "EXPN",
    "VERB",
    "ONEX",
    "BURL",
    "ATRN",
    "ETRN",
    "CHECKPOINT",
    "MTRK",
    "CONPERM",
    "CONNEG",
    "NO-SOLICITING",
    "UTF8SMTP",
];

/// The replies to these lines, behind a hello.
fn replies(settings: &Settings, lines: &[String]) -> Vec<String> {
    let mut machine = Machine::new(settings);
    machine.say(b"EHLO c.example\r\n");
    let before = machine.replies().len();
    let said: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    machine.say(said.as_bytes());
    assert!(!machine.closed, "the session goes on");
    machine.replies()[before..].lines().map(str::to_owned).collect()
}

#[test]
fn each_verb_and_each_parameter_is_refused_and_the_session_goes_on() {
    // Checks: G03
    let settings = machine::settings(BareLineEnds::Refuse);
    for keyword in NEVER.into_iter().chain(["SUBMITTER"]) {
        let row = extension::find(keyword).unwrap();
        assert_eq!(row.support, Support::Refused, "{keyword}");
        assert!(!row.reason.contains(" yet"), "{keyword}: {}", row.reason);
        assert!(!settings.offer.offers(keyword), "{keyword}");
        let mail = "MAIL FROM:<s@c.example>";
        let rcpt = "RCPT TO:<a@local.example>";
        for form in &row.verbs {
            let said = replies(&settings, &[head(form).to_owned(), form.clone(), "NOOP".into()]);
            let refusal = "502 5.5.1 command not served here";
            assert_eq!(said, [refusal, refusal, "250 2.0.0 ok"], "{form}");
        }
        let refusal = "555 5.5.4 parameter not known here";
        for form in &row.mail_parameters {
            let lines = [format!("{mail} {form}"), format!("{mail} {}", head(form)), mail.into()];
            // A form may hold blanks: what counts is the first word.
            let said = replies(&settings, &lines);
            assert_eq!(said, [refusal, refusal, "250 2.1.0 sender ok"], "{form}");
        }
        for form in &row.rcpt_parameters {
            let said = replies(&settings, &[mail.into(), format!("{rcpt} {form}"), rcpt.into()]);
            assert_eq!(said[1..], [refusal, "250 2.1.5 recipient ok"], "{form}");
        }
        let forms = [&row.verbs, &row.mail_parameters, &row.rcpt_parameters];
        assert!(forms.iter().any(|forms| !forms.is_empty()), "{keyword}: nothing was tried");
    }
}
