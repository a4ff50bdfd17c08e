//! The daemon as its operator sees it: signals, reload, the queue's verbs, exit codes, privileges.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::process::Command;
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
        sending.command("MAIL FROM:<>").is(421, "4.3.2");
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
    let deferred = || daemon.rows()[0]["recipients"][0]["attempts"].as_u64() > Some(0);
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

#[test]
fn attempts_and_reasons_survive_a_restart() {
    let mut store = Store::tcp(Behaviour::default());
    let tables = format!("{}[queue]\nretry_next_hop = [\"1h\"]\n", domain(&store, "any"));
    store.stop();
    let mut daemon = Daemon::start(&tables);
    let id = send(&daemon, NOTE);
    let tried = |daemon: &Daemon, times: u64| {
        wait_until(ARRIVAL, || daemon.rows()[0]["recipients"][0]["attempts"] == times)
    };
    assert!(tried(&daemon, 1));
    daemon.queue(&["retry", &id]);
    assert!(tried(&daemon, 2));
    let before = daemon.rows();
    assert!(before[0]["recipients"][0]["reason"].as_str().unwrap().contains("can't connect"));
    daemon.kill_9();
    daemon.restart();
    assert_eq!(daemon.rows(), before, "neither forgotten nor tried at once");
    store.start();
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
