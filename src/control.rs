//! Floor 6: the operator's socket: `angarium queue …`, `route …` and `limits …` against a running daemon.
//!
//! Promises one request a connection: a line of JSON in; a line of JSON that says how it went out,
//! and behind it what was asked for. The socket is open to its owner alone. A request that can't be
//! read is answered with an error, and costs the daemon nothing.

pub mod backup;
pub mod client;
mod filter;
mod limits;
mod listing;
mod routes;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::id::MessageId;
use angarium_queue::spool::{ReadError, Spool};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::dispatch::{self, Verb};
use crate::event;
use crate::limits::Limits;
use crate::net::clock;
use crate::route::Table;
pub use filter::Filter;
use listing::Lister;

/// Longest request, in octets.
const REQUEST_OCTETS_MAX: u64 = 1 << 20;
/// What is written of a list at a time.
const LIST_OCTETS: usize = 64 * 1024;
/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// What the operator asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The messages that match, a line of JSON each.
    List(Filter),
    /// One message, as a line of JSON.
    Show(String),
    /// The octets of one message.
    Cat(String),
    /// What one message waits for, as a line of JSON.
    Why(String),
    /// A verb on the messages that match.
    Operate(OperatorVerb, Filter),
    /// Pause a destination, or let it go on.
    Pause(String, bool),
    /// The load of each destination, a line of JSON each.
    Routes,
    /// All that is known of a destination, as `Routes` names it: a line of JSON for each way that its
    /// mail is handed over.
    Route(String),
    /// Users near a limit and addresses that are shut out, or all that is known; a line of JSON each.
    Limits(bool),
    /// Forget what a user has sent or that an address is shut out; none for all of them.
    ClearLimits(Option<String>),
    /// A second spool in this folder; see `backup::Progress`.
    Backup(PathBuf),
}

/// The verbs of the command line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorVerb {
    /// See `dispatch::Verb`.
    Hold,
    /// See `dispatch::Verb`.
    Release,
    /// See `dispatch::Verb`.
    Retry,
    /// See `dispatch::Verb`.
    Expire,
    /// See `dispatch::Verb`.
    Remove,
    /// See `dispatch::Verb`; a next hop as a configuration writes it.
    Reroute(Option<String>),
}

/// How a request went; the first line of the answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done; what was asked for follows.
    Done,
    /// The verb was applied to that many messages, users or addresses.
    Applied(usize),
    /// These ids are not in the queue; the verb was applied to the others.
    NotFound(Vec<String>),
    /// No mail was for this destination since the daemon's start.
    NoRoute(String),
    /// It could not be done.
    Failed(String),
}

/// What the server needs of the daemon.
#[derive(Clone, Debug)]
pub struct Services {
    /// The queue.
    pub spool: Spool,
    /// The folder that it lies in.
    pub folder: PathBuf,
    /// The dispatcher.
    pub dispatcher: mpsc::Sender<dispatch::Request>,
    /// Domains and routes, as they are now.
    pub table: watch::Receiver<Arc<Table>>,
    /// What users may send, and who is shut out.
    pub limits: Arc<Limits>,
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
    match serde_json::from_str(&line) {
        Ok(Request::List(filter)) => list(&filter, services, &mut output).await?,
        Ok(Request::Backup(to)) => backup::answer(to, services, &mut output).await?,
        Ok(request) => {
            let (answer, payload) = perform(request, services).await;
            output.write_all(&head(&answer)).await?;
            output.write_all(&payload).await?;
        }
        Err(error) => {
            let answer = Answer::Failed(format!("not a request: {error}"));
            output.write_all(&head(&answer)).await?;
        }
    }
    output.shutdown().await
}

fn head(answer: &Answer) -> Vec<u8> {
    let mut head = serde_json::to_vec(answer).unwrap_or_default();
    head.push(b'\n');
    head
}

/// Writes as it reads, so that a long queue takes no memory twice.
async fn list(
    filter: &Filter,
    services: &Services,
    output: &mut (impl AsyncWriteExt + Unpin),
) -> std::io::Result<()> {
    let lister = services.lister().await;
    // In one piece with the first lines: a short list is there as a whole or not at all.
    let mut lines = head(&Answer::Done);
    for stored in services.spool.scan() {
        let message = lister.describe(&stored);
        if filter.matches(&message, clock::now_ms()) {
            listing::push_line(&mut lines, &message);
        }
        if lines.len() > LIST_OCTETS {
            output.write_all(&lines).await?;
            lines.clear();
        }
    }
    output.write_all(&lines).await
}

impl Services {
    async fn lister(&self) -> Lister<'_> {
        let loads = self.ask(dispatch::Request::Loads).await.unwrap_or_default();
        let outage =
            |load: dispatch::RouteLoad| Some((load.destination, load.outage?.reply.to_string()));
        let outages = loads.into_iter().filter_map(outage).collect();
        Lister { spool: &self.spool, table: Arc::clone(&self.table.borrow()), outages }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> dispatch::Request,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.dispatcher.send(request(answer)).await.ok()?;
        answered.await.ok()
    }
}

async fn perform(request: Request, services: &Services) -> (Answer, Vec<u8>) {
    match request {
        Request::Show(id) => {
            let lister = services.lister().await;
            with_id(&id, |id| lister.one(id))
        }
        Request::Cat(id) => with_id(&id, |id| octets(&services.spool, id)),
        Request::Why(id) => why(&id, services).await,
        Request::Operate(verb, filter) => (operate(verb, &filter, services).await, Vec::new()),
        Request::Pause(destination, paused) => {
            (pause(destination, paused, services).await, Vec::new())
        }
        Request::Route(destination) => route(destination, services).await,
        Request::Limits(all) => (Answer::Done, limits::list(&services.limits, all)),
        Request::ClearLimits(who) => {
            (Answer::Applied(services.limits.clear(who.as_deref())), Vec::new())
        }
        Request::List(_) | Request::Backup(_) | Request::Routes => routes(services).await,
    }
}

fn stopping() -> Answer {
    Answer::Failed("the daemon is stopping".to_owned())
}

async fn why(text: &str, services: &Services) -> (Answer, Vec<u8>) {
    let id = text.parse::<MessageId>();
    let stored = id.ok().and_then(|id| services.spool.get(id));
    let Some(stored) = stored else {
        return (Answer::NotFound(vec![text.to_owned()]), Vec::new());
    };
    match services.ask(|answer| dispatch::Request::Why(stored.id, answer)).await {
        Some(waiting) => {
            let message = services.lister().await.describe(&stored);
            (Answer::Done, listing::reasons(&message, &waiting))
        }
        None => (stopping(), Vec::new()),
    }
}

async fn pause(destination: String, paused: bool, services: &Services) -> Answer {
    let name = destination.clone();
    match services.ask(|answer| dispatch::Request::Pause(destination, paused, answer)).await {
        Some(Ok(())) => Answer::Done,
        Some(Err(error)) => Answer::Failed(format!("{name}: {error}")),
        None => stopping(),
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

async fn operate(verb: OperatorVerb, filter: &Filter, services: &Services) -> Answer {
    let verb = match verb {
        OperatorVerb::Hold => Verb::Hold,
        OperatorVerb::Release => Verb::Release,
        OperatorVerb::Retry => Verb::Retry,
        OperatorVerb::Expire => Verb::Expire,
        OperatorVerb::Remove => Verb::Remove,
        OperatorVerb::Reroute(None) => Verb::Reroute(None),
        OperatorVerb::Reroute(Some(via)) => match via.parse() {
            Ok(hop) => Verb::Reroute(Some(hop)),
            Err(error) => return Answer::Failed(format!("{via}: {error}")),
        },
    };
    let (mut waiting, mut not_found) = (Vec::new(), Vec::new());
    for text in select(filter, services).await {
        let Ok(id) = text.parse() else {
            not_found.push(text);
            continue;
        };
        let (answer, answered) = oneshot::channel();
        let request = dispatch::Request::Operate(id, verb.clone(), answer);
        if services.dispatcher.send(request).await.is_err() {
            return stopping();
        }
        waiting.push((text, answered));
    }
    let mut applied = 0;
    for (text, answered) in waiting {
        match answered.await {
            Ok(Ok(true)) => applied += 1,
            Ok(Ok(false)) => not_found.push(text),
            Ok(Err(error)) => return Answer::Failed(format!("{text}: {error}")),
            Err(_) => return stopping(),
        }
    }
    if not_found.is_empty() { Answer::Applied(applied) } else { Answer::NotFound(not_found) }
}

/// The ids that a filter means: those it names, or those in the queue that match.
async fn select(filter: &Filter, services: &Services) -> Vec<String> {
    if !filter.ids.is_empty() {
        return filter.ids.clone();
    }
    let lister = services.lister().await;
    let messages = services.spool.scan().into_iter().map(|stored| lister.describe(&stored));
    let now_ms = clock::now_ms();
    let matching = messages.filter(|message| filter.matches(message, now_ms));
    matching.map(|message| message.queue_id).collect()
}

async fn routes(services: &Services) -> (Answer, Vec<u8>) {
    match services.ask(dispatch::Request::Loads).await {
        Some(loads) => (Answer::Done, routes::routes(loads)),
        None => (stopping(), Vec::new()),
    }
}

async fn route(destination: String, services: &Services) -> (Answer, Vec<u8>) {
    let name = destination.clone();
    match services.ask(|answer| dispatch::Request::Route(destination, answer)).await {
        Some(states) if states.is_empty() => (Answer::NoRoute(name), Vec::new()),
        Some(states) => (Answer::Done, routes::details(states)),
        None => (stopping(), Vec::new()),
    }
}
