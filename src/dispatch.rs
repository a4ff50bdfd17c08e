//! Floor 5: the one task that owns the scheduler: jobs in, assignments out, outcomes recorded.
//!
//! Promises that the scheduler and the spool agree on every message: what is accepted becomes jobs,
//! what an attempt settled is recorded before it is forgotten, and what the operator does is
//! durable before it is answered; and that every failure is reported to the sender, or stays owed.
//! Holds no lock; everything comes through channels.

mod measure;
mod notify;
mod operate;
mod owed;
mod pauses;
mod record;
mod routing;
mod tally;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::entry::{Change, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{Assignment, Decision, Options, Pick, RouteId, Scheduler, Waits};
use angarium_queue::spool::{CommitError, ReadError, Spool};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinSet};
use tokio::time::sleep;

use crate::agent::{Agent, Delivery};
use crate::event;
use crate::intake::Accepted;
use crate::net::clock;
use crate::net::connection::Times;
use crate::report;
use crate::route::next_hop::NextHop;
use crate::route::{Destination, Table};
use notify::Notified;
pub use pauses::Pauses;
use record::Record;
pub use tally::Tally;

/// Events taken in one go before the scheduler is asked again.
const BATCH: usize = 256;
/// Messages of earlier starts that are taken up in one go.
const PAGE: usize = 256;

/// What a configuration tells the dispatcher.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds and schedules.
    pub options: Options,
    /// Times of a delivery.
    pub times: Times,
    /// Domains and routes.
    pub table: Arc<Table>,
    /// Every permanent failure becomes a deferral.
    pub soft_bounce: bool,
    /// How reports to senders look.
    pub report: Arc<report::Settings>,
    /// How long delivery of a report is tried.
    pub report_lifetime_ms: u64,
    /// The ages at which the sender of a message that still waits is told.
    pub delay_warning_ms: Vec<u64>,
}

/// What the operator may do to one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// No attempt until released.
    Hold,
    /// Ends a hold.
    Release,
    /// Try now; also what had failed and is only waiting for its report.
    Retry,
    /// Given up now, with a report.
    Expire,
    /// Out of the queue, without a report.
    Remove,
    /// By another way out; none for the way its recipients lead to.
    Reroute(Option<NextHop>),
}

/// The load of one destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteLoad {
    /// Where to.
    pub destination: String,
    /// Jobs that could be delivered now.
    pub ready: usize,
    /// Deliveries under way.
    pub assigned: usize,
    /// The operator has paused it.
    pub paused: bool,
}

/// What one part of a message waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Where to.
    pub destination: String,
    /// Indices of the recipients.
    pub recipients: Vec<u32>,
    /// What it waits for.
    pub waits: Waits,
    /// When its time is over, in milliseconds since the epoch.
    pub deadline_ms: u64,
}

/// The load of the destinations with the most to do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Busiest {
    /// Each by itself, those with the most first; none that has nothing to do.
    pub first: Vec<RouteLoad>,
    /// Jobs of all the others that could be delivered now.
    pub other_ready: usize,
    /// Their deliveries under way.
    pub other_assigned: usize,
}

/// A message that the spool held at the start.
#[derive(Debug)]
pub struct Kept {
    /// What is known of it.
    pub stored: Stored,
    /// Its envelope, encoded.
    pub envelope: Result<Bytes, ReadError>,
}

/// What the metrics tell of destinations.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Destinations {
    /// Their load now.
    pub busiest: Busiest,
    /// What attempts came to since the start.
    pub attempts: Tally,
}

/// A request to the dispatcher.
#[derive(Debug)]
pub enum Request {
    /// Take up messages of earlier starts; answered when that is done.
    TakeUp(Vec<Kept>, oneshot::Sender<()>),
    /// Route everything anew, with new bounds.
    Reload(Box<Settings>),
    /// Do something to a message; false if there is none.
    Operate(MessageId, Verb, oneshot::Sender<Result<bool, CommitError>>),
    /// Tell what a message waits for.
    Why(MessageId, oneshot::Sender<Vec<Waiting>>),
    /// Pause a destination, or let it go on; answered when that will survive a restart.
    Pause(String, bool, oneshot::Sender<std::io::Result<()>>),
    /// Tell the load of each destination.
    Loads(oneshot::Sender<Vec<RouteLoad>>),
    /// Tell the load of so many destinations, those with the most to do, and of the others together;
    /// and what all attempts came to.
    Destinations(usize, oneshot::Sender<Destinations>),
    /// Start nothing more, and end when nothing is under way.
    Stop,
}

/// What became of the record of an operator's verb.
#[derive(Clone, Copy, Debug)]
enum Recorded {
    /// Failed recipients are pending again, or still failed where that was refused.
    Revived(MessageId),
    /// The message was removed or given up.
    Ended(MessageId),
    /// The spool did not take it: the message is as it was.
    Refused(MessageId),
}

/// Hands what the spool kept from starts before this epoch to the dispatcher, a page at a time.
/// Blocks on the disk, and while the dispatcher is behind; ends early when that is gone. Nobody else
/// may name those messages before it has ended.
pub fn take_up(spool: &Spool, epoch: u32, dispatcher: &mpsc::Sender<Request>) {
    let mut last = None;
    loop {
        let page = spool.page(last, PAGE).into_iter();
        let earlier = page.filter(|(stored, _)| stored.id.epoch() < epoch);
        let kept: Vec<Kept> = earlier.map(|(stored, envelope)| Kept { stored, envelope }).collect();
        let Some(next) = kept.last().map(|kept| kept.stored.id) else { return };
        let (taken, done) = oneshot::channel();
        let sent = dispatcher.blocking_send(Request::TakeUp(kept, taken));
        // One page at a time: the queue may be far larger than memory should be.
        if sent.is_err() || done.blocking_recv().is_err() {
            return;
        }
        last = Some(next);
    }
}

/// The dispatcher.
pub struct Dispatcher {
    scheduler: Scheduler,
    spool: Spool,
    agent: Arc<Agent>,
    settings: Settings,
    destinations: Vec<Destination>,
    route_ids: HashMap<Destination, RouteId>,
    deliveries: JoinSet<Delivery>,
    /// What each delivery under way was given.
    assignments: HashMap<task::Id, Assignment>,
    /// Failed messages whose revival is being recorded.
    reviving: HashMap<MessageId, Vec<u32>>,
    record: mpsc::UnboundedSender<Recorded>,
    recorded: mpsc::UnboundedReceiver<Recorded>,
    /// Messages whose end the operator wants, until that is recorded.
    ending: HashSet<MessageId>,
    /// The ways out that the operator chose for single messages.
    vias: HashMap<MessageId, Destination>,
    /// Reports that are being made.
    reports: JoinSet<Notified>,
    /// How many of them are about each message; what is owed waits for none.
    telling: HashMap<MessageId, usize>,
    /// Messages whose report could not be made when it was due.
    owed: BTreeSet<MessageId>,
    /// What is left of the present round of trying again.
    owed_round: Vec<MessageId>,
    next_round_ms: u64,
    /// Assignments that started before this may be on a route that has changed since.
    reloaded_ms: u64,
    pauses: Pauses,
    attempts: Tally,
    stopping: bool,
}

impl Dispatcher {
    /// A dispatcher that knows no message yet; [`take_up`] tells it of those in `spool`.
    pub fn new(
        spool: Spool,
        agent: Arc<Agent>,
        settings: Settings,
        pauses: Pauses,
        seed: u64,
    ) -> Self {
        let (record, recorded) = mpsc::unbounded_channel();
        Self {
            scheduler: Scheduler::new(settings.options.clone(), seed),
            spool,
            agent,
            settings,
            destinations: Vec::new(),
            route_ids: HashMap::new(),
            deliveries: JoinSet::new(),
            assignments: HashMap::new(),
            reviving: HashMap::new(),
            record,
            recorded,
            ending: HashSet::new(),
            vias: HashMap::new(),
            reports: JoinSet::new(),
            telling: HashMap::new(),
            owed: BTreeSet::new(),
            owed_round: Vec::new(),
            next_round_ms: 0,
            reloaded_ms: 0,
            pauses,
            attempts: Tally::default(),
            stopping: false,
        }
    }

    /// Runs until a stop was asked for and nothing is under way, or nobody can ask any more.
    pub async fn run(
        mut self,
        mut accepted: mpsc::UnboundedReceiver<Accepted>,
        mut requests: mpsc::Receiver<Request>,
    ) {
        let (mut arrivals, mut asked) = (Vec::new(), Vec::new());
        loop {
            let wake_in = self.start_deliveries().min(self.start_owed_reports());
            if self.stopping && self.deliveries.is_empty() && self.reports.is_empty() {
                return;
            }
            tokio::select! {
                _ = accepted.recv_many(&mut arrivals, BATCH), if !accepted.is_closed() => {}
                count = requests.recv_many(&mut asked, BATCH) => if count == 0 { return },
                Some(ended) = self.deliveries.join_next_with_id() => self.settle_ended(ended),
                Some(made) = self.reports.join_next() => self.notified(made),
                Some(recorded) = self.recorded.recv() => self.recorded(recorded),
                () = sleep(wake_in) => {}
            }
            while let Some(ended) = self.deliveries.try_join_next_with_id() {
                self.settle_ended(ended);
            }
            for message in arrivals.drain(..) {
                self.enqueue_accepted(&message);
            }
            for request in asked.drain(..) {
                self.handle(request);
            }
        }
    }

    /// Starts what may be started; how long until something else is due.
    fn start_deliveries(&mut self) -> Duration {
        if self.stopping {
            return Duration::from_secs(60);
        }
        loop {
            let now_ms = clock::now_ms();
            match self.scheduler.next(now_ms) {
                Pick::Assignment(assignment) => self.start(assignment),
                Pick::WakeAt(due_ms) => {
                    return Duration::from_millis(due_ms.saturating_sub(now_ms).max(1));
                }
                Pick::Idle => return Duration::from_secs(3600),
            }
        }
    }

    fn start(&mut self, assignment: Assignment) {
        let agent = Arc::clone(&self.agent);
        let destination = self.destination(assignment.route);
        let times = self.settings.times;
        measure::started(&assignment);
        let (id, recipients) = (assignment.id, assignment.recipients.clone());
        let delivery = self
            .deliveries
            .spawn(async move { agent.deliver(id, &recipients, &destination, times).await });
        self.assignments.insert(delivery.id(), assignment);
    }

    /// Takes the end of a delivery. A panic is our bug: it defers that one message.
    fn settle_ended(&mut self, ended: Result<(task::Id, Delivery), task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(assignment) = self.assignments.remove(&id) else { return };
        let delivery = ended.map(|(_, delivery)| delivery).unwrap_or_else(|error| {
            event::trouble("a delivery ended abnormally", error);
            Delivery::unread(&assignment.recipients, "4.3.0 an internal error, see the log")
        });
        let delivery = if self.settings.soft_bounce { delivery.softened() } else { delivery };
        self.settle(&assignment, &delivery);
    }

    fn settle(&mut self, assignment: &Assignment, delivery: &Delivery) {
        let now_ms = clock::now_ms();
        let decision = self.scheduler.result(assignment, delivery.attempt(), now_ms);
        let record = Record { assignment, delivery, decision, now_ms };
        record.log(&self.destination(assignment.route));
        measure::settled(&record, &self.destination(assignment.route), &mut self.attempts);
        let mut changes = record.changes();
        if self.ending.contains(&assignment.id) {
            // A deferral must not bring back what is being given up.
            changes.retain(|(_, change)| !matches!(change, Change::Deferred { .. }));
        }
        self.conclude(assignment, delivery, changes, now_ms);
        let retried = matches!(decision, Decision::Retry { .. });
        // A message that could not be read was unroutable then, and need not stay so.
        let unroutable = self.destination(assignment.route) == Destination::Unroutable;
        let moved = unroutable || self.vias.contains_key(&assignment.id);
        if retried && (moved || assignment.started_ms <= self.reloaded_ms) {
            self.reroute(assignment.key, now_ms);
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::TakeUp(kept, taken) => {
                self.take_up(kept);
                let _ = taken.send(());
            }
            Request::Reload(settings) => self.reload(*settings),
            Request::Operate(id, verb, answer) => self.operate(id, verb, answer),
            Request::Why(id, answer) => drop(answer.send(self.why(id))),
            Request::Pause(destination, paused, answer) => {
                drop(answer.send(self.pause(&destination, paused)));
            }
            Request::Loads(answer) => drop(answer.send(self.loads())),
            Request::Destinations(count, answer) => drop(answer.send(self.told(count))),
            Request::Stop => self.stopping = true,
        }
    }

    fn destination(&self, route: RouteId) -> Destination {
        let destination = self.destinations.get(route.0 as usize);
        destination.cloned().unwrap_or(Destination::Unroutable)
    }

    fn loads(&self) -> Vec<RouteLoad> {
        let load = |(destination, &route): (&Destination, &RouteId)| {
            let (ready, assigned) = self.scheduler.load(route);
            let paused = self.scheduler.is_paused(route);
            RouteLoad { destination: destination.to_string(), ready, assigned, paused }
        };
        let mut loads: Vec<_> = self.route_ids.iter().map(load).collect();
        loads.sort_by(|a, b| a.destination.cmp(&b.destination));
        loads
    }
}
