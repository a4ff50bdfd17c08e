//! Floor 6: the operator's socket: `angarium queue …` and `angarium route …` against a running daemon.
//!
//! Promises one request a connection: a line of JSON in; a line of JSON that says how it went out,
//! and behind it what was asked for. The socket is open to its owner alone. A request that can't be
//! read is answered with an error, and costs the daemon nothing.

pub mod client;
mod listing;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::id::MessageId;
use angarium_queue::spool::{ReadError, Spool};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::dispatch::{self, Verb};
use crate::event;

/// Longest request, in octets.
const REQUEST_OCTETS_MAX: u64 = 1 << 20;
/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// What the operator asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// All messages, a line of JSON each.
    List,
    /// One message, as a line of JSON.
    Show(String),
    /// The octets of one message.
    Cat(String),
    /// A verb on messages; all of them where no id is given.
    Operate(OperatorVerb, Vec<String>),
    /// The load of each destination, a line of JSON each.
    Routes,
}

/// The verbs of the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorVerb {
    /// See `dispatch::Verb`.
    Hold,
    /// See `dispatch::Verb`.
    Release,
    /// See `dispatch::Verb`.
    Retry,
    /// See `dispatch::Verb`.
    Remove,
}

/// How a request went; the first line of the answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done; what was asked for follows.
    Done,
    /// The verb was applied to that many messages.
    Applied(usize),
    /// These ids are not in the queue; the verb was applied to the others.
    NotFound(Vec<String>),
    /// It could not be done.
    Failed(String),
}

/// What the server needs of the daemon.
#[derive(Clone, Debug)]
pub struct Services {
    /// The queue.
    pub spool: Spool,
    /// The dispatcher.
    pub dispatcher: mpsc::Sender<dispatch::Request>,
}

/// Opens the socket, replacing one that a dead daemon left behind. The caller owns the spool that
/// goes with it, so no living daemon can be behind it.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket until it fails.
pub async fn serve(listener: UnixListener, services: Services) {
    let services = Arc::new(services);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let services = Arc::clone(&services);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &services).await {
                        event::trouble("a control connection failed", error);
                    }
                });
            }
            Err(error) => {
                event::trouble("the control socket can't accept", error);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, services: &Services) -> std::io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    let mut input = BufReader::new(input.take(REQUEST_OCTETS_MAX));
    let _ = timeout(REQUEST_TIME, input.read_line(&mut line)).await;
    let (answer, payload) = match serde_json::from_str(&line) {
        Ok(request) => perform(request, services).await,
        Err(error) => (Answer::Failed(format!("not a request: {error}")), Vec::new()),
    };
    let mut head = serde_json::to_vec(&answer).unwrap_or_default();
    head.push(b'\n');
    output.write_all(&head).await?;
    output.write_all(&payload).await?;
    output.shutdown().await
}

async fn perform(request: Request, services: &Services) -> (Answer, Vec<u8>) {
    match request {
        Request::List => (Answer::Done, listing::all(&services.spool)),
        Request::Show(id) => with_id(&id, |id| listing::one(&services.spool, id)),
        Request::Cat(id) => with_id(&id, |id| octets(&services.spool, id)),
        Request::Operate(verb, ids) => (operate(verb, ids, services).await, Vec::new()),
        Request::Routes => routes(services).await,
    }
}

fn with_id(
    text: &str,
    read: impl FnOnce(MessageId) -> Result<Vec<u8>, ReadError>,
) -> (Answer, Vec<u8>) {
    let Ok(id) = text.parse::<MessageId>() else {
        return (Answer::NotFound(vec![text.to_owned()]), Vec::new());
    };
    match read(id) {
        Ok(payload) => (Answer::Done, payload),
        Err(ReadError::Gone) => (Answer::NotFound(vec![text.to_owned()]), Vec::new()),
        Err(error) => (Answer::Failed(error.to_string()), Vec::new()),
    }
}

fn octets(spool: &Spool, id: MessageId) -> Result<Vec<u8>, ReadError> {
    let mut body = spool.load(id)?.body;
    let mut octets = Vec::new();
    while let Some(chunk) = body.next_chunk()? {
        octets.extend_from_slice(&chunk);
    }
    Ok(octets)
}

async fn operate(verb: OperatorVerb, mut ids: Vec<String>, services: &Services) -> Answer {
    let verb = match verb {
        OperatorVerb::Hold => Verb::Hold,
        OperatorVerb::Release => Verb::Release,
        OperatorVerb::Retry => Verb::Retry,
        OperatorVerb::Remove => Verb::Remove,
    };
    if ids.is_empty() {
        ids = services.spool.scan().iter().map(|stored| stored.id.to_string()).collect();
    }
    let (mut waiting, mut not_found) = (Vec::new(), Vec::new());
    for text in ids {
        let Ok(id) = text.parse() else {
            not_found.push(text);
            continue;
        };
        let (answer, answered) = oneshot::channel();
        let request = dispatch::Request::Operate(id, verb, answer);
        if services.dispatcher.send(request).await.is_err() {
            return Answer::Failed("the daemon is stopping".to_owned());
        }
        waiting.push((text, answered));
    }
    let mut applied = 0;
    for (text, answered) in waiting {
        match answered.await {
            Ok(Ok(true)) => applied += 1,
            Ok(Ok(false)) => not_found.push(text),
            Ok(Err(error)) => return Answer::Failed(format!("{text}: {error}")),
            Err(_) => return Answer::Failed("the daemon is stopping".to_owned()),
        }
    }
    if not_found.is_empty() { Answer::Applied(applied) } else { Answer::NotFound(not_found) }
}

async fn routes(services: &Services) -> (Answer, Vec<u8>) {
    let (answer, answered) = oneshot::channel();
    let asked = services.dispatcher.send(dispatch::Request::Loads(answer)).await;
    match (asked, answered.await) {
        (Ok(()), Ok(loads)) => (Answer::Done, listing::routes(&loads)),
        _ => (Answer::Failed("the daemon is stopping".to_owned()), Vec::new()),
    }
}
