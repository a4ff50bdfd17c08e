//! Clients that send numbered messages, at once or at a pace, and keep their receipts.
//!
//! Promises that no number is used twice in a process, and that every message is accepted: whatever
//! else happens fails the test. A receipt has the moment its 250 was read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::numbered;
use crate::support::smtp::Client;

/// Sessions of a flood.
const FLOODERS: u64 = 16;
/// Sessions of a paced load.
const PACERS: u64 = 4;
/// Lines of a message, 70 octets each.
const LINES: usize = 10;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// An accepted message.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Which it is.
    pub number: u64,
    /// Its queue id.
    pub id: String,
    /// When its 250 was read.
    pub at: Instant,
}

/// Who sends, and to whom.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The daemon.
    pub daemon: SocketAddr,
    /// The client's address, which is its tenant.
    pub client: IpAddr,
    /// The reverse-path.
    pub from: String,
    /// The recipients of the messages, in turns.
    pub to: Vec<String>,
}

impl Sender {
    /// One from 127.0.0.1.
    pub fn new(daemon: SocketAddr, from: &str, to: &[&str]) -> Self {
        let to = to.iter().map(|address| (*address).to_owned()).collect();
        Self { daemon, client: Ipv4Addr::LOCALHOST.into(), from: from.to_owned(), to }
    }

    /// The same from another loopback address, and thereby another tenant.
    pub fn at(self, client: [u8; 4]) -> Self {
        Self { client: client.into(), ..self }
    }

    /// Sends so many messages as fast as they are taken.
    pub fn flood(&self, count: u64) -> Vec<Receipt> {
        self.share(FLOODERS.min(count), |session, client| {
            let mine = (session..count).step_by(usize::try_from(FLOODERS).unwrap());
            mine.map(|index| self.send(client, index)).collect()
        })
    }

    /// Sends so many messages a second; one that was held up is not waited for by the others.
    pub fn pace(&self, per_second: u64, lasting: Duration) -> Vec<Receipt> {
        let count = per_second * u64::try_from(lasting.as_millis()).unwrap() / 1000;
        let begin = Instant::now();
        self.share(PACERS, |session, client| {
            let mine = (session..count).step_by(usize::try_from(PACERS).unwrap());
            mine.map(|index| {
                let due = begin + Duration::from_micros(index * 1_000_000 / per_second);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                self.send(client, index)
            })
            .collect()
        })
    }

    /// Sends one message to all the recipients.
    pub fn send_to_all(&self) -> Receipt {
        let to: Vec<&str> = self.to.iter().map(String::as_str).collect();
        let mut client = self.connect();
        let receipt = self.transact(&mut client, &to);
        client.quit();
        receipt
    }

    fn share(
        &self,
        sessions: u64,
        work: impl Fn(u64, &mut Client) -> Vec<Receipt> + Sync,
    ) -> Vec<Receipt> {
        let (work, sender) = (&work, self);
        std::thread::scope(|scope| {
            let session = |session| {
                scope.spawn(move || {
                    let mut client = sender.connect();
                    let receipts = work(session, &mut client);
                    client.quit();
                    receipts
                })
            };
            let running: Vec<_> = (0..sessions).map(session).collect();
            running.into_iter().flat_map(|session| session.join().unwrap()).collect()
        })
    }

    fn connect(&self) -> Client {
        let mut client = Client::connect_from(self.client, self.daemon);
        client.try_hello("EHLO load.example").unwrap();
        client
    }

    fn send(&self, client: &mut Client, index: u64) -> Receipt {
        let turn = usize::try_from(index).unwrap() % self.to.len();
        self.transact(client, &[&self.to[turn]])
    }

    fn transact(&self, client: &mut Client, to: &[&str]) -> Receipt {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = client.send_message(&self.from, to, &content(number)).queue_id();
        Receipt { number, id, at: Instant::now() }
    }
}

fn content(number: u64) -> Vec<u8> {
    numbered::content(number, LINES)
}

/// The number of a message that was delivered; panics when it is not what was sent.
pub fn number_of(delivered: &str) -> u64 {
    numbered::number_of(delivered.as_bytes(), content)
}
