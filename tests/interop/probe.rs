//! Recipients are verified before they are accepted, with the mailstore up, down and back.
//!
//! Proves that guessed recipients never enter the queue and no report ever leaves for them; that
//! known ones are still taken while the mailstore is down, and delivered once when it is back.

use serde_json::Value;

use crate::dovecot::Dovecot;
use crate::final_delivery::domain;
use crate::require_peers;
use crate::sink::Sink;
use crate::support::daemon::{Daemon, Parts};
use crate::support::smtp::{Client, Reply};
use crate::support::{ARRIVAL, START, wait_until};

const FORGED: &str = "victim@elsewhere.example";

/// A daemon that would send every report to the sink, and retries soon.
fn daemon(dovecot: &Dovecot, reports: &Sink) -> Daemon {
    let tables = format!(
        "{}\n[[route]]\nrecipient = \"*@elsewhere.example\"\nvia = \"{}\"\n\n\
         [queue]\nretry_next_hop = [\"1s\"]\n",
        domain(&dovecot.lmtp_unix_url()),
        reports.url()
    );
    let listener = "max_errors = 100\n";
    Daemon::start_with(&Parts { listener, tables: &tables, ..Parts::default() })
}

/// The reply to one RCPT in a transaction of its own.
fn ask(daemon: &Daemon, name: &str) -> Reply {
    let mut client = Client::greet(daemon.addr(), "harness.test");
    client.envelope(FORGED, &[]);
    let reply = client.command(&format!("RCPT TO:<{}>", Dovecot::address(name)));
    client.quit();
    reply
}

#[track_caller]
fn assert_deferred(reply: &Reply) {
    assert_eq!(reply.code, 451, "{reply:?}");
    assert!(reply.status().starts_with("4."), "{reply:?}");
}

/// No recipient in the queue has failed, none owes a report, and none has left.
#[track_caller]
fn assert_no_report(daemon: &Daemon, reports: &Sink) {
    for row in daemon.rows() {
        for recipient in row["recipients"].as_array().unwrap() {
            assert_ne!(recipient["state"], "failed", "{row}");
            assert_ne!(recipient["report_owed"], true, "{row}");
        }
    }
    assert_eq!(reports.count(), 0);
}

#[test]
fn thousand_guesses_are_refused_and_leave_nothing() {
    require_peers!();
    let (dovecot, reports) = (Dovecot::start_new(&["alice"]), Sink::counting());
    let daemon = daemon(&dovecot, &reports);
    for session in 0..20 {
        let mut client = Client::greet(daemon.addr(), "harness.test");
        client.envelope(FORGED, &[]);
        for guess in 1..=50 {
            let name = format!("user{:04}", session * 50 + guess);
            let line = format!("RCPT TO:<{}>", Dovecot::address(&name));
            client.command(&line).is(550, "5.1.1");
        }
        let data = client.command("DATA");
        assert!(matches!(data.code, 503 | 554), "without a recipient: {data:?}");
        client.quit();
    }
    ask(&daemon, "alice").is(250, "2.1.5");
    assert_eq!(daemon.rows(), Vec::<Value>::new());
    assert_no_report(&daemon, &reports);
}

#[test]
fn guesses_in_a_pipeline_are_refused_beside_a_good_one() {
    require_peers!();
    let (dovecot, reports) = (Dovecot::start_new(&["alice"]), Sink::counting());
    let daemon = daemon(&dovecot, &reports);
    let mut client = Client::greet(daemon.addr(), "harness.test");
    let mut lines = format!("MAIL FROM:<{FORGED}>\r\n");
    for guess in 1..=50 {
        let name = if guess == 25 { "alice".to_owned() } else { format!("user{guess:04}") };
        lines += &format!("RCPT TO:<{}>\r\n", Dovecot::address(&name));
    }
    client.write((lines + "DATA\r\n").as_bytes());
    client.expect(250);
    for guess in 1..=50 {
        let reply = client.reply();
        if guess == 25 {
            reply.is(250, "2.1.5")
        } else {
            reply.is(550, "5.1.1")
        };
    }
    client.expect(354);
    client.write(b"Subject: x\r\n\r\nx\r\n.\r\n");
    client.reply().queue_id();
    client.quit();
    daemon.drain(ARRIVAL);
    dovecot.only_message("alice");
    assert_no_report(&daemon, &reports);
}

#[test]
fn cold_daemon_defers_while_the_mailstore_is_down() {
    require_peers!();
    let (mut dovecot, reports) = (Dovecot::start_new(&["alice"]), Sink::counting());
    dovecot.stop();
    let daemon = daemon(&dovecot, &reports);
    assert_deferred(&ask(&daemon, "alice"));
    assert_deferred(&ask(&daemon, "user0001"));
    assert_eq!(daemon.rows(), Vec::<Value>::new());
    dovecot.start();
    let back = wait_until(START, || ask(&daemon, "alice").code == 250);
    assert!(back, "alice: {:?}", ask(&daemon, "alice"));
    ask(&daemon, "user0001").is(550, "5.1.1");
    assert_no_report(&daemon, &reports);
}

#[test]
fn warm_daemon_takes_known_recipients_while_the_mailstore_is_down() {
    require_peers!();
    let (mut dovecot, reports) = (Dovecot::start_new(&["alice", "bob"]), Sink::counting());
    let daemon = daemon(&dovecot, &reports);
    ask(&daemon, "alice").is(250, "2.1.5");
    dovecot.stop();
    for _ in 0..3 {
        ask(&daemon, "alice").is(250, "2.1.5");
        assert_deferred(&ask(&daemon, "bob"));
        assert_deferred(&ask(&daemon, "user0001"));
    }
    let mut client = Client::greet(daemon.addr(), "harness.test");
    let alice = Dovecot::address("alice");
    let id = client.send_message(FORGED, &[&alice], b"Subject: x\r\n\r\nwait\r\n").queue_id();
    client.quit();
    let attempted = || daemon.rows().iter().any(|row| row["queue_name"] == "deferred");
    assert!(wait_until(ARRIVAL, attempted), "no attempt: {:?}", daemon.rows());
    let rows = daemon.rows();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["queue_id"], *id);
    assert_eq!(rows[0]["recipients"][0]["state"], "pending");
    assert_no_report(&daemon, &reports);
    dovecot.start();
    daemon.drain(ARRIVAL);
    let stored = dovecot.only_message("alice");
    assert!(stored.ends_with(b"Subject: x\r\n\r\nwait\r\n"));
    assert_no_report(&daemon, &reports);
}
