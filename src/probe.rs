//! Floor 5: asking a mailstore whether a recipient exists, and remembering the answer.
//!
//! Promises that a known recipient is accepted while the mailstore is down, that an unknown one is
//! answered 451 then and never guessed, and that memory is bounded whatever strangers guess.
//! Positive answers survive a restart in a file of the spool; losing that file costs questions only.

mod cache;

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::event;
use crate::metric;
use crate::net::clock;
use crate::net::connection::Times;
use crate::pool::Pool;
use crate::registry::reply::{self, Reply};
use crate::route::Handling;
use crate::route::next_hop::NextHop;
use crate::route::security::Security;
use crate::syntax::path::Mailbox;
use crate::syntax::reply::ServerReply;
pub use cache::{Cache, Lifetimes};
use cache::{Freshness, Known};

/// Questions under way at a time, to one mailstore: one that hangs holds up no other.
const QUESTIONS_MAX: usize = 32;

/// The verifier of recipients, shared by all sessions.
#[derive(Debug)]
pub struct Prober {
    pool: Arc<Pool>,
    cache: Cache,
    questions: DashMap<NextHop, Arc<Semaphore>>,
    /// Addresses that are asked for again in the background, one question each.
    refreshing: DashMap<String, ()>,
}

/// What one question came to.
enum Answer {
    Exists,
    NoSuchMailbox,
    /// The mailbox is there and takes no mail.
    Refused(String),
    /// The mailstore takes no address in UTF-8 (RFC 6531 3.5).
    TakesAscii,
    None(String),
}

impl Answer {
    fn counted(&self) -> metric::Answer {
        match self {
            Self::Exists => metric::Answer::Exists,
            Self::NoSuchMailbox => metric::Answer::Unknown,
            Self::Refused(_) | Self::TakesAscii => metric::Answer::Refused,
            Self::None(_) => metric::Answer::None,
        }
    }
}

impl Prober {
    /// A prober with what is remembered from before.
    pub fn new(pool: Arc<Pool>, cache: Cache) -> Self {
        Self { pool, cache, questions: DashMap::new(), refreshing: DashMap::new() }
    }

    /// Judges a recipient: from memory where that is good enough, else by asking.
    pub async fn verify(
        self: &Arc<Self>,
        (next_hop, security): (&NextHop, &Security),
        mailbox: &Mailbox,
        lifetimes: Lifetimes,
        times: Times,
    ) -> Result<(), Reply> {
        let address = mailbox.to_string();
        match self.cache.look_up(&address, lifetimes, clock::now_ms()) {
            Some((Known::Exists, Freshness::Fresh)) => return Ok(()),
            Some((Known::Unknown, _)) => return Err(reply::NO_SUCH_RECIPIENT),
            Some((Known::Exists, Freshness::Stale)) => {
                self.refresh((next_hop, security), address, lifetimes, times);
                return Ok(());
            }
            None => {}
        }
        match self.ask((next_hop, security), &address, lifetimes, times).await {
            Answer::Exists => Ok(()),
            Answer::NoSuchMailbox => Err(reply::NO_SUCH_RECIPIENT),
            Answer::Refused(text) => Err(reply::MAILBOX_REFUSES.with_text(text)),
            Answer::TakesAscii => Err(reply::ASCII_RECIPIENT_ONLY),
            Answer::None(_) => Err(reply::UNVERIFIABLE),
        }
    }

    /// Asks again without making anyone wait.
    fn refresh(
        self: &Arc<Self>,
        (next_hop, security): (&NextHop, &Security),
        address: String,
        lifetimes: Lifetimes,
        times: Times,
    ) {
        if self.refreshing.insert(address.clone(), ()).is_some() {
            return;
        }
        let (prober, next_hop) = (Arc::clone(self), next_hop.clone());
        let security = security.clone();
        tokio::spawn(async move {
            prober.ask((&next_hop, &security), &address, lifetimes, times).await;
            prober.refreshing.remove(&address);
        });
    }

    async fn ask(
        &self,
        (next_hop, security): (&NextHop, &Security),
        address: &str,
        lifetimes: Lifetimes,
        times: Times,
    ) -> Answer {
        let question = self.question((next_hop, security), address, times);
        let answer = match timeout(lifetimes.answer, question).await {
            Ok(answer) => answer,
            Err(_) => Answer::None("no answer in time".to_owned()),
        };
        metric::PROBES.add(answer.counted(), 1);
        let now_ms = clock::now_ms();
        match &answer {
            Answer::Exists => self.cache.remember(address, Known::Exists, now_ms),
            Answer::NoSuchMailbox => self.cache.remember(address, Known::Unknown, now_ms),
            Answer::Refused(_) | Answer::TakesAscii | Answer::None(_) => {}
        }
        let word = match &answer {
            Answer::Exists => "exists",
            Answer::NoSuchMailbox => "no such mailbox",
            Answer::TakesAscii => "takes no UTF-8",
            Answer::Refused(why) | Answer::None(why) => why,
        };
        event::probed(address, next_hop, word);
        answer
    }

    /// Asks over a kept connection, and over a new one if that was gone.
    async fn question(
        &self,
        (next_hop, security): (&NextHop, &Security),
        address: &str,
        times: Times,
    ) -> Answer {
        let handling = Handling { security: security.clone(), ..Handling::default() };
        let places = || Arc::new(Semaphore::new(QUESTIONS_MAX));
        let questions = self.questions.entry(next_hop.clone()).or_insert_with(places).clone();
        let Ok(_permit) = questions.acquire().await else {
            return Answer::None("stopping".to_owned());
        };
        if let Some(mut connection) = self.pool.take(next_hop, &handling) {
            let answer = connection.ask(address).await;
            let stale = connection.was_stale();
            self.pool.put(next_hop, &handling, connection);
            if !stale {
                return judge(answer);
            }
        }
        match self.pool.open(next_hop, security, times).await {
            Ok(mut connection) => {
                let answer = connection.ask(address).await;
                self.pool.put(next_hop, &handling, connection);
                judge(answer)
            }
            Err(failed) => Answer::None(failed.outcome.reason().to_owned()),
        }
    }
}

/// What a mailstore's reply to RCPT says of the mailbox.
fn judge(answer: Result<ServerReply, String>) -> Answer {
    match answer {
        Ok(reply) if reply.is_positive() => Answer::Exists,
        Ok(reply) if reply.is_permanent() => match reply.status {
            Some(status) if (status.subject, status.detail) == (6, 7) => Answer::TakesAscii,
            Some(status) if status.subject != 1 && status.subject != 0 => {
                Answer::Refused(format!("the mailbox takes no mail: {}", reply.one_line()))
            }
            _ => Answer::NoSuchMailbox,
        },
        Ok(reply) => Answer::None(reply.one_line()),
        Err(why) => Answer::None(why),
    }
}
