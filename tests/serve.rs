//! The daemon as its operator sees it: signals, reload, the queue's verbs, exit codes, privileges.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Stage, Store};
use support::{ARRIVAL, wait_until};

const NOTE: &[u8] = b"Subject: note\r\n\r\nnote\r\n";

fn domain(store: &Store, recipients: &str) -> String {
    let url = store.url();
    format!(
        "[[domain]]\nname = \"ours.example\"\ndeliver = \"{url}\"\nrecipients = \"{recipients}\"\n"
    )
}

fn send(daemon: &Daemon, content: &[u8]) -> String {
    let mut client = Client::greet(daemon.addr(), "c.example");
    let id = client.send_message("s@c.example", &["u@ours.example"], content).queue_id();
    client.quit();
    id
}

fn angarium(arguments: &[&str]) -> (String, String, i32) {
    let done = Command::new(env!("CARGO_BIN_EXE_angarium")).args(arguments).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (text(done.stdout), text(done.stderr), done.status.code().unwrap())
}

/// Checks: T27
#[test]
fn stopping_lets_content_finish_and_exits_0() {
    let store = Store::tcp(Behaviour::default());
    let mut daemon = Daemon::start(&domain(&store, "any"));
    let mut sending = Client::greet(daemon.addr(), "c.example");
    let mut idle = Client::greet(daemon.addr(), "c.example");
    sending.envelope("s@c.example", &["u@ours.example"]);
    assert_eq!(sending.command("DATA").code, 354);
    sending.write(b"Subject: late\r\n\r\nfirst\r\n");
    std::thread::sleep(Duration::from_millis(100));
    let finishing = std::thread::spawn(move || {
        idle.reply().is(421, "4.3.2");
        assert!(idle.is_closed());
        sending.write(b"last\r\n.\r\n");
        let id = sending.reply().queue_id();
        sending.reply().is(421, "4.3.2");
        id
    });
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0));
    finishing.join().unwrap();
    daemon.restart();
    store.wait_for(1, ARRIVAL);
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 1, "exactly once");
}

#[test]
fn a_log_that_cannot_be_written_costs_no_mail() {
    let store = Store::tcp(Behaviour::default());
    let site = Site::new();
    let file = site.path("angarium.toml");
    let text = site.configuration(&Parts { tables: &domain(&store, "any"), ..Parts::default() });
    std::fs::write(&file, text).unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_angarium"));
    let mut serve = serve.args(["serve", "--config"]).arg(&file).stderr(full).spawn().unwrap();
    for _ in 0..5 {
        let up = || Client::try_greet(site.address, "c.example").is_ok();
        assert!(wait_until(ARRIVAL, up));
        let mut client = Client::greet(site.address, "c.example");
        client.send_message("s@c.example", &["u@ours.example"], NOTE).queue_id();
    }
    store.wait_for(5, ARRIVAL);
    let pid = nix::unistd::Pid::from_raw(serve.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(serve.wait().unwrap().code(), Some(0));
    assert_eq!(store.count(), 5);
}

#[test]
fn a_hung_delivery_does_not_hold_the_stop_beyond_the_grace_time() {
    let store = Store::tcp(Behaviour { delay: Duration::from_secs(60), ..Behaviour::default() });
    let mut daemon = Daemon::start_with(&Parts {
        top: "stop_grace = \"1s\"",
        tables: &domain(&store, "any"),
        ..Parts::default()
    });
    let id = send(&daemon, NOTE);
    assert!(wait_until(ARRIVAL, || store.connections() > 0));
    let started = std::time::Instant::now();
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5));
    store.set(|behaviour| behaviour.delay = Duration::ZERO);
    daemon.restart();
    assert!(wait_until(ARRIVAL, || daemon.rows().is_empty()), "{id} is parked, not lost");
}

#[test]
fn a_reload_routes_queued_mail_anew() {
    let mut dead = Store::tcp(Behaviour::default());
    let tables = domain(&dead, "any");
    dead.stop();
    let mut daemon = Daemon::start(&tables);
    let id = send(&daemon, NOTE);
    let deferred = || daemon.rows()[0]["queue_name"] == "deferred";
    assert!(wait_until(ARRIVAL, deferred));
    let alive = Store::tcp(Behaviour::default());
    daemon.rewrite(&Parts {
        tables: &format!("{}[queue]\nretry_next_hop = [\"1s\"]\n", domain(&alive, "any")),
        ..Parts::default()
    });
    daemon.hangup();
    let reloaded = || daemon.log().contains("\"reloaded\"");
    assert!(wait_until(ARRIVAL, reloaded), "{}", daemon.log_tail());
    daemon.queue(&["retry", &id]);
    alive.wait_for(1, ARRIVAL);
    daemon.drain(ARRIVAL);
}

#[test]
fn a_bad_configuration_leaves_the_old_one_running() {
    let store = Store::tcp(Behaviour::default());
    let mut daemon = Daemon::start(&domain(&store, "any"));
    daemon.rewrite(&Parts { tables: "[[domain]]\nname = \"x.example\"\n", ..Parts::default() });
    daemon.hangup();
    let refused = || daemon.log().contains("\"reload-refused\"");
    assert!(wait_until(ARRIVAL, refused), "{}", daemon.log_tail());
    send(&daemon, NOTE);
    store.wait_for(1, ARRIVAL);
}

#[test]
fn a_reload_opens_and_closes_listeners() {
    let mut daemon = Daemon::start("");
    let port = support::free_port();
    let more = format!("[[listener]]\nbind = \"127.0.0.1:{port}\"\n");
    daemon.rewrite(&Parts { tables: &more, ..Parts::default() });
    daemon.hangup();
    let up = || Client::try_greet(support::loopback(port), "c.example").is_ok();
    assert!(wait_until(ARRIVAL, up), "{}", daemon.log_tail());
    daemon.rewrite(&Parts::default());
    daemon.hangup();
    let down = || Client::try_connect(support::loopback(port)).is_err();
    assert!(wait_until(ARRIVAL, down), "{}", daemon.log_tail());
    Client::greet(daemon.addr(), "c.example").quit();
}

#[test]
fn the_operator_holds_releases_shows_and_removes() {
    let store = Store::tcp(Behaviour::default());
    let mut daemon = Daemon::start(&format!("{}[queue]\npaused = true\n", domain(&store, "any")));
    let (first, second) = (send(&daemon, NOTE), send(&daemon, NOTE));
    assert_eq!(daemon.queue(&["hold", &first]), ("1 message\n".into(), 0));
    let (list, _) = daemon.queue(&["ls"]);
    assert!(list.contains(&format!("{first}!")) && list.contains(&format!("{second}*")), "{list}");
    assert!(list.ends_with("in 2 Requests.\n"), "{list}");
    let (octets, code) = daemon.queue_octets(&["cat", &first]);
    assert!(code == 0 && octets.starts_with(b"Received: from ") && octets.ends_with(NOTE));
    let (shown, _) = daemon.queue(&["show", &first]);
    assert!(shown.contains("sender    <s@c.example>"), "{shown}");
    let (row, _) = daemon.queue(&["show", &first, "--json"]);
    assert!(row.contains("\"queue_name\":\"hold\""), "{row}");

    // A hold survives a restart, and outlasts the pause.
    daemon.rewrite(&Parts { tables: &domain(&store, "any"), ..Parts::default() });
    daemon.restart();
    store.wait_for(1, ARRIVAL);
    assert!(wait_until(ARRIVAL, || daemon.rows().len() == 1));
    assert_eq!(daemon.rows()[0]["queue_id"], first.as_str());
    assert_eq!(daemon.queue(&["release", &first]).1, 0);
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 2, "each exactly once");
    assert_eq!(daemon.queue(&["show", &first]).1, 65);
}

#[test]
fn verbs_take_filters_and_ids_from_standard_input() {
    let store = Store::tcp(Behaviour::default());
    let daemon = Daemon::start(&format!("{}[queue]\npaused = true\n", domain(&store, "any")));
    let mut client = Client::greet(daemon.addr(), "c.example");
    let mut ids = Vec::new();
    for (from, size) in
        [("ada@c.example", 10), ("ada@c.example", 5000), ("", 10), ("bob@c.example", 10)]
    {
        let content = [b"Subject: x\r\n\r\n", "x\r\n".repeat(size / 3).as_bytes()].concat();
        ids.push(client.send_message(from, &["u@ours.example"], &content).queue_id());
    }
    let listed = |filter: &[&str]| -> Vec<String> {
        let (rows, code) = daemon.queue(&[&["ls", "--json"], filter].concat());
        assert_eq!(code, 0);
        let id = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["queue_id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        rows.lines().map(id).collect()
    };
    assert_eq!(listed(&["--from", "ADA@"]), ids[..2]);
    assert_eq!(listed(&["--from", "<>"]), ids[2..3]);
    assert_eq!(listed(&["--from", "ada", "--larger", "2KiB"]), ids[1..2]);
    assert_eq!(listed(&["--to", "u@ours", "--route", &store.url()]), ids);
    assert_eq!(listed(&["--older", "1h"]), Vec::<String>::new());
    assert_eq!(daemon.queue(&["hold", "--from", "ada"]).0, "2 messages\n");
    assert_eq!(daemon.queue(&["hold"]).1, 64, "a verb without a target");
    assert_eq!(daemon.queue(&["rm", "--all", &ids[0]]).1, 64);

    let mut rm = Command::new(env!("CARGO_BIN_EXE_angarium"));
    rm.args(["queue", "rm", "-", "--config"]).arg(daemon.path("angarium.toml"));
    let mut rm = rm.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = format!("{}!   12 Tue\n{}\n", ids[0], ids[3]);
    rm.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert_eq!(rm.wait().unwrap().code(), Some(0));
    assert_eq!(listed(&[]), ids[1..3]);
    let (summary, _) = daemon.queue(&["summary"]);
    assert!(summary.starts_with("2 messages, "), "{summary}");
    assert!(summary.contains(&format!("2  {}\n", store.url())), "{summary}");
}

#[test]
fn a_paused_route_waits_over_restarts_until_it_is_resumed() {
    let store = Store::tcp(Behaviour::default());
    let mut daemon = Daemon::start(&domain(&store, "any"));
    let route = |daemon: &Daemon, verb: &str, destination: &str| {
        let file = daemon.path("angarium.toml");
        angarium(&["route", verb, destination, "--config", file.to_str().unwrap()]).2
    };
    assert_eq!(route(&daemon, "pause", "nonsense"), 65);
    assert_eq!(route(&daemon, "pause", &store.url()), 0);
    daemon.kill_9();
    daemon.restart();
    let id = send(&daemon, NOTE);
    let (why, _) = daemon.queue(&["why", &id]);
    assert!(why.contains("waits until the pause ends"), "{why}");
    assert_eq!(store.count(), 0);
    assert_eq!(route(&daemon, "resume", &store.url()), 0);
    store.wait_for(1, ARRIVAL);
    daemon.drain(ARRIVAL);
}

#[test]
fn why_tells_the_last_reply_and_what_happens_next() {
    let store = Store::tcp(Behaviour::default());
    store.set(|behaviour| {
        behaviour.recipient_replies.insert("u@ours.example".into(), "450 4.2.0 greylisted".into());
    });
    let tables = format!("{}[queue]\nretry_next_hop = [\"1h\"]\n", domain(&store, "any"));
    let daemon = Daemon::start(&tables);
    let id = send(&daemon, NOTE);
    let told = || daemon.queue(&["why", &id]).0.contains("450 4.2.0 greylisted (in reply to RCPT)");
    assert!(wait_until(ARRIVAL, told), "{}", daemon.queue(&["why", &id]).0);
    let (why, _) = daemon.queue(&["why", &id]);
    assert!(why.contains("is tried again in 1h ") && why.contains("was tried 1 times"), "{why}");
    assert_eq!(daemon.queue(&["hold", "--reason", "GREYLISTED"]).0, "1 message\n");
    assert!(daemon.queue(&["why", &id]).0.contains("held until `queue release`"));
    assert_eq!(daemon.queue(&["why", "FFFF"]).1, 65);
}

#[test]
fn a_message_can_be_sent_another_way_and_back() {
    let dead = Store::tcp(Behaviour::default());
    let tables = format!("{}[queue]\nretry_next_hop = [\"1h\"]\n", domain(&dead, "any"));
    dead.set(|behaviour| {
        behaviour.content_replies.insert("u@ours.example".into(), "450 4.2.0 later".into());
    });
    let backup = Store::tcp(Behaviour::default());
    let mut daemon = Daemon::start(&tables);
    let (moved, stays) = (send(&daemon, NOTE), send(&daemon, NOTE));
    let waits = |row: &serde_json::Value| row["recipients"][0]["reason"].is_string();
    assert!(wait_until(ARRIVAL, || daemon.rows().iter().filter(|row| waits(row)).count() == 2));
    for id in [&moved, &stays] {
        assert_eq!(daemon.queue(&["reroute", "--via", &backup.url(), id]).1, 0);
        assert!(daemon.queue(&["why", id]).0.contains(&format!("to {}", backup.url())));
    }
    assert_eq!(daemon.queue(&["reroute", &stays]).1, 0);
    assert_eq!(daemon.queue(&["reroute", "--via", "nonsense", &stays]).1, 64);
    daemon.kill_9();
    daemon.restart();
    daemon.queue(&["retry", "--all"]);
    backup.wait_for(1, ARRIVAL);
    assert!(wait_until(ARRIVAL, || daemon.rows().len() == 1));
    let row = &daemon.rows()[0];
    assert_eq!(row["queue_id"], stays.as_str());
    assert_eq!(row["recipients"][0]["destination"], dead.url().as_str());
    assert_eq!(backup.count(), 1, "exactly once");
}

#[test]
fn what_is_given_up_by_hand_is_reported() {
    let mut store = Store::tcp(Behaviour::default());
    let tables = format!("{}[queue]\nretry_next_hop = [\"1h\"]\n", domain(&store, "any"));
    store.stop();
    let daemon = Daemon::start(&tables);
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.send_message("s@ours.example", &["u@ours.example"], NOTE).queue_id();
    let waits = || daemon.rows()[0]["recipients"][0]["reason"].is_string();
    assert!(wait_until(ARRIVAL, waits));
    assert_eq!(daemon.queue(&["expire", "--from", "s@ours"]).0, "1 message\n");
    store.start();
    let report = || {
        daemon.queue(&["retry", "--all"]);
        store.count() == 1
    };
    assert!(wait_until(ARRIVAL, report), "{}", daemon.log_tail());
    let report = store.deliveries().remove(0);
    assert_eq!((report.from.as_str(), report.to[0].as_str()), ("", "s@ours.example"));
    assert!(String::from_utf8_lossy(&report.content).contains("Status: 5.4.7"));
    daemon.drain(ARRIVAL);
}

#[test]
fn soft_bounce_refuses_and_fails_nothing_for_good() {
    let store = Store::tcp(Behaviour::knowing(&["u@ours.example"]));
    store.set(|behaviour| {
        behaviour.content_replies.insert("u@ours.example".into(), "554 5.6.0 no".into());
    });
    let tables = format!("{}[queue]\nsoft_bounce = true\n", domain(&store, "probe"));
    let daemon = Daemon::start(&tables);
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    client.command("RCPT TO:<nobody@ours.example>").is(450, "4.1.1");
    client.command("RCPT TO:<a@elsewhere.example>").is(450, "4.7.1");
    client.command("RCPT TO:<u@ours.example>").is(250, "2.1.5");
    client.data(NOTE).queue_id();
    let deferred = || daemon.log().contains("554 5.6.0 no (in reply to the content) (soft_bounce)");
    assert!(wait_until(ARRIVAL, deferred), "{}", daemon.log_tail());
    assert_eq!(daemon.rows()[0]["recipients"][0]["state"], "pending");
}

/// Checks: Q03
#[test]
fn an_outage_raises_an_alarm_and_ends_with_the_mail_going_at_once() {
    let mut store = Store::tcp(Behaviour::default());
    let tables = format!("{}[queue]\nretry_next_hop = [\"1s\", \"1h\"]\n", domain(&store, "any"));
    store.stop();
    let daemon = Daemon::start(&tables);
    for _ in 0..20 {
        send(&daemon, NOTE);
    }
    let waits = |row: &serde_json::Value| {
        let one = &row["recipients"][0];
        row["queue_name"] == "deferred"
            && one["attempts"] == 0
            && one["reason"].as_str().is_some_and(|reason| reason.contains("can't connect"))
    };
    assert!(wait_until(ARRIVAL, || daemon.rows().iter().all(waits)), "{}", daemon.log_tail());
    assert_eq!(daemon.rows().len(), 20);
    assert_eq!(daemon.log().matches("\"outage\"").count(), 1, "one alarm, not one a message");
    store.start();
    let first = daemon.rows()[0]["queue_id"].as_str().unwrap().to_owned();
    daemon.queue(&["retry", &first]);
    store.wait_for(20, ARRIVAL);
    daemon.drain(ARRIVAL);
    assert_eq!(daemon.log().matches("\"outage-over\"").count(), 1);
}

#[test]
fn what_the_operator_removes_stays_removed() {
    let store = Store::tcp(Behaviour::default());
    let mut daemon = Daemon::start(&format!("{}[queue]\npaused = true\n", domain(&store, "any")));
    let (gone, kept) = (send(&daemon, NOTE), send(&daemon, NOTE));
    assert_eq!(daemon.queue(&["rm", &gone, "FFFF"]).1, 65, "one of them is not in the queue");
    daemon.kill_9();
    daemon.rewrite(&Parts { tables: &domain(&store, "any"), ..Parts::default() });
    daemon.restart();
    store.wait_for(1, ARRIVAL);
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 1);
    let log = daemon.log();
    let delivered: Vec<&str> = log.lines().filter(|line| line.contains("\"delivered\"")).collect();
    assert!(delivered.len() == 1 && delivered[0].contains(&kept), "{delivered:?}");
}

/// Checks: Q11 Q01
#[test]
fn attempts_and_reasons_survive_a_restart() {
    let store = Store::tcp(Behaviour::default());
    let tables = format!("{}[queue]\nretry_next_hop = [\"1h\"]\n", domain(&store, "any"));
    store.set(|behaviour| {
        behaviour.content_replies.insert("u@ours.example".into(), "450 4.2.0 later".into());
    });
    let mut daemon = Daemon::start(&tables);
    let id = send(&daemon, NOTE);
    let tried = |daemon: &Daemon, times: u64| {
        wait_until(ARRIVAL, || daemon.rows()[0]["recipients"][0]["attempts"] == times)
    };
    assert!(tried(&daemon, 1));
    daemon.queue(&["retry", &id]);
    assert!(tried(&daemon, 2));
    let before = daemon.rows();
    assert!(before[0]["recipients"][0]["reason"].as_str().unwrap().contains("450 4.2.0 later"));
    daemon.kill_9();
    daemon.restart();
    assert_eq!(daemon.rows(), before, "neither forgotten nor tried at once");
    store.set(|behaviour| behaviour.content_replies.clear());
    daemon.queue(&["retry", "--all"]);
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 1);
}

#[test]
fn a_failure_becomes_a_report_in_the_queue() {
    let store = Store::tcp(Behaviour::default());
    store.set(|behaviour| {
        behaviour.content_replies.insert("u@ours.example".into(), "554 5.6.0 no".into());
    });
    let daemon = Daemon::start(&domain(&store, "any"));
    let id = send(&daemon, NOTE);
    // Its sender is nobody that a route leads to: the report waits, and the failed one is gone.
    let reported = || {
        let rows = daemon.rows();
        rows.len() == 1
            && rows[0]["sender"] == ""
            && rows[0]["recipients"][0]["address"] == "s@c.example"
            && rows[0]["recipients"][0]["attempts"].as_u64() > Some(0)
    };
    assert!(wait_until(ARRIVAL, reported), "{:?}", daemon.rows());
    let report = daemon.rows()[0]["queue_id"].as_str().unwrap().to_owned();
    assert_ne!(report, id);
    assert!(daemon.log().contains(&format!("\"id\":\"{report}\",\"of\":\"{id}\"")));
    assert_eq!(daemon.queue(&["rm", &report]).1, 0);

    // Nobody is told of the failure of a report.
    store.set(|behaviour| {
        behaviour.content_replies.insert("u@ours.example".into(), "554 5.6.0 no".into());
    });
    Client::greet(daemon.addr(), "c.example")
        .send_message("", &["u@ours.example"], NOTE)
        .queue_id();
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 0);
}

#[test]
fn a_kept_connection_that_died_costs_no_attempt() {
    let mut store = Store::tcp(Behaviour::default());
    let daemon = Daemon::start(&domain(&store, "any"));
    send(&daemon, NOTE);
    store.wait_for(1, ARRIVAL);
    store.stop();
    store.start();
    send(&daemon, NOTE);
    store.wait_for(2, ARRIVAL);
    daemon.drain(ARRIVAL);
    assert!(!daemon.log().contains("\"deferred\""), "{}", daemon.log_tail());
}

#[test]
fn a_transaction_after_one_that_broke_in_its_content_starts_anew() {
    // 150 recipients are two transactions. The first is cut within its content.
    let store = Store::tcp(Behaviour { drop_at: Some(Stage::Content), ..Behaviour::default() });
    let tables = format!("{}[queue]\nretry_next_hop = [\"1s\"]\n", domain(&store, "any"));
    let daemon = Daemon::start(&tables);
    let recipients: Vec<String> = (0..150).map(|n| format!("u{n}@ours.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let content = b"0123456789012345678901234567890123456789\r\n".repeat(20_000);
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.envelope("s@c.example", &recipients);
    client.data(&content).queue_id();
    assert!(wait_until(ARRIVAL, || store.connections() > 0));
    store.set(|behaviour| behaviour.drop_at = None);
    daemon.drain(ARRIVAL);
    let mut got: Vec<String> = Vec::new();
    for delivery in store.deliveries() {
        assert!(delivery.content.ends_with(&content), "half a message was delivered");
        got.extend(delivery.to);
    }
    got.sort();
    let mut expected: Vec<String> = recipients.iter().map(|&one| one.to_owned()).collect();
    expected.sort();
    assert_eq!(got, expected, "each recipient exactly once");
}

#[test]
fn a_cut_after_the_final_dot_is_tried_again() {
    let store =
        Store::tcp(Behaviour { drop_at: Some(Stage::BeforeRecord), ..Behaviour::default() });
    let tables = format!("{}[queue]\nretry_next_hop = [\"1s\"]\n", domain(&store, "any"));
    let daemon = Daemon::start(&tables);
    send(&daemon, NOTE);
    assert!(wait_until(ARRIVAL, || daemon.log().contains("\"deferred\"")));
    store.set(|behaviour| behaviour.drop_at = None);
    store.wait_for(1, ARRIVAL);
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 1);
}

#[test]
fn a_message_that_kills_its_next_hop_does_not_shut_the_route() {
    let store = Store::tcp(Behaviour::default());
    store.set(|behaviour| behaviour.poison = Some("poison".into()));
    let tables = format!("{}[queue]\nretry_next_hop = [\"1s\"]\n", domain(&store, "any"));
    let daemon = Daemon::start(&tables);
    let poison = send(&daemon, b"Subject: poison\r\n\r\npoison\r\n");
    let mut sent = 0;
    let attempts = || daemon.log().matches("\"deferred\"").count();
    while attempts() < 5 {
        send(&daemon, NOTE);
        sent += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let alone = || {
        let rows = daemon.rows();
        rows.len() == 1 && rows[0]["queue_id"] == poison.as_str()
    };
    assert!(wait_until(ARRIVAL, alone), "{:?}", daemon.rows());
    let distinct = store.deliveries().iter().filter(|one| one.content.ends_with(NOTE)).count();
    assert!(distinct >= sent, "{distinct} of {sent} arrived");
}

#[test]
fn known_recipients_are_remembered_over_a_restart() {
    let mut store = Store::tcp(Behaviour::knowing(&["u@ours.example"]));
    let mut daemon = Daemon::start(&domain(&store, "probe"));
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    client.command("RCPT TO:<u@ours.example>").is(250, "2.1.5");
    client.command("RCPT TO:<v@ours.example>").is(550, "5.1.1");
    store.stop();
    daemon.kill_9();
    daemon.restart();
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    client.command("RCPT TO:<u@ours.example>").is(250, "2.1.5");
    client.command("RCPT TO:<v@ours.example>").is(451, "4.4.3");
}

#[test]
fn each_event_carries_queue_id_and_session() {
    let store = Store::tcp(Behaviour::default());
    let daemon = Daemon::start(&domain(&store, "any"));
    let id = send(&daemon, NOTE);
    daemon.drain(ARRIVAL);
    let log = daemon.log();
    let event = |name: &str| -> serde_json::Value {
        let named = format!("\"event\":\"{name}\"");
        let line = log
            .lines()
            .find(|line| line.contains(&named) && (name != "accepted" || line.contains(&id)));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no {name} in\n{log}"))).unwrap()
    };
    let accepted = event("accepted");
    assert_eq!(accepted["id"], id.as_str());
    assert_eq!(accepted["octets"], NOTE.len());
    assert!(
        log.contains(&format!("\"event\":\"session-opened\",\"session\":{}", accepted["session"]))
    );
    let delivered = event("delivered");
    assert_eq!(delivered["id"], id.as_str());
    assert_eq!(delivered["recipient"], "u@ours.example");
    assert_eq!(delivered["next_hop"], store.url().as_str());
}

#[test]
fn exit_codes_are_those_of_sysexits() {
    assert_eq!(angarium(&["frobnicate"]).2, 64);
    assert_eq!(angarium(&["queue", "rm"]).2, 64);
    assert_eq!(angarium(&["--help"]).2, 0);
    let site = Site::new();
    let file = site.path("angarium.toml");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "hostnam = \"mx.example\"\n").unwrap();
    let (_, faults, code) = angarium(&["check", "--config", name]);
    assert_eq!(code, 78);
    assert!(
        faults.starts_with(&format!("{name}:1:1: ")) && faults.contains("did you mean `hostname`"),
        "{faults}"
    );
    assert_eq!(angarium(&["serve", "--config", name]).2, 78);
    std::fs::write(&file, site.configuration(&Parts::default())).unwrap();
    let (summary, _, code) = angarium(&["check", "--config", name]);
    assert!(code == 0 && summary.contains("may relay  nobody"), "{summary}");
    assert_eq!(angarium(&["queue", "ls", "--config", name]).2, 69);
    let (explained, _, code) = angarium(&["route", "explain", "a@b.example", "--config", name]);
    assert!(code == 0 && explained.contains("refused: 550 5.7.1 "), "{explained}");
    assert_eq!(angarium(&["route", "explain", "nonsense", "--config", name]).2, 65);
}

#[test]
fn a_spool_has_one_owner() {
    let daemon = Daemon::start("");
    let other = Site::new();
    let text = other.configuration(&Parts::default());
    let text =
        text.replace(other.path("spool").to_str().unwrap(), daemon.path("spool").to_str().unwrap());
    let file = other.path("angarium.toml");
    std::fs::write(&file, text).unwrap();
    let (_, error, code) = angarium(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(code, 74);
    assert!(error.contains(daemon.path("spool").to_str().unwrap()), "{error}");
    Client::greet(daemon.addr(), "c.example").quit();
}

#[test]
fn privileges_are_dropped_for_good() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("LEFT OUT: dropping privileges needs root");
    }
    let site = Site::new();
    support::open_to_all(site.directory.path(), 0o777);
    let parts = Parts { top: "user = \"nobody\"", ..Parts::default() };
    let text = site.configuration(&parts);
    let mut daemon = Daemon::start_at(site, &text);
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let (uid, gid) = (nobody.uid.to_string(), nobody.gid.to_string());
    assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
    assert!(status.contains(&format!("Gid:\t{gid}\t{gid}\t{gid}\t{gid}\n")), "{status}");
    let groups = status.lines().find(|line| line.starts_with("Groups:")).unwrap();
    assert!(!groups.split_whitespace().any(|group| group == "0"), "{groups}");
    Client::greet(daemon.addr(), "c.example").quit();
    assert_eq!(daemon.terminate().code(), Some(0));
}
