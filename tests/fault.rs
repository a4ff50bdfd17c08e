//! The promise about the disk, kept by the running daemon on a disk that fails or is full.
//!
//! strace answers the daemon's calls with errors while clients send and a mailstore takes: a 250
//! must stand for a durable message, a failure must be survived or end the daemon with 74, and a
//! full disk must only make it refuse. Then a whole file system is filled to its last octet. After
//! each, on a sound disk, everything acknowledged must arrive, octet by octet. It may arrive twice
//! only where the daemon ended before it could record the delivery.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]
#![allow(unreachable_pub, reason = "the modules are of this target alone")]

#[path = "fault/load.rs"]
mod load;
#[path = "fault/strace.rs"]
mod strace;
mod support;
#[path = "fault/volume.rs"]
mod volume;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use load::{Ledger, Load};
use strace::{ALLOCATE, EVERY_SYNC, Fault, SYNC, WRITE, has_struck, record, strace_is_here, syncs};
use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, START, free_port, loopback, wait_until};
use volume::{Ballast, Volume};

/// Sending sessions at a time.
const CLIENTS: usize = 4;
/// Messages that are queued already when the disk begins to fail, a large one among them.
const QUEUED: u64 = 9;
/// Acknowledged messages that make a load.
const ENOUGH: usize = 150;
/// How long the mailstore takes for each, so that the queue is not empty when the fault comes.
const STORE_TIME: Duration = Duration::from_millis(15);
/// What is left of the small file system when a stranger begins to take it.
const FILLED: u64 = 190 << 20;
/// So many refused messages say that the disk is full.
const REFUSALS: usize = 400;
/// How long a daemon may take to accept again after a fault, or to refuse at last.
const RECOVERY: Duration = Duration::from_secs(30);

/// A daemon, the mailstore behind it, and what the clients were told.
struct Scene {
    daemon: Daemon,
    store: Store,
    ledger: Arc<Ledger>,
    metrics: u16,
}

/// What the configuration says besides the usual.
fn tables(store: &Store, metrics: u16, queue: &str) -> String {
    format!(
        "[[domain]]\nname = \"fault.example\"\ndeliver = \"{}\"\nrecipients = \"any\"\n\
         [queue]\nroute_concurrency = 4\nretry_next_hop = [\"1s\"]\n{queue}\n\
         [metrics]\nbind = \"127.0.0.1:{metrics}\"\n",
        store.url()
    )
}

impl Scene {
    /// A daemon at a prepared site.
    fn at(site: Site, queue: &str) -> Self {
        let (store, metrics) = (Store::tcp(Behaviour::default()), free_port());
        let tables = tables(&store, metrics, queue);
        let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
        let daemon = Daemon::start_at(site, &text);
        let ledger = Ledger::new(daemon.addr());
        Self { daemon, store, ledger, metrics }
    }

    /// A daemon with a few messages in its queue, started again on a disk that fails so; it may
    /// have ended at once.
    fn with(fault: Fault) -> Self {
        let mut scene = Self::at(Site::new(), "");
        scene.store.set(|behaviour| behaviour.refuse = Some("451 4.3.0 later".into()));
        let mut client = Client::greet(scene.daemon.addr(), "load.example");
        assert!((0..QUEUED).all(|_| scene.ledger.send_one(&mut client)));
        scene.store.set(|behaviour| {
            behaviour.refuse = None;
            behaviour.delay = STORE_TIME;
        });
        let wrapper = fault.command(&record(&scene.daemon.path("")));
        scene.daemon.restart_under(wrapper);
        scene
    }

    /// Clients send until enough is acknowledged, or the daemon ends; the fault must have come.
    fn load(&mut self) {
        let load = Load::start(&self.ledger, CLIENTS);
        let record = record(&self.daemon.path(""));
        let done = wait_until(RECOVERY, || {
            self.ledger.look(&self.daemon);
            let enough = self.ledger.acknowledged().len() >= ENOUGH && has_struck(&record);
            enough || self.daemon.has_ended()
        });
        load.stop();
        // strace writes a moment after the call.
        let struck = wait_until(START, || has_struck(&record));
        assert!(struck, "no call was refused:\n{}", self.daemon.log_tail());
        assert!(done, "too little is accepted:\n{}", self.daemon.log_tail());
        self.ledger.assert_answered();
        self.ledger.assert_synced(QUEUED, &syncs(&record));
    }

    /// The daemon goes on: it accepts, says that it is well, and ends in order.
    #[track_caller]
    fn assert_well(&mut self) {
        assert!(!self.daemon.has_ended(), "the daemon has ended:\n{}", self.daemon.log_tail());
        self.assert_accepts();
        assert_eq!(self.health(), 200);
        assert!(self.daemon.terminate().success(), "{}", self.daemon.log_tail());
    }

    #[track_caller]
    fn assert_accepts(&self) {
        let accepts = wait_until(RECOVERY, || {
            Client::try_greet(self.daemon.addr(), "load.example")
                .is_ok_and(|mut client| self.ledger.send_one(&mut client))
        });
        assert!(accepts, "no mail is accepted:\n{}", self.daemon.log_tail());
    }

    /// The daemon ends by itself, as one whose disk can't be relied on.
    #[track_caller]
    fn assert_given_up(&mut self) {
        let status = self.daemon.wait();
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(74), "{status:?}:\n{}", self.daemon.log_tail());
    }

    /// Starts again on a sound disk and compares; returns how many messages came twice.
    #[track_caller]
    fn settle(&mut self) -> usize {
        self.store.set(|behaviour| behaviour.delay = Duration::ZERO);
        self.daemon.restart();
        self.daemon.drain(ARRIVAL);
        self.ledger.compare(&self.store.deliveries())
    }

    fn health(&self) -> u16 {
        let mut stream = TcpStream::connect(loopback(self.metrics)).unwrap();
        stream.set_read_timeout(Some(RECOVERY)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// One failure of each thread at a time: it is survived, and nothing is lost or comes twice. At the
/// start it may be too much; then no mail was accepted.
fn survives(calls: &'static str, error: &'static str, positions: &[&'static str]) {
    if !strace_is_here() {
        return;
    }
    let mut survived = 0;
    for when in positions {
        eprintln!("{calls} {error} {when}");
        let mut scene = Scene::with(Fault { calls, error, when });
        if scene.daemon.has_ended() {
            scene.assert_given_up();
        } else {
            scene.load();
            scene.assert_well();
            for reply in scene.ledger.refusals() {
                assert_eq!(reply.code, 451, "{reply:?}");
            }
            survived += 1;
        }
        assert_eq!(scene.settle(), 0, "{when}: delivered twice");
    }
    assert!(survived * 2 >= positions.len(), "{survived} faults came after the start");
}

#[test]
fn a_failed_sync_is_survived() {
    survives(SYNC, "EIO", &["1", "3", "6", "15", "30"]);
}

#[test]
fn a_failed_write_is_survived() {
    survives(WRITE, "EIO", &["1", "3", "9", "25"]);
}

#[test]
fn syncs_that_go_on_failing_end_the_daemon_with_74() {
    if !strace_is_here() {
        return;
    }
    let mut accepted = 0;
    for when in ["1+", "3+", "6+", "20+", "30+"] {
        eprintln!("{EVERY_SYNC} EIO {when}");
        let mut scene = Scene::with(Fault { calls: EVERY_SYNC, error: "EIO", when });
        if !scene.daemon.has_ended() {
            scene.load();
        }
        scene.assert_given_up();
        accepted += scene.ledger.acknowledged().len();
        let twice = scene.settle();
        println!("fault.{when}: {twice} messages twice");
    }
    assert!(accepted > 0, "no fault came after the first message");
}

/// No room for a while: mail is refused for now, deliveries go on, and then it is accepted.
fn outlasts(calls: &'static str, when: &'static str) {
    eprintln!("{calls} ENOSPC {when}");
    let mut scene = Scene::with(Fault { calls, error: "ENOSPC", when });
    scene.load();
    if scene.daemon.has_ended() {
        scene.assert_given_up();
        scene.settle();
        panic!("{when}: nothing is lost, but for want of room alone the daemon has ended");
    }
    scene.assert_well();
    for reply in scene.ledger.refusals() {
        reply.is(452, "4.3.1");
    }
    assert_eq!(scene.settle(), 0, "{when}: delivered twice");
}

#[test]
fn a_stretch_without_room_for_files_is_outlasted() {
    if strace_is_here() {
        outlasts(ALLOCATE, "1..1");
        outlasts(ALLOCATE, "1..6");
    }
}

#[test]
fn a_write_without_room_is_outlasted() {
    if strace_is_here() {
        outlasts(WRITE, "8..8");
        outlasts(WRITE, "12..12");
    }
}

#[test]
fn a_stretch_without_room_for_writes_is_outlasted() {
    if strace_is_here() {
        outlasts(WRITE, "5..9");
        outlasts(WRITE, "20..40");
    }
}

impl Scene {
    /// Clients send at full speed while a stranger's file takes what is left of the disk, until
    /// all they hear is that there is no room.
    fn fill(&self, volume: &Volume) -> Ballast {
        let load = Load::start(&self.ledger, CLIENTS);
        let begun = wait_until(RECOVERY, || volume.free() < FILLED);
        assert!(begun, "the clients are too slow: {} octets are free", volume.free());
        let ballast = Ballast::start(volume.place());
        let refused =
            wait_until(RECOVERY, || volume.free() == 0 && self.ledger.refusals().len() >= REFUSALS);
        load.stop();
        self.ledger.assert_answered();
        let (free, refusals) = (volume.free(), self.ledger.refusals());
        assert!(refused, "{free} octets are free, {} messages refused", refusals.len());
        for reply in &refusals {
            reply.is(452, "4.3.1");
        }
        println!("fault.acknowledged = {} messages", self.ledger.acknowledged().len());
        println!("fault.refused = {} messages", refusals.len());
        ballast
    }

    #[track_caller]
    fn assert_refuses_for_room(&self) {
        let mut client = Client::greet(self.daemon.addr(), "load.example");
        assert!(!self.ledger.send_one(&mut client), "mail is accepted on a full disk");
        self.ledger.refusals().last().unwrap().is(452, "4.3.1");
        assert_eq!(self.health(), 503);
    }

    #[track_caller]
    fn assert_all_queued(&self) {
        let queued = Ledger::queued(&self.daemon).unwrap();
        let mut lost = self.ledger.acknowledged();
        lost.retain(|receipt| !queued.contains(&receipt.id));
        assert!(lost.is_empty(), "acknowledged, and not in the queue: {lost:?}");
    }
}

#[test]
fn a_disk_filled_to_its_last_octet_loses_nothing() {
    let volume = match Volume::mount() {
        Ok(volume) => volume,
        Err(why) => return volume::left_out(&why),
    };
    let site = Site::new();
    std::os::unix::fs::symlink(volume.place().join("spool"), site.path("spool")).unwrap();
    std::fs::create_dir(volume.place().join("spool")).unwrap();
    let mut scene = Scene::at(site, "min_free = \"1MiB\"\npaused = true");
    let ballast = scene.fill(&volume);
    scene.daemon.kill_9();
    scene.daemon.restart();
    scene.assert_all_queued();
    scene.assert_refuses_for_room();

    // Deliveries begin. What they free is taken by the stranger at once.
    let tables = tables(&scene.store, scene.metrics, "min_free = \"1MiB\"");
    scene.daemon.rewrite(&Parts { tables: &tables, ..Parts::default() });
    scene.daemon.hangup();
    scene.daemon.drain(ARRIVAL);
    assert_eq!(scene.ledger.compare(&scene.store.deliveries()), 0, "delivered twice");
    scene.daemon.kill_9();
    scene.daemon.restart();
    assert_eq!(scene.daemon.rows().len(), 0, "what has been delivered is in the queue again");
    assert!(wait_until(START, || volume.free() == 0), "the disk is no longer full");

    drop(ballast);
    scene.assert_accepts();
    scene.daemon.drain(ARRIVAL);
    assert!(wait_until(RECOVERY, || scene.health() == 200), "{}", scene.daemon.log_tail());
    assert_eq!(scene.ledger.compare(&scene.store.deliveries()), 0, "delivered twice");
}
