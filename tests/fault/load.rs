//! Clients that send one message after the other, and the ledger of what each was answered.
//!
//! Promises: no number is used twice; a message is acknowledged only by a 250 to its content. A
//! server that says nothing at all is found out after the client's patience.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::strace::Sync;
use crate::support::smtp::{Client, Reply};
use crate::support::store::Delivery;
use crate::support::{Daemon, numbered};

/// Where all of it goes.
pub const RECIPIENT: &str = "u@fault.example";

/// How long a refused client waits before it comes again.
const PAUSE: Duration = Duration::from_millis(5);

/// What times of different origin may differ by, in seconds.
const BLUR: f64 = 0.0001;

/// What became of a message, as its client saw it.
#[derive(Debug, Clone)]
pub enum Fate {
    /// 250 to the content.
    Acknowledged(Receipt),
    /// Another reply, to whatever command.
    Refused(Reply),
    /// The connection ended.
    Cut,
    /// No answer came.
    Silence,
}

/// An acknowledged message.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Which of ours it is.
    pub number: u64,
    /// The queue id.
    pub id: String,
    /// When its content was not yet sent, in seconds since the epoch.
    pub begun: f64,
    /// When the 250 was read.
    pub answered: f64,
}

/// What the clients share.
#[derive(Debug)]
pub struct Ledger {
    address: SocketAddr,
    stopping: AtomicBool,
    next: AtomicU64,
    fates: Mutex<BTreeMap<u64, Fate>>,
    /// Numbers whose messages the queue no longer held after they had been acknowledged.
    ended: Mutex<HashSet<u64>>,
}

impl Ledger {
    /// An empty one, for the server at this address.
    pub fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            stopping: AtomicBool::new(false),
            next: AtomicU64::new(0),
            fates: Mutex::default(),
            ended: Mutex::default(),
        })
    }

    /// Sends messages until told to stop, over a new session after each failure.
    fn send(&self) {
        while !self.stopping.load(Ordering::Relaxed) {
            if let Ok(mut client) = Client::try_greet(self.address, "load.example") {
                while self.send_one(&mut client) && !self.stopping.load(Ordering::Relaxed) {}
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends one message; whether it was acknowledged.
    pub fn send_one(&self, client: &mut Client) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let fate = match transaction(client, number) {
            Ok(fate) => fate,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Fate::Silence,
            Err(_) => Fate::Cut,
        };
        let good = matches!(fate, Fate::Acknowledged(_));
        self.fates.lock().unwrap().insert(number, fate);
        good
    }

    /// The acknowledged messages.
    pub fn acknowledged(&self) -> Vec<Receipt> {
        let fates = self.fates.lock().unwrap();
        let good = fates.values().filter_map(|fate| match fate {
            Fate::Acknowledged(receipt) => Some(receipt.clone()),
            _ => None,
        });
        good.collect()
    }

    /// Every reply that was no 250.
    pub fn refusals(&self) -> Vec<Reply> {
        let fates = self.fates.lock().unwrap();
        let refused = fates.values().filter_map(|fate| match fate {
            Fate::Refused(reply) => Some(reply.clone()),
            _ => None,
        });
        refused.collect()
    }

    /// Panics unless every client was answered, or cut off, and every refusal was for now only.
    #[track_caller]
    pub fn assert_answered(&self) {
        let silent = self.fates.lock().unwrap().values().any(|fate| matches!(fate, Fate::Silence));
        assert!(!silent, "a client was left without an answer");
        for reply in self.refusals() {
            assert!((400..500).contains(&reply.code), "{reply:?}");
        }
    }

    /// Panics unless a sync succeeded between the content of each message and its 250, from this
    /// number on. That it was the right one is for the comparison to tell.
    #[track_caller]
    pub fn assert_synced(&self, first: u64, syncs: &[Sync]) {
        let covers = |sync: &Sync, receipt: &Receipt| {
            sync.began >= receipt.begun - BLUR && sync.ended <= receipt.answered + BLUR
        };
        let mut unsynced = self.acknowledged();
        unsynced.retain(|receipt| {
            receipt.number >= first && !syncs.iter().any(|sync| covers(sync, receipt))
        });
        assert!(unsynced.is_empty(), "acknowledged without a sync: {unsynced:?}");
    }

    /// The ids in the queue, if the daemon answers.
    pub fn queued(daemon: &Daemon) -> Option<HashSet<String>> {
        let (listed, code) = daemon.queue(&["ls", "--json"]);
        (code == 0).then(|| listed.lines().map(id_of).collect())
    }

    /// Looks which acknowledged messages have left the queue: they may not be delivered again.
    /// A daemon that does not answer shows nothing.
    pub fn look(&self, daemon: &Daemon) {
        let before = self.acknowledged();
        let Some(queued) = Self::queued(daemon) else { return };
        let ended = before.into_iter().filter(|receipt| !queued.contains(&receipt.id));
        self.ended.lock().unwrap().extend(ended.map(|receipt| receipt.number));
    }

    /// Compares with what was delivered: nothing acknowledged is lost, nothing is altered, and
    /// nothing comes twice that the queue had let go, nor thrice at all. Returns the second copies.
    #[track_caller]
    pub fn compare(&self, deliveries: &[Delivery]) -> usize {
        let mut copies: HashMap<u64, usize> = HashMap::new();
        for delivery in deliveries {
            *copies.entry(numbered::number_of(&delivery.content, content)).or_default() += 1;
        }
        let mut lost = self.acknowledged();
        lost.retain(|receipt| !copies.contains_key(&receipt.number));
        assert!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
        let ended = self.ended.lock().unwrap();
        let twice: Vec<_> = copies.iter().filter(|(_, count)| **count > 1).collect();
        let again: Vec<_> = twice.iter().filter(|(number, _)| ended.contains(number)).collect();
        assert!(again.is_empty(), "delivered again after they had ended: {again:?}");
        assert!(twice.iter().all(|(_, count)| **count == 2), "delivered too often: {twice:?}");
        twice.len()
    }
}

/// Running clients; they are stopped by `stop`, or on drop.
#[derive(Debug)]
pub struct Load {
    /// What they are answered.
    pub ledger: Arc<Ledger>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients send to the server of this ledger.
    pub fn start(ledger: &Arc<Ledger>, clients: usize) -> Self {
        ledger.stopping.store(false, Ordering::Relaxed);
        let clients = (0..clients).map(|_| {
            let ledger = Arc::clone(ledger);
            std::thread::spawn(move || ledger.send())
        });
        Self { ledger: Arc::clone(ledger), clients: clients.collect() }
    }

    /// Lets each client end its transaction.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ledger.stopping.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// Seconds since the epoch, as strace counts them.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn transaction(client: &mut Client, number: u64) -> io::Result<Fate> {
    let recipient = format!("RCPT TO:<{RECIPIENT}>");
    for (line, code) in [("MAIL FROM:<s@load.example>", 250), (&recipient, 250), ("DATA", 354)] {
        let reply = client.try_command(line)?;
        if reply.code != code {
            return Ok(Fate::Refused(reply));
        }
    }
    // No line of it begins with a dot.
    let mut content = content(number);
    content.extend_from_slice(b".\r\n");
    let begun = now();
    client.try_write(&content)?;
    let reply = client.try_reply()?;
    if reply.code != 250 {
        return Ok(Fate::Refused(reply));
    }
    let (id, answered) = (reply.queue_id(), now());
    Ok(Fate::Acknowledged(Receipt { number, id, begun, answered }))
}

/// Some messages are large enough to take the way beside the log.
fn content(number: u64) -> Vec<u8> {
    numbered::content(number, if number % 10 == 7 { 2_500 } else { 100 })
}

fn id_of(line: &str) -> String {
    let row: Value = serde_json::from_str(line).unwrap();
    row["queue_id"].as_str().unwrap().to_owned()
}
