//! A next hop that is slow, or full, or counts: thousands of connections, each reply when it is due.
//!
//! Promises: a message is entered when the first octet of its 250 is about to leave, with the moment
//! at which its final dot had come; one whose sender is gone before that is not entered. Behaviour
//! counts from the next command on. All sinks of a process share a few threads. `close` cuts every
//! connection and refuses new ones; `open` listens at the same port. Ends on drop.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::load;
use crate::support::{free_port, loopback, wait_until};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// How a sink behaves.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Waits so long before the reply to MAIL.
    pub mail_delay: Duration,
    /// Waits so long before the reply to content.
    pub content_delay: Duration,
    /// Greets a connection beyond so many at a time with 421.
    pub connections_max: Option<usize>,
    /// Answers MAIL with 450 beyond so many in one second.
    pub rate_max: Option<usize>,
    /// The reply to content, where not 250.
    pub refusal: Option<String>,
}

/// A message that was answered with 250.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When its final dot had come.
    pub at: Instant,
    /// Its number.
    pub number: u64,
    /// The recipients of this copy.
    pub to: Vec<String>,
}

/// What was attempted in one second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Second {
    /// Messages answered with 250.
    pub taken: usize,
    /// Connections and messages refused for being too many.
    pub refused: usize,
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    arrivals: Mutex<Vec<Arrival>>,
    seconds: Mutex<Vec<Second>>,
    /// The second that is counted now, and the messages in it.
    counted: Mutex<(u64, usize)>,
    begin: Instant,
    open: AtomicUsize,
    /// Sessions whose reply is not due yet.
    waiting: AtomicUsize,
}

/// A listening sink.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

impl Sink {
    /// One that listens.
    pub fn start(behaviour: Behaviour) -> Self {
        let mut sink = Self::closed(behaviour);
        sink.open();
        sink
    }

    /// One whose port refuses until `open`.
    pub fn closed(behaviour: Behaviour) -> Self {
        let shared = Shared {
            behaviour: Mutex::new(behaviour),
            arrivals: Mutex::default(),
            seconds: Mutex::default(),
            counted: Mutex::default(),
            begin: Instant::now(),
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        };
        Self { address: loopback(free_port()), shared: Arc::new(shared), task: None }
    }

    /// Listens.
    pub fn open(&mut self) {
        let _runtime = RUNTIME.enter();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        self.task = Some(RUNTIME.spawn(accept(listener, Arc::clone(&self.shared))));
    }

    /// Cuts every connection and refuses new ones.
    pub fn close(&mut self) {
        let Some(task) = self.task.take() else { return };
        task.abort();
        // Its end drops the listener and the connections.
        let _ = RUNTIME.block_on(task);
    }

    /// As a route names it.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Changes how it behaves.
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.shared.behaviour));
    }

    /// What has arrived, in the order of the replies.
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.shared.arrivals).clone()
    }

    /// How many messages have arrived.
    pub fn count(&self) -> usize {
        lock(&self.shared.arrivals).len()
    }

    /// Waits until so many messages have arrived; whether they have.
    pub fn wait_for(&self, count: usize, limit: Duration) -> bool {
        wait_until(limit, || self.count() >= count)
    }

    /// How many sessions wait for a reply now.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// What was taken and refused in each second since the sink was made.
    pub fn seconds(&self) -> Vec<Second> {
        lock(&self.shared.seconds).clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        while sessions.try_join_next().is_some() {}
        stream.set_nodelay(true).unwrap();
        let shared = Arc::clone(&shared);
        let count = Counted::one(&shared, |shared| &shared.open);
        sessions.spawn(async move {
            let full =
                lock(&shared.behaviour).connections_max.is_some_and(|max| count.before >= max);
            let _ = Session::new(stream, shared).serve(full).await;
            drop(count);
        });
    }
}

/// One more in a count, until it is dropped.
struct Counted {
    shared: Arc<Shared>,
    which: fn(&Shared) -> &AtomicUsize,
    /// How many there were.
    before: usize,
}

impl Counted {
    fn one(shared: &Arc<Shared>, which: fn(&Shared) -> &AtomicUsize) -> Self {
        let before = which(shared).fetch_add(1, Ordering::SeqCst);
        Self { shared: Arc::clone(shared), which, before }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.which)(&self.shared).fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn behaviour(&self) -> Behaviour {
        lock(&self.behaviour).clone()
    }

    /// Counts a message in its second; whether that is one too many.
    fn is_too_fast(&self) -> bool {
        let Some(max) = self.behaviour().rate_max else { return false };
        let now = self.begin.elapsed().as_secs();
        let mut counted = lock(&self.counted);
        if counted.0 != now {
            *counted = (now, 0);
        }
        counted.1 += 1;
        counted.1 > max
    }

    fn tally(&self, count: impl FnOnce(&mut Second)) {
        let second = usize::try_from(self.begin.elapsed().as_secs()).unwrap();
        let mut seconds = lock(&self.seconds);
        if seconds.len() <= second {
            seconds.resize(second + 1, Second::default());
        }
        count(&mut seconds[second]);
    }
}

struct Session {
    input: BufReader<OwnedReadHalf>,
    output: BufWriter<OwnedWriteHalf>,
    shared: Arc<Shared>,
    /// Whether MAIL was answered with 250.
    begun: bool,
    to: Vec<String>,
}

impl Session {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        let (input, output) = stream.into_split();
        let (input, output) = (BufReader::new(input), BufWriter::new(output));
        Self { input, output, shared, begun: false, to: Vec::new() }
    }

    async fn serve(mut self, full: bool) -> io::Result<()> {
        if full {
            self.shared.tally(|second| second.refused += 1);
            self.say("421 4.7.0 too many connections").await?;
            return self.output.flush().await;
        }
        self.say("220 sink.test ready").await?;
        loop {
            let line = self.line().await?;
            match line.get(..4).unwrap_or(&line).to_ascii_uppercase().as_str() {
                "EHLO" => self.say("250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME").await?,
                "MAIL" => self.mail().await?,
                "RCPT" if self.begun => {
                    self.to.push(address(&line));
                    self.say("250 2.1.5 recipient ok").await?;
                }
                "DATA" => self.data().await?,
                "RSET" | "NOOP" => self.say("250 2.0.0 ok").await?,
                "QUIT" => {
                    self.say("221 2.0.0 bye").await?;
                    return self.output.flush().await;
                }
                _ => self.say("503 5.5.1 what?").await?,
            }
        }
    }

    async fn mail(&mut self) -> io::Result<()> {
        self.to.clear();
        self.begun = false;
        if self.shared.is_too_fast() {
            self.shared.tally(|second| second.refused += 1);
            return self.say("450 4.7.28 you are sending too fast, try again later").await;
        }
        self.pause(self.shared.behaviour().mail_delay).await?;
        self.begun = true;
        self.say("250 2.1.0 sender ok").await
    }

    async fn data(&mut self) -> io::Result<()> {
        if self.to.is_empty() {
            return self.say("503 5.5.1 no recipient").await;
        }
        self.say("354 go on").await?;
        let content = self.content().await?;
        let (at, behaviour) = (Instant::now(), self.shared.behaviour());
        self.pause(behaviour.content_delay).await?;
        let to = std::mem::take(&mut self.to);
        self.begun = false;
        if let Some(refusal) = behaviour.refusal {
            return self.say(&refusal).await;
        }
        let number = load::number_of(&content);
        lock(&self.shared.arrivals).push(Arrival { at, number, to });
        self.shared.tally(|second| second.taken += 1);
        self.say("250 2.0.0 stored").await
    }

    /// Waits, but no longer than the sender.
    async fn pause(&mut self, length: Duration) -> io::Result<()> {
        if length.is_zero() {
            return Ok(());
        }
        self.output.flush().await?;
        let _waiting = Counted::one(&self.shared, |shared| &shared.waiting);
        let end = sleep(length);
        tokio::pin!(end);
        tokio::select! {
            () = &mut end => return Ok(()),
            more = self.input.fill_buf() => if more?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            },
        }
        end.await;
        Ok(())
    }

    /// Reads content up to the final dot; our clients send no line that begins with one.
    async fn content(&mut self) -> io::Result<String> {
        let mut content = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                return Ok(content);
            }
            content.push_str(&line);
            content.push_str("\r\n");
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        // What is pipelined is answered in one go.
        if self.input.buffer().is_empty() {
            self.output.flush().await?;
        }
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line).await?;
        let Some(whole) = line.strip_suffix(b"\r\n") else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        Ok(String::from_utf8_lossy(whole).into_owned())
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.output.write_all(format!("{reply}\r\n").as_bytes()).await
    }
}

/// The address between the brackets of a RCPT.
fn address(line: &str) -> String {
    let (_, rest) = line.split_once('<').unwrap_or_default();
    rest.split_once('>').unwrap_or_default().0.to_owned()
}
