//! LIMITS of a next hop (RFC 9422): a message is split, and connections are changed, as it asks.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod support;

use std::collections::BTreeSet;

use support::ARRIVAL;
use support::daemon::{Daemon, Parts};
use support::smtp::Client;
use support::store::{Behaviour, Delivery, Store};

fn store(limits: &str) -> Store {
    let offers = vec![format!("LIMITS {limits}")];
    Store::tcp(Behaviour { offers, ..Behaviour::next_hop() })
}

/// A daemon that would send everything in one transaction, over one connection.
fn relay(store: &Store) -> Daemon {
    Daemon::start(&format!(
        "[relay]\nfrom = [\"127.0.0.1\"]\n[[route]]\nrecipient = \"*\"\nvia = \"{}\"\n\
         [queue]\nrecipients_per_transaction = 1000\nroute_concurrency = 1\n",
        store.url()
    ))
}

fn send(daemon: &Daemon, recipients: &[String]) {
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.send_message("s@c.example", &recipients, b"Subject: x\r\n\r\nx\r\n").queue_id();
}

/// What came, once everybody has it, and each has it once.
fn arrived(store: &Store, recipients: &[String], transactions: usize) -> Vec<Delivery> {
    let deliveries = store.wait_for(transactions, ARRIVAL);
    let got: Vec<&String> = deliveries.iter().flat_map(|one| &one.to).collect();
    assert_eq!(got.len(), recipients.len(), "nobody gets it twice");
    assert_eq!(BTreeSet::from_iter(got), BTreeSet::from_iter(recipients));
    assert_eq!(deliveries.len(), transactions);
    deliveries
}

#[test]
fn recipients_are_split_and_connections_are_changed() {
    let store = store("MAILMAX=2 RCPTMAX=100");
    let recipients: Vec<String> = (0..250).map(|n| format!("u{n}@d.example")).collect();
    let daemon = relay(&store);
    send(&daemon, &recipients);
    let deliveries = arrived(&store, &recipients, 3);
    assert_eq!(deliveries.iter().map(|one| one.to.len()).collect::<Vec<_>>(), [100, 100, 50]);
    assert_eq!(store.connections(), 2, "two transactions fit one");
    assert!(store.transcript().contains(&"QUIT".to_owned()), "it was left in good form");
}

#[test]
fn a_malformed_line_counts_for_nothing() {
    let store = store("MAILMAX=1 RCPTMAX=0100");
    let recipients: Vec<String> = (0..250).map(|n| format!("u{n}@d.example")).collect();
    let daemon = relay(&store);
    send(&daemon, &recipients);
    arrived(&store, &recipients, 1);
    send(&daemon, &recipients[..1]);
    store.wait_for(2, ARRIVAL);
    assert_eq!(store.connections(), 1, "the connection was kept");
}

#[test]
fn domains_are_counted_over_the_connection() {
    let store = store("RCPTDOMAINMAX=2");
    let recipients: Vec<String> = (0..50).map(|n| format!("u{n}@d{}.example", n % 5)).collect();
    let daemon = relay(&store);
    send(&daemon, &recipients);
    let deliveries = arrived(&store, &recipients, 3);
    for delivery in deliveries {
        let domain = |to: &String| to.split_once('@').unwrap().1.to_owned();
        let domains: BTreeSet<String> = delivery.to.iter().map(domain).collect();
        assert!(domains.len() <= 2, "{domains:?}");
    }
    assert_eq!(store.connections(), 3);
}

/// What is told is enforced; who is not told loses a connection and nothing else.
#[test]
fn a_session_ends_after_its_messages() {
    for withheld in ["", "discard_ehlo_keywords = [\"LIMITS\"]\n"] {
        let store = Store::tcp(Behaviour::next_hop());
        let listener = format!("max_messages_per_session = 2\n{withheld}");
        let tables = format!(
            "[[domain]]\nname = \"d.example\"\ndeliver = \"{}\"\nrecipients = \"any\"\n",
            store.url()
        );
        let parts = Parts { listener: &listener, tables: &tables, ..Parts::default() };
        let near = Daemon::start_with(&parts);
        let far = Daemon::start(&format!(
            "[relay]\nfrom = [\"127.0.0.1\"]\n[[route]]\nrecipient = \"*\"\n\
             via = \"smtp://{}\"\n[queue]\nroute_concurrency = 1\nretry_next_hop = [\"1h\"]\n",
            near.addr()
        ));
        let mut client = Client::connect(near.addr());
        let hello = client.try_hello("EHLO c.example").unwrap();
        let told = hello.lines.contains(&"LIMITS MAILMAX=2 RCPTMAX=1000".to_owned());
        assert_eq!(told, withheld.is_empty(), "{hello:?}");
        for _ in 0..2 {
            client.send_message("s@c.example", &["u@d.example"], b"\r\nx\r\n").queue_id();
        }
        client.command("MAIL FROM:<s@c.example>").is(421, "4.7.0");
        assert!(client.is_closed());
        for _ in 0..5 {
            send(&far, &["u@d.example".to_owned()]);
        }
        store.wait_for(7, ARRIVAL);
        assert!(!far.log().contains("\"event\":\"deferred\""), "{}", far.log_tail());
    }
}
