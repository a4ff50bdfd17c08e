//! The corpus through the daemon, octet by octet: SMTP in, the queue, LMTP or SMTP out.
//!
//! Proves that each message arrives exactly once, with one Received on top and else unchanged:
//! `Sig` and what it signs, an `Expires` long past, `List-Unsubscribe-Post`, odd folding, white
//! space at the ends of lines, and eight-bit octets in header and body that nothing declares.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

#[path = "interop/compare.rs"]
#[allow(dead_code, reason = "the interop tests use the rest")]
mod compare;
mod support;

use compare::below_trace;
use support::ARRIVAL;
use support::corpus::{Message, sendable};
use support::daemon::{Daemon, HOSTNAME};
use support::smtp::Client;
use support::store::{Behaviour, Store};

const SENDER: &str = "atossa@susa.example";
const DOMAIN: &str = "abydos.example";

/// What the corpus must hold, so that these tests mean something.
const PATTERNS: [&[u8]; 8] = [
    b"\r\nSig: t=p; b=",
    b"\r\nExpires: Tue, 4 Mar 2025 08:15:00 +0330\r\n",
    b"\r\nlist-unsubscribe-post:Wrong-Recipient=One-Click\r\n",
    b"\r\n \t \r\n\tand the value goes on\r\n",
    b"\r\nX-Tail: white space at the end   \r\n",
    b"\r\none space \r\ntwo spaces  \r\na tab\t\r\n",
    b" folded \xfc\r\n\r\n",
    b"\xff\xfe\x80.\r\n",
];

fn holds(message: &Message, pattern: &[u8]) -> bool {
    message.octets.windows(pattern.len()).any(|part| part == pattern)
}

/// Sends the messages through a daemon with these tables, and reads them in the store.
fn carry(messages: &[Message], tables: &str, store: &Store) {
    let daemon = Daemon::start(tables);
    let to: Vec<String> = (0..messages.len()).map(|number| format!("m{number}@{DOMAIN}")).collect();
    let mut client = Client::greet(daemon.addr(), "harness.test");
    for (message, to) in messages.iter().zip(&to) {
        client.send_message(SENDER, &[to], &message.octets).queue_id();
    }
    client.quit();
    daemon.drain(ARRIVAL);
    let deliveries = store.deliveries();
    assert_eq!(deliveries.len(), messages.len());
    for (message, to) in messages.iter().zip(&to) {
        let mut there = deliveries.iter().filter(|delivery| delivery.to == [to.as_str()]);
        let (Some(delivery), None) = (there.next(), there.next()) else {
            panic!("{}: not once", message.name);
        };
        assert_eq!(delivery.from, SENDER, "{}", message.name);
        let trace = below_trace(message, &delivery.content);
        let added = (trace.received_by(HOSTNAME), trace.values("Received").len());
        assert_eq!(added, (1, 1), "{}: {trace:?}", message.name);
    }
}

fn relayed_to(store: &Store) -> String {
    let via = store.url();
    format!("[relay]\nfrom = [\"127.0.0.1/32\"]\n\n[[route]]\nrecipient = \"*\"\nvia = \"{via}\"\n")
}

#[test]
fn corpus_holds_what_must_not_be_touched() {
    let messages = sendable();
    for pattern in PATTERNS {
        let held = messages.iter().any(|message| holds(message, pattern));
        assert!(held, "{}", String::from_utf8_lossy(pattern));
    }
}

/// Checks: R01 R10 R11
#[test]
fn corpus_goes_to_lmtp_unchanged() {
    let store = Store::tcp(Behaviour::default());
    let deliver = store.url();
    let domain = format!("[[domain]]\nname = \"{DOMAIN}\"\ndeliver = \"{deliver}\"\n");
    carry(&sendable(), &format!("{domain}recipients = \"probe\"\n"), &store);
}

/// Checks: R01 R10
#[test]
fn corpus_goes_to_smtp_unchanged() {
    let store = Store::tcp(Behaviour::next_hop());
    carry(&sendable(), &relayed_to(&store), &store);
}

/// Checks: R10
#[test]
fn seven_bit_messages_go_unchanged_to_a_next_hop_that_takes_no_others() {
    let store = Store::tcp(Behaviour { seven_bit: true, ..Behaviour::next_hop() });
    let mut messages = sendable();
    messages.retain(|message| message.octets.is_ascii());
    assert!(messages.iter().any(|message| holds(message, PATTERNS[1])));
    carry(&messages, &relayed_to(&store), &store);
}
