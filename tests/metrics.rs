//! The metrics socket as its scraper sees it: figures that move as mail flows, and health.
//!
//! The text is read by a strict reader of OpenMetrics, and by Prometheus' own `promtool` where that
//! is installed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

#[path = "metrics/openmetrics.rs"]
mod openmetrics;
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use openmetrics::{Exposed, parse};
use support::daemon::{Daemon, Parts};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, free_port, loopback, wait_until};

const NOTE: &[u8] = b"Subject: note\r\n\r\nnote\r\n";

fn section(port: u16) -> String {
    format!("[metrics]\nbind = \"127.0.0.1:{port}\"\n")
}

fn domain(store: &Store, recipients: &str) -> String {
    let url = store.url();
    format!(
        "[[domain]]\nname = \"ours.example\"\ndeliver = \"{url}\"\nrecipients = \"{recipients}\"\n"
    )
}

/// Sends octets, reads to the end: the status, the head and the body.
fn exchange(address: SocketAddr, octets: &[u8]) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(octets)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, head.to_lowercase(), body.to_owned()))
}

fn get(port: u16, path: &str, more: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    exchange(loopback(port), request.as_bytes()).unwrap()
}

fn scrape(port: u16) -> Exposed {
    let (status, head, body) = get(port, "/metrics", "");
    assert_eq!(status, 200, "{body}");
    let open = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(open), "{head}");
    parse(&body)
}

/// Waits until a sample is this; panics with the text when it never is.
#[track_caller]
fn await_sample(port: u16, name: &str, labels: &[(&str, &str)], value: f64) {
    let reached = wait_until(ARRIVAL, || scrape(port).sum(name, labels) == value);
    let (_, _, body) = get(port, "/metrics", "");
    assert!(reached, "{name}{labels:?} does not become {value}:\n{body}");
}

#[test]
fn figures_move_as_mail_flows() {
    let port = free_port();
    let store = Store::tcp(Behaviour::knowing(&["u@ours.example", "late@ours.example"]));
    store.set(|behaviour| {
        let late = "late@ours.example".to_owned();
        behaviour.content_replies.insert(late, "451 4.3.0 later".into());
    });
    let tables = format!("{}{}", domain(&store, "probe"), section(port));
    let daemon = Daemon::start(&tables);

    let mut client = Client::greet(daemon.addr(), "c.example");
    client.send_message("s@c.example", &["u@ours.example"], NOTE).queue_id();
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    client.command("RCPT TO:<nobody@ours.example>").is(550, "5.1.1");
    client.command("RCPT TO:<x@elsewhere.example>").is(550, "5.7.1");
    client.command("RSET").is(250, "2.0.0");
    let id = client.send_message("s@c.example", &["late@ours.example"], NOTE).queue_id();

    let deferred = [("transport", "lmtp"), ("result", "deferred")];
    await_sample(port, "angarium_delivery_attempts_total", &deferred, 1.0);
    await_sample(port, "angarium_queue_messages", &[("state", "deferred")], 1.0);
    let now = scrape(port);
    assert_eq!(now.sum("angarium_smtpd_sessions", &[]), 1.0);
    assert_eq!(now.sum("angarium_received_messages_total", &[]), 2.0);
    assert_eq!(now.sum("angarium_received_bytes_total", &[]), 2.0 * NOTE.len() as f64);
    let refused = |status| now.sum("angarium_smtpd_rejects_total", &[("stage", "rcpt"), status]);
    assert_eq!(refused(("status", "5.1.1")), 1.0);
    assert_eq!(refused(("status", "5.7.1")), 1.0);
    let commands = |stage, class| {
        now.sum("angarium_smtpd_commands_total", &[("stage", stage), ("class", class)])
    };
    assert_eq!(commands("hello", "2xx"), 1.0);
    assert_eq!((commands("mail", "2xx"), commands("mail", "5xx")), (3.0, 0.0));
    assert_eq!((commands("rcpt", "2xx"), commands("rcpt", "5xx")), (2.0, 2.0));
    assert_eq!((commands("data", "3xx"), commands("content", "2xx")), (2.0, 2.0));
    assert_eq!(now.sum("angarium_probes_total", &[("answer", "exists")]), 2.0);
    assert_eq!(now.sum("angarium_probes_total", &[("answer", "unknown")]), 1.0);
    let delivered = [("transport", "lmtp"), ("result", "delivered")];
    assert_eq!(now.sum("angarium_delivery_attempts_total", &delivered), 1.0);
    assert_eq!(now.sum("angarium_smtpd_accept_seconds_count", &[]), 2.0);
    assert_eq!(now.sum("angarium_delivery_seconds_count", &[("transport", "lmtp")]), 2.0);
    assert_eq!(now.sum("angarium_queue_wait_seconds_count", &[]), 2.0);
    assert!(now.sum("angarium_spool_sync_seconds_count", &[]) >= 2.0);
    assert!(now.sum("angarium_spool_group_batches_sum", &[]) >= 4.0);
    assert!(now.sum("angarium_spool_written_bytes_total", &[]) > 2.0 * NOTE.len() as f64);
    assert_eq!(now.sum("angarium_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert!(now.sum("angarium_process_start_time_seconds", &[]) > 1.7e9);

    assert_eq!(daemon.queue(&["hold", &id]).1, 0);
    await_sample(port, "angarium_queue_messages", &[("state", "hold")], 1.0);
    await_sample(port, "angarium_queue_messages", &[("state", "deferred")], 0.0);
    client.quit();
    await_sample(port, "angarium_smtpd_sessions", &[], 0.0);
}

#[test]
fn failures_expiries_and_ages_are_told() {
    let port = free_port();
    let store = Store::tcp(Behaviour::default());
    store.set(|behaviour| {
        behaviour.content_replies.insert("u@ours.example".into(), "554 5.6.0 no".into());
        behaviour.content_replies.insert("v@ours.example".into(), "450 4.2.0 later".into());
    });
    let queue = "[queue]\nlifetime = \"1s\"\nretry_next_hop = [\"1s\"]\n";
    let daemon = Daemon::start(&format!("{}{queue}{}", domain(&store, "any"), section(port)));
    let mut client = Client::greet(daemon.addr(), "c.example");
    for recipient in ["u@ours.example", "v@ours.example"] {
        client.send_message("s@c.example", &[recipient], NOTE).queue_id();
    }
    let attempts = "angarium_delivery_attempts_total";
    await_sample(port, attempts, &[("transport", "lmtp"), ("result", "failed")], 1.0);
    await_sample(port, attempts, &[("transport", "lmtp"), ("result", "expired")], 1.0);
}

#[test]
fn attempts_are_told_by_destination_and_outlive_a_reload() {
    let port = free_port();
    let store = Store::tcp(Behaviour::default());
    store.set(|behaviour| {
        behaviour.content_replies.insert("late@ours.example".into(), "451 4.3.0 later".into());
        behaviour.content_replies.insert("no@ours.example".into(), "554 5.6.0 no".into());
    });
    let routes = "[relay]\nfrom = [\"127.0.0.1\"]\n\
                  [[route]]\nrecipient = \"*@gone.example\"\nvia = \"discard\"\n";
    let mut daemon = Daemon::start(&format!("{}{routes}{}", domain(&store, "any"), section(port)));
    let mut client = Client::greet(daemon.addr(), "c.example");
    let recipients = ["u@ours.example", "late@ours.example", "no@ours.example", "x@gone.example"];
    // What fails is reported to a sender that no route leads to.
    client.send_message("s@c.example", &recipients, NOTE).queue_id();
    client.send_message("", &["u@ours.example"], NOTE).queue_id();

    let (url, attempts) = (store.url(), "angarium_destination_attempts_total");
    let expected = [
        (url.as_str(), "delivered", 2.0),
        (url.as_str(), "deferred", 1.0),
        (url.as_str(), "failed", 1.0),
        ("discard", "delivered", 1.0),
        ("unroutable", "deferred", 1.0),
    ];
    for (destination, result, count) in expected {
        let labels = [("destination", destination), ("result", result)];
        await_sample(port, attempts, &labels, count);
    }
    let told = || scrape(port).samples.into_iter().filter(|sample| sample.name == attempts);
    assert_eq!(told().count(), expected.len(), "what never happened is left out");
    let before: Vec<_> = told().collect();
    daemon.hangup();
    await_sample(port, "angarium_config_reloads_total", &[("result", "ok")], 1.0);
    assert_eq!(told().collect::<Vec<_>>(), before);
}

#[test]
fn the_load_of_destinations_is_told() {
    let port = free_port();
    let store = Store::tcp(Behaviour { delay: Duration::from_secs(60), ..Behaviour::default() });
    let queue = "[queue]\nroute_concurrency = 1\n";
    let daemon = Daemon::start(&format!("{}{queue}{}", domain(&store, "any"), section(port)));
    let mut client = Client::greet(daemon.addr(), "c.example");
    for _ in 0..3 {
        client.send_message("s@c.example", &["u@ours.example"], NOTE).queue_id();
    }
    let url = store.url();
    let destination = [("destination", url.as_str())];
    await_sample(port, "angarium_destination_active_deliveries", &destination, 1.0);
    await_sample(port, "angarium_destination_ready_jobs", &destination, 2.0);
    await_sample(port, "angarium_queue_messages", &[("state", "active")], 3.0);
    let aged = || {
        let active = [("state", "active")];
        scrape(port).sum("angarium_queue_oldest_age_seconds", &active) > 0.1
    };
    assert!(wait_until(ARRIVAL, aged));
}

#[test]
fn next_hops_out_of_reach_are_counted() {
    let (port, gauge) = (free_port(), "angarium_next_hops_unreachable");
    let mut store = Store::tcp(Behaviour::default());
    let daemon = Daemon::start(&format!("{}{}", domain(&store, "any"), section(port)));
    assert_eq!(scrape(port).samples.iter().filter(|sample| sample.name == gauge).count(), 1);
    store.stop();
    let mut client = Client::greet(daemon.addr(), "c.example");
    let id = client.send_message("s@c.example", &["u@ours.example"], NOTE).queue_id();
    await_sample(port, gauge, &[], 1.0);
    store.start();
    daemon.queue(&["retry", &id]);
    store.wait_for(1, ARRIVAL);
    await_sample(port, gauge, &[], 0.0);
}

#[test]
fn what_tenants_got_beside_each_other_is_told() {
    let port = free_port();
    let store = Store::tcp(Behaviour { delay: Duration::from_millis(50), ..Behaviour::default() });
    let tables = |paused| {
        let queue = format!("[queue]\nroute_concurrency = 1\npaused = {paused}\n");
        format!("{}{queue}{}", domain(&store, "any"), section(port))
    };
    let mut daemon = Daemon::start(&tables(true));
    for (source, messages) in [("127.0.0.1", 150), ("127.0.0.2", 60)] {
        let mut client = Client::connect_from(source.parse().unwrap(), daemon.addr());
        client.expect(220);
        client.command("EHLO c.example").is(250, "");
        for _ in 0..messages {
            client.send_message("s@c.example", &["u@ours.example"], NOTE).queue_id();
        }
    }
    daemon.rewrite(&Parts { tables: &tables(false), ..Parts::default() });
    daemon.hangup();
    store.wait_for(1, ARRIVAL);
    // Each reading tells of the time since the one before.
    scrape(port);
    std::thread::sleep(Duration::from_secs(1));
    let now = scrape(port);
    let share = |tenant| now.sum("angarium_tenant_share_ratio", &[("tenant", tenant)]);
    let parts = (share("127.0.0.1"), share("127.0.0.2"));
    assert!(parts.0 > 0.3 && parts.1 > 0.3, "{parts:?}, though one has three times as much mail");
    assert!((parts.0 + parts.1 - 1.0).abs() < 1e-9, "{parts:?}");
    let jain = 1.0 / (2.0 * (parts.0 * parts.0 + parts.1 * parts.1));
    assert!((now.sum("angarium_tenant_fairness_index", &[]) - jain).abs() < 1e-9);
}

#[test]
fn health_follows_the_spool_and_nothing_is_logged() {
    let port = free_port();
    let mut daemon = Daemon::start(&section(port));
    // The connection that the start was waited for with.
    assert!(wait_until(ARRIVAL, || daemon.log().contains("\"session-closed\"")));
    let before = daemon.log();
    let (status, head, body) = get(port, "/healthz", "");
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    assert!(head.contains("content-type: text/plain"), "{head}");
    scrape(port);
    assert_eq!(get(port, "/nothing", "").0, 404);
    let post = b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(exchange(loopback(port), post).unwrap().0, 405);
    let head_only = b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let (status, _, body) = exchange(loopback(port), head_only).unwrap();
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(exchange(loopback(port), b"nonsense\r\n\r\n").unwrap().0, 400);
    let endless = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(64 * 1024));
    // It is cut off while it still sends, so the answer may be lost.
    assert!(exchange(loopback(port), endless.as_bytes()).map_or(431, |answer| answer.0) == 431);
    assert_eq!(daemon.log(), before, "a scrape logs nothing");

    // A disk without room is one that takes no mail.
    let full = format!("{}[queue]\nmin_free = \"1TiB\"\n", section(port));
    daemon.rewrite(&Parts { tables: &full, ..Parts::default() });
    daemon.restart();
    // The spool looks at its room when its writer has started.
    assert!(wait_until(ARRIVAL, || get(port, "/healthz", "").0 == 503));
    let (status, _, body) = get(port, "/healthz", "");
    assert_eq!((status, body.as_str()), (503, "the spool has no room for more mail\n"));
    assert_eq!(scrape(port).sum("angarium_spool_accepting", &[]), 0.0);
}

#[test]
fn many_idle_connections_hold_nobody_up_for_long() {
    let port = free_port();
    let daemon = Daemon::start(&section(port));
    let idle: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(loopback(port)).unwrap()).collect();
    assert_eq!(get(port, "/healthz", "").0, 200, "{}", daemon.log_tail());
    Client::greet(daemon.addr(), "c.example").quit();
    drop(idle);
}

#[test]
fn a_reload_opens_moves_and_closes_the_socket() {
    let (first, second) = (free_port(), free_port());
    let mut daemon = Daemon::start("");
    let mut hangup = |tables: &str| {
        daemon.rewrite(&Parts { tables, ..Parts::default() });
        daemon.hangup();
    };
    let up = |port| {
        let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        exchange(loopback(port), request).is_ok_and(|answer| answer.0 == 200)
    };
    assert!(!up(first));
    hangup(&section(first));
    assert!(wait_until(ARRIVAL, || up(first)));
    hangup(&section(second));
    assert!(wait_until(ARRIVAL, || up(second) && !up(first)));
    hangup("[[domain]]\nname = \"x.example\"\n");
    let refused = [("result", "refused")];
    await_sample(second, "angarium_config_reloads_total", &refused, 1.0);
    assert_eq!(scrape(second).sum("angarium_config_reloads_total", &[("result", "ok")]), 2.0);
    hangup("");
    assert!(wait_until(ARRIVAL, || !up(second)));
}

#[test]
fn promtool_finds_nothing_to_say() {
    let port = free_port();
    let store = Store::tcp(Behaviour::default());
    let daemon = Daemon::start(&format!("{}{}", domain(&store, "any"), section(port)));
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.send_message("s@c.example", &["u@ours.example"], NOTE).queue_id();
    client.command("RCPT TO:<u@ours.example>").is(503, "5.5.1");
    await_sample(port, "angarium_destination_attempts_total", &[("result", "delivered")], 1.0);
    // What promtool's check reads is the older form.
    let (status, head, body) = get(port, "/metrics", "Accept: text/plain;version=0.0.4\r\n");
    assert!(status == 200 && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    if !promtool_is_here() {
        return;
    }
    let directory = support::temporary_directory();
    let check = |text: &str, arguments: &[&str]| {
        let file = directory.path().join("text");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("promtool");
        command.args(arguments).current_dir(directory.path()).stdin(File::open(&file).unwrap());
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && said.is_empty(), "{arguments:?}: {said}\n{text}");
    };
    check(&body, &["check", "metrics"]);
    // Its reader of OpenMetrics is behind the import of recorded samples, which have times.
    let (_, _, body) = get(port, "/metrics", "");
    let recorded: Vec<String> = body
        .lines()
        .map(|line| if line.starts_with('#') { line.into() } else { format!("{line} 1795514096") })
        .collect();
    let import = ["tsdb", "create-blocks-from", "openmetrics", "text", "blocks"];
    check(&(recorded.join("\n") + "\n"), &import);
}

/// Says loudly what is left out when promtool is not installed.
fn promtool_is_here() -> bool {
    let here = Command::new("promtool").arg("--version").output().is_ok();
    if !here {
        let required = std::env::var_os("ANGARIUM_REQUIRE_PEERS").is_some();
        assert!(!required, "promtool is missing; tests/run installs it");
        // Past the capture of a passing test's output, which would swallow it.
        let _ = writeln!(std::io::stderr(), "LEFT OUT: promtool is not installed");
    }
    here
}
