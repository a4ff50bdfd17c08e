//! By SMTP into Angarium, by LMTP into Dovecot, back over IMAP.
//!
//! Proves that every message of the corpus arrives exactly once and unchanged below the trace,
//! over a Unix socket and over TCP, and that a message with a NUL is refused and never queued.

use crate::compare::{Trace, below_trace};
use crate::dovecot::{DOMAIN, Dovecot};
use crate::require_peers;
use crate::support::ARRIVAL;
use crate::support::corpus::{Message, corpus, sendable};
use crate::support::daemon::{Daemon, HOSTNAME};
use crate::support::smtp::Client;

const SENDER: &str = "atossa@susa.example";

/// A `[[domain]]` whose mail goes to a mailstore that is asked for its recipients.
pub(crate) fn domain(deliver: &str) -> String {
    format!("[[domain]]\nname = \"{DOMAIN}\"\ndeliver = \"{deliver}\"\nrecipients = \"probe\"\n")
}

fn assert_traced_once(message: &Message, trace: &Trace) {
    let name = &message.name;
    assert_eq!(trace.values("Return-Path"), [format!("<{SENDER}>")], "{name}");
    assert_eq!(trace.received_by(HOSTNAME), 1, "{name}: {trace:?}");
    assert_eq!(trace.received_by("dovecot.test"), 1, "{name}: {trace:?}");
    assert_eq!(trace.values("Received").len(), 2, "{name}: {trace:?}");
}

fn corpus_arrives(deliver: impl Fn(&Dovecot) -> String) {
    let messages = corpus();
    let names: Vec<String> = (0..messages.len()).map(|number| format!("m{number}")).collect();
    let dovecot = Dovecot::start_new(&names);
    let daemon = Daemon::start(&domain(&deliver(&dovecot)));
    let mut client = Client::greet(daemon.addr(), "harness.test");
    for (message, name) in messages.iter().zip(&names) {
        let to = Dovecot::address(name);
        let reply = client.send_message(SENDER, &[&to], &message.octets);
        if message.has_nul() {
            reply.is(554, "5.6.0");
        } else {
            reply.queue_id();
        }
    }
    client.quit();
    daemon.drain(ARRIVAL);
    for (message, name) in messages.iter().zip(&names) {
        if message.has_nul() {
            assert_eq!(dovecot.messages(name), Vec::<Vec<u8>>::new(), "{}", message.name);
        } else {
            let trace = below_trace(message, &dovecot.only_message(name));
            assert_traced_once(message, &trace);
        }
    }
}

/// Checks: R01 R06 R10 R11
#[test]
fn corpus_arrives_over_a_unix_socket() {
    require_peers!();
    corpus_arrives(Dovecot::lmtp_unix_url);
}

/// Checks: R01 R06 R10 R11
#[test]
fn corpus_arrives_over_tcp() {
    require_peers!();
    corpus_arrives(Dovecot::lmtp_tcp_url);
}

#[test]
fn message_with_a_nul_is_never_queued() {
    require_peers!();
    let dovecot = Dovecot::start_new(&["alice"]);
    let tables = domain(&dovecot.lmtp_unix_url()) + "[queue]\npaused = true\n";
    let daemon = Daemon::start(&tables);
    let to = Dovecot::address("alice");
    let mut client = Client::greet(daemon.addr(), "harness.test");
    for message in corpus().iter().filter(|message| message.has_nul()) {
        client.send_message(SENDER, &[&to], &message.octets).is(554, "5.6.0");
        assert_eq!(daemon.rows(), Vec::<serde_json::Value>::new(), "{}", message.name);
    }
    let good = &sendable()[0];
    let id = client.send_message(SENDER, &[&to], &good.octets).queue_id();
    let rows = daemon.rows();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["queue_id"], *id);
    assert_eq!(rows[0]["sender"], SENDER);
    assert_eq!(rows[0]["recipients"][0]["address"], *to);
    assert_eq!(rows[0]["recipients"][0]["state"], "pending");
    let (queued, code) = daemon.queue_octets(&["cat", &id]);
    assert_eq!(code, 0);
    assert_eq!(below_trace(good, &queued).received_by(HOSTNAME), 1);
}

#[test]
fn message_to_three_mailboxes_arrives_once_in_each() {
    require_peers!();
    let names = ["alice", "bob", "carol"];
    let dovecot = Dovecot::start_new(&names);
    let daemon = Daemon::start(&domain(&dovecot.lmtp_unix_url()));
    let to = names.map(Dovecot::address);
    let message = &sendable()[0];
    let mut client = Client::greet(daemon.addr(), "harness.test");
    client.send_message(SENDER, &[&to[0], &to[1], &to[2]], &message.octets).queue_id();
    daemon.drain(ARRIVAL);
    for name in names {
        assert_traced_once(message, &below_trace(message, &dovecot.only_message(name)));
    }
}

#[test]
fn null_reverse_path_reaches_the_mailbox() {
    require_peers!();
    let dovecot = Dovecot::start_new(&["alice"]);
    let daemon = Daemon::start(&domain(&dovecot.lmtp_unix_url()));
    let message = &sendable()[0];
    let mut client = Client::greet(daemon.addr(), "harness.test");
    client.send_message("", &[&Dovecot::address("alice")], &message.octets).queue_id();
    daemon.drain(ARRIVAL);
    let trace = below_trace(message, &dovecot.only_message("alice"));
    assert_eq!(trace.values("Return-Path"), ["<>"]);
}
