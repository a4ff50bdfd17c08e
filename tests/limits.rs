//! Limits of a next hop, with the real daemon: recipients per transaction, messages per connection.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use support::daemon::Daemon;
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, wait_until};

/// A daemon that relays everything to `store`, with `route` on the route and `tables` after it.
fn relay(store: &Store, route: &str, tables: &str) -> Daemon {
    Daemon::start(&format!(
        "[relay]\nfrom = [\"127.0.0.1\"]\n[[route]]\nrecipient = \"*\"\nvia = \"{}\"\n{route}\n\
         {tables}\n[timeout]\nkeep_idle = \"1m\"\n",
        store.url()
    ))
}

/// Sends so many messages, each when the one before has arrived.
fn send(daemon: &Daemon, store: &Store, count: usize) {
    for _ in 0..count {
        let before = store.count();
        let mut client = Client::greet(daemon.addr(), "c.example");
        client.send_message("s@c.example", &["u@d.example"], b"Subject: x\r\n\r\nx\r\n").queue_id();
        store.wait_for(before + 1, ARRIVAL);
        // The connection goes back to the pool after the reply that was just given.
        assert!(wait_until(ARRIVAL, || daemon.rows().is_empty()), "{}", daemon.log_tail());
    }
}

fn quits(store: &Store) -> usize {
    store.transcript().iter().filter(|line| *line == "QUIT").count()
}

/// Checks: T25
#[test]
fn a_connection_carries_no_more_messages_than_the_next_hop_allows() {
    let site =
        |store: &Store, limit: &str| format!("[[site]]\nname = \"{}\"\n{limit}", store.url());
    let queue = "[queue]\nmessages_per_connection = 2";
    let limit = "messages_per_connection = 3";
    for (route, with_site, connections) in [("", false, 3), ("", true, 2), (limit, false, 2)] {
        let store = Store::tcp(Behaviour::next_hop());
        let tables = if with_site { site(&store, limit) } else { String::new() };
        let daemon = relay(&store, route, &format!("{tables}\n{queue}"));
        send(&daemon, &store, 5);
        assert_eq!(store.connections(), connections, "{route} {tables}");
        assert!(wait_until(ARRIVAL, || quits(&store) == connections - 1), "closed in good form");
    }
}

/// Checks: Q04 T32
#[test]
fn a_transaction_has_no_more_recipients_than_the_next_hop_allows() {
    let store = Store::tcp(Behaviour::next_hop());
    let daemon = relay(&store, "recipients_per_transaction = 2", "");
    let mut client = Client::greet(daemon.addr(), "c.example");
    let to = ["a@d.example", "b@d.example", "c@d.example", "d@d.example", "e@d.example"];
    client.send_message("s@c.example", &to, b"Subject: x\r\n\r\nx\r\n").queue_id();
    let mut counts: Vec<usize> =
        store.wait_for(3, ARRIVAL).iter().map(|delivery| delivery.to.len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 2]);
}
