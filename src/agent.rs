//! Floor 5: delivers one assignment: loads it, carries it to the next hop, tells the outcomes.
//!
//! Promises one outcome for each recipient it was given, unless the message is gone; that content
//! which fails its checksum is never finished; and that a kept connection which turns out to be dead
//! costs no attempt. A probe sees whether a destination serves, without any message.

mod content;
mod share;

use std::sync::Arc;

use angarium_queue::id::MessageId;
use angarium_queue::schedule::{Attempt, Limit, Scope, Verdict};
use angarium_queue::spool::{Loaded, ReadError, Spool};

use crate::delivery::complaint::{self, Kind};
use crate::delivery::convert::{from_binary, to_seven_bit};
use crate::delivery::dialog::Transaction;
use crate::delivery::finding::Finding;
use crate::delivery::outcome::{self, Outcome};
use crate::delivery::relay;
use crate::envelope::{Envelope, Recipient};
use crate::event;
use crate::net::clock;
use crate::net::connection::{Connection, Times};
use crate::pool::Pool;
use crate::report::Action;
use crate::route::next_hop::{NextHop, Transport};
use crate::route::{Destination, EightBit, Handling, LongLines};
use content::Content;

/// Most recipients of one transaction where nothing is configured: what every server must take
/// (rfc5321bis 4.5.3.1.8).
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
    /// What that says of more than the message.
    pub finding: Finding,
    /// Those that were taken by a next hop which makes no report of success, and what a report would
    /// say of them.
    pub unreported: Vec<(u32, Action)>,
    /// Those whose deadline asks to report that they were relayed.
    pub traced: Vec<u32>,
    /// The TLS of the last connection that carried it; none in clear.
    pub tls: Option<String>,
}

impl Delivery {
    /// Of a message that could not be read.
    pub fn unread(recipients: &[u32], why: &str) -> Self {
        let outcomes = all(recipients, &Outcome::Deferred(why.to_owned()));
        Self {
            envelope: None,
            outcomes,
            finding: Finding::Served,
            unreported: Vec::new(),
            traced: Vec::new(),
            tls: None,
        }
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
        Attempt { deferred, verdict: verdict(&self.finding) }
    }
}

fn verdict(finding: &Finding) -> Verdict {
    match finding {
        Finding::Served => Verdict::Served,
        Finding::Unreachable(why) => Verdict::Unreachable(why.as_str().into()),
        Finding::Broken => Verdict::Broken,
        Finding::Limited(complaint) => Verdict::Limited {
            scope: match complaint.scope {
                complaint::Scope::Site => Scope::Site,
                complaint::Scope::Tenant => Scope::Tenant,
                complaint::Scope::Recipient => Scope::Recipient,
                complaint::Scope::Content => Scope::Content,
            },
            limit: match complaint.kind {
                Kind::TooManyConnections => Limit::Connections,
                Kind::TooFast | Kind::TooManyRecipients | Kind::Closed => Limit::Rate,
            },
            pause_ms: complaint.pause_ms,
            reply: complaint.reply.as_str().into(),
        },
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
        let (mut tls, mut unreported, mut traced) = (None, Vec::new(), Vec::new());
        let (outcomes, finding) = match destination {
            Destination::Hop(next_hop, handling) => {
                let content = Content::new(&self.spool, id, loaded.body);
                let mut carrier = Carrier {
                    pool: &self.pool,
                    next_hop,
                    handling,
                    times,
                    arrived_ms: loaded.stored.arrived_ms,
                    content,
                    finding: Finding::Served,
                    unreported: Vec::new(),
                    traced: Vec::new(),
                    tls: None,
                };
                let outcomes = carrier.carry(&envelope, recipients).await;
                (tls, unreported, traced) = (carrier.tls, carrier.unreported, carrier.traced);
                (outcomes, carrier.finding)
            }
            Destination::Discard => {
                let discarded = Outcome::Delivered("discarded by a route".into());
                (all(recipients, &discarded), Finding::Served)
            }
            Destination::Reject => {
                let refused = Outcome::Failed("5.7.1 a route refuses it".into());
                (all(recipients, &refused), Finding::Served)
            }
            Destination::Unroutable => {
                let why = "4.4.4 no [[route]] or [[domain]] leads there";
                (all(recipients, &Outcome::Deferred(why.into())), Finding::Served)
            }
        };
        Delivery { envelope: Some(envelope), outcomes, finding, unreported, traced, tls }
    }

    /// Sees whether a destination serves: a new connection, its hello, and NOOP. No message is put at
    /// risk, so that one which breaks its connections can't keep the destination shut. The
    /// connection is kept for the next delivery; the error says why there is none.
    pub async fn probe(&self, destination: &Destination, times: Times) -> Result<(), String> {
        let Destination::Hop(next_hop, handling) = destination else { return Ok(()) };
        let opened = self.pool.open(next_hop, &handling.security, times).await;
        let mut connection = opened.map_err(|failed| failed.outcome.reason().to_owned())?;
        connection.noop().await?;
        self.pool.put(next_hop, handling, connection);
        Ok(())
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
    handling: &'a Handling,
    times: Times,
    /// When the message was accepted, in ms since the epoch.
    arrived_ms: u64,
    content: Content<'a>,
    /// The gravest of what the transactions found.
    finding: Finding,
    unreported: Vec<(u32, Action)>,
    traced: Vec<u32>,
    tls: Option<String>,
}

impl Carrier<'_> {
    /// As many transactions as the recipients take.
    async fn carry(&mut self, envelope: &Envelope, recipients: &[u32]) -> Vec<(u32, Outcome)> {
        let minds_long_lines = self.minds_long_lines() && !relay::binary::is_binary(envelope);
        if minds_long_lines && envelope.long_lines {
            return all(recipients, &outcome::of_long_lines());
        }
        let mut outcomes = Vec::with_capacity(recipients.len());
        let mut open = recipients.to_vec();
        while !open.is_empty() {
            let (settled, later) = self.transact(envelope, &open).await;
            outcomes.extend(settled);
            open = later;
        }
        outcomes
    }

    fn recipients_max(&self) -> usize {
        let limits = self.pool.limits(self.next_hop, self.handling.limits);
        let limit = limits.recipients_per_transaction.map(|limit| limit.max(1) as usize);
        limit.unwrap_or(RECIPIENTS_MAX)
    }

    fn minds_long_lines(&self) -> bool {
        self.next_hop.transport != Transport::Lmtp && self.handling.long_lines == LongLines::Bounce
    }

    /// One transaction, over a kept connection if one lives: what became of those who went, and who
    /// is left.
    async fn transact(
        &mut self,
        envelope: &Envelope,
        open: &[u32],
    ) -> (Vec<(u32, Outcome)>, Vec<u32>) {
        if let Some(connection) = self.pool.take(self.next_hop, self.handling) {
            let (batch, later) = self.split(&connection, envelope, open);
            if batch.is_empty() {
                tokio::spawn(connection.quit());
            } else if let Some(settled) =
                self.transact_over(connection, envelope, &batch, true).await
            {
                return (settled, later);
            }
        }
        match self.pool.open(self.next_hop, &self.handling.security, self.times).await {
            Ok(connection) => {
                let (batch, later) = self.split(&connection, envelope, open);
                let settled = self.transact_over(connection, envelope, &batch, false).await;
                (settled.unwrap_or_default(), later)
            }
            Err(failed) => {
                self.finding.add(failed.finding);
                (all(open, &failed.outcome), Vec::new())
            }
        }
    }

    fn split(
        &self,
        connection: &Connection,
        envelope: &Envelope,
        open: &[u32],
    ) -> (Vec<u32>, Vec<u32>) {
        share::split(connection, envelope, open, self.recipients_max())
    }

    /// `None` if a kept connection turned out to be gone.
    async fn transact_over(
        &mut self,
        mut connection: Connection,
        envelope: &Envelope,
        batch: &[u32],
        kept: bool,
    ) -> Option<Vec<(u32, Outcome)>> {
        let (mut outcomes, going) = self.judge(&connection, envelope, batch);
        if let Some(transaction) = going {
            let settled = connection.transact(transaction, &mut self.content).await;
            if kept && connection.was_stale() {
                self.pool.put(self.next_hop, self.handling, connection);
                return None;
            }
            let mut settled = settled.into_iter();
            for open in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
                *open = settled.next();
            }
            self.note_unreported(&connection, envelope, batch, &outcomes);
            self.tls = connection.secured().map(ToString::to_string);
            self.finding.add(connection.finding());
        }
        self.pool.put(self.next_hop, self.handling, connection);
        let lost = || Outcome::Deferred("the dialogue ended without a result".to_owned());
        let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost));
        Some(batch.iter().copied().zip(outcomes).collect())
    }

    /// A next hop with DSN reports what it takes (RFC 3461 5.2.1); of what another takes, we do: it
    /// is delivered where LMTP says so, and relayed otherwise (5.2.2, 5.2.3).
    fn note_unreported(
        &mut self,
        connection: &Connection,
        envelope: &Envelope,
        batch: &[u32],
        outcomes: &[Option<Outcome>],
    ) {
        let way = connection.way();
        let taken = batch.iter().zip(outcomes);
        let taken = taken.filter(|(_, outcome)| matches!(outcome, Some(Outcome::Delivered(_))));
        let taken = taken.map(|(&index, _)| index);
        if relay::is_reported(envelope, &way) {
            self.traced.extend(taken.clone());
        }
        if !way.features.offers("DSN") {
            let action = if way.is_final { Action::Delivered } else { Action::Relayed };
            self.unreported.extend(taken.map(|index| (index, action)));
        }
    }

    /// What keeps each recipient from going over this connection, and a transaction for the others.
    fn judge(
        &mut self,
        connection: &Connection,
        envelope: &Envelope,
        batch: &[u32],
    ) -> (Vec<Option<Outcome>>, Option<Transaction>) {
        let aged = relay::aged(envelope, self.arrived_ms, clock::now_ms());
        let envelope = aged.as_ref().unwrap_or(envelope);
        if let Err(outcome) = self.fit(connection, envelope) {
            return (vec![Some(outcome); batch.len()], None);
        }
        let way = connection.way();
        // An index that the envelope lacks can't come from a record that passed its checksum.
        let recipients = batch.iter().map(|&index| envelope.recipients.get(index as usize));
        let missing =
            || Outcome::Failed("5.3.0 the queued message lacks this recipient".to_owned());
        let obstacle = |recipient: Option<&Recipient>| match recipient {
            Some(recipient) => relay::obstacle(envelope, recipient, &way),
            None => Some(missing()),
        };
        let outcomes: Vec<Option<Outcome>> = recipients.clone().map(obstacle).collect();
        let going = recipients.zip(&outcomes).filter(|(_, outcome)| outcome.is_none());
        let going: Vec<_> = going.filter_map(|(one, _)| one).map(relay::addressee).collect();
        let size = self.content.octets();
        let is_converted = self.content.is_converted();
        let going =
            (!going.is_empty()).then(|| relay::transaction(envelope, going, size, is_converted));
        (outcomes, going)
    }

    /// Makes the content fit for a next hop without BINARYMIME or 8BITMIME; the outcome where that
    /// can't be.
    fn fit(&mut self, connection: &Connection, envelope: &Envelope) -> Result<(), Outcome> {
        if relay::binary::is_binary(envelope) {
            return self.fit_binary(connection);
        }
        let fits = self.next_hop.transport == Transport::Lmtp
            || !envelope.eight_bit
            || connection.way().features.offers("8BITMIME")
            || self.content.is_converted();
        match self.handling.eight_bit {
            _ if fits => Ok(()),
            EightBit::Send => Ok(()),
            EightBit::Bounce => Err(outcome::of_eight_bit("this route converts nothing")),
            EightBit::Convert => {
                self.content.convert(self.next_hop, to_seven_bit, outcome::of_eight_bit)
            }
        }
    }

    /// Binary content is never sent to who may not take it, whatever the route sends.
    fn fit_binary(&mut self, connection: &Connection) -> Result<(), Outcome> {
        if relay::binary::passes(&connection.way()) || self.content.is_converted() {
            return Ok(());
        }
        match self.handling.eight_bit {
            EightBit::Send | EightBit::Bounce => {
                Err(outcome::of_binary("this route converts nothing"))
            }
            EightBit::Convert => {
                self.content.convert(self.next_hop, from_binary, outcome::of_binary)
            }
        }
    }
}

#[cfg(test)]
mod tests;
