//! Mail with addresses and headers in UTF-8 through the whole daemon (RFC 6531): to a mailstore that
//! offers SMTPUTF8, and to one that does not.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use support::ARRIVAL;
use support::daemon::{Daemon, Parts};
use support::smtp::Client;
use support::store::{Behaviour, Delivery, Store};

const NOTE: &[u8] = "Subject: Grüße\r\n\r\nnote\r\n".as_bytes();

/// Where the mail goes, and where its reports do.
struct Scene {
    ours: Store,
    senders: Store,
    daemon: Daemon,
}

/// `utf8` is what the mailstore of bücher.example offers, `recipients` whom it has.
fn start(utf8: bool, recipients: &str) -> Scene {
    let ours = Store::tcp(Behaviour { utf8, ..Behaviour::default() });
    let senders = Store::tcp(Behaviour { utf8: true, ..Behaviour::default() });
    let domain = |name: &str, store: &Store, recipients: &str| {
        let url = store.url();
        let rest = format!("recipients = \"{recipients}\"\n");
        format!("[[domain]]\nname = \"{name}\"\ndeliver = \"{url}\"\n{rest}")
    };
    let (first, second) =
        (domain("bücher.example", &ours, recipients), domain("senders.example", &senders, "any"));
    let tables = first + &second + "[queue]\nretry_next_hop = [\"1s\"]\n";
    let parts = Parts { listener: "smtputf8 = true", tables: &tables, ..Parts::default() };
    let daemon = Daemon::start_with(&parts);
    Scene { ours, senders, daemon }
}

impl Scene {
    /// Sends the note; the replies to each RCPT.
    fn send(&self, mail: &str, to: &[&str]) -> Vec<u16> {
        let mut client = Client::greet(self.daemon.addr(), "c.example");
        client.command(&format!("MAIL FROM:{mail}")).is(250, "2.1.0");
        let replies = to.iter().map(|path| client.command(&format!("RCPT TO:<{path}>")));
        let codes: Vec<u16> = replies.map(|reply| reply.code).collect();
        if codes.contains(&250) {
            client.data(NOTE).queue_id();
        }
        client.quit();
        codes
    }

    /// The one report, once nothing is queued.
    fn report(&self) -> Delivery {
        let mut reports = self.senders.wait_for(1, ARRIVAL);
        self.daemon.drain(ARRIVAL);
        assert_eq!(self.senders.count(), 1);
        reports.remove(0)
    }
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.content.clone()).unwrap()
}

fn said(store: &Store, verb: &str) -> Vec<String> {
    store.transcript().into_iter().filter(|line| line.starts_with(verb)).collect()
}

#[test]
fn an_address_in_utf8_is_probed_and_delivered_where_that_is_offered() {
    let mut scene = start(true, "probe");
    let to = ["Jürgen@bücher.example", "ju\u{308}rgen@BÜCHER.example"];
    scene.ours.set(|behaviour| {
        let decomposed = "ju\u{308}rgen@xn--bcher-kva.example".to_owned();
        behaviour.recipient_replies.insert(decomposed, "550 5.1.1 nobody".into());
    });
    assert_eq!(scene.send("<ü@senders.example> SMTPUTF8", &to), [250, 550]);
    scene.ours.wait_for(1, ARRIVAL);
    scene.ours.stop();
    assert_eq!(scene.send("<ü@senders.example> SMTPUTF8", &to[..1]), [250]);
    scene.daemon.restart();
    scene.ours.start();
    let delivered = scene.ours.wait_for(2, ARRIVAL);
    scene.daemon.drain(ARRIVAL);
    assert_eq!((delivered.len(), scene.senders.count()), (2, 0));
    for delivery in delivered {
        assert_eq!(delivery.from, "ü@senders.example");
        assert_eq!(delivery.to, ["Jürgen@xn--bcher-kva.example"]);
        let text = text(&delivery);
        assert!(text.ends_with("Subject: Grüße\r\n\r\nnote\r\n"), "{text}");
        assert!(text.contains(" with UTF8SMTP id "), "{text}");
        assert!(text.contains("for <Jürgen@xn--bcher-kva.example>"), "{text}");
    }
    let mails = said(&scene.ours, "MAIL");
    assert!(mails.iter().all(|line| line.ends_with(" SMTPUTF8")), "{mails:?}");
    assert!(mails.iter().any(|line| line == "MAIL FROM:<> SMTPUTF8"), "{mails:?}");
    let paths = said(&scene.ours, "RCPT");
    let decomposed = paths.iter().filter(|line| line.contains("<ju\u{308}rgen@xn--bcher")).count();
    assert_eq!(decomposed, 1, "each goes on as it came: {paths:?}");
}

#[test]
fn a_mailstore_without_it_is_not_sent_what_it_did_not_offer() {
    let scene = start(false, "probe");
    let to = ["ü@bücher.example", "joe@bücher.example"];
    assert_eq!(scene.send("<s@senders.example> SMTPUTF8", &to[..1]), [553]);
    assert_eq!(scene.send("<s@senders.example> SMTPUTF8", &to), [553, 250]);
    let report = scene.report();
    assert_eq!(
        (report.from.as_str(), report.to.as_slice()),
        ("", &["s@senders.example".into()][..])
    );
    assert!(text(&report).contains("Status: 5.6.9\r\n"), "{}", text(&report));
    assert_eq!(scene.ours.count(), 0, "a header is not downgraded");
    assert!(scene.ours.transcript().iter().all(|line| line.is_ascii()));
}

#[test]
fn what_can_not_be_carried_is_returned_and_the_rest_is_not() {
    let scene = start(false, "any");
    let to = ["ü@bücher.example", "joe@bücher.example"];
    assert_eq!(scene.send("<ü@senders.example> SMTPUTF8", &to), [250, 250]);
    let report = scene.report();
    assert_eq!(report.to, ["ü@senders.example"]);
    let text = text(&report);
    assert_eq!(text.matches("Status: 5.6.7\r\n").count(), 2, "{text}");
    assert!(text.contains("To: <ü@senders.example>\r\n"), "{text}");
    let mails = said(&scene.senders, "MAIL");
    assert_eq!(mails, ["MAIL FROM:<> BODY=8BITMIME SMTPUTF8"]);
    assert_eq!(scene.ours.count(), 0);
}

#[test]
fn what_was_not_declared_passes_as_it_is() {
    let scene = start(false, "any");
    assert_eq!(scene.send("<s@senders.example>", &["joe@xn--bcher-kva.example"]), [250]);
    let delivered = scene.ours.wait_for(1, ARRIVAL);
    scene.daemon.drain(ARRIVAL);
    assert!(text(&delivered[0]).ends_with("Subject: Grüße\r\n\r\nnote\r\n"));
    assert!(text(&delivered[0]).contains(" with ESMTP id "));
    assert_eq!(said(&scene.ours, "MAIL"), ["MAIL FROM:<s@senders.example> BODY=8BITMIME"]);
    assert_eq!(scene.senders.count(), 0);
}

#[test]
fn where_strangers_send_it_is_offered_only_if_the_operator_says_so() {
    let daemon = Daemon::start("");
    let mut client = Client::greet(daemon.addr(), "c.example");
    assert!(!client.command("EHLO c.example").text().contains("SMTPUTF8"));
    client.command("MAIL FROM:<s@c.example> SMTPUTF8").is(555, "5.5.4");
    client.command("MAIL FROM:<ü@c.example>").is(500, "5.5.2");
}
