//! Content that a next hop may mind: 8-bit towards a server without 8BITMIME, and long lines.
//!
//! LMTP gets everything as it is. Towards SMTP the route decides, and nothing is changed silently.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod support;

use support::daemon::Daemon;
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, wait_until};

const EIGHT_BIT: &[u8] = b"Subject: caf\xc3\xa9\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    un caf\xc3\xa9\r\n.\r\n";
const SIGNED: &[u8] = b"Subject: x\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/signed; boundary=b; protocol=\"application/pgp-signature\"\r\n\r\n\
    --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    caf\xc3\xa9\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nxxx\r\n--b--\r\n";

/// A daemon that relays everything to `store`, with `options` on the route.
fn relay(store: &Store, options: &str) -> Daemon {
    Daemon::start(&format!(
        "[relay]\nfrom = [\"127.0.0.1\"]\n[[route]]\nrecipient = \"*\"\nvia = \"{}\"\n{options}\n",
        store.url()
    ))
}

fn send(daemon: &Daemon, content: &[u8]) {
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.send_message("s@c.example", &["u@d.example"], content).queue_id();
}

/// What arrived, below our trace field.
fn arrived(store: &Store) -> Vec<u8> {
    let content = store.wait_for(1, ARRIVAL)[0].content.clone();
    let at = content.windows(8).position(|window| window == b"Subject:").unwrap();
    content[at..].to_vec()
}

#[track_caller]
fn assert_failed(daemon: &Daemon, status: &str) {
    let named = format!("\"reason\":\"{status} ");
    let failed = || {
        let log = daemon.log();
        log.lines().any(|line| line.contains("\"event\":\"failed\"") && line.contains(&named))
    };
    assert!(wait_until(ARRIVAL, failed), "{}", daemon.log_tail());
}

/// Its report, which leaves by the same route, may have come.
#[track_caller]
fn assert_not_delivered(store: &Store) {
    let from: Vec<String> = store.deliveries().into_iter().map(|one| one.from).collect();
    assert!(from.iter().all(String::is_empty), "{from:?}");
}

fn seven_bit() -> Store {
    Store::tcp(Behaviour { seven_bit: true, ..Behaviour::next_hop() })
}

#[test]
fn eight_bit_content_is_converted_for_a_server_that_takes_none() {
    let store = seven_bit();
    let daemon = relay(&store, "");
    send(&daemon, EIGHT_BIT);
    let content = String::from_utf8(arrived(&store)).unwrap();
    let (header, body) = content.split_once("\r\n\r\n").unwrap();
    assert!(header.starts_with("Subject: caf\u{e9}\r\n"), "header fields stay as they are");
    assert!(header.contains("Content-Transfer-Encoding: quoted-printable"), "{header}");
    assert_eq!(body, "un caf=C3=A9\r\n=2E\r\n");
    assert!(daemon.log().contains("\"event\":\"converted\""), "never silently");
    assert!(!store.transcript().iter().any(|line| line.contains("BODY=")), "nor declared");
}

#[test]
fn what_is_signed_is_not_converted() {
    let store = seven_bit();
    let daemon = relay(&store, "");
    send(&daemon, SIGNED);
    assert_failed(&daemon, "5.6.3");
    assert_not_delivered(&store);
}

#[test]
fn the_route_may_send_it_all_the_same_or_let_it_fail() {
    let store = seven_bit();
    let daemon = relay(&store, "eight_bit = \"send\"");
    send(&daemon, EIGHT_BIT);
    assert_eq!(arrived(&store), EIGHT_BIT);

    let store = seven_bit();
    let daemon = relay(&store, "eight_bit = \"bounce\"");
    send(&daemon, EIGHT_BIT);
    assert_failed(&daemon, "5.6.3");
    assert_not_delivered(&store);
}

#[test]
fn undeclared_eight_bit_content_is_declared_where_that_is_offered() {
    let store = Store::tcp(Behaviour::next_hop());
    let daemon = relay(&store, "");
    send(&daemon, EIGHT_BIT);
    assert_eq!(arrived(&store), EIGHT_BIT);
    let said = store.transcript();
    assert!(said.iter().any(|line| line.ends_with(" BODY=8BITMIME")), "{said:?}");
}

#[test]
fn a_mailstore_gets_everything_as_it_is() {
    let store = Store::tcp(Behaviour { seven_bit: true, ..Behaviour::default() });
    let daemon = relay(&store, "eight_bit = \"bounce\"\nlong_lines = \"bounce\"");
    let long = [b"Subject: x\r\n\r\n\xe9", [b'x'; 2000].as_slice(), b"\r\n"].concat();
    send(&daemon, &long);
    assert_eq!(arrived(&store), long);
}

/// Checks: G13
#[test]
fn long_lines_pass_unless_the_route_minds() {
    let long = [b"Subject: x\r\n\r\n", [b'x'; 999].as_slice(), b"\r\n"].concat();
    let store = Store::tcp(Behaviour::next_hop());
    let daemon = relay(&store, "");
    send(&daemon, &long);
    assert_eq!(arrived(&store), long);

    let store = Store::tcp(Behaviour::next_hop());
    let daemon = relay(&store, "long_lines = \"bounce\"");
    send(&daemon, &long);
    assert_failed(&daemon, "5.6.0");
    assert_not_delivered(&store);
}
