//! The peers without Angarium: what they do to a message by themselves, and that a comparison
//! which passes means something.
//!
//! Proves that each peer alone gives every message back as it was sent (so that a difference in
//! the other tests is ours), and that a changed, lost or added octet does not pass.

use crate::compare::{below_trace, trace_fields};
use crate::dovecot::Dovecot;
use crate::exim::{self, Exim};
use crate::neighbour::{passes_on_unchanged, refuses_what_it_does_not_take};
use crate::opensmtpd::{self, OpenSmtpd};
use crate::postfix::Postfix;
use crate::require_peers;
use crate::sink::{self, Sink};
use crate::support::ARRIVAL;
use crate::support::corpus::{Message, sendable};
use crate::support::smtp::Client;
use crate::tools::{smtp_source, swaks};

fn mailboxes(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("m{number}")).collect()
}

#[test]
fn dovecot_gives_back_what_it_is_given() {
    require_peers!();
    let messages = sendable();
    let names = mailboxes(messages.len());
    let dovecot = Dovecot::start_new(&names);
    let mut client = Client::unix(&dovecot.lmtp_path());
    client.try_hello("LHLO harness.test").unwrap();
    for (message, name) in messages.iter().zip(&names) {
        let to = Dovecot::address(name);
        let reply = client.send_message("a@susa.example", &[&to], &message.octets);
        assert_eq!(reply.code, 250, "{}: {reply:?}", message.name);
        let trace = below_trace(message, &dovecot.only_message(name));
        assert_eq!(trace.values("Return-Path").first(), Some(&"<a@susa.example>"));
        assert_eq!(trace.received_by("dovecot.test"), 1, "{trace:?}");
    }
}

#[test]
fn dovecot_refuses_unknown_mailboxes_and_comes_back() {
    require_peers!();
    let mut dovecot = Dovecot::start_new(&["alice"]);
    for round in 0..2 {
        let mut client = Client::unix(&dovecot.lmtp_path());
        client.try_hello("LHLO harness.test").unwrap();
        client.envelope("a@susa.example", &[&Dovecot::address("alice")]);
        client.command(&format!("RCPT TO:<{}>", Dovecot::address("bob"))).is(550, "5.1.1");
        client.data(b"Subject: x\r\n\r\nx\r\n").is(250, "2.0.0");
        assert_eq!(dovecot.messages("alice").len(), round + 1);
        dovecot.stop();
        dovecot.start();
    }
}

#[test]
fn smtp_sink_dumps_what_it_is_given() {
    require_peers!();
    let messages = sendable();
    let sink = Sink::dumping();
    let mut client = Client::greet(sink.address(), "harness.test");
    for (number, message) in messages.iter().enumerate() {
        let to = format!("m{number}@sink.example");
        let reply = client.send_message("a@susa.example", &[&to], &message.octets);
        assert_eq!(reply.code, 250, "{}: {reply:?}", message.name);
    }
    client.quit();
    sink.wait_for(messages.len(), ARRIVAL);
    let dumps = sink.by_recipient();
    for (number, message) in messages.iter().enumerate() {
        let trace = below_trace(message, &dumps[&format!("m{number}@sink.example")]);
        assert_eq!(trace.values("X-Mail-Args"), ["<a@susa.example>"]);
        assert_eq!(trace.received_by(sink::HOSTNAME), 1, "{trace:?}");
    }
}

#[test]
fn postfix_passes_well_formed_messages_unchanged() {
    require_peers!();
    passes_on_unchanged::<Postfix>();
}

#[test]
fn exim_passes_well_formed_messages_unchanged() {
    require_peers!(exim::PROGRAM);
    passes_on_unchanged::<Exim>();
}

#[test]
fn opensmtpd_passes_well_formed_messages_unchanged() {
    require_peers!(opensmtpd::PROGRAM);
    passes_on_unchanged::<OpenSmtpd>();
}

#[test]
fn opensmtpd_refuses_what_is_left_out() {
    require_peers!(opensmtpd::PROGRAM);
    refuses_what_it_does_not_take::<OpenSmtpd>();
}

#[test]
fn postfix_sends_what_its_sendmail_takes() {
    require_peers!();
    let sink = Sink::dumping();
    let postfix = Postfix::start(&[("sink.example", sink.address())]);
    postfix.sendmail("a@susa.example", "b@sink.example", b"Subject: by hand\n\nbody\n.\nend\n");
    sink.wait_for(1, ARRIVAL);
    postfix.drain(ARRIVAL);
    let got = &sink.by_recipient()["b@sink.example"];
    assert!(got.ends_with(b"\r\n\r\nbody\r\n.\r\nend\r\n"), "{}", String::from_utf8_lossy(got));
}

#[test]
fn tools_send_and_report() {
    require_peers!();
    let sink = Sink::counting();
    let load = smtp_source(sink.address(), &["-s", "5", "-m", "40", "-l", "2000"]);
    assert_eq!(load.code, 0, "{load:?}");
    let one = ["--from", "a@susa.example", "--to", "b@sink.example", "--pipeline"];
    let run = swaks(sink.address(), &one);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.replies().iter().any(|reply| reply.starts_with("354")), "{run:?}");
    assert_eq!(sink.count(), 41);
}

fn message(octets: &[u8]) -> Message {
    Message { name: "calibration".to_owned(), octets: octets.to_vec() }
}

fn differs(sent: &[u8], got: &[u8]) -> bool {
    let (sent, got) = (message(sent), got.to_vec());
    std::panic::catch_unwind(move || below_trace(&sent, &got)).is_err()
}

#[test]
fn comparison_finds_each_kind_of_change() {
    let sent = b"Subject: x\r\n\r\nbody\r\n";
    let whole: &[u8] = b"Received: from a by b ;\r\n\tnow\r\nSubject: x\r\n\r\nbody\r\n";
    assert_eq!(below_trace(&message(sent), whole).received_by("b"), 1);
    assert!(differs(sent, b"Received: from a by b\r\nSubject: x\r\n\r\nBody\r\n"), "changed");
    assert!(differs(sent, b"Received: from a by b\r\nSubject: x\r\n\r\n\r\n"), "lost");
    assert!(differs(sent, b"Subject: x\r\n\r\nbody\r\n\r\n"), "added behind");
    assert!(differs(sent, b"Message-ID: <x@y>\r\nSubject: x\r\n\r\nbody\r\n"), "added in front");
    assert!(differs(sent, b"Received: a\r\n\r\nSubject: x\r\n\r\nbody\r\n"), "line between");
}

#[test]
fn comparison_allows_one_empty_line_where_no_header_begins() {
    let sent = b"just words\r\n";
    below_trace(&message(sent), b"Received: a\r\n\r\njust words\r\n");
    below_trace(&message(sent), b"Received: a\r\njust words\r\n");
    assert!(differs(sent, b"Received: a\r\n\r\n\r\njust words\r\n"));
}

#[test]
fn trace_fields_end_at_the_first_other_line() {
    let (fields, rest) = trace_fields(b"Received: a\r\n\tb\r\nReturn-Path: <>\r\nTo: x\r\n");
    assert_eq!(fields.len(), 2);
    assert_eq!(fields[0], ("Received".to_owned(), "a b".to_owned()));
    assert_eq!(rest, b"To: x\r\n");
}
