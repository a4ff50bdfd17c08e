//! What a listener may be told to do, end to end: LMTP, VRFY, proxies, refusing, and the trace that
//! each kind of session leaves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

mod support;

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use support::daemon::{Daemon, HOSTNAME, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Delivery, Store};
use support::{ARRIVAL, wait_until};

const CONTENT: &[u8] =
    b"Return-Path: <old@c.example>\r\nReceived: from far.example by c.example;\r\n\
    \tMon, 23 Nov 2026 10:00:00 +0000\r\nsubject:  odd  \r\n\t folding\r\n \r\nSig: t=p; b=x\r\n\
    Bcc: hidden@c.example\r\n\r\n.\r\n..two\r\n trailing \t \r\n.end\r\n";

/// A daemon that relays for this machine, with one domain whose mailboxes `store` knows.
struct Scene {
    daemon: Daemon,
    store: Store,
}

impl Scene {
    fn new(listener: &str, more: impl Fn(&Site) -> String) -> Self {
        let store = Store::tcp(Behaviour::knowing(&["u@d.example", "v@d.example"]));
        let site = Site::new();
        let tables = format!(
            "[[domain]]\nname = \"d.example\"\ndeliver = \"{}\"\n[relay]\nfrom = [\"127.0.0.1\"]\n{}",
            store.url(),
            more(&site)
        );
        let parts = Parts { listener, tables: &tables, ..Parts::default() };
        let text = site.configuration(&parts);
        Self { daemon: Daemon::start_at(site, &text), store }
    }

    fn arrived(&self, count: usize) -> Vec<Delivery> {
        let mut arrived = self.store.wait_for(count, ARRIVAL);
        arrived.sort_by(|a, b| a.to.cmp(&b.to));
        arrived
    }
}

/// The unfolded first field, which must be a trace field, and what follows it.
fn trace(content: &[u8]) -> (String, &[u8]) {
    let mut end = 0;
    loop {
        let line = content[end..].windows(2).position(|pair| pair == b"\r\n").unwrap();
        end += line + 2;
        if !content[end..].starts_with(b"\t") {
            break;
        }
    }
    let field = String::from_utf8(content[..end].to_vec()).unwrap();
    assert!(field.starts_with("Received: from "), "{field}");
    (field.replace("\r\n\t", " ").trim_end().to_owned(), &content[end..])
}

/// Whether what follows the `;` is a date with a numeric zone.
fn is_dated(field: &str) -> bool {
    let (_, date) = field.rsplit_once("; ").unwrap();
    let words: Vec<&str> = date.split(' ').collect();
    let zone = words.last().unwrap();
    words.len() == 6 && zone.len() == 5 && zone[1..].bytes().all(|digit| digit.is_ascii_digit())
}

/// Checks: N01 N02 N05 R11 S11
#[test]
fn lmtp_is_served_on_a_unix_socket_with_the_rules_of_the_others() {
    let lmtp = |site: &Site| {
        let bind = site.path("lmtp");
        format!("[[listener]]\nbind = \"unix:{}\"\nrole = \"lmtp\"\n", bind.display())
    };
    let scene = Scene::new("", lmtp);
    let path = scene.daemon.path("lmtp");
    assert!(wait_until(ARRIVAL, || UnixStream::connect(&path).is_ok()));
    let mut client = Client::unix(&path);
    client.try_hello("LHLO not-this-machine.example").unwrap();
    assert_eq!(client.command("MAIL FROM:<s@c.example>").code, 250);
    assert_eq!(client.command("RCPT TO:<v@d.example>").code, 250);
    client.command("RCPT TO:<nobody@d.example>").is(550, "5.1.1");
    client.command("RCPT TO:<x@far.example>").is(550, "5.4.4");
    assert_eq!(client.command("RCPT TO:<u@d.example>").code, 250);
    let first = client.data(b"x: y\r\n\r\nz\r\n");
    let second = client.reply();
    for (reply, to) in [(first, "v@d.example"), (second, "u@d.example")] {
        assert!(reply.text().starts_with(&format!("2.0.0 <{to}> queued as ")), "{reply:?}");
    }
    client.quit();
    for delivery in scene.arrived(1) {
        let (field, rest) = trace(&delivery.content);
        assert!(field.contains(" ([127.0.0.1]) by "), "{field}");
        assert!(field.contains(&format!(" by {HOSTNAME} with LMTP id ")), "{field}");
        assert_eq!(rest, b"x: y\r\n\r\nz\r\n");
    }
    let mut client = Client::unix(&path);
    client.expect(220);
    client.command("EHLO c.example").is(500, "5.5.1");
    drop(client);
    assert!(path.exists());
    let mut scene = scene;
    assert!(scene.daemon.terminate().success());
    assert!(!path.exists(), "the socket's file is gone with the daemon");
}

/// Checks: R01 R02 R03 R04 R06 R10 R12 T11 T12 T15 G25 G23
#[test]
fn a_relay_puts_one_trace_field_on_top_and_changes_nothing_else() {
    let hop = Store::tcp(Behaviour::next_hop());
    let url = hop.url();
    let route = |_: &Site| format!("[[route]]\nrecipient = \"*@far.example\"\nvia = \"{url}\"\n");
    let scene = Scene::new("", route);
    for (hello, with) in [("EHLO", "ESMTP"), ("HELO", "SMTP")] {
        let before = hop.count();
        let mut client = Client::connect(scene.daemon.addr());
        client.try_hello(&format!("{hello} c.example")).unwrap();
        client.envelope("@x.example:s@c.example", &["@y.example:One@FAR.example"]);
        let begun = Instant::now();
        client.data(CONTENT).queue_id();
        assert!(begun.elapsed() < Duration::from_secs(5), "the final dot is answered soon");
        client.envelope("s@c.example", &["one@far.example", "two@far.example"]);
        client.data(CONTENT).queue_id();
        let arrived = hop.wait_for(before + 2, ARRIVAL);
        for delivery in &arrived[before..] {
            let (field, rest) = trace(&delivery.content);
            let start =
                format!("Received: from c.example ([127.0.0.1]) by {HOSTNAME} with {with} id ");
            assert!(field.starts_with(&start) && is_dated(&field), "{field}");
            assert_eq!(rest, CONTENT);
            match delivery.to.as_slice() {
                [only] => {
                    assert_eq!(
                        (only.as_str(), delivery.from.as_str()),
                        ("One@far.example", "s@c.example")
                    );
                    assert!(field.contains(" for <One@far.example>; "), "{field}");
                }
                both => {
                    assert_eq!(both.len(), 2, "one transaction for both");
                    assert!(!field.contains(" for "), "{field}");
                }
            }
        }
    }
}

#[test]
fn the_recipient_can_be_left_out_of_the_trace() {
    let scene = Scene::new("received_for = false", |_| String::new());
    let mut client = Client::greet(scene.daemon.addr(), "c.example");
    client.send_message("s@c.example", &["u@d.example"], b"x: y\r\n\r\n").queue_id();
    let (field, _) = trace(&scene.arrived(1)[0].content);
    assert!(!field.contains(" for "), "{field}");
}

/// Checks: V01 V02 V03
#[test]
fn vrfy_tells_those_who_may_relay_what_the_mailstore_knows() {
    let scene = Scene::new("vrfy = \"relay\"", |_| String::new());
    let mut client = Client::greet(scene.daemon.addr(), "c.example");
    let known = client.command("VRFY u@d.example");
    assert_eq!((known.code, known.text().as_str()), (250, "2.1.5 <u@d.example>"));
    let known = client.command("VRFY u");
    assert_eq!((known.code, known.text().as_str()), (250, "2.1.5 <u@d.example>"));
    client.command("VRFY nobody@d.example").is(550, "5.1.1");
    client.command("VRFY x@far.example").is(252, "2.0.0");
    let mut stranger = Client::connect_from("127.0.0.2".parse().unwrap(), scene.daemon.addr());
    stranger.try_hello("EHLO c.example").unwrap();
    stranger.command("VRFY nobody@d.example").is(252, "2.0.0");
}

#[test]
fn a_proxy_speaks_for_its_clients_and_nobody_else_does() {
    let scene = Scene::new("xclient_from = [\"127.0.0.3\"]", |_| String::new());
    let mut proxy = Client::connect_from("127.0.0.3".parse().unwrap(), scene.daemon.addr());
    let offered = proxy.try_hello("EHLO proxy.example").unwrap().text();
    assert!(offered.contains("\nXCLIENT NAME ADDR "), "{offered}");
    proxy.envelope("s@c.example", &["u@d.example"]);
    proxy.command("RSET");
    proxy.command("RCPT TO:<x@far.example>").is(503, "5.5.1");
    assert_eq!(proxy.command("XCLIENT ADDR=IPV6:2001:db8::7 NAME=far.example").code, 220);
    assert_eq!(proxy.command("EHLO far.example").code, 250);
    proxy.send_message("s@c.example", &["u@d.example"], b"x: y\r\n\r\n").queue_id();
    let (field, _) = trace(&scene.arrived(1)[0].content);
    assert!(field.starts_with("Received: from far.example ([IPv6:2001:db8::7]) by "), "{field}");
    // Whom it stands for has that client's rights: this machine may relay, strangers may not.
    let stranger = proxy.command("MAIL FROM:<s@c.example>");
    assert_eq!(stranger.code, 250);
    proxy.command("RCPT TO:<x@far.example>").is(550, "5.7.1");
    proxy.command("RSET");
    assert_eq!(proxy.command("XCLIENT ADDR=127.0.0.1").code, 220);
    assert_eq!(proxy.command("EHLO c.example").code, 250);
    assert_eq!(proxy.command("MAIL FROM:<s@c.example>").code, 250);
    proxy.command("RCPT TO:<x@far.example>").is(550, "5.4.4");

    let mut stranger = Client::greet(scene.daemon.addr(), "c.example");
    stranger.command("XCLIENT ADDR=192.0.2.1").is(502, "5.5.1");
}

/// Checks: S02 S03
#[test]
fn a_listener_can_refuse_all_mail() {
    for (service, code) in [("closed", 554), ("none", 521)] {
        let scene = Scene::new(&format!("service = \"{service}\""), |_| String::new());
        let mut client = Client::connect(scene.daemon.addr());
        client.reply().is(code, "5.3.2");
        if service == "closed" {
            client.command("EHLO c.example").is(503, "5.5.1");
            client.quit();
        } else {
            assert!(client.is_closed());
        }
    }
}

/// Checks: G24 B01
#[test]
fn a_strict_listener_refuses_what_others_read() {
    let scene = Scene::new("strict_syntax = true", |_| String::new());
    let mut client = Client::connect(scene.daemon.addr());
    client.expect(220);
    client.command("EHLO my_host").is(501, "5.5.4");
    assert_eq!(client.command("EHLO host.example").code, 250);
    client.command("MAIL FROM: <s@c.example>").is(501, "5.1.7");
    assert_eq!(client.command("MAIL FROM:<s@c.example>").code, 250);
    client.command("RCPT TO:<@x.example:u@d.example>").is(553, "5.1.3");
    assert_eq!(client.command("RCPT TO:<u@d.example>").code, 250);
    client.data(b"x: y\r\n\r\n").queue_id();
    assert!(wait_until(ARRIVAL, || scene.store.count() == 1));
}
