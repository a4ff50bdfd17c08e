//! Logins that Dovecot checks, over the socket of its authentication service.
//!
//! Dovecot carries out the mechanisms; what client and Dovecot say is passed on. Promises one
//! connection for all exchanges, made again when it breaks, and that a Dovecot which does not answer
//! refuses nobody for good. Channel binding is not passed on: the protocol can't carry it.

mod connection;
mod protocol;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use self::connection::Connection;
use self::protocol::Reply;
use super::claim::claimed_login;
use super::{Backend, Channel, Denial, Exchange, Login, Pending, Step};
use crate::event;
use crate::registry::mechanism::Mechanism;
use crate::route::next_hop::Place;

/// How long connecting, and the handshake, may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a reply may take: Dovecot holds a refusal back by 2 to 17 seconds.
const REPLY_TIME: Duration = Duration::from_secs(30);
/// How long a Dovecot that can't be reached is left alone at first and at most, while nobody asks.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What is passed on where Dovecot offers it, the strongest first.
const PASSED_ON: [Mechanism; 5] = [
    Mechanism::ScramSha256,
    Mechanism::OauthBearer,
    Mechanism::Xoauth2,
    Mechanism::Plain,
    Mechanism::Login,
];
/// PLAIN and LOGIN: what every Dovecot can do, as long as it has said nothing.
const BEFORE_THE_FIRST_HANDSHAKE: usize = 0b11000;

/// Every selection of `PASSED_ON`; a bit of its place stands for each.
static SELECTIONS: LazyLock<Vec<Vec<Mechanism>>> = LazyLock::new(|| {
    (0_usize..1 << PASSED_ON.len())
        .map(|bits| {
            let places = PASSED_ON.iter().enumerate();
            places.filter(|(place, _)| bits >> place & 1 == 1).map(|(_, found)| *found).collect()
        })
        .collect()
});

/// A Dovecot.
#[derive(Debug)]
pub struct Dovecot {
    shared: Arc<Shared>,
    keeping: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    reply_time: Duration,
    /// The place in `SELECTIONS` of what it offers.
    offered: AtomicUsize,
    connection: Mutex<Option<Connection>>,
}

impl Dovecot {
    /// Takes up the connection to the socket at `place`, and keeps it up in the background until
    /// this is dropped. Must be called within the runtime.
    pub fn start(place: Place) -> Self {
        Self::start_with(place, REPLY_TIME)
    }

    fn start_with(place: Place, reply_time: Duration) -> Self {
        let offered = AtomicUsize::new(BEFORE_THE_FIRST_HANDSHAKE);
        let connection = Mutex::new(None);
        let shared = Arc::new(Shared { place, reply_time, offered, connection });
        let keeping = tokio::spawn(keep_up(Arc::clone(&shared)));
        Self { shared, keeping }
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// So that what Dovecot offers is known before the first client comes.
async fn keep_up(shared: Arc<Shared>) {
    let (first, longest) = RETRY_DELAYS;
    let mut delay = first;
    loop {
        match shared.connection().await {
            Ok(connection) => {
                delay = first;
                connection.closed().await;
            }
            Err(why) => {
                event::trouble("Dovecot can't be asked for logins", why);
                delay = (delay * 2).min(longest);
            }
        }
        sleep(delay).await;
    }
}

impl Shared {
    /// The connection, opened if there is none. The error is a sentence.
    async fn connection(&self) -> Result<Connection, String> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let (connection, offered) = Connection::open(&self.place, CONNECT_TIME).await?;
        let places = PASSED_ON.iter().enumerate();
        let bits = places.filter(|(_, mechanism)| offered.contains(mechanism));
        self.offered.store(bits.map(|(place, _)| 1 << place).sum(), Ordering::Relaxed);
        *current = Some(connection.clone());
        Ok(connection)
    }
}

impl Backend for Dovecot {
    fn mechanisms(&self) -> &[Mechanism] {
        let offered = self.shared.offered.load(Ordering::Relaxed);
        SELECTIONS.get(offered).map_or(&[], Vec::as_slice)
    }

    fn begin(&self, mechanism: Mechanism, channel: &Channel) -> Box<dyn Exchange> {
        Box::new(Passing {
            shared: Arc::clone(&self.shared),
            mechanism,
            channel: channel.clone(),
            state: State::New,
            claimed: None,
        })
    }
}

/// An exchange that is passed on.
struct Passing {
    shared: Arc<Shared>,
    mechanism: Mechanism,
    channel: Channel,
    state: State,
    claimed: Option<String>,
}

enum State {
    /// Nothing was sent.
    New,
    /// Dovecot waits for a response of the client.
    Asked(Request),
    /// The client is let in as soon as it has acknowledged the last data.
    Proved(Login),
    /// It is over.
    Over,
}

/// A request that Dovecot works at; if it is dropped before its end, it is given up.
struct Request {
    connection: Connection,
    id: u32,
    ended: bool,
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.cancel(self.id);
        }
    }
}

impl Exchange for Passing {
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pending<'a, Step> {
        Box::pin(async move {
            self.claimed = self.claimed.take().or_else(|| claimed_login(self.mechanism, response?));
            match std::mem::replace(&mut self.state, State::Over) {
                State::New => self.begin(response).await,
                State::Asked(request) => {
                    let line = protocol::cont(request.id, response.unwrap_or_default());
                    self.ask(request, line).await
                }
                State::Proved(login) if response.is_none_or(<[u8]>::is_empty) => {
                    Step::Granted(login)
                }
                State::Proved(_) | State::Over => Step::Denied(Denial::Malformed),
            }
        })
    }

    fn claimed(&self) -> Option<&str> {
        self.claimed.as_deref()
    }
}

impl Passing {
    async fn begin(&mut self, response: Option<&[u8]>) -> Step {
        let connection = match self.shared.connection().await {
            Ok(connection) => connection,
            Err(why) => return Step::Denied(Denial::Unavailable(why)),
        };
        let request = Request { id: connection.new_id(), connection, ended: false };
        let line = protocol::auth(request.id, self.mechanism, &self.channel, response);
        self.ask(request, line).await
    }

    async fn ask(&mut self, mut request: Request, line: Option<Vec<u8>>) -> Step {
        let Some(line) = line else { return Step::Denied(Denial::Malformed) };
        let reply = match request.connection.ask(request.id, line, self.shared.reply_time).await {
            Ok(reply) => reply,
            Err(why) => return Step::Denied(Denial::Unavailable(why)),
        };
        request.ended = !matches!(reply, Reply::Challenge(_));
        match reply {
            Reply::Challenge(data) => {
                self.state = State::Asked(request);
                Step::Challenge(data)
            }
            Reply::Granted { user, last } => {
                let login = Login { user: user.into(), label: None };
                let Some(data) = last else { return Step::Granted(login) };
                self.state = State::Proved(login);
                Step::Challenge(data)
            }
            Reply::Refused { user, denial } => {
                self.claimed = user.or_else(|| self.claimed.take());
                Step::Denied(denial)
            }
        }
    }
}

#[cfg(test)]
mod tests;
