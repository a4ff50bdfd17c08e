//! Times and priorities that senders set, end to end: a release over restarts, a deadline and its
//! one report.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use angarium::auth::users::{Account, Accounts};
use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, free_port, loopback, wait_until};

/// `\0joe@ours.example\0secret`
const JOE: &str = "AUTH PLAIN AGpvZUBvdXJzLmV4YW1wbGUAc2VjcmV0";
const NOTE: &[u8] = b"From: joe@ours.example\r\nSubject: note\r\n\r\nnote\r\n";

/// A daemon with a user, whose mail goes to one store.
struct House {
    daemon: Daemon,
    submission: SocketAddr,
    store: Store,
}

impl House {
    fn new(store: Behaviour, more: &str) -> Self {
        let site = Site::new();
        let mut accounts = Accounts::default();
        let mut account = Account::new("joe@ours.example", 4096).unwrap();
        account.set(None, "secret").unwrap();
        accounts.add(account);
        let users = site.path("users");
        std::fs::write(&users, accounts.text().unwrap()).unwrap();
        let (store, submission) = (Store::tcp(store), loopback(free_port()));
        let tables = format!(
            "[[listener]]\nbind = \"{submission}\"\nrole = \"submission\"\ntls = \"off\"\n\
             clear_passwords = true\n\
             [auth]\nusers = {users:?}\n\
             [[domain]]\nname = \"ours.example\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n\
             [[route]]\nrecipient = \"*\"\nvia = \"{url}\"\n{more}",
            url = store.url()
        );
        let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
        let daemon = Daemon::start_at(site, &text);
        assert!(wait_until(ARRIVAL, || TcpStream::connect(submission).is_ok()));
        Self { daemon, submission, store }
    }

    fn user(&self) -> Client {
        let mut client = Client::connect(self.submission);
        client.expect(220);
        client.command("EHLO c.example").is(250, "");
        client.command(JOE).is(235, "2.7.0");
        client
    }

    /// Sends a note with these parameters of MAIL; its queue id.
    fn send(&self, words: &str) -> String {
        let mut client = self.user();
        client.command(&format!("MAIL FROM:<joe@ours.example> {words}")).is(250, "2.1.0");
        client.command("RCPT TO:<ann@far.example>").is(250, "2.1.5");
        client.data(NOTE).queue_id()
    }
}

#[test]
fn only_users_may_have_a_message_held_and_are_told_how_long() {
    let house = House::new(Behaviour::next_hop(), "[submission]\nfuture_release = \"2h\"\n");
    for address in [house.submission, house.daemon.addr()] {
        let mut client = Client::connect(address);
        client.expect(220);
        assert!(!client.command("EHLO c.example").text().contains("FUTURERELEASE"));
    }
    let mut client = Client::greet(house.daemon.addr(), "c.example");
    client.command("MAIL FROM:<a@b.example> HOLDFOR=1").is(555, "5.5.4");
    let mut client = house.user();
    let ehlo = client.command("EHLO c.example").text();
    let line = ehlo.lines().find(|line| line.starts_with("FUTURERELEASE")).unwrap();
    let [_, seconds, until] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let until: jiff::Timestamp = until.parse().unwrap();
    let left_s = until.as_second() - jiff::Timestamp::now().as_second();
    assert!(seconds == "7200" && (7_190..=7_200).contains(&left_s), "{line}");
    client.command("MAIL FROM:<joe@ours.example> HOLDFOR=7201").is(501, "5.5.4");
    let beyond = jiff::Timestamp::from_second(until.as_second() + 60).unwrap();
    let refused = format!("MAIL FROM:<joe@ours.example> HOLDUNTIL={beyond}");
    client.command(&refused).is(501, "5.5.4");
    client.command(&format!("MAIL FROM:<joe@ours.example> HOLDUNTIL={until}")).is(250, "2.1.0");

    let off = House::new(Behaviour::next_hop(), "[submission]\nfuture_release = \"0s\"\n");
    let mut client = off.user();
    assert!(!client.command("EHLO c.example").text().contains("FUTURERELEASE"));
    client.command("MAIL FROM:<joe@ours.example> HOLDFOR=1").is(555, "5.5.4");
}

#[test]
fn a_release_comes_at_its_time_over_a_stop_and_a_crash() {
    let mut house = House::new(Behaviour::next_hop(), "");
    let (sent, hold) = (Instant::now(), Duration::from_secs(8));
    let id = house.send("HOLDFOR=8");
    let at_s = jiff::Timestamp::now().as_second() + 60;
    let until = jiff::Timestamp::from_second(at_s).unwrap();
    let later = house.send(&format!("HOLDUNTIL={until}"));
    house.daemon.restart();
    let (text, code) = house.daemon.queue(&["retry", "--all"]);
    assert_eq!((text.as_str(), code), ("2 messages\n", 0));
    house.daemon.kill_9();
    house.daemon.restart();
    house.daemon.hangup();
    let (text, _) = house.daemon.queue(&["ls"]);
    assert!(text.contains("(future release at "), "{text}");
    let (text, _) = house.daemon.queue(&["why", &later]);
    assert!(text.contains("is released in ") && text.contains("as its sender wants"), "{text}");
    let rows = house.daemon.rows();
    assert!(rows.iter().all(|row| row["queue_name"] == "deferred"), "{rows:?}");
    let row = rows.iter().find(|row| row["queue_id"] == later.as_str()).unwrap();
    assert_eq!(row["release_time"], at_s);
    assert_eq!(row["recipients"][0]["next_attempt"], at_s);
    assert!(house.store.count() == 0 || sent.elapsed() >= hold, "it went too early");
    house.store.wait_for(1, ARRIVAL);
    assert!(sent.elapsed() >= hold);
    assert!(sent.elapsed() < hold + Duration::from_secs(4), "{:?}", sent.elapsed());
    assert!(wait_until(ARRIVAL, || house.daemon.rows().len() == 1));
    let line = house.store.transcript().into_iter().find(|line| line.starts_with("MAIL")).unwrap();
    assert!(!line.contains("HOLD"), "{line}");
    assert!(house.daemon.log().contains(&id));

    // The operator's release is durable, where the daemon dies before the delivery too.
    house.store.set(|behaviour| behaviour.refuse = Some("450 4.2.1 busy".into()));
    assert_eq!(house.daemon.queue(&["release", &later]).1, 0);
    house.daemon.kill_9();
    house.store.set(|behaviour| behaviour.refuse = None);
    house.daemon.restart();
    house.store.wait_for(2, ARRIVAL);
    assert!(jiff::Timestamp::now().as_second() < at_s, "it came before its time");
    house.daemon.drain(ARRIVAL);
}

/// The reports about a message, by the fields of their recipients.
fn reports(house: &House) -> Vec<String> {
    let reports = house.store.deliveries().into_iter().filter(|delivery| delivery.from.is_empty());
    reports.map(|report| String::from_utf8(report.content).unwrap()).collect()
}

/// A store that puts off what is for others, and takes reports.
fn busy() -> Behaviour {
    let mut store = Behaviour::next_hop();
    store.offers = vec!["DELIVERBY".to_owned()];
    store.recipient_replies.insert("ann@far.example".into(), "450 4.2.1 busy".into());
    store
}

fn fields(report: &str, wanted: &[&str]) {
    for line in wanted {
        assert!(report.contains(&format!("\r\n{line}\r\n")), "no {line} in\n{report}");
    }
}

#[test]
fn what_is_late_is_returned_once_whatever_happens_meanwhile() {
    let retry = "[queue]\nretry_next_hop = [\"2s\"]\n";
    let mut house = House::new(busy(), retry);
    let sent = Instant::now();
    let id = house.send("BY=6;R");
    assert!(wait_until(ARRIVAL, || house.daemon.log().contains("\"event\":\"deferred\"")));
    let row = house.daemon.rows().pop().unwrap();
    assert_eq!(row["deliver_by"]["late"], "returned", "{row}");
    let (text, _) = house.daemon.queue(&["why", &id]);
    assert!(text.contains("it is to be delivered within "), "{text}");
    house.daemon.kill_9();
    house.daemon.restart();
    house.store.wait_for(1, ARRIVAL);
    assert!(sent.elapsed() >= Duration::from_millis(5_900), "{:?}", sent.elapsed());
    assert!(sent.elapsed() < Duration::from_secs(12), "{:?}", sent.elapsed());
    house.daemon.drain(ARRIVAL);
    house.daemon.restart();
    std::thread::sleep(Duration::from_secs(1));
    let reports = reports(&house);
    assert_eq!(reports.len(), 1, "{reports:?}");
    fields(&reports[0], &["Action: failed", "Status: 5.4.7"]);
    assert!(reports[0].contains("\r\nDeliver-By-Date: ") && reports[0].contains("450 4.2.1 busy"));
    let mails = house.store.transcript().into_iter().filter(|line| line.starts_with("MAIL"));
    for line in mails.filter(|line| line.contains("joe@")) {
        let left = line.split("BY=").nth(1).and_then(|value| value.strip_suffix(";R"));
        assert!((1..6).contains(&left.unwrap().parse::<i64>().unwrap()), "{line}");
    }
}

#[test]
fn what_is_late_is_told_of_once_and_goes_on() {
    let retry = "[queue]\nretry_next_hop = [\"1s\"]\n";
    let mut house = House::new(busy(), retry);
    house.send("BY=-5;N");
    // Ten seconds are left to others that come due with it.
    house.store.wait_for(1, ARRIVAL);
    house.daemon.restart();
    std::thread::sleep(Duration::from_secs(12));
    let told = reports(&house);
    assert_eq!(told.len(), 1, "{told:?}");
    fields(&told[0], &["Action: delayed", "Status: 4.4.7"]);
    assert!(told[0].contains("\r\nDeliver-By-Date: "), "{}", told[0]);
    house.store.set(|behaviour| behaviour.recipient_replies.clear());
    house.store.wait_for(2, ARRIVAL);
    house.daemon.drain(ARRIVAL);
    let lines = house.store.transcript();
    let last = lines.iter().rfind(|line| line.starts_with("MAIL FROM:<joe@")).unwrap();
    assert!(last.contains(" BY=-") && last.ends_with(";N"), "{last}");
}

#[test]
fn nothing_that_must_be_returned_goes_where_nobody_returns_it() {
    let house = House::new(Behaviour::next_hop(), "");
    house.send("BY=600;R");
    let report = house.store.wait_for(1, ARRIVAL).remove(0);
    assert_eq!(report.from, "");
    fields(&String::from_utf8(report.content).unwrap(), &["Action: failed", "Status: 5.3.3"]);
    house.send("BY=600;N");
    assert_eq!(house.store.wait_for(2, ARRIVAL)[1].to, ["ann@far.example"]);
    house.daemon.drain(ARRIVAL);
}

#[test]
fn a_users_priority_goes_on_and_a_strangers_does_not() {
    let mut store = Behaviour::next_hop();
    store.offers = vec!["MT-PRIORITY MIXER".to_owned()];
    store.recipient_replies.insert("ann@far.example".into(), "450 4.2.1 busy".into());
    let mut house = House::new(store, "[queue]\nretry_next_hop = [\"1s\"]\n");
    let id = house.send("MT-PRIORITY=6");
    assert_eq!(house.daemon.rows()[0]["priority"], 6);
    house.daemon.restart();
    let (text, _) = house.daemon.queue(&["why", &id]);
    assert!(text.contains("its priority is 6\n"), "{text}");
    house.store.set(|behaviour| behaviour.recipient_replies.clear());
    let delivery = house.store.wait_for(1, ARRIVAL).remove(0);
    let content = String::from_utf8(delivery.content).unwrap();
    assert!(content.contains("\r\n\tPRIORITY 6"), "{content}");

    let mut stranger = Client::greet(house.daemon.addr(), "c.example");
    let reply = stranger.command("MAIL FROM:<s@c.example> MT-PRIORITY=6");
    assert!(reply.is(250, "2.3.6").text().starts_with("2.3.6 0 "), "{reply:?}");
    stranger.command("RCPT TO:<bob@ours.example>").is(250, "2.1.5");
    stranger.data(NOTE).queue_id();
    house.store.wait_for(2, ARRIVAL);
    let lines = house.store.transcript();
    let last = |from: &str| lines.iter().rfind(|line| line.contains(from)).unwrap().clone();
    assert!(last("<joe@ours.example>").ends_with(" MT-PRIORITY=6"), "{lines:?}");
    assert!(last("<s@c.example>").ends_with(" MT-PRIORITY=0"), "{lines:?}");
    house.daemon.drain(ARRIVAL);
}
