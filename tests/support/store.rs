//! A mailstore (LMTP) or next hop (SMTP) inside the test, which keeps what it is given.
//!
//! Promises: every message it answers with a 250 is recorded, envelope and octets, before that
//! reply is sent; dots are taken out of what came by DATA, and nothing else is done to the content. How it behaves can
//! be changed while it runs. `stop` cuts every connection, as a crash would; `start` listens at
//! the same place again. All of it ends on drop.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::socket::{Listener, Place, Socket};
use super::{loopback, wait_until};

/// A delivered message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The reverse-path, without brackets.
    pub from: String,
    /// The recipients answered with 250, in the order of their RCPT.
    pub to: Vec<String>,
    /// The content, without the stuffed dots and the final one.
    pub content: Vec<u8>,
}

/// Where the store cuts the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Instead of the greeting.
    Greeting,
    /// Instead of the reply to LHLO or EHLO.
    Hello,
    /// Instead of the reply to MAIL.
    Mail,
    /// Instead of the reply to RCPT.
    Recipient,
    /// Instead of the 354.
    Data,
    /// When the first line of content has come.
    Content,
    /// After the final dot: nothing recorded, no reply.
    BeforeRecord,
    /// After the final dot: recorded, and no reply.
    AfterRecord,
}

/// How the store behaves.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Speak SMTP: one reply to the content, for all recipients.
    pub smtp: bool,
    /// Who has a mailbox; None: everyone. Others get 550 5.1.1 to RCPT.
    pub known: Option<HashSet<String>>,
    /// The reply to each MAIL, where it shall not be 250.
    pub refuse: Option<String>,
    /// The reply to RCPT of an address, where it shall not be 250.
    pub recipient_replies: HashMap<String, String>,
    /// The reply to the content for an address (in SMTP that of the first), where not 250.
    pub content_replies: HashMap<String, String>,
    /// Waits so long before each reply to content.
    pub delay: Duration,
    /// Does not offer 8BITMIME.
    pub seven_bit: bool,
    /// Offers CHUNKING and BINARYMIME, and takes content by BDAT.
    pub chunks: bool,
    /// More lines of its reply to the hello, such as "LIMITS RCPTMAX=100".
    pub offers: Vec<String>,
    /// Offers DSN.
    pub dsn: bool,
    /// Offers SMTPUTF8.
    pub utf8: bool,
    /// Cuts every connection when content holds this text, as a process that dies of it would.
    pub poison: Option<String>,
    /// Cuts the connection there.
    pub drop_at: Option<Stage>,
}

impl Behaviour {
    /// A mailstore that knows these addresses.
    pub fn knowing(addresses: &[&str]) -> Self {
        let known = addresses.iter().map(|address| (*address).to_owned()).collect();
        Self { known: Some(known), ..Self::default() }
    }

    /// A next hop that takes everything by SMTP.
    pub fn next_hop() -> Self {
        Self { smtp: true, ..Self::default() }
    }
}

#[derive(Debug, Default)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    deliveries: Mutex<Vec<Delivery>>,
    transcript: Mutex<Vec<String>>,
    open: Mutex<Vec<Socket>>,
    stopping: AtomicBool,
    connections: AtomicUsize,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    place: Place,
    acceptor: Option<JoinHandle<()>>,
}

impl Store {
    /// One on a free loopback port.
    pub fn tcp(behaviour: Behaviour) -> Self {
        Self::at(Place::Tcp(loopback(super::free_port())), behaviour)
    }

    /// One on a Unix socket.
    pub fn unix(path: &Path, behaviour: Behaviour) -> Self {
        Self::at(Place::Unix(path.to_owned()), behaviour)
    }

    fn at(place: Place, behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared { behaviour: Mutex::new(behaviour), ..Shared::default() });
        let mut store = Self { shared, place, acceptor: None };
        store.start();
        store
    }

    /// Listens, again after a `stop`.
    pub fn start(&mut self) {
        assert!(self.acceptor.is_none(), "the store runs already");
        self.shared.stopping.store(false, Ordering::SeqCst);
        let listener = Listener::bind(&self.place).unwrap();
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(std::thread::spawn(move || accept(&listener, &shared)));
    }

    /// Stops listening and cuts every connection.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = self.place.connect();
        acceptor.join().unwrap();
        if let Place::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
        for socket in lock(&self.shared.open).drain(..) {
            socket.cut();
        }
    }

    /// The next hop as the configuration names it: `lmtp:unix:/p`, `lmtp://h:p` or `smtp://h:p`.
    pub fn url(&self) -> String {
        let scheme = if lock(&self.shared.behaviour).smtp { "smtp" } else { "lmtp" };
        match &self.place {
            Place::Tcp(address) => format!("{scheme}://{address}"),
            Place::Unix(path) => format!("{scheme}:unix:{}", path.display()),
        }
    }

    /// Changes how it behaves, from the next command on.
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.shared.behaviour));
    }

    /// What has been delivered, in order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.shared.deliveries).clone()
    }

    /// How many messages have been delivered.
    pub fn count(&self) -> usize {
        lock(&self.shared.deliveries).len()
    }

    /// Waits until `count` messages have been delivered; panics when `limit` passes before.
    #[track_caller]
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<Delivery> {
        let arrived = wait_until(limit, || self.count() >= count);
        assert!(arrived, "{} of {count} messages have arrived", self.count());
        self.deliveries()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Every command line so far, over all connections.
    pub fn transcript(&self) -> Vec<String> {
        lock(&self.shared.transcript).clone()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn accept(listener: &Listener, shared: &Arc<Shared>) {
    loop {
        let Ok(socket) = listener.accept() else { return };
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        shared.connections.fetch_add(1, Ordering::SeqCst);
        lock(&shared.open).push(socket.duplicate().unwrap());
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let _ = Connection::new(socket.duplicate().unwrap(), shared).serve();
            socket.cut();
        });
    }
}

/// One connection: the transaction under way, and what is left to do with a cut.
struct Connection {
    input: BufReader<Socket>,
    shared: Arc<Shared>,
    from: Option<String>,
    to: Vec<String>,
    /// The content so far that came by BDAT.
    chunks: Vec<u8>,
}

impl Connection {
    fn new(socket: Socket, shared: Arc<Shared>) -> Self {
        let input = BufReader::new(socket);
        Self { input, shared, from: None, to: Vec::new(), chunks: Vec::new() }
    }

    fn serve(&mut self) -> io::Result<()> {
        self.stage(Stage::Greeting)?;
        self.say("220 store.test ready")?;
        loop {
            let line = self.line()?;
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            lock(&self.shared.transcript).push(text.clone());
            match text.get(..4).unwrap_or(&text).to_ascii_uppercase().as_str() {
                "LHLO" | "EHLO" | "HELO" => self.hello()?,
                "MAIL" => self.mail(&text)?,
                "RCPT" => self.recipient(&text)?,
                "DATA" => self.data()?,
                "BDAT" => self.bdat(&text)?,
                "AUTH" => self.say("235 2.7.0 welcome")?,
                "RSET" => self.reset("250 2.0.0 reset")?,
                "NOOP" => self.say("250 2.0.0 ok")?,
                "QUIT" => return self.say("221 2.0.0 bye"),
                _ => self.say("500 5.5.2 what?")?,
            }
        }
    }

    fn hello(&mut self) -> io::Result<()> {
        self.stage(Stage::Hello)?;
        let behaviour = self.behaviour();
        let eight_bit = if behaviour.seven_bit { "" } else { "250-8BITMIME\r\n" };
        let chunks = if behaviour.chunks { "250-CHUNKING\r\n250-BINARYMIME\r\n" } else { "" };
        let dsn = if behaviour.dsn { "250-DSN\r\n" } else { "" };
        let utf8 = if behaviour.utf8 { "250-SMTPUTF8\r\n" } else { "" };
        let more: String = behaviour.offers.iter().map(|line| format!("250-{line}\r\n")).collect();
        self.say(&format!(
            "250-store.test\r\n250-PIPELINING\r\n{eight_bit}{chunks}{dsn}{utf8}{more}250 ENHANCEDSTATUSCODES"
        ))
    }

    fn mail(&mut self, line: &str) -> io::Result<()> {
        self.stage(Stage::Mail)?;
        if let Some(refusal) = self.behaviour().refuse {
            return self.say(&refusal);
        }
        self.from = Some(path(line));
        self.to.clear();
        self.say("250 2.1.0 sender ok")
    }

    fn recipient(&mut self, line: &str) -> io::Result<()> {
        self.stage(Stage::Recipient)?;
        let (address, behaviour) = (path(line), self.behaviour());
        if self.from.is_none() {
            return self.say("503 5.5.1 MAIL first");
        }
        if let Some(reply) = behaviour.recipient_replies.get(&address) {
            return self.say(reply);
        }
        if behaviour.known.is_some_and(|known| !known.contains(&address)) {
            return self.say("550 5.1.1 no such mailbox");
        }
        self.to.push(address);
        self.say("250 2.1.5 recipient ok")
    }

    fn data(&mut self) -> io::Result<()> {
        self.stage(Stage::Data)?;
        if self.to.is_empty() {
            return self.say("503 5.5.1 no recipient");
        }
        self.say("354 go on")?;
        let content = self.content()?;
        self.take(content)
    }

    /// A chunk: so many octets, whatever they are.
    fn bdat(&mut self, line: &str) -> io::Result<()> {
        let octets = line.split(' ').nth(1).and_then(|octets| octets.parse().ok());
        let octets = octets.ok_or(io::ErrorKind::InvalidData)?;
        if self.input.by_ref().take(octets).read_to_end(&mut self.chunks)? as u64 != octets {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.stage(Stage::Content)?;
        if self.to.is_empty() {
            return self.say("503 5.5.1 no recipient");
        }
        if !line.ends_with(" LAST") {
            return self.say("250 2.0.0 go on");
        }
        let content = std::mem::take(&mut self.chunks);
        self.take(content)
    }

    fn take(&mut self, content: Vec<u8>) -> io::Result<()> {
        let mut behaviour = self.behaviour();
        std::thread::sleep(behaviour.delay);
        if behaviour.poison.take().is_some_and(|poison| holds(&content, poison.as_bytes())) {
            lock(&self.shared.open).iter().for_each(Socket::cut);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.stage(Stage::BeforeRecord)?;
        let replies = self.record(&behaviour, content);
        self.stage(Stage::AfterRecord)?;
        self.reset(&replies.join("\r\n"))
    }

    /// Reads content up to the final dot.
    fn content(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let line = self.line()?;
            self.stage(Stage::Content)?;
            let begins = content.is_empty() || content.ends_with(b"\r\n");
            match line.as_slice() {
                b".\r\n" if begins => return Ok(content),
                [b'.', rest @ ..] if begins => content.extend_from_slice(rest),
                whole => content.extend_from_slice(whole),
            }
        }
    }

    /// Records the message for those who get a 250, and returns the reply of each.
    fn record(&self, behaviour: &Behaviour, content: Vec<u8>) -> Vec<String> {
        let good = "250 2.0.0 stored".to_owned();
        let reply = |to: &String| behaviour.content_replies.get(to).unwrap_or(&good).clone();
        let replies: Vec<String> = self.to.iter().map(reply).collect();
        let answered = |index: usize| if behaviour.smtp { &replies[0] } else { &replies[index] };
        let accepted = self.to.iter().enumerate().filter(|(i, _)| answered(*i).starts_with('2'));
        let to: Vec<String> = accepted.map(|(_, address)| address.clone()).collect();
        if !to.is_empty() {
            let from = self.from.clone().unwrap_or_default();
            lock(&self.shared.deliveries).push(Delivery { from, to, content });
        }
        if behaviour.smtp { replies.into_iter().take(1).collect() } else { replies }
    }

    fn reset(&mut self, reply: &str) -> io::Result<()> {
        self.from = None;
        self.to.clear();
        self.chunks.clear();
        self.say(reply)
    }

    fn behaviour(&self) -> Behaviour {
        lock(&self.shared.behaviour).clone()
    }

    fn stage(&self, stage: Stage) -> io::Result<()> {
        let drop_at = lock(&self.shared.behaviour).drop_at;
        if drop_at == Some(stage) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line)?;
        if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn say(&mut self, reply: &str) -> io::Result<()> {
        self.input.get_mut().write_all(format!("{reply}\r\n").as_bytes())
    }
}

/// The address between the brackets of a MAIL or RCPT.
fn holds(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

fn path(line: &str) -> String {
    let begin = line.find('<').map_or(line.len(), |at| at + 1);
    let end = line.rfind('>').unwrap_or(line.len()).max(begin);
    line.get(begin..end).unwrap_or_default().to_owned()
}
