//! One connection to Dovecot that many exchanges share.
//!
//! Promises that each request gets its own replies and no other's, that a request which is given up
//! leaves nothing behind, and that all of them are told when the connection breaks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::protocol::{self, Message, Reader, Reply};
use crate::net::stream::{self, Stream};
use crate::registry::mechanism::Mechanism;
use crate::route::next_hop::Place;

const READ_OCTETS: usize = 4096;
/// Lines that wait to be written; further exchanges wait.
const WAITING_MAX: usize = 64;

/// What the connection is asked to do.
enum Command {
    /// Send the line, and pass on what comes for the request.
    Send { id: u32, line: Vec<u8>, reply: oneshot::Sender<Reply> },
    /// Nobody waits for this request any more.
    Cancel(u32),
    /// Dovecot is silent: it may be gone without a word.
    Close,
}

/// A connection; clones are the same one. It is closed when the last of them is dropped.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    commands: mpsc::Sender<Command>,
    ids: Arc<AtomicU32>,
    /// How many replies came, to tell a slow answer from a dead connection.
    heard: Arc<AtomicU64>,
}

impl Connection {
    /// Connects, and carries out the handshake; with it come the mechanisms that are offered. The
    /// error is a sentence.
    pub(super) async fn open(
        place: &Place,
        limit: Duration,
    ) -> Result<(Self, Vec<Mechanism>), String> {
        let mut why = String::new();
        for address in stream::addresses(place, limit).await? {
            let mut stream = match stream::connect(&address, limit).await {
                Ok(stream) => stream,
                Err(fault) => {
                    why = fault;
                    continue;
                }
            };
            let mut reader = Reader::default();
            let offered = timeout(limit, shake_hands(&mut stream, &mut reader)).await;
            let offered = offered.map_err(|_| format!("{address} does not greet in time"))??;
            let (commands, waiting) = mpsc::channel(WAITING_MAX);
            let heard = Arc::default();
            let serving = Serving {
                stream,
                reader,
                pending: HashMap::new(),
                heard: Arc::clone(&heard),
                limit,
            };
            tokio::spawn(serving.run(waiting));
            let ids = Arc::new(AtomicU32::new(1));
            return Ok((Self { commands, ids, heard }, offered));
        }
        Err(why)
    }

    /// Whether it still takes requests.
    pub(super) fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Comes back when it is closed.
    pub(super) async fn closed(&self) {
        self.commands.closed().await;
    }

    /// The id of a new request.
    pub(super) fn new_id(&self) -> u32 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a line, and waits for what it brings. The error is a sentence.
    pub(super) async fn ask(
        &self,
        id: u32,
        line: Vec<u8>,
        limit: Duration,
    ) -> Result<Reply, String> {
        let before = self.heard.load(Ordering::Relaxed);
        let (reply, answered) = oneshot::channel();
        let lost = || "the connection to Dovecot was lost".to_owned();
        let asked = async {
            self.commands.send(Command::Send { id, line, reply }).await.map_err(|_| lost())?;
            answered.await.map_err(|_| lost())
        };
        match timeout(limit, asked).await {
            Ok(replied) => replied,
            Err(_) => {
                if self.heard.load(Ordering::Relaxed) == before {
                    let _ = self.commands.try_send(Command::Close);
                }
                Err(format!("Dovecot did not answer within {} seconds", limit.as_secs()))
            }
        }
    }

    /// Gives a request up. A connection too busy to be told will answer nobody.
    pub(super) fn cancel(&self, id: u32) {
        let _ = self.commands.try_send(Command::Cancel(id));
    }
}

async fn shake_hands(stream: &mut Stream, reader: &mut Reader) -> Result<Vec<Mechanism>, String> {
    // A process id would be that of others where several containers share one Dovecot.
    let client = fastrand::u32(1..=i32::MAX.unsigned_abs());
    stream.write_all(&protocol::hello(client)).await.map_err(failed)?;
    let mut offered = Vec::new();
    loop {
        match reader.next_message()? {
            Some(Message::Mechanism(mechanism)) => offered.push(mechanism),
            Some(Message::Done) => return Ok(offered),
            Some(Message::Reply(..)) => {}
            None => read(stream, reader).await?,
        }
    }
}

async fn read(stream: &mut Stream, reader: &mut Reader) -> Result<(), String> {
    let mut octets = [0; READ_OCTETS];
    let count = stream.read(&mut octets).await.map_err(failed)?;
    if count == 0 {
        return Err("Dovecot closed the connection".to_owned());
    }
    reader.push(octets.get(..count).unwrap_or_default());
    Ok(())
}

fn failed(error: std::io::Error) -> String {
    format!("the connection to Dovecot failed: {error}")
}

/// The side of a connection that owns the socket.
struct Serving {
    stream: Stream,
    reader: Reader,
    pending: HashMap<u32, oneshot::Sender<Reply>>,
    heard: Arc<AtomicU64>,
    limit: Duration,
}

impl Serving {
    /// Serves until nobody needs the connection or it breaks; whoever waits then is told by the end
    /// of its channel.
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    if !self.carry_out(command).await {
                        return;
                    }
                }
                read = read(&mut self.stream, &mut self.reader) => {
                    if read.is_err() || !self.pass_on() {
                        return;
                    }
                }
            }
        }
    }

    /// False if that is the end of the connection.
    async fn carry_out(&mut self, command: Command) -> bool {
        let line = match command {
            Command::Send { id, line, reply } => {
                self.pending.insert(id, reply);
                line
            }
            Command::Cancel(id) => {
                self.pending.remove(&id);
                protocol::cancel(id)
            }
            Command::Close => return false,
        };
        matches!(timeout(self.limit, self.stream.write_all(&line)).await, Ok(Ok(())))
    }

    /// False if Dovecot speaks another protocol.
    fn pass_on(&mut self) -> bool {
        loop {
            match self.reader.next_message() {
                Ok(Some(Message::Reply(id, reply))) => {
                    self.heard.fetch_add(1, Ordering::Relaxed);
                    if let Some(asked) = self.pending.remove(&id) {
                        let _ = asked.send(reply);
                    }
                }
                Ok(Some(Message::Mechanism(_) | Message::Done)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}
