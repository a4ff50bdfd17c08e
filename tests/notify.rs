//! DSN end to end: senders hear of what they asked for, from us where nobody else tells them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use support::ARRIVAL;
use support::daemon::Daemon;
use support::smtp::Client;
use support::store::{Behaviour, Store};

const NOTE: &[u8] = b"Subject: note\r\nX-Mark: 7\r\n\r\nnote\r\n";
const SENDER: &str = "s@senders.example";

/// A next hop for the recipients, and a mailstore where the sender's reports arrive.
struct Scene {
    recipients: Store,
    senders: Store,
    daemon: Daemon,
}

impl Scene {
    fn new(recipients: Behaviour, more: &str) -> Self {
        let recipients = Store::tcp(recipients);
        let senders = Store::tcp(Behaviour::default());
        let domain = |name: &str, store: &Store| {
            let url = store.url();
            format!("[[domain]]\nname = \"{name}\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n")
        };
        let ours = domain("ours.example", &recipients);
        let tables = format!("{ours}{}{more}", domain("senders.example", &senders));
        Self { recipients, senders, daemon: Daemon::start(&tables) }
    }

    fn send(&self, mail: &str, recipients: &[(&str, &str)]) {
        let mut client = Client::greet(self.daemon.addr(), "c.example");
        assert_eq!(client.command(&format!("MAIL FROM:<{SENDER}> {mail}")).code, 250);
        for (to, words) in recipients {
            let reply = client.command(&format!("RCPT TO:<{to}@ours.example> {words}"));
            assert_eq!(reply.code, 250, "{}", reply.text());
        }
        assert_eq!(client.data(NOTE).code, 250);
        client.quit();
    }

    fn reply(&self, to: &str, reply: &str) {
        self.recipients.set(|behaviour| {
            behaviour.recipient_replies.insert(format!("{to}@ours.example"), reply.into());
        });
    }

    /// All reports, once nothing is left to do.
    fn reports(&self) -> Vec<String> {
        self.daemon.drain(ARRIVAL);
        let deliveries = self.senders.deliveries();
        deliveries.into_iter().map(|one| String::from_utf8(one.content).unwrap()).collect()
    }
}

fn check(report: &str, lines: &[&str]) {
    for line in lines {
        assert!(report.contains(&format!("\r\n{line}\r\n")), "no {line} in\n{report}");
    }
}

/// Checks: B08
#[test]
fn what_a_mailstore_takes_is_reported_as_delivered() {
    let scene = Scene::new(Behaviour::default(), "");
    scene.reply("bad", "550 5.1.1 no");
    let asked = "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;O+2BX@c.example";
    scene.send(
        "RET=FULL ENVID=QQ+2B1",
        &[
            ("a", asked),
            ("b", "NOTIFY=SUCCESS"),
            ("c", ""),
            ("d", "NOTIFY=FAILURE"),
            ("bad", "NOTIFY=NEVER"),
        ],
    );
    let reports = scene.reports();
    assert_eq!((reports.len(), scene.recipients.count()), (1, 1));
    check(
        &reports[0],
        &[
            "Original-Envelope-Id: QQ+1",
            "Original-Recipient: rfc822; O+X@c.example",
            "Final-Recipient: rfc822; a@ours.example",
            "Final-Recipient: rfc822; b@ours.example",
            "Action: delivered",
            "Remote-MTA: dns; [127.0.0.1]",
            "Content-Type: text/rfc822-headers",
        ],
    );
    assert_eq!(reports[0].matches("Final-Recipient").count(), 2);
    assert_eq!(reports[0].matches("\r\nStatus: 2.").count(), 2, "{}", reports[0]);
    assert!(!reports[0].contains("\r\nnote\r\n"), "{}", reports[0]);
}

/// Checks: B08
#[test]
fn what_a_server_without_dsn_takes_is_reported_as_relayed() {
    let scene = Scene::new(Behaviour::next_hop(), "");
    scene.send("RET=HDRS", &[("a", "NOTIFY=SUCCESS"), ("b", "")]);
    let reports = scene.reports();
    assert_eq!(reports.len(), 1);
    check(&reports[0], &["Action: relayed", "Final-Recipient: rfc822; a@ours.example"]);
    assert!(!scene.recipients.transcript().iter().any(|line| line.contains("NOTIFY")));
}

/// Checks: B08
#[test]
fn a_deadline_that_asks_for_traces_or_stays_behind_is_reported_as_relayed() {
    for (by, offers, told) in [
        ("BY=600;NT", true, true),
        ("BY=600;N", true, false),
        ("BY=600;N", false, true),
        ("BY=600;RT", true, true),
    ] {
        let offers = if offers { vec!["DELIVERBY".to_owned()] } else { Vec::new() };
        let scene = Scene::new(Behaviour { offers, ..Behaviour::next_hop() }, "");
        scene.send(by, &[("a", ""), ("b", "NOTIFY=NEVER")]);
        let reports = scene.reports();
        assert_eq!(reports.len(), usize::from(told), "{by}");
        for report in reports {
            let fields = ["Final-Recipient: rfc822; a@ours.example", "Action: relayed"];
            check(&report, &fields);
            assert!(report.contains("\r\nDeliver-By-Date: "), "{report}");
            assert!(!report.contains("b@ours.example"), "{report}");
        }
    }
}

#[test]
fn a_server_with_dsn_is_asked_and_reports_itself() {
    for transport in [Behaviour::next_hop(), Behaviour::default()] {
        let scene = Scene::new(Behaviour { dsn: true, ..transport }, "");
        scene.send("RET=HDRS ENVID=a+2B1", &[("a", "NOTIFY=SUCCESS ORCPT=rfc822;o@c.example")]);
        assert_eq!(scene.reports(), [""; 0]);
        let seen = scene.recipients.transcript();
        for words in [" RET=HDRS ENVID=a+2B1", " NOTIFY=SUCCESS ORCPT=rfc822;o@c.example"] {
            assert!(seen.iter().any(|line| line.contains(words)), "{words}: {seen:?}");
        }
    }
}

/// Checks: B08
#[test]
fn failures_are_told_as_they_were_asked_for() {
    let scene = Scene::new(Behaviour::default(), "");
    for to in ["never", "success", "failure", "plain"] {
        scene.reply(to, "550 5.1.1 no");
    }
    let of = |to: &'static str, words: &'static str| scene.send("RET=HDRS ENVID=x", &[(to, words)]);
    of("never", "NOTIFY=NEVER");
    of("success", "NOTIFY=SUCCESS,DELAY");
    of("failure", "NOTIFY=FAILURE");
    of("plain", "");
    let reports = scene.reports();
    assert_eq!(reports.len(), 2);
    for to in ["failure", "plain"] {
        let of = |report: &&String| report.contains(&format!("rfc822; {to}@ours.example\r\n"));
        let told = reports.iter().find(of).unwrap();
        let kind = "Content-Type: text/rfc822-headers";
        check(told, &["Action: failed", "Original-Envelope-Id: x", kind]);
    }
}

/// Checks: B08
#[test]
fn a_delay_is_told_only_where_notify_allows() {
    let more = "[relay]\nfrom = [\"127.0.0.1\"]\n[queue]\nretry_next_hop = [\"1s\"]\n\
                delay_warning = [\"1s\"]\n";
    let scene = Scene::new(Behaviour::default(), more);
    for to in ["delay", "failure"] {
        scene.reply(to, "450 4.2.1 busy");
    }
    scene.send("", &[("delay", "NOTIFY=DELAY"), ("failure", "NOTIFY=FAILURE")]);
    let reports = scene.senders.wait_for(1, ARRIVAL);
    scene.recipients.set(|behaviour| behaviour.recipient_replies.clear());
    assert_eq!(scene.reports().len(), 1);
    let report = String::from_utf8(reports[0].content.clone()).unwrap();
    check(&report, &["Action: delayed", "Final-Recipient: rfc822; delay@ours.example"]);
    assert_eq!(report.matches("Final-Recipient").count(), 1, "{report}");
}

/// Copies of one report have one Message-ID; a second report would have another. A message that a
/// kill has delivered twice was not recorded as taken, so nothing was told of the first time.
#[test]
fn kills_lose_no_success_and_tell_none_twice() {
    let mut scene = Scene::new(Behaviour::default(), "[queue]\nretry_next_hop = [\"1s\"]\n");
    let seed = std::process::id().into();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut acknowledged = BTreeSet::new();
    for number in 0..30 {
        let mut client = Client::greet(scene.daemon.addr(), "c.example");
        client.command(&format!("MAIL FROM:<{SENDER}> ENVID={number}"));
        client.command("RCPT TO:<a@ours.example> NOTIFY=SUCCESS");
        assert_eq!(client.data(NOTE).code, 250);
        acknowledged.insert(number.to_string());
        std::thread::sleep(Duration::from_millis(random.u64(0..30)));
        scene.daemon.kill_9();
        scene.daemon.restart();
    }
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for report in scene.reports() {
        let field = |name: &str| {
            report.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
        };
        let number = field("Original-Envelope-Id: ");
        told.entry(number).or_default().insert(field("Message-ID: "));
    }
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), acknowledged, "seed {seed}");
    let twice: Vec<_> = told.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?}");
}
