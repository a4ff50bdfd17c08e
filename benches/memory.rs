//! The daemon's memory with a million messages queued.
//!
//! `cargo bench --bench memory`; `-- --quick` for a tenth of them. A spool is filled, then the daemon
//! starts on it with everything paused: its resident memory is read once all of the queue is known to
//! the scheduler. Each message has its own recipient, one of a thousand senders, and its sender's
//! tenant.

#![allow(clippy::unwrap_used, reason = "a panic fails the benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use angarium::envelope::{Envelope, Origin, Recipient};
use angarium::syntax::path::parse_reverse_path;
use angarium_queue::disk::RealDisk;
use angarium_queue::spool::{NewBody, NewMessage, Op, Options, Spool};

use support::daemon::{Daemon, Parts, Site};

const SENDERS: u64 = 1_000;
/// Commits that may wait for their sync.
const AHEAD: u64 = 4_096;
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    if !has("--bench") || has("--test") || has("--list") {
        return;
    }
    let messages = if has("--quick") { 100_000 } else { 1_000_000 };
    let site = Site::new();
    fill(&site, messages);
    let tables = "[[route]]\nrecipient = \"*\"\nvia = \"smtp://127.0.0.1:9\"\n\
                  [queue]\npaused = true\n";
    let text = site.configuration(&Parts { tables, ..Parts::default() });
    let start = Instant::now();
    let daemon = Daemon::start_at(site, &text);
    while known(&daemon) < messages {
        assert!(start.elapsed() < PATIENCE, "{} are known", known(&daemon));
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("schedule.daemon.messages = {messages} messages");
    println!("schedule.daemon.known = {:.1} s", start.elapsed().as_secs_f64());
    println!("schedule.daemon.rss_1m = {:.0} MiB", resident_mib(daemon.pid()));
}

/// Jobs that the scheduler knows; none until the control socket is served.
fn known(daemon: &Daemon) -> u64 {
    let (text, _) = daemon.route(&["ls", "--json"]);
    let jobs = |line: &str| {
        let route: serde_json::Value = serde_json::from_str(line).ok()?;
        route.get("jobs")?.as_u64()
    };
    text.lines().filter_map(jobs).sum()
}

fn fill(site: &Site, messages: u64) {
    let folder = site.path("spool");
    std::fs::create_dir_all(&folder).unwrap();
    let disk = Arc::new(RealDisk::open(&folder).unwrap());
    let options = Options { min_free: 0, ..Options::default() };
    let failed = Box::new(|why: &str| panic!("{why}"));
    let (spool, _) = Spool::open(disk, options, failed).unwrap();
    let done = Arc::new(AtomicU64::new(0));
    for nth in 0..messages {
        let stored = Arc::clone(&done);
        let op = Op::Append(message(&spool, nth));
        let tell = move |result: Result<(), _>| {
            result.unwrap();
            stored.fetch_add(1, Ordering::Relaxed);
        };
        spool.commit(vec![op], Box::new(tell));
        wait(&done, (nth + 1).saturating_sub(AHEAD));
    }
    wait(&done, messages);
    spool.shutdown();
}

fn wait(done: &AtomicU64, count: u64) {
    while done.load(Ordering::Relaxed) < count {
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn message(spool: &Spool, nth: u64) -> NewMessage {
    let sender = nth % SENDERS;
    let envelope = Envelope {
        reverse_path: parse_reverse_path(&format!("s{sender}@sender.example")).unwrap(),
        recipients: vec![Recipient::new(format!("r{nth}@d.example").parse().unwrap())],
        session: "bench".to_owned(),
        origin: Origin::Relay,
        ..Envelope::default()
    };
    NewMessage {
        id: spool.next_id().unwrap(),
        arrived_ms: 1_800_000_000_000,
        tenant: format!("192.0.{}.{}", sender / 256, sender % 256).into(),
        held: false,
        recipients: 1,
        envelope: envelope.encode().into(),
        body: NewBody::Inline(vec![bytes::Bytes::from_static(b"Subject: x\r\n\r\nx\r\n")]),
    }
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}
