//! What the operator is told of a next hop that can't be reached, or takes no more, by the real
//! daemon.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod support;

use std::process::Command;

use serde_json::Value;
use support::daemon::Daemon;
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, free_port, wait_until};

/// Runs `angarium route ARGUMENTS`: its standard output, its standard error and its exit code.
fn route(daemon: &Daemon, arguments: &[&str]) -> (String, String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_angarium"));
    let command = command.arg("route").args(arguments).arg("--config");
    let done = command.arg(daemon.path("angarium.toml")).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (text(done.stdout), text(done.stderr), done.status.code().unwrap())
}

#[track_caller]
fn assert_told(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn an_outage_and_its_reason_are_shown_wherever_one_looks() {
    let url = format!("smtp://127.0.0.1:{}", free_port());
    let tables = format!(
        "[relay]\nfrom = [\"127.0.0.1\"]\n[[route]]\nrecipient = \"*\"\nvia = \"{url}\"\n\
         concurrency = 3\neight_bit = \"send\"\n[[site]]\nname = \"{url}\"\nrate = \"50/s\"\n"
    );
    let daemon = Daemon::start(&tables);
    let (_, error, code) = route(&daemon, &["show", &url]);
    let nothing = format!("angarium: no mail was for {url} since the daemon's start\n");
    assert_eq!((error, code), (nothing, 65));
    assert_eq!(route(&daemon, &["show", "nonsense"]).2, 65);

    let mut client = Client::greet(daemon.addr(), "c.example");
    let id =
        client.send_message("s@c.example", &["u@d.example"], b"Subject: x\r\n\r\nx\r\n").queue_id();
    let told = || route(&daemon, &["show", &url]).0.contains("\noutage ");
    assert!(wait_until(ARRIVAL, told), "{}", daemon.log_tail());
    let why = "Connection refused";

    let (text, _, code) = route(&daemon, &["show", &url]);
    assert_eq!(code, 0);
    assert_told(&text, &[&url, why, " 1 in all\n", "served lately  no\n", "eight_bit = \"send\""]);
    assert_told(&text, &["limits         concurrency = 3, rate = \"50/s\", recipients_per"]);
    let (line, _, _) = route(&daemon, &["show", &url, "--json"]);
    let shown: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&shown["destination"], &shown["jobs"]), (&url.as_str().into(), &1.into()));
    assert_eq!(shown["limits"]["concurrency"], 3);
    assert_eq!(shown["next_hop_limits"]["rate"], "50/s");
    assert!(shown["outage"]["reply"].as_str().unwrap().contains(why), "{line}");
    assert!(shown["outage"]["since"].as_u64().unwrap() > 1_700_000_000);

    let (text, _, _) = route(&daemon, &["ls"]);
    assert_told(&text, &[&format!("        1  {url}  can't be reached for "), why]);
    let (line, _, _) = route(&daemon, &["ls", "--json"]);
    let listed: Value = serde_json::from_str(&line).unwrap();
    assert!(listed["outage"]["reply"].as_str().unwrap().contains(why), "{line}");
    assert_eq!((&listed["jobs"], &listed["paused"]), (&1.into(), &false.into()));

    let (text, _) = daemon.queue(&["why", &id]);
    assert_told(&text, &[&format!("to {url} for u@d.example: can't be reached for "), why]);
    assert_told(&text, &["; the next look is ", "<u@d.example> was not tried yet\n"]);
    let (line, _) = daemon.queue(&["why", &id, "--json"]);
    let reasons: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(reasons["waiting"][0]["waits_for"], "outage");
    assert_eq!(reasons["waiting"][0]["since"], listed["outage"]["since"]);

    let (text, _) = daemon.queue(&["summary"]);
    assert_told(&text, &[&format!("can't be reached\n       1  {url}: "), why]);
    let (line, _) = daemon.queue(&["summary", "--json"]);
    let summary: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(summary["behind_outage"][0]["reason"], listed["outage"]["reply"]);
    assert_eq!(summary["behind_outage"][0]["recipients"], 1);
    let (text, _) = daemon.queue(&["summary", "--from", "somebody else"]);
    assert!(!text.contains("can't be reached"), "a summary of some tells only of them: {text}");
}

#[test]
fn a_next_hop_that_takes_no_more_is_shown_with_its_reply() {
    let (store, reply) = (Store::tcp(Behaviour::next_hop()), "421 4.7.0 [TSS04] deferred");
    store.set(|behaviour| {
        behaviour.recipient_replies.insert("u@d.example".into(), reply.into());
    });
    let url = store.url();
    let daemon = Daemon::start(&format!(
        "[relay]\nfrom = [\"127.0.0.1\"]\n[[route]]\nrecipient = \"*\"\nvia = \"{url}\"\n"
    ));
    let mut client = Client::greet(daemon.addr(), "c.example");
    let id =
        client.send_message("s@c.example", &["u@d.example"], b"Subject: x\r\n\r\nx\r\n").queue_id();
    let told = || daemon.queue(&["why", &id]).0.contains("its next hop takes no more before");
    assert!(wait_until(ARRIVAL, told), "{}", daemon.queue(&["why", &id]).0);
    assert_told(&daemon.queue(&["why", &id]).0, &["may go in ", reply]);
    assert_told(&route(&daemon, &["ls"]).0, &["closed for ", "then at most ", reply]);
    let (text, _, _) = route(&daemon, &["show", &url]);
    assert_told(&text, &["\nlearned rate ", "\nclosed ", &format!("\nits reason     {reply}\n")]);
    let behind = format!("taught a rate\n       1  {url}: {reply}\n");
    assert_told(&daemon.queue(&["summary"]).0, &[&behind]);
}
