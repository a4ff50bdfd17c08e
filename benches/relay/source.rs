//! The load: sessions that send the same message again and again, each time under another id.
//!
//! Promises that every id is sent once, that each reply is awaited before the next command is sent
//! (no pipelining), and that the cost of a message is a handful of system calls: the message is
//! made once for each session, and only the ten digits of its id change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The field of a message's header that tells its id.
pub(crate) const FIELD: &[u8] = b"X-Bench-Id: ";
/// How many digits an id has there.
pub(crate) const DIGITS: usize = 10;

/// The longest a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is sent, and how.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The server.
    pub(crate) to: SocketAddr,
    /// "EHLO" or "LHLO".
    pub(crate) hello: &'static str,
    /// Sessions at a time.
    pub(crate) sessions: usize,
    /// Whether each message gets a connection of its own.
    pub(crate) single: bool,
    /// Octets of content, header section and all.
    pub(crate) octets: usize,
}

/// What became of a load.
#[derive(Debug)]
pub(crate) struct Sent {
    /// How many messages were accepted.
    pub(crate) messages: u64,
    /// When the first session began.
    pub(crate) first: Instant,
    /// When the last message was accepted.
    pub(crate) last: Instant,
    /// From the final dot to the reply, for each message, in microseconds.
    pub(crate) waits_us: Vec<u32>,
}

/// Sends for as long as told; a session finishes the message that it has begun.
pub(crate) async fn send(load: &Load, ids: &Arc<AtomicU64>, lasting: Duration) -> Sent {
    let first = Instant::now();
    let mut sessions = JoinSet::new();
    for _ in 0..load.sessions {
        let sender = Sender {
            load: load.clone(),
            ids: Arc::clone(ids),
            end: first + lasting,
            message: message(load.octets),
            waits_us: Vec::new(),
        };
        sessions.spawn(sender.run());
    }
    let mut waits_us = Vec::new();
    for waits in sessions.join_all().await {
        waits_us.extend(waits);
    }
    Sent { messages: waits_us.len() as u64, first, last: Instant::now(), waits_us }
}

/// A message with a header section of its own, CRLF lines, and the final dot.
fn message(octets: usize) -> Vec<u8> {
    const LINE: &[u8] =
        b"Riders stand along the road, as many as there are days in the whole journey.\r\n";
    let mut message = FIELD.to_vec();
    message.extend_from_slice(&[b'0'; DIGITS]);
    message.extend_from_slice(
        b"\r\nFrom: <a@susa.example>\r\nTo: <b@sink.example>\r\nSubject: a message\r\n\
          Date: Thu, 1 Jan 2026 12:00:00 +0000\r\nMessage-ID: <one@susa.example>\r\n\r\n",
    );
    while message.len() + 2 * LINE.len() <= octets {
        message.extend_from_slice(LINE);
    }
    message.resize(octets - 2, b'x');
    message.extend_from_slice(b"\r\n.\r\n");
    message
}

struct Sender {
    load: Load,
    ids: Arc<AtomicU64>,
    end: Instant,
    message: Vec<u8>,
    waits_us: Vec<u32>,
}

impl Sender {
    async fn run(mut self) -> Vec<u32> {
        while Instant::now() < self.end {
            let mut peer = Peer::connect(self.load.to).await;
            peer.ask(&format!("{} source.test\r\n", self.load.hello), b'2').await;
            while Instant::now() < self.end {
                self.transact(&mut peer).await;
                if self.load.single {
                    break;
                }
            }
            peer.ask("QUIT\r\n", b'2').await;
        }
        self.waits_us
    }

    async fn transact(&mut self, peer: &mut Peer) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let digits = format!("{id:0DIGITS$}");
        self.message[FIELD.len()..FIELD.len() + DIGITS].copy_from_slice(digits.as_bytes());
        peer.ask("MAIL FROM:<a@susa.example>\r\n", b'2').await;
        peer.ask("RCPT TO:<b@sink.example>\r\n", b'2').await;
        peer.ask("DATA\r\n", b'3').await;
        peer.write(&self.message).await;
        let dot = Instant::now();
        peer.expect(b'2', "the content").await;
        self.waits_us.push(u32::try_from(dot.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

/// A connection to the server.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut peer = Self { stream, input: Vec::with_capacity(1024) };
        peer.expect(b'2', "the connection").await;
        peer
    }

    async fn ask(&mut self, command: &str, wanted: u8) {
        self.write(command.as_bytes()).await;
        self.expect(wanted, command).await;
    }

    async fn write(&mut self, octets: &[u8]) {
        let written = timeout(PATIENCE, self.stream.write_all(octets)).await;
        written.expect("the server reads nothing").unwrap();
    }

    /// Reads one whole reply, which is to begin with this digit.
    async fn expect(&mut self, wanted: u8, to: &str) {
        self.input.clear();
        while !is_whole(&self.input) {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            let read = read.unwrap_or_else(|_| panic!("no reply to {to:?}")).unwrap();
            assert!(read > 0, "the server closes at {to:?}");
        }
        let reply = String::from_utf8_lossy(&self.input);
        assert!(self.input[0] == wanted, "the reply to {to:?} is {reply:?}");
    }
}

/// Whether the last line of a reply is there (RFC 5321 section 4.2.1).
fn is_whole(reply: &[u8]) -> bool {
    let Some(lines) = reply.strip_suffix(b"\r\n") else { return false };
    let last = lines.rsplit(|octet| *octet == b'\n').next().unwrap_or_default();
    last.get(3) != Some(&b'-')
}
