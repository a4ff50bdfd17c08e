//! The harness itself: client, store and corpus, without any daemon.
//!
//! What other tests take for granted is proved here: the octets that the client is given are the
//! octets that the store keeps, and the store behaves, cuts and comes back as it is told.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use support::corpus::{corpus, sendable, to_crlf};
use support::smtp::{Client, stuff};
use support::store::{Behaviour, Delivery, Stage, Store};

fn lhlo(store: &Store) -> Client {
    let address = store.url().strip_prefix("lmtp://").unwrap().parse().unwrap();
    let mut client = Client::connect(address);
    client.try_hello("LHLO test.example").unwrap();
    client
}

#[test]
fn every_message_reaches_the_store_octet_by_octet() {
    let directory = support::temporary_directory();
    let path = directory.path().join("lmtp");
    let store = Store::unix(&path, Behaviour::default());
    let mut client = Client::unix(&path);
    client.try_hello("LHLO test.example").unwrap();
    let messages = sendable();
    for message in &messages {
        let reply = client.send_message("a@susa.example", &["b@abydos.example"], &message.octets);
        reply.is(250, "2.0.0");
    }
    let kept: Vec<Vec<u8>> = store.deliveries().into_iter().map(|kept| kept.content).collect();
    let sent: Vec<Vec<u8>> = messages.into_iter().map(|sent| sent.octets).collect();
    assert_eq!(kept, sent);
}

#[test]
fn corpus_is_in_crlf_and_tells_which_message_holds_a_nul() {
    let messages = corpus();
    assert!(messages.len() >= 12, "{} messages", messages.len());
    for message in &messages {
        let octets = &message.octets;
        assert!(octets.ends_with(b"\r\n"), "{}", message.name);
        let bare = octets.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
        assert!(!bare, "{} holds a bare LF", message.name);
    }
    let nul = messages.iter().find(|message| message.name == "nul.eml").unwrap();
    assert!(nul.has_nul());
    assert!(sendable().iter().all(|message| !message.octets.contains(&0)));
}

#[test]
fn conversion_and_stuffing_touch_nothing_else() {
    assert_eq!(to_crlf(b"a\nb\r\nc\rd\n\r\ne"), b"a\r\nb\r\nc\rd\r\n\r\ne\r\n");
    assert_eq!(stuff(b".\r\n..a\r\nb.c\r\n.\n.\r\n"), b"..\r\n...a\r\nb.c\r\n..\n.\r\n");
    assert_eq!(stuff(b""), b"");
}

#[test]
fn store_answers_each_recipient_as_told() {
    let known = ["a@store.test", "b@store.test", "c@store.test"];
    let store = Store::tcp(Behaviour::knowing(&known));
    store.set(|behaviour| {
        let full = "452 4.2.2 mailbox full".to_owned();
        behaviour.content_replies.insert("b@store.test".to_owned(), full);
    });
    let mut client = lhlo(&store);
    client.envelope("x@susa.example", &known);
    client.command("RCPT TO:<d@store.test>").is(550, "5.1.1");
    client.data(b"Subject: x\r\n\r\n.x\r\n").is(250, "2.0.0");
    client.expect(452).is(452, "4.2.2");
    client.expect(250).is(250, "2.0.0");
    client.quit();
    let delivery = Delivery {
        from: "x@susa.example".to_owned(),
        to: vec!["a@store.test".to_owned(), "c@store.test".to_owned()],
        content: b"Subject: x\r\n\r\n.x\r\n".to_vec(),
    };
    assert_eq!(store.deliveries(), [delivery]);
}

#[test]
fn store_cuts_where_told_and_records_before_the_reply_only() {
    let store = Store::tcp(Behaviour::default());
    for (stage, recorded) in [(Stage::Mail, 0), (Stage::BeforeRecord, 0), (Stage::AfterRecord, 1)] {
        store.set(|behaviour| behaviour.drop_at = Some(stage));
        let mut client = lhlo(&store);
        let outcome = client.try_send_message("a@x.example", &["b@x.example"], b"x\r\n");
        assert!(outcome.is_err(), "{stage:?}: {outcome:?}");
        assert_eq!(store.count(), recorded, "{stage:?}");
    }
}

#[test]
fn store_stops_and_comes_back_at_the_same_place() {
    let mut store = Store::tcp(Behaviour::default());
    let url = store.url();
    let address = url.strip_prefix("lmtp://").unwrap().parse().unwrap();
    let mut client = lhlo(&store);
    store.stop();
    assert!(client.try_command("NOOP").is_err());
    assert!(Client::try_connect(address).is_err());
    store.start();
    assert_eq!(store.url(), url);
    lhlo(&store).send_message("a@x.example", &["b@x.example"], b"x\r\n").is(250, "2.0.0");
    assert_eq!(store.wait_for(1, Duration::from_secs(1)).len(), 1);
}

#[test]
fn client_connects_from_another_loopback_address() {
    let listener = std::net::TcpListener::bind(support::loopback(0)).unwrap();
    let source = [127, 0, 0, 2].into();
    let _client = Client::connect_from(source, listener.local_addr().unwrap());
    let (_, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), source);
}
