//! Relaying: Angarium before smtp-sink, before Postfix, and behind Postfix.
//!
//! Proves that the octets are equal below the trace; where Postfix stands in the way and repairs
//! what is malformed, equal to what the same Postfix makes of the message without Angarium.

use crate::compare::{below_received_by, below_trace};
use crate::dovecot::{DOMAIN, Dovecot};
use crate::final_delivery::domain;
use crate::postfix::{self, Postfix};
use crate::require_peers;
use crate::sink::{self, Sink};
use crate::support::ARRIVAL;
use crate::support::corpus::{Message, sendable};
use crate::support::daemon::{Daemon, HOSTNAME};
use crate::support::smtp::Client;

const SENDER: &str = "atossa@susa.example";

/// Tables that let this machine relay, and send all of it to one next hop.
pub(crate) fn relay_to(via: &str) -> String {
    format!("[relay]\nfrom = [\"127.0.0.1/32\"]\n\n[[route]]\nrecipient = \"*\"\nvia = \"{via}\"\n")
}

/// Sends each message to the recipient that its number makes.
fn send_all(server: std::net::SocketAddr, messages: &[Message], to: impl Fn(usize) -> String) {
    let mut client = Client::greet(server, "harness.test");
    for (number, message) in messages.iter().enumerate() {
        let reply = client.send_message(SENDER, &[&to(number)], &message.octets);
        assert_eq!(reply.code, 250, "{}: {reply:?}", message.name);
    }
    client.quit();
}

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

#[test]
fn postfix_behind_makes_no_difference() {
    require_peers!();
    let messages = sendable();
    let sink = Sink::dumping();
    let postfix = Postfix::start(&[("sink.example", sink.address())]);
    let daemon = Daemon::start(&relay_to(&postfix.url()));
    send_all(postfix.address(), &messages, |number| format!("alone{number}@sink.example"));
    send_all(daemon.addr(), &messages, |number| format!("ours{number}@sink.example"));
    daemon.drain(ARRIVAL);
    sink.wait_for(2 * messages.len(), ARRIVAL);
    postfix.drain(ARRIVAL);
    let dumps = sink.by_recipient();
    assert_eq!(dumps.len(), 2 * messages.len());
    for (number, message) in messages.iter().enumerate() {
        let dump = |who: &str| &dumps[&format!("{who}{number}@sink.example")];
        let (above_alone, alone) = below_received_by(postfix::HOSTNAME, dump("alone"));
        let (above_ours, ours) = below_received_by(HOSTNAME, dump("ours"));
        assert_eq!((above_alone, above_ours), (1, 2), "{}", message.name);
        assert_same(message, ours, alone);
    }
}

#[test]
fn postfix_before_makes_no_difference() {
    require_peers!();
    let messages = sendable();
    let names: Vec<String> = (0..messages.len()).map(|number| format!("m{number}")).collect();
    let (sink, dovecot) = (Sink::dumping(), Dovecot::start_new(&names));
    let daemon = Daemon::start(&domain(&dovecot.lmtp_unix_url()));
    let hops = [("sink.example", sink.address()), (DOMAIN, daemon.addr())];
    let postfix = Postfix::start(&hops);
    send_all(postfix.address(), &messages, |number| format!("m{number}@sink.example"));
    send_all(postfix.address(), &messages, |number| Dovecot::address(&names[number]));
    postfix.drain(ARRIVAL);
    daemon.drain(ARRIVAL);
    let dumps = sink.by_recipient();
    assert_eq!(dumps.len(), messages.len());
    for (name, message) in names.iter().zip(&messages) {
        let stored = dovecot.only_message(name);
        let (above, ours) = below_received_by(postfix::HOSTNAME, &stored);
        let alone = &dumps[&format!("{name}@sink.example")];
        let (_, alone) = below_received_by(postfix::HOSTNAME, alone);
        assert_eq!(above, 2, "{}: Received by Dovecot and by Angarium", message.name);
        assert_eq!(below_received_by(HOSTNAME, &stored).0, 1, "{}", message.name);
        assert_same(message, ours, alone);
    }
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

#[track_caller]
fn assert_same(message: &Message, ours: &[u8], alone: &[u8]) {
    let name = &message.name;
    assert!(ours == alone, "{name}: with Angarium\n{:?}\nwithout\n{:?}", text(ours), text(alone));
    if message.has_sound_header() {
        assert!(ours == message.octets, "{name} differs from what was sent: {:?}", text(ours));
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
