//! Behind a proxy that names its clients by a PROXY header, end to end: whose address counts, and
//! that nobody relays by the proxy's.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::daemon::{Daemon, HOSTNAME, Parts, Site};
use support::smtp::{Client, Reply};
use support::store::{Behaviour, Store};
use support::tls::{SecureClient, trusting};
use support::{ARRIVAL, wait_until};

const PROXY: &str = "127.0.0.3";
/// What may relay: the proxy's own machine, and one customer.
const RELAY: &str = "[relay]\nfrom = [\"127.0.0.0/8\", \"203.0.113.9\"]\n";
const LISTENER: &str = "proxy_from = [\"127.0.0.3\"]\n";

fn daemon(listener: &str) -> Daemon {
    let listener = format!("{LISTENER}{listener}");
    Daemon::start_with(&Parts { listener: &listener, tables: RELAY, ..Parts::default() })
}

/// A connection from the proxy that begins with these octets.
fn proxied(daemon: &Daemon, header: &[u8]) -> Client {
    let mut client = Client::connect_from(PROXY.parse().unwrap(), daemon.addr());
    client.write(header);
    client
}

/// What RCPT for a stranger is answered.
fn relay(client: &mut Client) -> Reply {
    client.expect(220);
    assert_eq!(client.command("EHLO c.example").code, 250);
    assert_eq!(client.command("MAIL FROM:<s@c.example>").code, 250);
    client.command("RCPT TO:<x@far.example>")
}

#[test]
fn nobody_relays_by_the_address_of_a_proxy() {
    let daemon = daemon("");
    let strangers: [&[u8]; 9] = [
        b"PROXY TCP4 198.51.100.7 192.0.2.25 50000 25\r\n",
        b"PROXY TCP6 2001:db8::7 2001:db8::25 50000 25\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN 203.0.113.9 192.0.2.25 50000 25\r\n",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 50000 25\r\n",
        b"PROXY TCP6 ::1 ::1 50000 25\r\n",
        b"PROXY TCP6 ::ffff:127.0.0.1 ::1 50000 25\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x04\xd2\x00\x19",
    ];
    for header in strangers {
        let mut client = proxied(&daemon, header);
        relay(&mut client).is(550, "5.7.1");
    }
    // The customer may, through the proxy too; there is only no route.
    let mut client = proxied(&daemon, b"PROXY TCP4 203.0.113.9 192.0.2.25 50000 25\r\n");
    relay(&mut client).is(550, "5.4.4");
    // So may this machine, which can't pretend to be anybody else.
    let mut client = Client::connect(daemon.addr());
    client.expect(220);
    client.command("PROXY TCP4 203.0.113.9 192.0.2.25 50000 25").is(500, "5.5.1");
    assert_eq!(client.command("EHLO c.example").code, 250);
    assert_eq!(client.command("MAIL FROM:<s@c.example>").code, 250);
    client.command("RCPT TO:<x@far.example>").is(550, "5.4.4");
}

#[test]
fn what_a_proxy_hides_is_in_the_trace_and_the_log() {
    let store = Store::tcp(Behaviour::knowing(&["u@d.example"]));
    let tables =
        format!("{RELAY}[[domain]]\nname = \"d.example\"\ndeliver = \"{}\"\n", store.url());
    let parts = Parts { listener: LISTENER, tables: &tables, ..Parts::default() };
    let daemon = Daemon::start_with(&parts);
    // All that the client says comes with the header, and belongs to the session.
    let mut client = proxied(
        &daemon,
        b"PROXY TCP4 198.51.100.7 192.0.2.25 50000 25\r\nEHLO c.example\r\nMAIL FROM:<s@c.example>\r\n",
    );
    for code in [220, 250, 250] {
        client.expect(code);
    }
    assert_eq!(client.command("RCPT TO:<u@d.example>").code, 250);
    client.data(b"x: y\r\n\r\nz\r\n").queue_id();
    let delivery = &store.wait_for(1, ARRIVAL)[0];
    let start = format!("Received: from c.example ([198.51.100.7]) by {HOSTNAME} with ESMTP id ");
    let content = String::from_utf8_lossy(&delivery.content).replace("\r\n\t", " ");
    assert!(content.starts_with(&start), "{content}");
    let log = daemon.log();
    assert!(log.contains(r#""client":"198.51.100.7""#), "{log}");
    assert!(log.contains(r#""event":"proxied","session":"#) && log.contains(PROXY), "{log}");
}

#[test]
fn a_proxy_that_says_nothing_right_is_let_go() {
    let daemon = daemon("");
    for wire in [b"EHLO c.example\r\n".as_slice(), b"PROXY TCP4 here there 1 2\r\n"] {
        assert!(proxied(&daemon, wire).is_closed(), "{}", wire.escape_ascii());
    }
    let begun = Instant::now();
    assert!(proxied(&daemon, b"PROXY TCP4 ").is_closed());
    let took = begun.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&took), "{took:?}");
    let told = |why: &str| daemon.log().contains(&format!(r#""why":"{why}""#));
    for why in [
        "there is no PROXY header",
        "the PROXY header is malformed",
        "there is no PROXY header within 5s",
    ] {
        assert!(wait_until(ARRIVAL, || told(why)), "{why}: {}", daemon.log());
    }
}

#[test]
fn the_places_of_a_client_are_its_own() {
    let daemon = daemon("max_connections_per_client = 1");
    let first = b"PROXY TCP4 198.51.100.7 192.0.2.25 50000 25\r\n";
    let mut held = proxied(&daemon, first);
    held.expect(220);
    proxied(&daemon, first).expect(421);
    proxied(&daemon, b"PROXY TCP4 198.51.100.8 192.0.2.25 50000 25\r\n").expect(220);
    held.quit();
}

#[test]
fn the_header_comes_before_tls() {
    let daemon = daemon("tls = \"implicit\"");
    let trusted = trusting(&daemon.path("spool/self-signed.pem"));
    let mut wire: TcpStream =
        Client::connect_from(PROXY.parse().unwrap(), daemon.addr()).into_tcp();
    wire.write_all(b"PROXY TCP4 198.51.100.7 192.0.2.25 50000 465\r\n").unwrap();
    let mut client = SecureClient::over(wire, &trusted, HOSTNAME).unwrap();
    assert!(client.reply().unwrap()[0].starts_with("220 "));
    client.command("EHLO c.example").unwrap();
    client.command("MAIL FROM:<s@c.example>").unwrap();
    let refused = client.command("RCPT TO:<x@far.example>").unwrap();
    assert!(refused[0].starts_with("550 5.7.1 "), "{refused:?}");
}

/// Clients that a gateway hides come to an address that everybody can reach.
#[test]
fn a_gateway_in_front_is_told_loudly_and_once() {
    let site = Site::new();
    let text = site.configuration(&Parts { tables: RELAY, ..Parts::default() });
    let daemon = Daemon::start_at(site, &text.replace("bind = \"127.0.0.1:", "bind = \"0.0.0.0:"));
    for number in 0..20 {
        let mut client = Client::greet(daemon.addr(), &format!("mx{number}.example"));
        client.envelope("s@c.example", &[]);
        client.quit();
    }
    let told = |log: &str| log.matches(r#""event":"gateway-suspected""#).count();
    assert!(wait_until(ARRIVAL, || told(&daemon.log()) == 1), "{}", daemon.log());
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("gateway-suspected")).unwrap();
    for part in [
        r#""level":"ERROR""#,
        r#""address":"127.0.0.1","transactions":10,"names":8,"may_relay":true"#,
        "WHOEVER IT HIDES MAY RELAY",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
