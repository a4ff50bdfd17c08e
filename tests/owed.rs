//! Reports on a disk without room: the failure is recorded as owed, and the report comes later; so
//! does a report of delays.
//!
//! The dispatcher runs in the test, over a disk that is full when the test says so. No socket is
//! needed: the recipient's route refuses, and the sender's leads nowhere, so that reports stay.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test of a running task waits by the clock")]

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use angarium::agent::Agent;
use angarium::backlog::Backlog;
use angarium::dispatch::{Dispatcher, Memory, Pauses, Request, Settings, Verb, take_up};
use angarium::envelope::{Envelope, Origin, Recipient};
use angarium::net::clock;
use angarium::net::connection::Times;
use angarium::policy::tenant::Tenants;
use angarium::pool::Pool;
use angarium::report;
use angarium::route::{Handling, Rule, Table};
use angarium::syntax::path::parse_reverse_path;
use angarium_queue::disk::{Disk, DiskFile, RealDisk};
use angarium_queue::entry::{Change, RecipientState, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{self, Backoff};
use angarium_queue::spool::{CommitError, NewBody, NewMessage, Op, Options, Spool};
use tokio::sync::{mpsc as channel, oneshot, watch};

/// A disk that takes no new file while it is full.
struct Filling {
    disk: RealDisk,
    full: Arc<AtomicBool>,
}

impl Disk for Filling {
    fn create(&self, name: &str, octets: u64) -> io::Result<Arc<dyn DiskFile>> {
        if self.full.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.disk.create(name, octets)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }
    fn is_linked(&self, name: &str) -> io::Result<bool> {
        self.disk.is_linked(name)
    }

    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }
}

struct Scene {
    _directory: tempfile::TempDir,
    full: Arc<AtomicBool>,
    spool: Spool,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let disk = RealDisk::open(directory.path().join("spool")).unwrap();
        let disk = Arc::new(Filling { disk, full: Arc::clone(&full) });
        let segment_size = 512 << 10;
        let options =
            Options { segment_size, reserve: 64 << 10, min_free: 0, ..Options::default() };
        let (spool, _) = Spool::open(disk, options, Box::new(|why| panic!("{why}"))).unwrap();
        Self { _directory: directory, full, spool }
    }

    fn append(&self, to: &str, held: bool, octets: usize) -> Result<MessageId, CommitError> {
        self.append_from(Origin::Stranger, to, held, octets)
    }

    fn append_from(
        &self,
        origin: Origin,
        to: &str,
        held: bool,
        octets: usize,
    ) -> Result<MessageId, CommitError> {
        let id = self.spool.next_id()?;
        let envelope = Envelope {
            reverse_path: parse_reverse_path("s@nowhere.example").unwrap(),
            recipients: vec![Recipient::new(to.parse().unwrap())],
            session: "test".into(),
            origin,
            ..Envelope::default()
        };
        let content = format!("Subject: x\r\n\r\n{}\r\n", "x".repeat(octets));
        let message = NewMessage {
            id,
            arrived_ms: clock::now_ms(),
            tenant: "t".into(),
            held,
            recipients: 1,
            envelope: envelope.encode().into(),
            body: NewBody::Inline(vec![content.into()]),
        };
        self.commit(vec![Op::Append(message)]).map(|()| id)
    }

    fn commit(&self, batch: Vec<Op>) -> Result<(), CommitError> {
        let (done, result) = mpsc::channel();
        self.spool.commit(batch, Box::new(move |answer| done.send(answer).unwrap()));
        result.recv().unwrap()
    }

    /// Fills the open segment with held messages until nothing more goes in.
    fn fill(&self) -> Vec<MessageId> {
        self.full.store(true, Ordering::SeqCst);
        let mut held = Vec::new();
        for octets in [60_000, 4_000, 400, 1] {
            while let Ok(id) = self.append("held@refused.example", true, octets) {
                held.push(id);
            }
        }
        held
    }

    fn settings() -> Settings {
        let second = Duration::from_secs(1);
        let rule = Rule {
            recipient: "*@refused.example".parse().unwrap(),
            via: "reject".parse().unwrap(),
            handling: Handling::default(),
            line: 1,
        };
        let hour_ms = 3_600_000;
        let backoff = Backoff { exchanger_ms: vec![hour_ms], next_hop_ms: vec![hour_ms] };
        Settings {
            options: schedule::Options {
                backoff,
                lifetimes_ms: vec![1 << 40],
                warnings_ms: vec![1],
                probe_delay_max_ms: 300_000,
                slots_max: 5,
                rate: None,
                site: schedule::Limits { concurrency_max: 5, recipients_max: 100, rate: None },
                tenant: schedule::TenantLimits::default(),
                paused: false,
            },
            times: Times {
                connect: second,
                greeting: second,
                command: second,
                data_initiation: second,
                data_block: second,
                data_termination: second,
                keep_idle: second,
            },
            table: Arc::new(Table::new(Vec::new(), vec![rule], None)),
            report: Arc::new(report::Settings {
                hostname: "mx.example".into(),
                from: report::nobody(),
                content_octets_max: 0,
                template: None,
                delay_warning_ms: vec![1],
            }),
            tenants: Tenants::default(),
            soft_bounce: false,
        }
    }

    /// Runs a dispatcher while `act` waits for what shall happen.
    async fn dispatch<F: Future>(
        &self,
        act: impl FnOnce(channel::Sender<Request>) -> F,
    ) -> F::Output {
        let agent = Agent::new(
            self.spool.clone(),
            Arc::new(Pool::new("mx.example", watch::channel(Arc::default()).1)),
        );
        let dispatcher = Dispatcher::new(
            self.spool.clone(),
            Arc::new(agent),
            Self::settings(),
            (Pauses::default(), Memory::default()),
            Arc::new(Backlog::new(Tenants::default())),
            1,
        );
        let (_accepted, arrivals) = channel::unbounded_channel();
        let (requests, asked) = channel::channel(8);
        let running = tokio::spawn(dispatcher.run(arrivals, asked));
        let (spool, teller) = (self.spool.clone(), requests.clone());
        tokio::task::spawn_blocking(move || take_up(&spool, u32::MAX, &teller)).await.unwrap();
        let done = act(requests.clone()).await;
        requests.send(Request::Stop).await.unwrap();
        running.await.unwrap();
        done
    }

    async fn wait(&self, what: &str, mut condition: impl FnMut(&[Stored]) -> bool) {
        for _ in 0..1_000 {
            if condition(&self.spool.scan()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:?}", self.spool.scan());
    }

    fn is_owed(&self, id: MessageId) -> bool {
        let stored = self.spool.get(id);
        stored.is_some_and(|stored| {
            matches!(stored.recipients[0], RecipientState::Failed { report_owed: true, .. })
        })
    }

    fn reports(&self) -> Vec<Envelope> {
        let scan = self.spool.scan();
        let envelopes = scan.iter().map(|stored| self.spool.envelope(stored.id).unwrap());
        let decoded = envelopes.map(|octets| Envelope::decode(&octets).unwrap());
        decoded.filter(|envelope| envelope.origin == Origin::Report).collect()
    }

    async fn operate(requests: &channel::Sender<Request>, id: MessageId, verb: Verb) {
        let (answer, answered) = oneshot::channel();
        requests.send(Request::Operate(id, verb, answer)).await.unwrap();
        assert_eq!(answered.await.unwrap(), Ok(true));
    }
}

#[tokio::test]
async fn a_full_disk_owes_the_report_and_room_brings_it_once() {
    let scene = Scene::new();
    let failing = scene.append("bad@refused.example", false, 100).unwrap();
    let held = scene.fill();
    assert!(!held.is_empty());
    let owed = |scene: &Scene| scene.is_owed(failing);
    scene.dispatch(|_| scene.wait("not owed", |_| owed(&scene))).await;
    assert!(scene.reports().is_empty());

    // Still no room after a start: still owed, once.
    scene.dispatch(|_| tokio::time::sleep(Duration::from_millis(300))).await;
    assert!(owed(&scene) && scene.reports().is_empty());

    // The operator may try it again meanwhile.
    scene
        .dispatch(async |requests| {
            scene.wait("not owed", |_| owed(&scene)).await;
            for _ in 0..50 {
                Scene::operate(&requests, failing, Verb::Retry).await;
            }
            scene.wait("not owed again", |_| owed(&scene)).await;
        })
        .await;

    scene.full.store(false, Ordering::SeqCst);
    scene.commit(held.into_iter().map(Op::Remove).collect()).unwrap();
    scene.dispatch(|_| scene.wait("no report", |_| !scene.reports().is_empty())).await;
    assert_eq!(scene.spool.get(failing), None);
    for _ in 0..3 {
        scene.dispatch(|_| tokio::time::sleep(Duration::from_millis(100))).await;
    }
    let reports = scene.reports();
    assert_eq!((reports.len(), scene.spool.len()), (1, 1));
    assert!(reports[0].reverse_path.is_null());
    assert_eq!(reports[0].recipients[0].address.to_string(), "s@nowhere.example");
}

/// The long form waits until the same dispatcher tries again, the short one starts another.
#[tokio::test]
async fn delays_that_a_full_disk_kept_silent_are_told_of_once() {
    let scene = Scene::new();
    let to = "u@nowhere.example";
    let waiting: Vec<_> = std::iter::repeat_with(|| scene.append_from(Origin::Relay, to, false, 9))
        .take(3)
        .collect::<Result<_, _>>()
        .unwrap();
    let held = scene.fill();
    let told = |scene: &Scene| {
        let stored = waiting.iter().map(|id| scene.spool.get(*id).unwrap());
        stored.filter(|stored| stored.told_ms > 0).count()
    };
    scene
        .dispatch(async |_| {
            tokio::time::sleep(Duration::from_secs(12)).await;
            assert_eq!((told(&scene), scene.reports().len()), (0, 0));
            scene.full.store(false, Ordering::SeqCst);
            scene.commit(held.into_iter().map(Op::Remove).collect()).unwrap();
            if std::env::var_os("ANGARIUM_LONG").is_some() {
                tokio::time::sleep(Duration::from_secs(61)).await;
                assert_eq!(told(&scene), 3);
            }
        })
        .await;
    scene.dispatch(|_| tokio::time::sleep(Duration::from_secs(12))).await;
    assert_eq!((told(&scene), scene.reports().len()), (3, 1));
}

/// As a kill leaves it between the record of what a next hop took and the report of it.
#[tokio::test]
async fn what_was_taken_is_told_once_when_there_is_room() {
    let scene = Scene::new();
    let taken = scene.append("u@nowhere.example", false, 9).unwrap();
    let change = Change::Taken { reason: "delivered: said 250 2.0.0 saved".into() };
    scene.commit(vec![Op::Update { id: taken, changes: vec![(0, change)] }]).unwrap();
    let held = scene.fill();
    scene.dispatch(|_| tokio::time::sleep(Duration::from_millis(300))).await;
    let state = scene.spool.get(taken).unwrap().recipients.remove(0);
    assert!(matches!(state, RecipientState::Taken { .. }) && scene.reports().is_empty());

    scene.full.store(false, Ordering::SeqCst);
    scene.commit(held.into_iter().map(Op::Remove).collect()).unwrap();
    scene.dispatch(|_| scene.wait("no report", |_| !scene.reports().is_empty())).await;
    for _ in 0..3 {
        scene.dispatch(|_| tokio::time::sleep(Duration::from_millis(100))).await;
    }
    assert_eq!((scene.reports().len(), scene.spool.get(taken)), (1, None));
}
