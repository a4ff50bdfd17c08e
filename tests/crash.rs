//! Kills the daemon with SIGKILL at random moments under load, and counts what arrives.
//!
//! Every message that got its 250 must arrive. It may arrive twice, but no more copies than were
//! under way at the kills: the sessions, the deliveries, and one group of completions each. Some of
//! the spools that a kill leaves are read by the independent reader of the format.
//! 200 kills, 1,000 with `ANGARIUM_LONG`. A failure prints its seed; `ANGARIUM_SEED` replays the same
//! moments, as far as a running machine can.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::daemon::{Daemon, Parts};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, long, numbered};

/// Sending sessions at a time.
const SESSIONS: usize = 8;
/// Most deliveries at a time; see the configuration below.
const DELIVERIES: usize = 8;
/// Completions that may wait for a group, and those of the group being synced.
const COMPLETIONS: usize = 128;

/// What the senders share.
#[derive(Default)]
struct Load {
    stopping: AtomicBool,
    next: AtomicU64,
    acknowledged: Mutex<HashSet<u64>>,
}

impl Load {
    /// Sends one message after the other until told to stop, over a new session after each failure.
    fn send(&self, address: std::net::SocketAddr) {
        while !self.stopping.load(Ordering::Relaxed) {
            let Ok(mut client) = Client::try_greet(address, "load.example") else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            while self.send_one(&mut client).is_ok() {
                if self.stopping.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }

    fn send_one(&self, client: &mut Client) -> std::io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let reply =
            client.try_send_message("s@load.example", &["u@crash.example"], &content(number))?;
        if reply.code == 250 {
            self.acknowledged.lock().unwrap().insert(number);
            return Ok(());
        }
        Err(std::io::Error::other(reply.text()))
    }
}

/// Some messages are large enough to take the way beside the log.
fn content(number: u64) -> Vec<u8> {
    numbered::content(number, if number % 50 == 7 { 2_500 } else { 10 })
}

/// Reads the spool with the reader that shares no code with ours: it may find the last group torn, and
/// nothing else to complain of.
fn read_from_outside(spool: &Path) {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("queue/tests/reader.py");
    let Ok(read) = Command::new("python3").arg(reader).arg(spool).output() else {
        assert!(std::env::var_os("ANGARIUM_REQUIRE_PEERS").is_none(), "python3 is missing");
        return eprintln!("LEFT OUT: the reader of the format needs python3");
    };
    let said = String::from_utf8(read.stderr).unwrap();
    assert!(said.lines().all(|line| line.contains("is not whole")), "{said}");
    assert!(read.status.success() != said.contains("is not whole"), "{said}");
}

/// Checks: T13 T14 B07
#[test]
fn every_acknowledged_message_survives_kill_9() {
    let default_seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = std::env::var("ANGARIUM_SEED").map_or(default_seed, |seed| seed.parse().unwrap());
    eprintln!("ANGARIUM_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let store = Store::tcp(Behaviour::default());
    let mut daemon = Daemon::start_with(&Parts {
        tables: &format!(
            "[[domain]]\nname = \"crash.example\"\ndeliver = \"{}\"\nrecipients = \"any\"\n\
             [queue]\nroute_concurrency = {DELIVERIES}\nretry_next_hop = [\"1s\"]\n",
            store.url()
        ),
        ..Parts::default()
    });
    let load = Arc::new(Load::default());
    let address = daemon.addr();
    let senders: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let load = Arc::clone(&load);
            std::thread::spawn(move || load.send(address))
        })
        .collect();

    let kills = if long() { 1000 } else { 200 };
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(random.u64(5..150)));
        daemon.kill_9();
        if kill % 20 == 0 {
            read_from_outside(&daemon.path("spool"));
        }
        daemon.restart();
    }
    load.stopping.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().unwrap();
    }
    daemon.drain(ARRIVAL);

    let mut copies: HashMap<u64, usize> = HashMap::new();
    for delivery in store.deliveries() {
        *copies.entry(numbered::number_of(&delivery.content, content)).or_default() += 1;
    }
    let acknowledged = load.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.iter().filter(|number| !copies.contains_key(number)).collect();
    assert!(lost.is_empty(), "seed {seed}: lost {lost:?}");
    let twice: usize = copies.values().map(|count| count - 1).sum();
    println!("crash.kills = {kills} kills");
    println!("crash.acknowledged = {} messages", acknowledged.len());
    println!("crash.duplicates = {twice} copies");
    let bound = kills * (SESSIONS + DELIVERIES + COMPLETIONS);
    assert!(twice <= bound, "seed {seed}: {twice} duplicates, at most {bound}");
    assert!(acknowledged.len() > kills, "seed {seed}: the load was too small to mean anything");
    // A kill may tear the write under way, which nobody was told of; nothing else is damaged.
    let log = daemon.log();
    let damaged = log.lines().filter(|line| line.contains("\"event\":\"damaged\""));
    let other: Vec<_> = damaged.filter(|line| !line.contains("torn write")).collect();
    assert!(other.is_empty(), "seed {seed}: {other:?}");
}
