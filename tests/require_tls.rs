//! REQUIRETLS through the whole daemon (RFC 8689): what must travel by TLS does, or comes back.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use support::daemon::{Daemon, HOSTNAME, Parts};
use support::store::{Behaviour, Store};
use support::tls::{SecureClient, trusting};
use support::{ARRIVAL, wait_until};

const LISTENER: &str = "tls = \"implicit\"";

/// Two domains, all of whose mail goes to `url`.
fn tables(url: &str) -> String {
    let domain = |name: &str| {
        format!("[[domain]]\nname = \"{name}\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n")
    };
    let [ours, senders] = ["ours.example", "senders.example"].map(domain);
    format!("{ours}{senders}[queue]\nretry_next_hop = [\"1s\"]\n")
}

fn start(store: &Store) -> Daemon {
    let tables = tables(&store.url());
    Daemon::start_with(&Parts { listener: LISTENER, tables: &tables, ..Parts::default() })
}

/// A session under TLS, and the keywords that it is offered.
fn greet(daemon: &Daemon) -> (SecureClient, Vec<String>) {
    let trusted = trusting(&daemon.path("spool/self-signed.pem"));
    let mut client = SecureClient::connect(daemon.addr(), &trusted, HOSTNAME).unwrap();
    client.reply().unwrap();
    let offered = client.command("EHLO c.example").unwrap();
    (client, offered.iter().map(|line| line.get(4..).unwrap().to_owned()).collect())
}

fn send(daemon: &Daemon, mail: &str, to: &str) {
    let (mut client, offered) = greet(daemon);
    assert!(offered.iter().any(|keyword| keyword == "REQUIRETLS"), "{offered:?}");
    for line in [mail, &format!("RCPT TO:<{to}>"), "DATA"] {
        let reply = client.command(line).unwrap();
        assert!(reply.iter().all(|line| line.starts_with(['2', '3'])), "{line}: {reply:?}");
    }
    client.write(b"Subject: plan\r\nTLS-Required: No\r\n\r\nthe body\r\n").unwrap();
    let reply = client.command(".").unwrap();
    assert!(reply.iter().all(|line| line.starts_with("250 2.0.0 queued")), "{reply:?}");
}

#[test]
fn a_mailstore_on_this_machine_is_the_end_of_the_way() {
    let store = Store::tcp(Behaviour::default());
    store.set(|behaviour| {
        behaviour.content_replies.insert("bad@ours.example".into(), "554 5.6.0 no".into());
    });
    let daemon = start(&store);
    send(&daemon, "MAIL FROM:<s@senders.example> REQUIRETLS", "good@ours.example");
    let delivered = store.wait_for(1, ARRIVAL);
    let content = String::from_utf8(delivered[0].content.clone()).unwrap();
    assert!(
        content.ends_with("Subject: plan\r\nTLS-Required: No\r\n\r\nthe body\r\n"),
        "{content}"
    );
    let mails = || store.transcript().into_iter().filter(|line| line.starts_with("MAIL"));
    assert!(mails().all(|line| !line.contains("REQUIRETLS")), "it was not offered");

    for (mail, body) in [(" REQUIRETLS", false), ("", true)] {
        let before = store.count();
        send(&daemon, &format!("MAIL FROM:<s@senders.example>{mail}"), "bad@ours.example");
        let reports = store.wait_for(before + 1, ARRIVAL);
        daemon.drain(ARRIVAL);
        let report = String::from_utf8(reports.last().unwrap().content.clone()).unwrap();
        assert!(report.contains("Subject: plan"), "{report}");
        assert_eq!(report.contains("the body"), body, "{report}");
    }
}

#[test]
fn where_no_way_keeps_it_any_more_neither_the_message_nor_its_report_goes() {
    let mut store = Store::tcp(Behaviour::default());
    let mut daemon = start(&store);
    store.stop();
    send(&daemon, "MAIL FROM:<s@senders.example> REQUIRETLS", "good@ours.example");
    let relay = Store::tcp(Behaviour::next_hop());
    let tables = tables(&relay.url());
    daemon.rewrite(&Parts { listener: LISTENER, tables: &tables, ..Parts::default() });
    daemon.restart();
    let failures = || daemon.log().matches("\"reason\":\"5.7.10 it must travel by TLS").count();
    assert!(wait_until(ARRIVAL, || failures() == 2), "{}", daemon.log_tail());
    daemon.drain(ARRIVAL);
    assert_eq!(relay.count(), 0);
    assert!(relay.transcript().iter().all(|line| !line.starts_with("MAIL")));

    let (mut client, offered) = greet(&daemon);
    assert!(!offered.iter().any(|keyword| keyword == "REQUIRETLS"), "{offered:?}");
    let reply = client.command("MAIL FROM:<s@senders.example> REQUIRETLS").unwrap();
    assert_eq!(reply, ["555 5.5.4 parameter not known here"]);
}
