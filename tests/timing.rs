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
