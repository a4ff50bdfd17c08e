//! The next hop: takes every message at once, and keeps book of which came.
//!
//! Promises that a message counts only when it came whole and untouched in length, that a second
//! copy of it is noticed, and that the moment of the last arrival is known. It speaks SMTP or LMTP
//! with pipelining, to senders that give one recipient a message.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::source::{DIGITS, FIELD};

/// More messages than any run sends.
const IDS_MAX: usize = 4_000_000;
/// A header section is here to its end when this much of a message is.
const HEADER_OCTETS: usize = 2048;
const END: &[u8] = b"\r\n.\r\n";

/// A listening sink; it stops on drop.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    book: Arc<Book>,
    task: JoinHandle<()>,
}

/// What has come.
#[derive(Debug)]
struct Book {
    hello: &'static str,
    octets: usize,
    copies: Vec<AtomicU8>,
    arrived: AtomicU64,
    checksum: AtomicU64,
    last: Mutex<Instant>,
    fault: Mutex<Option<String>>,
}

impl Sink {
    /// A sink that is greeted with "EHLO" or "LHLO", for messages of so many octets.
    pub(crate) fn start(runtime: &Handle, hello: &'static str, octets: usize) -> Self {
        let book = Arc::new(Book {
            hello,
            octets,
            copies: std::iter::repeat_with(AtomicU8::default).take(IDS_MAX).collect(),
            arrived: AtomicU64::new(0),
            checksum: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            fault: Mutex::new(None),
        });
        let _runtime = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let task = runtime.spawn(accept(listener, Arc::clone(&book)));
        Self { address, book, task }
    }

    /// Waits until the ids below `sent` have come; when the last one did.
    pub(crate) fn await_all(&self, sent: u64, limit: Duration) -> Instant {
        let end = Instant::now() + limit;
        while self.book.arrived.load(Ordering::Acquire) < sent {
            self.panic_on_fault();
            let arrived = self.book.arrived.load(Ordering::Acquire);
            assert!(Instant::now() < end, "{arrived} of {sent} messages arrive in {limit:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        *self.book.last.lock().unwrap()
    }

    /// Asserts that the ids below `sent` have come once each, and nothing else.
    pub(crate) fn check(&self, sent: u64) {
        self.panic_on_fault();
        let arrived = self.book.arrived.load(Ordering::Acquire);
        assert_eq!(arrived, sent, "messages that arrived, and that were sent");
        let wanted = (0..sent).fold(0, |sum: u64, id| sum.wrapping_add(mix(id)));
        assert_eq!(self.book.checksum.load(Ordering::Acquire), wanted, "the checksum of the ids");
        for (id, copies) in self.book.copies.iter().enumerate() {
            let wanted = u8::from((id as u64) < sent);
            assert_eq!(copies.load(Ordering::Acquire), wanted, "how often message {id} came");
        }
    }

    fn panic_on_fault(&self) {
        let fault = self.book.fault.lock().unwrap();
        assert!(fault.is_none(), "at the sink: {fault:?}");
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Spreads an id over a word, so that sums of different ids differ.
fn mix(id: u64) -> u64 {
    let word = (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^ (word >> 29)
}

async fn accept(listener: TcpListener, book: Arc<Book>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let session = Session {
            book: Arc::clone(&book),
            input: Vec::with_capacity(64 * 1024),
            output: b"220 sink.test\r\n".to_vec(),
            content: None,
            open: true,
        };
        tokio::spawn(session.run(stream));
    }
}

/// A connection to the sink.
struct Session {
    book: Arc<Book>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// While content comes.
    content: Option<Content>,
    open: bool,
}

/// The content that was read and let go of.
#[derive(Default)]
struct Content {
    id: Option<usize>,
    octets: usize,
}

impl Session {
    async fn run(mut self, mut stream: TcpStream) {
        while self.open || !self.output.is_empty() {
            if stream.write_all(&self.output).await.is_err() {
                return;
            }
            self.output.clear();
            self.input.reserve(32 * 1024);
            match stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.handle(),
            }
        }
    }

    fn handle(&mut self) {
        let mut input = std::mem::take(&mut self.input);
        let mut used = 0;
        while let Some(more) = self.step(&input[used..]) {
            used += more;
        }
        input.drain(..used);
        self.input = input;
    }

    /// Handles one command or piece of content, and says how long it was; `None` for want of more.
    fn step(&mut self, input: &[u8]) -> Option<usize> {
        if self.content.is_some() {
            return self.take_content(input);
        }
        let end = memchr::memchr(b'\n', input)?;
        let reply: &[u8] = match &input[..end.min(4)] {
            hello if hello == self.book.hello.as_bytes() => {
                b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
            }
            b"MAIL" | b"RCPT" | b"RSET" | b"NOOP" => b"250 ok\r\n",
            b"DATA" => {
                self.content = Some(Content::default());
                b"354 go on\r\n"
            }
            b"QUIT" => {
                self.open = false;
                b"221 bye\r\n"
            }
            _ => b"500 what?\r\n",
        };
        self.output.extend_from_slice(reply);
        Some(end + 1)
    }

    fn take_content(&mut self, input: &[u8]) -> Option<usize> {
        let content = self.content.as_mut()?;
        let end = memmem::find(input, END);
        if content.id.is_none() {
            if end.is_none() && input.len() < HEADER_OCTETS {
                return None;
            }
            match find_id(input) {
                Some((id, at)) => {
                    content.id = Some(id);
                    // What stands before our first field was added on the way.
                    content.octets = 0_usize.wrapping_sub(at);
                }
                None => self.book.note(format!("no id in {:?}", String::from_utf8_lossy(input))),
            }
        }
        let Some(end) = end else {
            // What may be the beginning of the end stays.
            let sure = input.len().saturating_sub(END.len() - 1);
            content.octets = content.octets.wrapping_add(sure);
            return (sure > 0).then_some(sure);
        };
        let octets = content.octets.wrapping_add(end + 2);
        self.book.enter(content.id, octets);
        self.content = None;
        self.output.extend_from_slice(b"250 ok\r\n");
        Some(end + END.len())
    }
}

/// The id in a header section, and where its field begins.
fn find_id(header: &[u8]) -> Option<(usize, usize)> {
    let at = memmem::find(header, FIELD)?;
    let digits = header.get(at + FIELD.len()..at + FIELD.len() + DIGITS)?;
    let id = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((id, at))
}

impl Book {
    fn enter(&self, id: Option<usize>, octets: usize) {
        let Some(id) = id else { return };
        if octets != self.octets {
            self.note(format!("message {id} has {octets} octets, not {}", self.octets));
        }
        match self.copies.get(id) {
            Some(copies) => copies.fetch_add(1, Ordering::Relaxed),
            None => return self.note(format!("nobody sent a message {id}")),
        };
        self.checksum.fetch_add(mix(id as u64), Ordering::Relaxed);
        *self.last.lock().unwrap() = Instant::now();
        self.arrived.fetch_add(1, Ordering::Release);
    }

    fn note(&self, fault: String) {
        self.fault.lock().unwrap().get_or_insert(fault);
    }
}
