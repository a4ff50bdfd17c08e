//! A dialogue with a next hop over a stream: the sockets' side of `delivery::dialog`.
//!
//! Promises to write what the dialogue asks for, to read when it asks for nothing, and to give each
//! wait the time the RFC gives it (rfc5321bis 4.5.3.2). A failure of the stream becomes a break that
//! the dialogue turns into outcomes.

mod open;

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::stream::Stream;
use super::tls::Link;
use super::tls::client::Secured;
use crate::delivery::dialog::{Dialog, Output, Phase, Transaction};
use crate::delivery::features::limits::{ServerLimits, Spent};
use crate::delivery::finding::Finding;
use crate::delivery::outcome::{self, Outcome};
use crate::delivery::relay::Way;
use crate::syntax::content::Encoder;
use crate::syntax::reply::ServerReply;
pub use open::Opening;

/// How long each step may take (rfc5321bis 4.5.3.2).
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Opening the connection, for each address.
    pub connect: Duration,
    /// The greeting.
    pub greeting: Duration,
    /// The reply to a command.
    pub command: Duration,
    /// The reply to DATA.
    pub data_initiation: Duration,
    /// Sending one piece of content.
    pub data_block: Duration,
    /// The reply to the final dot.
    pub data_termination: Duration,
    /// How long an idle connection is kept.
    pub keep_idle: Duration,
}

impl Times {
    fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Greeting => self.greeting,
            Phase::Command => self.command,
            Phase::DataInitiation => self.data_initiation,
            Phase::DataTermination => self.data_termination,
            Phase::Idle => self.keep_idle,
        }
    }
}

/// Content that can be read piece by piece.
pub trait Source {
    /// The next piece will be the first again.
    fn rewind(&mut self);

    /// The next piece; `None` at the end. An error means that the content must not be finished.
    fn next_piece(&mut self) -> Result<Option<Bytes>, String>;
}

/// No content at all, for probes.
pub struct NoContent;

impl Source for NoContent {
    fn rewind(&mut self) {}

    fn next_piece(&mut self) -> Result<Option<Bytes>, String> {
        Ok(None)
    }
}

const READ_OCTETS: usize = 4096;
const SEND_OCTETS: usize = 128 * 1024;
/// How long a next hop may take to answer QUIT.
const FAREWELL_TIME: Duration = Duration::from_secs(5);

/// A connection whose hello is over; [`Opening`] makes one.
#[derive(Debug)]
pub struct Connection {
    stream: Link<Stream>,
    dialog: Dialog,
    times: Times,
    messages: u32,
    spent: Spent,
    secured: Option<Secured>,
    /// What of the content was read and belongs to the next chunk.
    rest: Bytes,
}

impl Connection {
    /// Carries one transaction; one outcome per recipient, in order.
    pub async fn transact(
        &mut self,
        transaction: Transaction,
        content: &mut impl Source,
    ) -> Vec<Outcome> {
        content.rewind();
        self.rest.clear();
        self.messages += u32::from(!transaction.probe);
        self.spent.add(&transaction.recipients, self.limits());
        self.dialog.begin(transaction);
        self.finish_transaction(content).await
    }

    /// Asks whether the next hop takes a recipient: its reply to RCPT, or why there is none.
    pub async fn ask(&mut self, recipient: &str) -> Result<ServerReply, String> {
        if !recipient.is_ascii() && !self.way().features.offers("SMTPUTF8") {
            return Ok(outcome::no_utf8_reply());
        }
        let outcomes = self.transact(Transaction::probe(recipient), &mut NoContent).await;
        self.dialog.take_probe_reply().ok_or_else(|| match outcomes.into_iter().next() {
            Some(Outcome::Deferred(why) | Outcome::Failed(why)) => why,
            _ => "it gave no answer".to_owned(),
        })
    }

    /// Asks for a sign of life; why there is none.
    pub async fn noop(&mut self) -> Result<(), String> {
        self.dialog.noop();
        match self.advance(&mut NoContent).await {
            Progress::Ready => Ok(()),
            _ => Err(self.refusal().await.reason().to_owned()),
        }
    }

    async fn finish_transaction(&mut self, content: &mut impl Source) -> Vec<Outcome> {
        loop {
            match self.advance(content).await {
                Progress::Finished(outcomes) => return outcomes,
                Progress::Ready | Progress::StartTls => {}
                Progress::Closed => return Vec::new(),
            }
        }
    }

    /// What the last transaction says of the site.
    pub fn finding(&self) -> Finding {
        self.dialog.finding().clone()
    }

    /// What TLS came to; none in clear.
    pub fn secured(&self) -> Option<&Secured> {
        self.secured.as_ref()
    }

    /// What the rules of relaying ask of it.
    pub fn way(&self) -> Way<'_> {
        self.dialog.way()
    }

    /// How many messages it was given to carry.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// What the next hop says that it takes over it.
    pub fn limits(&self) -> ServerLimits {
        self.way().features.limits
    }

    /// What it has carried of that.
    pub fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Whether another transaction may be tried on it.
    pub fn is_usable(&self) -> bool {
        !self.dialog.is_over() && self.dialog.phase() == Phase::Idle
    }

    /// Whether the last transaction found the connection gone before it was answered, as happens
    /// to one that was kept: a new connection deserves a try.
    pub fn was_stale(&self) -> bool {
        self.dialog.was_unheard()
    }

    /// Whether the next hop neither closed it nor spoke while it was idle.
    pub fn is_alive(&mut self) -> bool {
        let mut octet = [0; 1];
        let mut buffer = ReadBuf::new(&mut octet);
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer).is_pending()
    }

    /// Says QUIT, and does not wait for long.
    pub async fn quit(mut self) {
        if !self.dialog.is_over() {
            self.times.command = self.times.command.min(FAREWELL_TIME);
            self.dialog.quit();
            self.advance(&mut NoContent).await;
        }
        // Under TLS its end is said too.
        let _ = timeout(FAREWELL_TIME, self.stream.shutdown()).await;
    }

    /// The reason why the dialogue broke, as it answers any transaction.
    async fn refusal(&mut self) -> Outcome {
        self.dialog.begin(Transaction::probe(""));
        let outcomes = self.finish_transaction(&mut NoContent).await;
        outcomes.into_iter().next().unwrap_or_else(lost)
    }

    async fn advance(&mut self, content: &mut impl Source) -> Progress {
        loop {
            match self.dialog.poll_output() {
                Some(Output::Send(octets)) => drop(self.send(&octets).await),
                Some(Output::SendContent) => self.send_content(content).await,
                Some(Output::SendChunk { command, octets, is_last }) => {
                    self.send_chunk(command, octets, is_last, content).await;
                }
                Some(Output::StartTls) => return Progress::StartTls,
                Some(Output::Ready) => return Progress::Ready,
                Some(Output::Finished(outcomes)) => return Progress::Finished(outcomes),
                Some(Output::Close) => return Progress::Closed,
                None if self.dialog.is_over() => return Progress::Closed,
                None => self.receive().await,
            }
        }
    }

    async fn receive(&mut self) {
        let limit = self.times.of(self.dialog.phase());
        let mut octets = [0; READ_OCTETS];
        match timeout(limit, self.stream.read(&mut octets)).await {
            Ok(Ok(0)) => self.dialog.handle_break("it closed the connection"),
            Ok(Ok(count)) => self.dialog.handle_input(octets.get(..count).unwrap_or_default()),
            Ok(Err(error)) => self.dialog.handle_break(&format!("the connection failed: {error}")),
            Err(_) => self.dialog.handle_break("it said nothing for too long"),
        }
    }

    /// False if the connection broke.
    async fn send(&mut self, octets: &[u8]) -> bool {
        match timeout(self.times.data_block, self.write(octets)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => self.dialog.handle_break(&format!("the connection failed: {error}")),
            Err(_) => self.dialog.handle_break("it read nothing for too long"),
        }
        false
    }

    /// TLS may keep octets until it is flushed.
    async fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(octets).await?;
        self.stream.flush().await
    }

    /// Streams the content. One that can't be read to its end is never finished: the connection
    /// is dropped before the final dot.
    async fn send_content(&mut self, content: &mut impl Source) {
        let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
        loop {
            match content.next_piece() {
                Ok(Some(piece)) => encoder.encode(&piece, &mut wire),
                Ok(None) => break,
                Err(why) => return self.dialog.handle_content_lost(&why),
            }
            // The last piece waits, so that it leaves together with the final dot.
            if wire.len() > SEND_OCTETS {
                if !self.send_piece(&wire).await {
                    return;
                }
                wire.clear();
            }
        }
        encoder.finish(&mut wire);
        if self.send_piece(&wire).await {
            self.dialog.handle_content_sent();
        }
    }

    /// Streams a chunk. The next hop has the message with the last octet of the last one, so that
    /// these wait until the content is known to be whole.
    async fn send_chunk(
        &mut self,
        command: Vec<u8>,
        octets: u64,
        is_last: bool,
        content: &mut impl Source,
    ) {
        let (mut wire, mut left) = (command, octets);
        while left > 0 {
            while self.rest.is_empty() {
                match content.next_piece() {
                    Ok(Some(piece)) => self.rest = piece,
                    Ok(None) => return self.dialog.handle_content_lost("the content is cut short"),
                    Err(why) => return self.dialog.handle_content_lost(&why),
                }
            }
            let fits =
                usize::try_from(left).map_or(self.rest.len(), |left| left.min(self.rest.len()));
            wire.extend_from_slice(&self.rest.split_to(fits));
            left -= fits as u64;
            if wire.len() > SEND_OCTETS && left > 0 {
                if !self.send_piece(&wire).await {
                    return;
                }
                wire.clear();
            }
        }
        if is_last && let Err(why) = is_whole(&self.rest, content) {
            return self.dialog.handle_content_lost(&why);
        }
        if self.send_piece(&wire).await {
            self.dialog.handle_content_sent();
        }
    }

    /// A piece of content. Who stops reading may have said why: that counts more than the break.
    async fn send_piece(&mut self, wire: &[u8]) -> bool {
        let sent = timeout(self.times.data_block, self.write(wire)).await;
        let why = match sent {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => format!("the connection failed: {error}"),
            Err(_) => "it read nothing for too long".to_owned(),
        };
        let mut octets = [0; READ_OCTETS];
        if let Ok(Ok(count)) = timeout(FAREWELL_TIME, self.stream.read(&mut octets)).await {
            self.dialog.handle_input(octets.get(..count).unwrap_or_default());
        }
        self.dialog.handle_break(&why);
        false
    }
}

/// Whether content has come to its end, and is what was stored.
fn is_whole(rest: &Bytes, content: &mut impl Source) -> Result<(), String> {
    match content.next_piece()? {
        None if rest.is_empty() => Ok(()),
        _ => Err("the content is longer than it was".to_owned()),
    }
}

fn lost() -> Outcome {
    Outcome::Deferred("the connection was lost".to_owned())
}

#[derive(Debug)]
enum Progress {
    StartTls,
    Ready,
    Finished(Vec<Outcome>),
    Closed,
}
