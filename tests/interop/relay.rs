//! Relaying: Angarium before smtp-sink, and before and behind Postfix, Exim and OpenSMTPD.
//!
//! Proves that each message arrives once, with equal octets below the trace; where another mail
//! server stands in the way and repairs what is malformed, equal to what the same server makes of
//! the message without Angarium.

use crate::compare::{below_received_by, below_trace};
use crate::dovecot::{DOMAIN, Dovecot};
use crate::exim::{self, Exim};
use crate::final_delivery::domain;
use crate::neighbour::{
    SENDER, before_makes_no_difference, behind_makes_no_difference, relay_to, send_all,
};
use crate::opensmtpd::{self, OpenSmtpd};
use crate::postfix::{self, Postfix};
use crate::require_peers;
use crate::sink::{self, Sink};
use crate::support::ARRIVAL;
use crate::support::corpus::sendable;
use crate::support::daemon::{Daemon, HOSTNAME};

/// Checks: R01 R10
#[test]
fn corpus_reaches_smtp_sink() {
    require_peers!();
    let messages = sendable();
    let sink = Sink::dumping();
    let daemon = Daemon::start(&relay_to(&sink.url()));
    send_all(daemon.addr(), &messages, |number| format!("m{number}@sink.example"));
    daemon.drain(ARRIVAL);
    let dumps = sink.by_recipient();
    assert_eq!(dumps.len(), messages.len());
    for (number, message) in messages.iter().enumerate() {
        let trace = below_trace(message, &dumps[&format!("m{number}@sink.example")]);
        assert_eq!(trace.values("X-Mail-Args")[0].split(' ').next(), Some("<atossa@susa.example>"));
        assert_eq!(trace.received_by(HOSTNAME), 1, "{}: {trace:?}", message.name);
        assert_eq!(trace.received_by(sink::HOSTNAME), 1, "{}: {trace:?}", message.name);
        assert_eq!(trace.values("Received").len(), 2, "{}: {trace:?}", message.name);
    }
}

/// Checks: R01 R10 T12
#[test]
fn postfix_behind_makes_no_difference() {
    require_peers!();
    behind_makes_no_difference::<Postfix>();
}

/// Checks: R01 R10 T11
#[test]
fn postfix_before_makes_no_difference() {
    require_peers!();
    before_makes_no_difference::<Postfix>();
}

/// Checks: R01 R10 T12
#[test]
fn exim_behind_makes_no_difference() {
    require_peers!(exim::PROGRAM);
    behind_makes_no_difference::<Exim>();
}

/// Checks: R01 R10 T11
#[test]
fn exim_before_makes_no_difference() {
    require_peers!(exim::PROGRAM);
    before_makes_no_difference::<Exim>();
}

/// Checks: R01 R10 T12
#[test]
fn opensmtpd_behind_makes_no_difference() {
    require_peers!(opensmtpd::PROGRAM);
    behind_makes_no_difference::<OpenSmtpd>();
}

/// Checks: R01 R10 T11
#[test]
fn opensmtpd_before_makes_no_difference() {
    require_peers!(opensmtpd::PROGRAM);
    before_makes_no_difference::<OpenSmtpd>();
}

#[test]
fn mail_from_sendmail_of_postfix_arrives_once() {
    require_peers!();
    let dovecot = Dovecot::start_new(&["alice"]);
    let daemon = Daemon::start(&domain(&dovecot.lmtp_tcp_url()));
    let postfix = Postfix::start(&[(DOMAIN, daemon.addr())]);
    postfix.sendmail(SENDER, &Dovecot::address("alice"), b"Subject: by hand\n\nbody\n.\nend\n");
    postfix.drain(ARRIVAL);
    daemon.drain(ARRIVAL);
    let stored = dovecot.only_message("alice");
    let (_, content) = below_received_by(postfix::HOSTNAME, &stored);
    assert!(content.starts_with(b"Subject: by hand\r\n"), "{}", text(content));
    assert!(content.ends_with(b"\r\n\r\nbody\r\n.\r\nend\r\n"), "{}", text(content));
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
