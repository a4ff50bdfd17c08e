//! Floor 5: delivers one assignment: loads it, carries it to the next hop, tells the outcomes.
//!
//! Promises one outcome for each recipient it was given, unless the message is gone; that content
//! which fails its checksum is never finished; and that a kept connection which turns out to be dead
//! costs no attempt.

use std::sync::Arc;

use angarium_queue::id::MessageId;
use angarium_queue::spool::{Body, Loaded, ReadError, Spool};
use bytes::Bytes;

use crate::delivery::dialog::Transaction;
use crate::delivery::outcome::Outcome;
use crate::envelope::Envelope;
use crate::event;
use crate::net::connection::{Connection, Source, Times};
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
}

impl Delivery {
    /// The recipients that were not settled.
    pub fn deferred(&self) -> Vec<u32> {
        let deferred = |(_, outcome): &&(u32, Outcome)| matches!(outcome, Outcome::Deferred(_));
        self.outcomes.iter().filter(deferred).map(|&(index, _)| index).collect()
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
        match self.load(id) {
            Ok(message) => {
                let outcomes = self.carry(id, recipients, destination, times, &message).await;
                Delivery { envelope: Some(message.1), outcomes }
            }
            Err(ReadError::Gone) => Delivery { envelope: None, outcomes: Vec::new() },
            Err(error) => {
                event::unreadable(id, &error);
                let outcome = Outcome::Deferred(format!("the queued message: {error}"));
                let outcomes = recipients.iter().map(|&index| (index, outcome.clone())).collect();
                Delivery { envelope: None, outcomes }
            }
        }
    }

    fn load(&self, id: MessageId) -> Result<(Loaded, Envelope), ReadError> {
        let loaded = self.spool.load(id)?;
        let envelope = Envelope::decode(&loaded.envelope).map_err(ReadError::Damaged)?;
        Ok((loaded, envelope))
    }

    async fn carry(
        &self,
        id: MessageId,
        recipients: &[u32],
        destination: &Destination,
        times: Times,
        (loaded, envelope): &(Loaded, Envelope),
    ) -> Vec<(u32, Outcome)> {
        let all = |outcome: Outcome| {
            recipients.iter().map(|&index| (index, outcome.clone())).collect::<Vec<_>>()
        };
        let next_hop = match destination {
            Destination::Hop(next_hop) => next_hop,
            Destination::Discard => return all(Outcome::Delivered("discarded by a route".into())),
            Destination::Reject => return all(Outcome::Failed("5.7.1 a route refuses it".into())),
            Destination::Unroutable => {
                return all(Outcome::Deferred(
                    "4.4.4 no [[route]] or [[domain]] leads there".into(),
                ));
            }
        };
        let mut outcomes = Vec::with_capacity(recipients.len());
        for batch in recipients.chunks(RECIPIENTS_MAX) {
            let transaction = transaction(envelope, batch, loaded.body.len());
            let settled = self.transact(id, next_hop, times, transaction).await;
            let mut settled = settled.into_iter();
            outcomes.extend(batch.iter().map(|&index| {
                let lost = || Outcome::Deferred("the dialogue ended without a result".to_owned());
                (index, settled.next().unwrap_or_else(lost))
            }));
        }
        outcomes
    }

    /// One transaction, over a kept connection if one lives.
    async fn transact(
        &self,
        id: MessageId,
        next_hop: &NextHop,
        times: Times,
        transaction: Transaction,
    ) -> Vec<Outcome> {
        if let Some(mut connection) = self.pool.take(next_hop) {
            let outcomes = self.attempt(id, &mut connection, transaction.clone()).await;
            let stale = connection.was_stale();
            self.pool.put(next_hop, connection);
            if !stale {
                return outcomes;
            }
        }
        match self.pool.open(next_hop, times).await {
            Ok(mut connection) => {
                let outcomes = self.attempt(id, &mut connection, transaction).await;
                self.pool.put(next_hop, connection);
                outcomes
            }
            Err(outcome) => vec![outcome; transaction.recipients.len()],
        }
    }

    async fn attempt(
        &self,
        id: MessageId,
        connection: &mut Connection,
        transaction: Transaction,
    ) -> Vec<Outcome> {
        let mut content = Content { spool: &self.spool, id, body: None };
        connection.transact(transaction, &mut content).await
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

/// A queued body, opened when the first piece is wanted.
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
        body.next_chunk().map_err(|error| {
            event::unreadable(self.id, &error);
            error.to_string()
        })
    }
}
