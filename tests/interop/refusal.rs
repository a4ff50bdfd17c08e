//! swaks, pipelining: who is taken, who is refused, and with which words.
//!
//! Proves that three recipients in one pipelined transaction get the message once each, that an
//! unknown one among good ones gets 550 5.1.1, and that only clients in relay.from may relay.

use serde_json::Value;

use crate::dovecot::Dovecot;
use crate::final_delivery::domain;
use crate::require_peers;
use crate::sink::Sink;
use crate::support::ARRIVAL;
use crate::support::daemon::Daemon;
use crate::tools::{Run, swaks};

const ENVELOPE: [&str; 3] = ["--pipeline", "--from", "atossa@susa.example"];

/// swaks ends with this when no recipient was accepted.
const NO_RECIPIENT: i32 = 24;

fn send(daemon: &Daemon, to: &str, more: &[&str]) -> Run {
    let options = [&ENVELOPE[..], &["--to", to, "--body", "The bridge holds."], more].concat();
    swaks(daemon.addr(), &options)
}

fn count(run: &Run, begin: &str) -> usize {
    run.replies().iter().filter(|reply| reply.starts_with(begin)).count()
}

#[track_caller]
fn assert_in_mailbox_once(dovecot: &Dovecot, name: &str) {
    let stored = dovecot.only_message(name);
    let text = String::from_utf8(stored).unwrap();
    assert!(text.contains("\r\n\r\nThe bridge holds.\r\n"), "{name}: {text}");
}

#[test]
fn three_recipients_in_one_pipeline() {
    require_peers!();
    let names = ["alice", "bob", "carol"];
    let dovecot = Dovecot::start_new(&names);
    let daemon = Daemon::start(&domain(&dovecot.lmtp_unix_url()));
    let run = send(&daemon, &names.map(Dovecot::address).join(","), &[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.output.contains("PIPELINING"), "{run:?}");
    assert_eq!(count(&run, "250 2.0.0 queued as "), 1, "{run:?}");
    daemon.drain(ARRIVAL);
    for name in names {
        assert_in_mailbox_once(&dovecot, name);
    }
}

#[test]
fn unknown_recipient_is_refused_and_the_others_are_served() {
    require_peers!();
    let dovecot = Dovecot::start_new(&["alice", "bob"]);
    let daemon = Daemon::start(&domain(&dovecot.lmtp_unix_url()));
    let to = ["alice", "darius", "bob"].map(Dovecot::address).join(",");
    let run = send(&daemon, &to, &[]);
    assert_eq!(count(&run, "550 5.1.1 "), 1, "{run:?}");
    assert_eq!(count(&run, "550"), 1, "{run:?}");
    assert_eq!(count(&run, "250 2.0.0 queued as "), 1, "{run:?}");
    daemon.drain(ARRIVAL);
    assert_in_mailbox_once(&dovecot, "alice");
    assert_in_mailbox_once(&dovecot, "bob");
}

#[test]
fn transaction_without_a_good_recipient_queues_nothing() {
    require_peers!();
    let dovecot = Dovecot::start_new(&["alice"]);
    let paused = domain(&dovecot.lmtp_unix_url()) + "[queue]\npaused = true\n";
    let daemon = Daemon::start(&paused);
    let run = send(&daemon, &["darius", "cyrus"].map(Dovecot::address).join(","), &[]);
    assert_eq!(run.code, NO_RECIPIENT, "{run:?}");
    assert_eq!(count(&run, "550 5.1.1 "), 2, "{run:?}");
    assert_eq!(count(&run, "354"), 0, "{run:?}");
    assert_eq!(daemon.rows(), Vec::<Value>::new());
}

#[test]
fn only_clients_in_relay_from_may_relay() {
    require_peers!();
    let sink = Sink::dumping();
    let daemon = Daemon::start(&format!(
        "[relay]\nfrom = [\"127.0.0.2/32\"]\n\n[[route]]\nrecipient = \"*\"\nvia = \"{}\"\n",
        sink.url()
    ));
    let refused = send(&daemon, "b@sink.example", &["--local-interface", "127.0.0.1"]);
    assert_eq!(refused.code, NO_RECIPIENT, "{refused:?}");
    assert_eq!(count(&refused, "550 5.7.1 "), 1, "{refused:?}");
    assert_eq!(daemon.rows(), Vec::<Value>::new());
    let taken = send(&daemon, "c@sink.example", &["--local-interface", "127.0.0.2"]);
    assert_eq!(taken.code, 0, "{taken:?}");
    daemon.drain(ARRIVAL);
    let dumps = sink.by_recipient();
    assert_eq!(dumps.keys().collect::<Vec<_>>(), ["c@sink.example"]);
}
