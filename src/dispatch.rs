//! Floor 5: the one task that owns the scheduler: jobs in, assignments out, outcomes recorded.
//!
//! Promises that the scheduler and the spool agree on every message: what is accepted becomes jobs,
//! what an attempt settled is recorded before it is forgotten, and what the operator does is
//! durable before it is answered; and that every failure is reported to the sender, or stays owed.
//! Holds no lock; everything comes through channels.

mod notify;
mod operate;
mod owed;
mod record;
mod routing;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::id::MessageId;
use angarium_queue::schedule::{Assignment, Decision, Options, Pick, RouteId, Scheduler};
use angarium_queue::spool::{CommitError, Spool};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::agent::{Agent, Delivery};
use crate::event;
use crate::intake::Accepted;
use crate::net::clock;
use crate::net::connection::Times;
use crate::report;
use crate::route::{Destination, Table};
use notify::Notified;
use record::Record;

/// Events taken in one go before the scheduler is asked again.
const BATCH: usize = 256;

/// What a configuration tells the dispatcher.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds and schedules.
    pub options: Options,
    /// Times of a delivery.
    pub times: Times,
    /// Domains and routes.
    pub table: Arc<Table>,
    /// How reports to senders look.
    pub report: Arc<report::Settings>,
    /// How long delivery of a report is tried.
    pub report_lifetime_ms: u64,
    /// The ages at which the sender of a message that still waits is told.
    pub delay_warning_ms: Vec<u64>,
}

/// What the operator may do to one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// No attempt until released.
    Hold,
    /// Ends a hold.
    Release,
    /// Try now; also what had failed and is only waiting for its report.
    Retry,
    /// Out of the queue, without a report.
    Remove,
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
}

/// A request to the dispatcher.
#[derive(Debug)]
pub enum Request {
    /// Route everything anew, with new bounds.
    Reload(Box<Settings>),
    /// Do something to a message; false if there is none.
    Operate(MessageId, Verb, oneshot::Sender<Result<bool, CommitError>>),
    /// Tell the load of each destination.
    Loads(oneshot::Sender<Vec<RouteLoad>>),
    /// Start nothing more, and end when nothing is under way.
    Stop,
}

/// The dispatcher.
pub struct Dispatcher {
    scheduler: Scheduler,
    spool: Spool,
    agent: Arc<Agent>,
    settings: Settings,
    destinations: Vec<Destination>,
    route_ids: HashMap<Destination, RouteId>,
    deliveries: JoinSet<(Assignment, Delivery)>,
    /// Failed messages whose revival is being recorded; told again by `revived`.
    reviving: HashMap<MessageId, Vec<u32>>,
    revive: mpsc::UnboundedSender<MessageId>,
    revived: mpsc::UnboundedReceiver<MessageId>,
    /// Reports that are being made.
    reports: JoinSet<Notified>,
    /// Messages about which no second report may be begun meanwhile.
    telling: HashSet<MessageId>,
    /// Messages whose report could not be made when it was due.
    owed: BTreeSet<MessageId>,
    /// What is left of the present round of trying again.
    owed_round: Vec<MessageId>,
    next_round_ms: u64,
    /// Assignments that started before this may be on a route that has changed since.
    reloaded_ms: u64,
    stopping: bool,
}

impl Dispatcher {
    /// A dispatcher with everything that `spool` holds.
    pub fn new(spool: Spool, agent: Arc<Agent>, settings: Settings, seed: u64) -> Self {
        let (revive, revived) = mpsc::unbounded_channel();
        let mut dispatcher = Self {
            scheduler: Scheduler::new(settings.options.clone(), seed),
            spool,
            agent,
            settings,
            destinations: Vec::new(),
            route_ids: HashMap::new(),
            deliveries: JoinSet::new(),
            reviving: HashMap::new(),
            revive,
            revived,
            reports: JoinSet::new(),
            telling: HashSet::new(),
            owed: BTreeSet::new(),
            owed_round: Vec::new(),
            next_round_ms: 0,
            reloaded_ms: 0,
            stopping: false,
        };
        for stored in dispatcher.spool.scan() {
            dispatcher.enqueue_stored(&stored);
            dispatcher.note_owed(&stored);
        }
        dispatcher
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
                Some(ended) = self.deliveries.join_next() => self.settle(ended),
                Some(made) = self.reports.join_next() => self.notified(made),
                Some(id) = self.revived.recv() => self.enqueue_revived(id),
                () = sleep(wake_in) => {}
            }
            while let Some(ended) = self.deliveries.try_join_next() {
                self.settle(ended);
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
        self.deliveries.spawn(async move {
            let Assignment { id, recipients, .. } = &assignment;
            let delivery = agent.deliver(*id, recipients, &destination, times).await;
            (assignment, delivery)
        });
    }

    /// Takes the result of a delivery. One that panicked is our bug: its message stays as it was
    /// recorded, and is taken up again at the next start.
    fn settle(&mut self, ended: Result<(Assignment, Delivery), tokio::task::JoinError>) {
        let (assignment, delivery) = match ended {
            Ok(settled) => settled,
            Err(error) => return event::trouble("a delivery ended abnormally", error),
        };
        let now_ms = clock::now_ms();
        let decision = self.scheduler.result(&assignment, delivery.deferred(), now_ms);
        let record = Record { assignment: &assignment, delivery: &delivery, decision, now_ms };
        record.log(&self.destination(assignment.route));
        let changes = record.changes();
        self.conclude(&assignment, &delivery, changes, now_ms);
        let retried = matches!(decision, Decision::Retry { .. });
        if retried && assignment.started_ms <= self.reloaded_ms {
            self.reroute(assignment.key, now_ms);
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Reload(settings) => self.reload(*settings),
            Request::Operate(id, verb, answer) => self.operate(id, verb, answer),
            Request::Loads(answer) => drop(answer.send(self.loads())),
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
            RouteLoad { destination: destination.to_string(), ready, assigned }
        };
        let mut loads: Vec<_> = self.route_ids.iter().map(load).collect();
        loads.sort_by(|a, b| a.destination.cmp(&b.destination));
        loads
    }
}
