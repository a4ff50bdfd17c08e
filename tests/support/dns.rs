//! A name server for tests, over UDP on loopback.
//!
//! Promises: it knows only what a test has told it, answers everything else with NXDOMAIN, counts what
//! it is asked, and is silent or broken where the test wants it so.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a name has.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Addresses and a text.
    Records(Vec<Ipv4Addr>, &'static str),
    /// Nothing is sent.
    Silence,
    /// SERVFAIL.
    Failure,
}

const A: u16 = 1;
const SOA: u16 = 6;
const TXT: u16 = 16;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const TTL_S: u32 = 300;

#[derive(Debug, Default)]
struct Known {
    entries: HashMap<String, Entry>,
    asked: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    known: Arc<Mutex<Known>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// One that knows nothing yet.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let (known, stop) = (Arc::new(Mutex::new(Known::default())), Arc::default());
        let (shared, stopping) = (Arc::clone(&known), Arc::clone(&stop));
        let thread = std::thread::spawn(move || serve(&socket, &shared, &stopping));
        Self { address, known, stop, thread: Some(thread) }
    }

    /// The configuration that asks it.
    pub fn section(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\ntimeout = \"300ms\"\nattempts = 2\n", self.address)
    }

    /// Sets what a name has; a name that begins with a dot stands for all below it.
    pub fn set(&self, name: &str, entry: Entry) {
        self.known.lock().unwrap().entries.insert(name.to_owned(), entry);
    }

    /// How often names that end like this were asked for.
    pub fn asked(&self, end: &str) -> usize {
        let known = self.known.lock().unwrap();
        known.asked.iter().filter(|name| name.ends_with(end)).count()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, known: &Mutex<Known>, stop: &AtomicBool) {
    let mut octets = [0; 1500];
    while !stop.load(Ordering::Relaxed) {
        let Ok((count, client)) = socket.recv_from(&mut octets) else { continue };
        if let Some(reply) = answer(&octets[..count], &mut known.lock().unwrap()) {
            let _ = socket.send_to(&reply, client);
        }
    }
}

/// The reply to a query (RFC 1035 4.1), if there is to be one.
fn answer(query: &[u8], known: &mut Known) -> Option<Vec<u8>> {
    let (name, end) = read_name(query, 12)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let question = query.get(12..end + 4)?;
    known.asked.push(name.clone());
    let below = || {
        let ends = known.entries.iter().filter(|(end, _)| end.starts_with('.'));
        ends.clone().find(|(end, _)| name.ends_with(end.as_str())).map(|(_, entry)| entry)
    };
    let (code, records) = match known.entries.get(&name).or_else(below) {
        Some(Entry::Silence) => return None,
        Some(Entry::Failure) => (SERVFAIL, Vec::new()),
        None => (NXDOMAIN, Vec::new()),
        Some(Entry::Records(addresses, _)) if kind == A => {
            (0, addresses.iter().map(|address| address.octets().to_vec()).collect())
        }
        Some(Entry::Records(_, text)) if kind == TXT && !text.is_empty() => {
            let mut octets = vec![u8::try_from(text.len()).unwrap()];
            octets.extend(text.as_bytes());
            (0, vec![octets])
        }
        Some(Entry::Records(..)) => (0, Vec::new()),
    };
    let mut reply = query[..2].to_vec();
    let negative = records.is_empty() && code != SERVFAIL;
    let (answers, authorities) = (u8::try_from(records.len()).unwrap(), u8::from(negative));
    reply.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, authorities, 0, 0]);
    reply.extend(question);
    for data in records {
        put_record(&mut reply, kind, &data);
    }
    if negative {
        // Two root names, and five numbers: how long "no" is good is the last.
        let numbers = [1, 1, 1, 1, TTL_S].map(u32::to_be_bytes).concat();
        put_record(&mut reply, SOA, &[&[0, 0], &numbers[..]].concat());
    }
    Some(reply)
}

fn put_record(reply: &mut Vec<u8>, kind: u16, data: &[u8]) {
    // The owner is the name of the question.
    reply.extend([0xc0, 12]);
    reply.extend(kind.to_be_bytes());
    reply.extend([0, 1]);
    reply.extend(TTL_S.to_be_bytes());
    reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    reply.extend(data);
}

/// The name at an offset in lower case without its final dot, and what is behind it.
fn read_name(octets: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*octets.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(octets.get(at..at + length)?).to_lowercase());
        at += length;
    }
}
