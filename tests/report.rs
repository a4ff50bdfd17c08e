//! Reports to senders, end to end: what fails is told once, to the right one, in the right form.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::daemon::Daemon;
use support::smtp::Client;
use support::store::{Behaviour, Delivery, Store};
use support::{ARRIVAL, wait_until};

const NOTE: &[u8] = b"Subject: note\r\nX-Mark: 7\r\n\r\nnote\r\n";

/// A mailstore for the recipients, and one where the sender's reports arrive.
struct Scene {
    recipients: Store,
    senders: Store,
}

impl Scene {
    fn new() -> Self {
        let recipients = Store::tcp(Behaviour::default());
        Self { recipients, senders: Store::tcp(Behaviour::default()) }
    }

    fn tables(&self, more: &str) -> String {
        let domain = |name: &str, store: &Store| {
            let url = store.url();
            format!("[[domain]]\nname = \"{name}\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n")
        };
        let ours = domain("ours.example", &self.recipients);
        format!("{ours}{}{more}", domain("senders.example", &self.senders))
    }

    fn refuse_content(&self, address: &str, reply: &str) {
        self.recipients.set(|behaviour| {
            behaviour.content_replies.insert(address.into(), reply.into());
        });
    }
}

fn send(daemon: &Daemon, to: &[&str], content: &[u8]) -> String {
    let mut client = Client::greet(daemon.addr(), "c.example");
    let id = client.send_message("s@senders.example", to, content).queue_id();
    client.quit();
    id
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.content.clone()).unwrap()
}

/// Checks: B02 B04 B08 T33
#[test]
fn one_refused_of_two_makes_one_report() {
    let scene = Scene::new();
    scene.refuse_content("bad@ours.example", "554 5.6.0 no such content");
    let daemon = Daemon::start(&scene.tables(""));
    let id = send(&daemon, &["good@ours.example", "bad@ours.example"], NOTE);
    let reports = scene.senders.wait_for(1, ARRIVAL);
    daemon.drain(ARRIVAL);
    assert_eq!((scene.recipients.count(), scene.senders.count()), (1, 1));
    assert_eq!(scene.recipients.deliveries()[0].to, ["good@ours.example"]);

    let report = &reports[0];
    assert_eq!(
        (report.from.as_str(), report.to.as_slice()),
        ("", &["s@senders.example".into()][..])
    );
    let text = text(report);
    for line in [
        "To: <s@senders.example>",
        "From: Mail Delivery System <mailer-daemon@angarium.test>",
        "Auto-Submitted: auto-replied",
        "Reporting-MTA: dns; angarium.test",
        "Final-Recipient: rfc822; bad@ours.example",
        "Action: failed",
        "Status: 5.6.0",
        "Remote-MTA: dns; [127.0.0.1]",
        "Diagnostic-Code: smtp; 554 5.6.0 no such content",
        "Content-Type: message/rfc822",
        "X-Mark: 7",
    ] {
        assert!(text.contains(&format!("{line}\r\n")), "no {line} in\n{text}");
    }
    assert!(!text.contains("good@ours.example"), "{text}");
    assert!(text.contains(&format!("queue id {id}")), "{text}");
}

/// Checks: B03 B04
#[test]
fn a_report_that_fails_is_the_end() {
    let scene = Scene::new();
    scene.refuse_content("bad@ours.example", "554 5.6.0 no");
    scene.senders.set(|behaviour| {
        behaviour.recipient_replies.insert("s@senders.example".into(), "550 5.1.1 no".into());
    });
    let daemon = Daemon::start(&scene.tables(""));
    send(&daemon, &["bad@ours.example"], NOTE);
    let failed = || daemon.log().matches("\"event\":\"failed\"").count() == 2;
    assert!(wait_until(ARRIVAL, failed), "{}", daemon.log_tail());
    daemon.drain(ARRIVAL);
    assert_eq!(daemon.log().matches("\"event\":\"reported\"").count(), 1);
    assert_eq!(scene.senders.count(), 0);
}

/// Checks: Q02
#[test]
fn what_expires_is_told_with_its_last_reason() {
    let mut scene = Scene::new();
    let tables = scene.tables("[queue]\nlifetime = \"1s\"\nretry_next_hop = [\"1s\"]\n");
    scene.recipients.stop();
    let daemon = Daemon::start(&tables);
    send(&daemon, &["u@ours.example"], NOTE);
    let reports = scene.senders.wait_for(1, ARRIVAL);
    daemon.drain(ARRIVAL);
    let text = text(&reports[0]);
    assert!(text.contains("Status: 5.4.7\r\n") && text.contains("Action: failed\r\n"), "{text}");
    assert!(text.contains("Diagnostic-Code: X-Angarium; can't connect"), "{text}");
    assert!(!text.contains("Remote-MTA"), "{text}");
    assert_eq!(scene.senders.count(), 1);
}

/// Checks: B10
#[test]
fn a_delay_is_told_once_and_only_to_those_who_may_relay() {
    let scene = Scene::new();
    scene.recipients.set(|behaviour| {
        behaviour.recipient_replies.insert("u@ours.example".into(), "450 4.2.1 busy".into());
    });
    let queue = "[queue]\nretry_next_hop = [\"1s\"]\ndelay_warning = [\"1s\"]\n";
    let tables = scene.tables(&format!("[relay]\nfrom = [\"127.0.0.1\"]\n{queue}"));
    let mut daemon = Daemon::start(&tables);
    let from = |source: &str, sender: &str, content: &[u8]| {
        let mut client = Client::connect_from(source.parse().unwrap(), daemon.addr());
        client.try_hello("EHLO c.example").unwrap();
        client.send_message(sender, &["u@ours.example"], content).queue_id()
    };
    let id = from("127.0.0.1", "s@senders.example", NOTE);
    from("127.0.0.2", "stranger@senders.example", NOTE);
    from("127.0.0.1", "", NOTE);
    let list = [b"List-Id: <l.example>\r\n", NOTE].concat();
    from("127.0.0.1", "list@senders.example", &list);
    let reports = scene.senders.wait_for(1, ARRIVAL);
    let text = text(&reports[0]);
    for line in [
        "Action: delayed",
        "Status: 4.2.1",
        "Diagnostic-Code: smtp; 450 4.2.1 busy",
        "Content-Type: text/rfc822-headers",
    ] {
        assert!(text.contains(&format!("{line}\r\n")), "no {line} in\n{text}");
    }
    assert!(text.contains("Will-Retry-Until: "), "{text}");

    // Neither time nor a crash brings another.
    daemon.kill_9();
    daemon.restart();
    let tried = daemon.log().matches(&format!("\"deferred\",\"id\":\"{id}\"")).count();
    let again =
        || daemon.log().matches(&format!("\"deferred\",\"id\":\"{id}\"")).count() >= tried + 3;
    assert!(wait_until(ARRIVAL, again), "{}", daemon.log_tail());
    scene.recipients.set(|behaviour| behaviour.recipient_replies.clear());
    daemon.drain(ARRIVAL);
    assert_eq!(scene.recipients.count(), 4);
    let copies = scene.senders.deliveries();
    assert!(copies.iter().all(|copy| copy == &reports[0]), "{copies:?}");
    assert_eq!(daemon.log().matches("\"event\":\"reported\"").count(), 1);
}

/// What Python's email package reads in a report.
fn python(report: &Delivery) -> Value {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &report.content).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dsn/read.py");
    let done = Command::new("python3").arg(script).arg(file.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Checks: B10
#[test]
fn delays_of_one_sender_make_one_report_across_a_restart() {
    let mut scene = Scene::new();
    let more = "[relay]\nfrom = [\"127.0.0.1\"]\n[queue]\ndelay_warning = [\"2s\"]\n";
    let mut daemon = Daemon::start(&scene.tables(more));
    scene.recipients.stop();
    let send = |daemon: &Daemon, sender: &str, content: &[u8]| {
        let mut client = Client::greet(daemon.addr(), "c.example");
        client.send_message(sender, &["u@ours.example"], content).queue_id()
    };
    let (many, few) = ("many@senders.example", "few@senders.example");
    let mut of_many: Vec<_> = (0..20).map(|_| send(&daemon, many, NOTE)).collect();
    let of_few: Vec<_> = (0..2).map(|_| send(&daemon, few, NOTE)).collect();
    let (removed, held) = (send(&daemon, many, NOTE), send(&daemon, many, NOTE));
    let list = send(&daemon, many, &[b"List-Id: <l.example>\r\n", NOTE].concat());
    // All are due, and none is told of while others may come.
    std::thread::sleep(Duration::from_secs(4));
    assert!(!daemon.log().contains("\"event\":\"reported\""), "{}", daemon.log_tail());
    daemon.kill_9();
    daemon.restart();
    of_many.extend((0..10).map(|_| send(&daemon, many, NOTE)));
    assert_eq!(daemon.queue(&["rm", &removed]).1, 0);
    assert_eq!(daemon.queue(&["hold", &held]).1, 0);

    let reports = scene.senders.wait_for(2, ARRIVAL);
    for (sender, ids) in [(many, &of_many), (few, &of_few)] {
        let report = reports.iter().find(|report| report.to == [sender]).unwrap();
        let found = python(report);
        assert_eq!(found["defects"], serde_json::json!([]), "{found}");
        let subject = format!("{} of your messages are delayed", ids.len());
        assert_eq!(found["header"]["subject"], subject);
        assert_eq!(found["fields"].as_array().unwrap().len(), 2, "{found}");
        assert_eq!(found["fields"][1]["action"], "delayed");
        let human = found["human"].as_str().unwrap();
        for id in ids {
            assert_eq!(human.matches(id.as_str()).count(), 1, "{id} in\n{human}");
        }
        for id in [&removed, &held, &list] {
            assert!(!human.contains(id.as_str()), "{id} in\n{human}");
        }
    }

    // Neither time nor another start brings another.
    daemon.kill_9();
    daemon.restart();
    std::thread::sleep(Duration::from_secs(12));
    let told = |id: &String| daemon.log().matches(&format!("\"of\":\"{id}\"")).count();
    for id in of_many.iter().chain(&of_few) {
        assert_eq!(told(id), 1, "{id}");
    }
    assert_eq!(daemon.log().matches("\"event\":\"reported\"").count(), 32);
    assert!(scene.senders.deliveries().iter().all(|copy| reports.contains(copy)));
    scene.recipients.start();
    assert_eq!(daemon.queue(&["release", &held]).1, 0);
    daemon.drain(ARRIVAL);
    assert_eq!(scene.recipients.count(), 34);
}

/// Numbers of messages that the sender's mailbox holds a report of, each with the Message-IDs.
fn reported(scene: &Scene) -> BTreeMap<u64, BTreeSet<String>> {
    let mut found: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for delivery in scene.senders.deliveries() {
        let text = text(&delivery);
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).to_owned()
        };
        let number = field("X-Number: ").parse().unwrap();
        found.entry(number).or_default().insert(field("Message-ID: "));
    }
    found
}

/// Each message that was acknowledged fails, and has exactly one report: one Message-ID. A copy of
/// that report may arrive twice, where a kill came between the 250 of the sender's mailstore and the
/// record of it; a second report may not, as the report and the failure are one batch. A message
/// whose 250 the kill swallowed may have a report too: it was whole in the queue.
#[test]
fn kills_lose_no_report_and_double_none() {
    let scene = Scene::new();
    scene.refuse_content("bad@ours.example", "554 5.6.0 no");
    let queue = "[queue]\nretry_next_hop = [\"1s\"]\n";
    let mut daemon = Daemon::start(&scene.tables(queue));
    let seed = std::process::id().into();
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (stopping, acknowledged) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    let address = daemon.addr();
    let kills = if support::long() { 300 } else { 40 };
    std::thread::scope(|scope| {
        for sender in 0..4_u64 {
            let (stopping, acknowledged) = (&stopping, &acknowledged);
            scope.spawn(move || {
                let mut number = sender;
                while !stopping.load(Ordering::Relaxed) {
                    let Ok(mut client) = Client::try_greet(address, "c.example") else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    loop {
                        number += 4;
                        let content = format!("X-Number: {number}\r\n\r\nnote\r\n");
                        let to = ["good@ours.example", "bad@ours.example"];
                        let sent =
                            client.try_send_message("s@senders.example", &to, content.as_bytes());
                        match sent {
                            Ok(reply) if reply.code == 250 => {
                                acknowledged.lock().unwrap().insert(number, reply.queue_id());
                            }
                            _ => break,
                        }
                        if stopping.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            });
        }
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(random.u64(5..150)));
            daemon.kill_9();
            daemon.restart();
        }
        stopping.store(true, Ordering::Relaxed);
    });
    daemon.drain(ARRIVAL);
    let (reported, acknowledged) = (reported(&scene), acknowledged.into_inner().unwrap());
    let log = daemon.log();
    let foreign: Vec<_> = acknowledged.values().filter(|id| !log.contains(id.as_str())).collect();
    assert!(foreign.is_empty(), "seed {seed}: not acknowledged by this daemon: {foreign:?}");
    let lost: Vec<_> = acknowledged.keys().filter(|n| !reported.contains_key(n)).collect();
    assert!(lost.is_empty(), "seed {seed}: no report of {lost:?}");
    let doubled: Vec<_> = reported.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(doubled.is_empty(), "seed {seed}: {doubled:?}");
    assert!(acknowledged.len() > kills, "seed {seed}: the load was too small to mean anything");
    println!("report.acknowledged = {} messages", acknowledged.len());
    println!("report.copies = {} more than one", scene.senders.count() - reported.len());
}
