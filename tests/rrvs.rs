//! RRVS (RFC 7293): mail that must not reach a later owner, here and on its way.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod support;

use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, wait_until};

const OWNERS: &str = "joe 2020-01-01T00:00:00Z\nann@d.example 2022-01-01T00:00:00Z\n";
const CONTENT: &[u8] = b"Subject: x\r\n\r\nx\r\n";

/// A daemon with a domain whose owners are known, and a way for the rest, both to `store`.
fn host(store: &Store) -> Daemon {
    let site = Site::new();
    let owners = site.path("owners");
    std::fs::write(&owners, OWNERS).unwrap();
    let tables = format!(
        "[relay]\nfrom = [\"127.0.0.1\"]\n\
         [[domain]]\nname = \"d.example\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n\
         owners = \"file:{owners}\"\n\
         [[domain]]\nname = \"e.example\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n\
         [[route]]\nrecipient = \"*\"\nvia = \"{url}\"\n",
        url = store.url(),
        owners = owners.display()
    );
    let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
    Daemon::start_at(site, &text)
}

#[test]
fn an_owner_of_long_enough_gets_it_and_nobody_else() {
    let store = Store::tcp(Behaviour::next_hop());
    let daemon = host(&store);
    let mut client = Client::connect(daemon.addr());
    let hello = client.try_hello("EHLO c.example").unwrap();
    assert!(hello.lines.contains(&"RRVS".to_owned()), "{hello:?}");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    let since = "RRVS=2021-01-01T00:00:00Z";
    client.command(&format!("RCPT TO:<ann@d.example> {since}")).is(550, "5.7.17");
    client.command(&format!("RCPT TO:<who@d.example> {since}")).is(550, "5.7.19");
    client.command(&format!("RCPT TO:<joe@e.example> {since}")).is(550, "5.7.19");
    client.command(&format!("RCPT TO:<joe@d.example> {since}")).is(250, "2.1.5");
    client.command("RCPT TO:<ann@d.example>").is(250, "2.1.5");
    client.data(CONTENT).queue_id();
    // The next hop offers no RRVS, and need not: it was judged here.
    let delivery = &store.wait_for(1, ARRIVAL)[0];
    assert_eq!(delivery.to, ["joe@d.example", "ann@d.example"]);
}

#[test]
fn others_are_judged_by_a_next_hop_that_can() {
    let offers = vec!["RRVS".to_owned()];
    let store = Store::tcp(Behaviour { offers, ..Behaviour::next_hop() });
    let daemon = host(&store);
    let send = |parameters: &str| {
        let mut client = Client::greet(daemon.addr(), "c.example");
        client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
        client.command(&format!("RCPT TO:<u@far.example> {parameters}")).is(250, "2.1.5");
        client.data(CONTENT).queue_id();
    };
    let since = "RRVS=2021-01-01T00:00:00Z;R";
    send(since);
    store.wait_for(1, ARRIVAL);
    let rcpt = format!("RCPT TO:<u@far.example> {since}");
    assert!(store.transcript().contains(&rcpt), "{:?}", store.transcript());

    let store = Store::tcp(Behaviour::next_hop());
    let daemon = host(&store);
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    client.command("RCPT TO:<u@far.example> RRVS=2021-01-01T00:00:00Z;C").is(250, "2.1.5");
    client.command("RCPT TO:<v@far.example>").is(250, "2.1.5");
    client.data(CONTENT).queue_id();
    let failed = || daemon.log().contains("\"reason\":\"5.3.3 it must not reach a later owner");
    assert!(wait_until(ARRIVAL, failed), "{}", daemon.log_tail());
    // The other one got it, and the sender a report.
    let deliveries = store.wait_for(2, ARRIVAL);
    let of = |from: &str| deliveries.iter().filter(|one| one.from == from).collect::<Vec<_>>();
    assert_eq!(of("s@c.example")[0].to, ["v@far.example"]);
    let report = String::from_utf8_lossy(&of("")[0].content).into_owned();
    assert!(report.contains("u@far.example") && report.contains("Status: 5.3.3"), "{report}");
    assert!(!report.contains("v@far.example"), "{report}");
}
