//! Chunks and binary content beside real servers: Postfix and Dovecot take chunks from us, Exim takes
//! them and sends them. The corpus goes that way in `relay` and `final_delivery`.
//!
//! Proves that chunks are what is used where a peer offers them, and that a binary part which a store
//! can't take as it is comes out of it, for another reader of MIME, with the octets it had.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::dovecot::{DOMAIN, Dovecot};
use crate::exim::{self, Exim};
use crate::final_delivery::domain;
use crate::neighbour::{SENDER, relay_to};
use crate::postfix::Postfix;
use crate::require_peers;
use crate::support::ARRIVAL;
use crate::support::daemon::Daemon;
use crate::support::smtp::Client;

/// Octets of every kind, in no order that a text could have.
const OCTETS: &[u8] = b"\0\r\n.\r\n\n\xFF\r--x\r\n.\n";

/// Writes what the first attachment of a message holds.
const READER: &str = "import email, sys\n\
    message = email.message_from_bytes(sys.stdin.buffer.read())\n\
    assert not message.defects, message.defects\n\
    sys.stdout.buffer.write(message.get_payload(0).get_payload(decode=True))\n";

fn send_binary(daemon: &Daemon, to: &str) {
    let header = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\
                  Content-Transfer-Encoding: binary\r\n\r\n--b\r\nContent-Type: image/x\r\n\
                  Content-Transfer-Encoding: binary\r\n\r\n";
    let mut client = Client::greet(daemon.addr(), "harness.test");
    client.command(&format!("MAIL FROM:<{SENDER}> BODY=BINARYMIME")).is(250, "2.1.0");
    client.command(&format!("RCPT TO:<{to}>")).is(250, "2.1.5");
    client.bdat(&[header.as_bytes(), OCTETS, b"\r\n--b--\r\n"].concat()).queue_id();
}

#[track_caller]
fn assert_reads_as_sent(stored: &[u8]) {
    let mut reader = Command::new("python3");
    reader.args(["-c", READER]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.spawn().unwrap();
    reader.stdin.take().unwrap().write_all(stored).unwrap();
    let read = reader.wait_with_output().unwrap();
    assert!(read.status.success());
    assert_eq!(read.stdout, OCTETS, "{}", stored.escape_ascii());
}

#[test]
fn binary_content_comes_out_of_dovecot_as_it_was() {
    require_peers!();
    let dovecot = Dovecot::start_new(&["alice"]);
    let mut client = Client::unix(&dovecot.lmtp_path());
    let offered = client.try_hello("LHLO harness.test").unwrap().text();
    assert!(offered.contains("CHUNKING") && !offered.contains("BINARYMIME"), "{offered}");
    let daemon = Daemon::start(&domain(&dovecot.lmtp_unix_url()));
    send_binary(&daemon, &Dovecot::address("alice"));
    daemon.drain(ARRIVAL);
    assert_reads_as_sent(&dovecot.only_message("alice"));
}

#[test]
fn binary_content_comes_through_postfix_as_it_was() {
    require_peers!();
    let dovecot = Dovecot::start_new(&["alice"]);
    let last = Daemon::start(&domain(&dovecot.lmtp_tcp_url()));
    let postfix = Postfix::start(&[(DOMAIN, last.addr())]);
    let mut client = Client::connect(postfix.address());
    let offered = client.try_hello("EHLO harness.test").unwrap().text();
    assert!(offered.contains("CHUNKING") && !offered.contains("BINARYMIME"), "{offered}");
    let first = Daemon::start(&relay_to(&format!("smtp://{}", postfix.address())));
    send_binary(&first, &Dovecot::address("alice"));
    first.drain(ARRIVAL);
    postfix.drain(ARRIVAL);
    last.drain(ARRIVAL);
    assert_reads_as_sent(&dovecot.only_message("alice"));
}

#[test]
fn exim_gets_chunks_and_sends_them() {
    require_peers!(exim::PROGRAM);
    let dovecot = Dovecot::start_new(&["alice"]);
    let last = Daemon::start(&domain(&dovecot.lmtp_tcp_url()));
    let exim = Exim::start(&[(DOMAIN, last.addr())]);
    let first = Daemon::start(&relay_to(&format!("smtp://{}", exim.address())));
    send_binary(&first, &Dovecot::address("alice"));
    first.drain(ARRIVAL);
    exim.drain(ARRIVAL);
    last.drain(ARRIVAL);
    assert_reads_as_sent(&dovecot.only_message("alice"));
    // K tells of CHUNKING.
    let log = exim.log();
    for arrow in [" <= ", " => "] {
        let mut lines = log.lines().filter(|line| line.contains(arrow));
        assert!(lines.all(|line| line.contains(" K ")) && log.contains(arrow), "{log}");
    }
}
