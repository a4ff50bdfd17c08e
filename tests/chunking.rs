//! Chunks and binary content through the whole daemon: in by BDAT, out by BDAT or DATA.
//!
//! Content comes through octet for octet, whichever way it comes and goes. What is binary goes only
//! to who offers BINARYMIME; for others it is encoded anew, and where it can't be it fails.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod support;

use support::daemon::{Daemon, Parts};
use support::smtp::Client;
use support::store::{Behaviour, Delivery, Store};
use support::{ARRIVAL, wait_until};

/// Octets of every kind.
const OCTETS: &[u8] = b"\0\r\n.\r\n\n\xFF\r";

fn binary(fields: &str) -> Vec<u8> {
    let header = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\
                  Content-Transfer-Encoding: binary\r\n\r\n";
    let part = format!("--b\r\n{fields}\r\n");
    [header.as_bytes(), part.as_bytes(), OCTETS, b"\r\n--b--\r\n"].concat()
}

const IMAGE: &str = "Content-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n";

fn store(chunks: bool, smtp: bool) -> Store {
    Store::tcp(Behaviour { chunks, smtp, ..Behaviour::default() })
}

fn tables(store: &Store, options: &str) -> String {
    format!(
        "[relay]\nfrom = [\"127.0.0.1\"]\n[[route]]\nrecipient = \"*\"\nvia = \"{}\"\n{options}\n\
         [queue]\nretry_next_hop = [\"1s\"]\n",
        store.url()
    )
}

fn relay(store: &Store, options: &str) -> Daemon {
    Daemon::start(&tables(store, options))
}

fn send_binary(daemon: &Daemon, content: &[u8]) {
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command("MAIL FROM:<s@c.example> BODY=BINARYMIME").is(250, "2.1.0");
    client.command("RCPT TO:<u@d.example>").is(250, "2.1.5");
    client.command("DATA").is(503, "5.5.1");
    client.bdat(content).queue_id();
}

/// The content below our trace field.
fn below_trace(delivery: &Delivery) -> &[u8] {
    let at = delivery.content.windows(8).position(|window| window == b"Subject:").unwrap();
    &delivery.content[at..]
}

#[test]
fn content_comes_through_by_chunks_and_by_data() {
    let large = "a line of sixty-four octets with its end, which is not very long\r\n";
    let contents = [
        b"Subject: x\r\n\r\n.\r\n..\r\nQUIT\r\n.\r\n".to_vec(),
        [b"Subject: x\r\n\r\n", large.repeat(150_000).as_bytes()].concat(),
    ];
    for (chunks, smtp) in [(true, true), (true, false), (false, true), (false, false)] {
        let store = store(chunks, smtp);
        let daemon = relay(&store, "");
        let mut client = Client::greet(daemon.addr(), "c.example");
        for content in &contents {
            client.send_message("s@c.example", &["u@d.example"], content).queue_id();
            client.envelope("s@c.example", &["u@d.example"]);
            let pieces = [0, 7, content.len() / 2].map(|end| content.split_at(end));
            for (piece, _) in pieces {
                client.command("RSET").is(250, "2.0.0");
                client.envelope("s@c.example", &["u@d.example"]);
                client.write(format!("BDAT {}\r\n", piece.len()).as_bytes());
                client.write(piece);
                client.reply().is(250, "2.0.0");
            }
            client.bdat(pieces[2].1).queue_id();
        }
        let deliveries = store.wait_for(4, ARRIVAL);
        let mut seen: Vec<&[u8]> = deliveries.iter().map(below_trace).collect();
        seen.sort_unstable();
        let mut sent = [&contents[..], &contents[..]].concat();
        sent.sort_unstable();
        assert!(seen == sent, "chunks: {chunks}, smtp: {smtp}");
        let said = store.transcript();
        assert_eq!(said.iter().any(|line| line.starts_with("BDAT")), chunks);
        assert_eq!(said.iter().any(|line| line == "DATA"), !chunks);
    }
}

#[test]
fn binary_content_goes_as_it_is_to_who_takes_it() {
    for smtp in [true, false] {
        let store = store(true, smtp);
        let daemon = relay(&store, "");
        send_binary(&daemon, &binary(IMAGE));
        assert_eq!(below_trace(&store.wait_for(1, ARRIVAL)[0]), binary(IMAGE));
        let said = store.transcript();
        assert!(said.iter().any(|line| line.ends_with(" BODY=BINARYMIME")), "{said:?}");
    }
}

#[test]
fn binary_content_is_encoded_for_others() {
    for (smtp, seven_bit) in [(true, true), (true, false), (false, true), (false, false)] {
        let store = Store::tcp(Behaviour { smtp, seven_bit, ..Behaviour::default() });
        let daemon = relay(&store, "long_lines = \"bounce\"");
        send_binary(&daemon, &binary(IMAGE));
        let deliveries = store.wait_for(1, ARRIVAL);
        let content = String::from_utf8(below_trace(&deliveries[0]).to_vec()).unwrap();
        let expected = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\
                        Content-Transfer-Encoding: 7bit\r\n\r\n--b\r\nContent-Type: image/x\r\n\
                        Content-Transfer-Encoding: base64\r\n\r\nAA0KLg0KCv8N\r\n--b--\r\n";
        assert_eq!(content, expected);
        assert!(daemon.log().contains("\"event\":\"converted\""), "never silently");
        let said = store.transcript();
        assert!(!said.iter().any(|line| line.contains("BODY=")), "{said:?}");
    }
}

#[test]
fn what_is_signed_fails_and_its_report_is_text() {
    let store = store(false, false);
    let daemon = relay(&store, "");
    send_binary(&daemon, &binary(&format!("Sig: t=p; b=xx\r\n{IMAGE}")));
    let report = &store.wait_for(1, ARRIVAL)[0];
    assert_eq!((report.from.as_str(), &*report.to), ("", &["s@c.example".to_owned()][..]));
    let text = String::from_utf8(report.content.clone()).unwrap();
    assert!(text.contains("\r\nStatus: 5.6.3\r\n"), "{text}");
    assert!(text.contains("text/rfc822-headers") && !text.contains('\0'), "{text}");
}

#[test]
fn binary_content_is_not_taken_where_a_route_would_not_convert_it() {
    for options in ["eight_bit = \"bounce\"", "eight_bit = \"send\""] {
        let store = store(false, true);
        let daemon = relay(&store, options);
        let mut client = Client::greet(daemon.addr(), "c.example");
        client.command("MAIL FROM:<s@c.example> BODY=BINARYMIME").is(504, "5.5.4");
    }
}

#[test]
fn what_waits_is_never_sent_by_data_as_it_is() {
    let mut store = store(false, true);
    store.stop();
    let mut daemon = relay(&store, "");
    send_binary(&daemon, &binary(IMAGE));
    let tables = tables(&store, "eight_bit = \"send\"");
    daemon.rewrite(&Parts { tables: &tables, ..Parts::default() });
    daemon.hangup();
    assert!(wait_until(ARRIVAL, || daemon.log().contains("\"event\":\"reloaded\"")));
    store.start();
    let report = &store.wait_for(1, ARRIVAL)[0];
    assert_eq!(report.from, "");
    assert!(String::from_utf8_lossy(&report.content).contains("\r\nStatus: 5.6.3\r\n"));
}

#[test]
fn a_client_that_vanishes_between_chunks_or_within_one_leaves_nothing() {
    let store = store(false, true);
    let daemon = relay(&store, "");
    let large = vec![b'x'; 300_000];
    for unfinished in
        [&b"BDAT 10 LAST\r\nshort"[..], b"", b"BDAT 10 LAST", b"RSET\r\nBDAT 3 LAST\r\nabc"]
    {
        let mut client = Client::greet(daemon.addr(), "c.example");
        client.envelope("s@c.example", &["u@d.example"]);
        client.write(format!("BDAT {}\r\n", large.len()).as_bytes());
        client.write(&large);
        client.reply().is(250, "2.0.0");
        client.write(unfinished);
        drop(client);
    }
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.send_message("s@c.example", &["u@d.example"], b"Subject: x\r\n\r\n").queue_id();
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 1);
    let closed = || daemon.log().matches("\"event\":\"session-closed\"").count() >= 4;
    assert!(wait_until(ARRIVAL, closed));
    assert_eq!((store.count(), daemon.rows().len()), (1, 0));
}

#[test]
fn a_refused_chunk_leaves_nothing_and_the_session_in_step() {
    let store = store(false, true);
    let daemon = relay(&store, "");
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.envelope("s@c.example", &["u@d.example"]);
    client.write(b"BDAT 3\r\na\0bBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    client.reply().is(554, "5.6.0");
    client.reply().is(503, "5.5.1");
    client.reply().is(503, "5.5.1");
    client.reply().is(250, "2.0.0");
    client.command("RSET").is(250, "2.0.0");
    client.envelope("s@c.example", &["u@d.example"]);
    client.bdat(b"Subject: x\r\n\r\ngood\r\n").queue_id();
    let deliveries = store.wait_for(1, ARRIVAL);
    assert_eq!(below_trace(&deliveries[0]), b"Subject: x\r\n\r\ngood\r\n");
    assert!(wait_until(ARRIVAL, || daemon.rows().is_empty()));
    assert_eq!(store.count(), 1);
}
