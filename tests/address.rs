//! Addresses: what a mailbox costs, and how a recipient is found, from the session to the store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::hint::black_box;

use allocation_counter::measure;
use angarium::syntax::path::{Mailbox, ReversePath, parse_reverse_path, take_path};
use support::ARRIVAL;
use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};

#[test]
fn a_parse_allocates_once_and_a_copy_not_at_all() {
    let text = black_box("<A.Long.Local-Part+tag@Sub.Domain.Example> SIZE=1000");
    let mut path = ReversePath::Null;
    let parsing = measure(|| path = parse_reverse_path(take_path(text).unwrap().0).unwrap());
    assert_eq!(parsing.count_total, 1);
    let copying = measure(|| drop(black_box(path.clone())));
    assert_eq!(copying.count_total, 0);
    let stored = serde_json::to_string(&path).unwrap();
    let reading = measure(|| drop(serde_json::from_str::<ReversePath>(&stored).unwrap()));
    assert_eq!(reading.count_total, 1);
    let looking = measure(|| {
        let ReversePath::Mailbox(mailbox) = &path else { return };
        black_box((mailbox.local_part(), mailbox.domain()));
    });
    assert_eq!(looking.count_total, 0);
    assert!(size_of::<Mailbox>() <= 32);
}

/// A daemon for a listed domain, an address and a probed domain, with one store behind all.
fn start(store: &Store) -> Daemon {
    let site = Site::new();
    let list = site.path("recipients");
    std::fs::write(&list, "Joe\njosé\n").unwrap();
    let url = store.url();
    let domain = |name: &str, rest: &str| {
        format!("[[domain]]\nname = \"{name}\"\ndeliver = \"{url}\"\n{rest}\n")
    };
    let listed = format!("recipients = \"file:{}\"\nseparator = \"+\"", list.display());
    let tables = [
        domain("bücher.example", &listed),
        domain("[IPv6:2001:DB8::1]", "recipients = \"any\""),
        domain("probed.example", "separator = \"+\""),
    ];
    let top = "postmaster = \"joe@bücher.example\"";
    let parts = Parts { top, tables: &tables.concat(), ..Parts::default() };
    let text = site.configuration(&parts);
    Daemon::start_at(site, &text)
}

/// G02, G18, G20: what is looked up in another form goes on as it came.
#[test]
fn recipients_are_found_in_every_form_and_keep_theirs() {
    let store = Store::tcp(Behaviour::default());
    let daemon = start(&store);
    let mut client = Client::greet(daemon.addr(), "c.example");
    let to = [
        "JOE@XN--Bcher-KVA.example",
        "Joe+Tag+x@xn--bcher-kva.example",
        "\"jOE+odd tag\"@xn--bcher-kva.example",
        "@one.example,@two.example:joe@xn--bcher-kva.example",
        "U@[ipv6:2001:0db8:0:0:0:0:0:1]",
        "Tag+Probed@probed.example",
    ];
    client.send_message("s@c.example", &to, b"Subject: note\r\n\r\nnote\r\n").queue_id();
    for (path, code, status) in [
        ("jo@xn--bcher-kva.example", 550, "5.1.1"),
        ("joe-tag@xn--bcher-kva.example", 550, "5.1.1"),
        ("jose@xn--bcher-kva.example", 550, "5.1.1"),
        ("joe@xn--bcher-kva99.example", 550, "5.7.1"),
        ("u@[IPv6:2001:db8::2]", 550, "5.7.1"),
        ("u@[IPv6:::ffff:192.0.2.1]", 550, "5.7.1"),
    ] {
        client.command("RSET");
        client.command("MAIL FROM:<>");
        client.command(&format!("RCPT TO:<{path}>")).is(code, status);
    }
    let mut arrived: Vec<String> =
        store.wait_for(1, ARRIVAL).into_iter().flat_map(|delivery| delivery.to).collect();
    arrived.sort();
    let mut expected = [
        "JOE@xn--bcher-kva.example",
        "Joe+Tag+x@xn--bcher-kva.example",
        "\"jOE+odd tag\"@xn--bcher-kva.example",
        "joe@xn--bcher-kva.example",
        "U@[IPv6:2001:db8::1]",
        "Tag+Probed@probed.example",
    ];
    expected.sort_unstable();
    assert_eq!(arrived, expected);
}

/// V08: every domain has a postmaster, also where its mailstore has none.
#[test]
fn the_servers_postmaster_stands_in_for_a_missing_one() {
    let joe = "joe@xn--bcher-kva.example";
    let store = Store::tcp(Behaviour::knowing(&[joe, "postmaster@[IPv6:2001:db8::1]"]));
    let daemon = start(&store);
    for (postmaster, becomes) in [
        ("Postmaster", joe),
        ("PostMaster@probed.example", joe),
        ("postmaster@xn--bcher-kva.example", joe),
        ("postmaster@[IPv6:2001:db8::1]", "postmaster@[IPv6:2001:db8::1]"),
    ] {
        let before = store.count();
        let mut client = Client::greet(daemon.addr(), "c.example");
        client.send_message("s@c.example", &[postmaster], b"Subject: help\r\n\r\n").queue_id();
        client.quit();
        let delivered = store.wait_for(before + 1, ARRIVAL);
        assert_eq!(delivered.last().unwrap().to, [becomes], "{postmaster}");
    }
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    client.command("RCPT TO:<abuse@probed.example>").is(550, "5.1.1");
    // The store knows neither, and would refuse the tag later if it were accepted now.
    client.command("RCPT TO:<joe+tag@probed.example>").is(550, "5.1.1");
    let tagged = Behaviour::knowing(&["j+t@probed.example"]);
    store.set(|behaviour| *behaviour = tagged);
    client.command("RCPT TO:<j+t@probed.example>").is(250, "2.1.5");
}
