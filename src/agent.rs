//! Floor 5: delivers one assignment: loads it, carries it to the next hop, tells the outcomes.
//!
//! Promises one outcome for each recipient it was given, unless the message is gone; that content
//! which fails its checksum is never finished; and that a kept connection which turns out to be dead
//! costs no attempt.

use std::sync::Arc;

use angarium_queue::id::MessageId;
use angarium_queue::schedule::Attempt;
use angarium_queue::spool::{Body, Loaded, ReadError, Spool};
use bytes::Bytes;

use crate::delivery::dialog::Transaction;
use crate::delivery::outcome::Outcome;
use crate::envelope::Envelope;
use crate::event;
use crate::net::connection::{Source, Times};
use crate::pool::Pool;
use crate::route::Destination;
use crate::route::next_hop::NextHop;
use crate::syntax::command;

/// Most recipients of one transaction: what every server must take (rfc5321bis 4.5.3.1.8).
const RECIPIENTS_MAX: usize = 100;

/// The deliverer, shared by all assignments.
#[derive(Debug)]
pub struct Agent {
    spool: Spool,
    pool: Arc<Pool>,
}

/// What became of an assignment.
#[derive(Debug)]
pub struct Delivery {
    /// The envelope; none if the message is gone or can't be read.
    pub envelope: Option<Envelope>,
    /// An outcome for each recipient index that was to be delivered.
    pub outcomes: Vec<(u32, Outcome)>,
    /// The next hop could not be reached.
    pub outage: bool,
}

impl Delivery {
    /// Of a message that could not be read.
    pub fn unread(recipients: &[u32], why: &str) -> Self {
        let outcomes = all(recipients, &Outcome::Deferred(why.to_owned()));
        Self { envelope: None, outcomes, outage: false }
    }

    /// With every failure turned into a deferral, for an operator who is not sure of the
    /// configuration yet.
    pub fn softened(mut self) -> Self {
        for (_, outcome) in &mut self.outcomes {
            if let Outcome::Failed(reason) = outcome {
                *outcome = Outcome::Deferred(format!("{reason} (soft_bounce)"));
            }
        }
        self
    }

    /// What the scheduler is to know of it.
    pub fn attempt(&self) -> Attempt {
        let deferred = |(_, outcome): &&(u32, Outcome)| matches!(outcome, Outcome::Deferred(_));
        let deferred = self.outcomes.iter().filter(deferred).map(|&(index, _)| index).collect();
        Attempt { deferred, outage: self.outage }
    }
}

impl Agent {
    /// An agent that reads from `spool` and connects through `pool`.
    pub fn new(spool: Spool, pool: Arc<Pool>) -> Self {
        Self { spool, pool }
    }

    /// Delivers message `id` to the recipients with these indices.
    pub async fn deliver(
        &self,
        id: MessageId,
        recipients: &[u32],
        destination: &Destination,
        times: Times,
    ) -> Delivery {
        let (loaded, envelope) = match self.load(id) {
            Ok(message) => message,
            Err(ReadError::Gone) => return Delivery::unread(&[], ""),
            Err(error) => {
                event::unreadable(id, &error);
                return Delivery::unread(recipients, &format!("the queued message: {error}"));
            }
        };
        let (outcomes, outage) = match destination {
            Destination::Hop(next_hop) => {
                let size = loaded.body.len();
                let content = Content { spool: &self.spool, id, body: Some(loaded.body) };
                let mut carrier =
                    Carrier { pool: &self.pool, next_hop, times, content, outage: false };
                let outcomes = carrier.carry(&envelope, size, recipients).await;
                (outcomes, carrier.outage)
            }
            Destination::Discard => {
                (all(recipients, &Outcome::Delivered("discarded by a route".into())), false)
            }
            Destination::Reject => {
                (all(recipients, &Outcome::Failed("5.7.1 a route refuses it".into())), false)
            }
            Destination::Unroutable => {
                let why = "4.4.4 no [[route]] or [[domain]] leads there";
                (all(recipients, &Outcome::Deferred(why.into())), false)
            }
        };
        Delivery { envelope: Some(envelope), outcomes, outage }
    }

    fn load(&self, id: MessageId) -> Result<(Loaded, Envelope), ReadError> {
        let loaded = self.spool.load(id)?;
        let envelope = Envelope::decode(&loaded.envelope).map_err(ReadError::Damaged)?;
        Ok((loaded, envelope))
    }
}

fn all(recipients: &[u32], outcome: &Outcome) -> Vec<(u32, Outcome)> {
    recipients.iter().map(|&index| (index, outcome.clone())).collect()
}

/// One message on its way to one next hop.
struct Carrier<'a> {
    pool: &'a Pool,
    next_hop: &'a NextHop,
    times: Times,
    content: Content<'a>,
    /// No connection could be had.
    outage: bool,
}

impl Carrier<'_> {
    /// As many transactions as the recipients take.
    async fn carry(
        &mut self,
        envelope: &Envelope,
        size: u64,
        recipients: &[u32],
    ) -> Vec<(u32, Outcome)> {
        let mut outcomes = Vec::with_capacity(recipients.len());
        for batch in recipients.chunks(RECIPIENTS_MAX) {
            let settled = self.transact(transaction(envelope, batch, size)).await;
            let mut settled = settled.into_iter();
            outcomes.extend(batch.iter().map(|&index| {
                let lost = || Outcome::Deferred("the dialogue ended without a result".to_owned());
                (index, settled.next().unwrap_or_else(lost))
            }));
        }
        outcomes
    }

    /// One transaction, over a kept connection if one lives.
    async fn transact(&mut self, transaction: Transaction) -> Vec<Outcome> {
        if let Some(mut connection) = self.pool.take(self.next_hop) {
            let outcomes = connection.transact(transaction.clone(), &mut self.content).await;
            let stale = connection.was_stale();
            self.pool.put(self.next_hop, connection);
            if !stale {
                return outcomes;
            }
        }
        match self.pool.open(self.next_hop, self.times).await {
            Ok(mut connection) => {
                let outcomes = connection.transact(transaction, &mut self.content).await;
                self.pool.put(self.next_hop, connection);
                outcomes
            }
            Err(outcome) => {
                self.outage = true;
                vec![outcome; transaction.recipients.len()]
            }
        }
    }
}

fn transaction(envelope: &Envelope, batch: &[u32], size: u64) -> Transaction {
    // An index that the envelope lacks can't come from a record that passed its checksum.
    let address = |index: &u32| {
        let recipient = envelope.recipients.get(*index as usize);
        recipient.map_or_else(String::new, |recipient| recipient.address.to_string())
    };
    Transaction {
        reverse_path: envelope.reverse_path.to_string(),
        recipients: batch.iter().map(address).collect(),
        size,
        eight_bit: envelope.body == command::Body::EightBitMime,
        probe: false,
    }
}

/// The content of a queued message, to be sent once or, in several transactions, anew.
struct Content<'a> {
    spool: &'a Spool,
    id: MessageId,
    body: Option<Body>,
}

impl Source for Content<'_> {
    fn next_piece(&mut self) -> Result<Option<Bytes>, String> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let loaded = self.spool.load(self.id).map_err(|error| error.to_string())?;
                self.body.insert(loaded.body)
            }
        };
        match body.next_chunk() {
            Ok(Some(piece)) => Ok(Some(piece)),
            Ok(None) => {
                self.body = None;
                Ok(None)
            }
            Err(error) => {
                event::unreadable(self.id, &error);
                Err(error.to_string())
            }
        }
    }
}
