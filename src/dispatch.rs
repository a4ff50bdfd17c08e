//! Floor 5: the one task that owns the scheduler: jobs in, assignments and probes out, outcomes
//! recorded, what was learned of next hops saved.
//!
//! Promises that the scheduler and the spool agree on every message: what is accepted becomes jobs,
//! what an attempt settled is recorded before it is forgotten, and what the operator does is
//! durable before it is answered; and that every failure is reported to the sender, or stays owed.
//! Holds no lock; everything comes through channels.

mod gather;
mod late;
mod learned;
mod measure;
mod notify;
mod operate;
mod owed;
mod pauses;
mod record;
mod request;
mod routing;
mod shares;
mod sites;
mod tally;
mod warn;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::entry::{Change, Stored};
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{
    Assignment, Decision, Options, Pick, RouteId, Scheduler, SiteId, TenantLimits,
};
use angarium_queue::spool::Spool;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinSet};
use tokio::time::sleep;

use crate::agent::{Agent, Delivery};
use crate::backlog::Backlog;
use crate::event;
use crate::intake::Accepted;
use crate::net::clock;
use crate::net::connection::Times;
use crate::policy::tenant::Tenants;
use crate::report;
use crate::route::next_hop::NextHop;
use crate::route::{Destination, Table};
use gather::Gathered;
pub use learned::Memory;
use notify::Notified;
pub use pauses::Pauses;
use record::Record;
pub use request::{Busiest, Destinations, Kept, Request, RouteLoad, RouteState, Verb, Waiting};
pub use shares::Shares;
use sites::{Setting, Sites};
pub use sites::{rate, scheduled};
pub use tally::Tally;
use warn::Warned;

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
    /// What tenants may have.
    pub tenants: Tenants,
}

/// A report that was made, or could not be.
#[derive(Debug)]
enum Made {
    Told(Notified),
    Delay(Warned),
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
    let earlier = |stored: &Stored| stored.id.epoch() < epoch;
    for_each_page(spool, earlier, Request::TakeUp, dispatcher);
}

/// Has everything in the spool routed anew, after a reload, a page at a time. Blocks likewise. What
/// it has not come to yet is routed when its turn comes.
pub fn route_anew(spool: &Spool, dispatcher: &mpsc::Sender<Request>) {
    for_each_page(spool, |_| true, Request::RouteAnew, dispatcher);
}

fn for_each_page(
    spool: &Spool,
    wanted: impl Fn(&Stored) -> bool,
    request: impl Fn(Vec<Kept>, oneshot::Sender<()>) -> Request,
    dispatcher: &mpsc::Sender<Request>,
) {
    let mut last = None;
    loop {
        let page = spool.page(last, PAGE).into_iter();
        let page = page.filter(|(stored, _)| wanted(stored));
        let kept: Vec<Kept> = page.map(|(stored, envelope)| Kept { stored, envelope }).collect();
        let Some(next) = kept.last().map(|kept| kept.stored.id) else { return };
        let (taken, done) = oneshot::channel();
        // One page at a time: the queue may be far larger than memory should be.
        if dispatcher.blocking_send(request(kept, taken)).is_err() || done.blocking_recv().is_err()
        {
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
    sites: Sites,
    deliveries: JoinSet<Delivery>,
    probes: JoinSet<Result<(), String>>,
    /// The site that each probe under way looks at.
    probing: HashMap<task::Id, SiteId>,
    /// What each delivery under way was given.
    assignments: HashMap<task::Id, Assignment>,
    /// Failed messages whose revival is being recorded.
    reviving: HashMap<MessageId, Vec<u32>>,
    record: mpsc::UnboundedSender<Recorded>,
    recorded: mpsc::UnboundedReceiver<Recorded>,
    /// Messages whose end the operator wants, until that is recorded.
    ending: HashSet<MessageId>,
    /// The ways out that the operator chose for single messages.
    vias: HashMap<MessageId, NextHop>,
    /// Reports that are being made.
    reports: JoinSet<Made>,
    /// How many of them are about each message; what is owed waits for none.
    telling: HashMap<MessageId, usize>,
    /// Messages whose senders are to be told of a delay.
    gathered: Gathered,
    /// Messages whose report could not be made when it was due.
    owed: BTreeSet<MessageId>,
    /// What is left of the present round of trying again.
    owed_round: Vec<MessageId>,
    next_round_ms: u64,
    /// Counts reloads, from 0 to 3: jobs with another tag may be on a route that changed since.
    tag: u8,
    pauses: Pauses,
    memory: Memory,
    backlog: Arc<Backlog>,
    shares: Shares,
    attempts: Tally,
    stopping: bool,
}

impl Dispatcher {
    /// A dispatcher that knows no message yet; [`take_up`] tells it of those in `spool`.
    pub fn new(
        spool: Spool,
        agent: Arc<Agent>,
        settings: Settings,
        remembered: (Pauses, Memory),
        backlog: Arc<Backlog>,
        seed: u64,
    ) -> Self {
        let (record, recorded) = mpsc::unbounded_channel();
        let (pauses, memory) = remembered;
        let mut scheduler = Scheduler::new(settings.options.clone(), seed);
        tell_tenants(&mut scheduler, &settings.tenants, &[], 0);
        Self {
            scheduler,
            spool,
            agent,
            settings,
            sites: Sites::default(),
            deliveries: JoinSet::new(),
            probes: JoinSet::new(),
            probing: HashMap::new(),
            assignments: HashMap::new(),
            reviving: HashMap::new(),
            record,
            recorded,
            ending: HashSet::new(),
            vias: HashMap::new(),
            reports: JoinSet::new(),
            telling: HashMap::new(),
            gathered: Gathered::default(),
            owed: BTreeSet::new(),
            owed_round: Vec::new(),
            next_round_ms: 0,
            tag: 0,
            pauses,
            memory,
            backlog,
            shares: Shares::default(),
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
            let wake_in = wake_in.min(self.tell_of_waiting());
            self.remember();
            if self.stopping && self.deliveries.is_empty() && self.reports.is_empty() {
                return;
            }
            tokio::select! {
                _ = accepted.recv_many(&mut arrivals, BATCH), if !accepted.is_closed() => {}
                count = requests.recv_many(&mut asked, BATCH) => if count == 0 { return },
                Some(ended) = self.deliveries.join_next_with_id() => self.settle_ended(ended),
                Some(probed) = self.probes.join_next_with_id() => self.probed(probed),
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
                Pick::Assignment(assignment) => self.start(assignment, now_ms),
                Pick::Probe(site, route) => self.start_probe(site, route),
                Pick::Again => {}
                Pick::WakeAt(due_ms) => {
                    return Duration::from_millis(due_ms.saturating_sub(now_ms).max(1));
                }
                Pick::Idle => return Duration::from_secs(3600),
            }
        }
    }

    fn start(&mut self, assignment: Assignment, now_ms: u64) {
        if assignment.tag != self.tag {
            // It was routed before a reload.
            self.scheduler.release(&assignment, now_ms);
            return self.reroute(&assignment, now_ms);
        }
        let agent = Arc::clone(&self.agent);
        let destination = self.sites.destination(assignment.route);
        let times = self.settings.times;
        measure::started(&assignment);
        let (id, recipients) = (assignment.id, assignment.recipients.clone());
        let delivery = self
            .deliveries
            .spawn(async move { agent.deliver(id, &recipients, &destination, times).await });
        self.assignments.insert(delivery.id(), assignment);
    }

    fn start_probe(&mut self, site: SiteId, route: RouteId) {
        let agent = Arc::clone(&self.agent);
        let (destination, times) = (self.sites.destination(route), self.settings.times);
        let probe = self.probes.spawn(async move { agent.probe(&destination, times).await });
        self.probing.insert(probe.id(), site);
    }

    /// Takes the end of a probe. A panic is our bug: its site is looked at again later.
    fn probed(&mut self, probed: Result<(task::Id, Result<(), String>), task::JoinError>) {
        let (id, answer) = probed.unwrap_or_else(|error| {
            let id = error.id();
            event::trouble("a probe ended abnormally", error);
            (id, Err("an internal error, see the log".to_owned()))
        });
        let Some(site) = self.probing.remove(&id) else { return };
        self.scheduler.probed(site, answer.err().map(Arc::from), clock::now_ms());
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
        self.note(assignment, delivery, decision, now_ms);
        let waits = matches!(decision, Decision::Retry { .. } | Decision::Back);
        // A message that could not be read was unroutable then, and need not stay so.
        let unroutable = self.sites.destination(assignment.route) == Destination::Unroutable;
        let moved = unroutable || self.vias.contains_key(&assignment.id);
        if waits && (moved || assignment.tag != self.tag) {
            self.reroute(assignment, now_ms);
        }
    }

    /// Logs, counts and records what became of an attempt.
    fn note(
        &mut self,
        assignment: &Assignment,
        delivery: &Delivery,
        decision: Decision,
        now_ms: u64,
    ) {
        let destination = self.sites.destination(assignment.route);
        let record = Record { assignment, delivery, decision, now_ms };
        record.log(&destination);
        measure::settled(&record, &destination, &mut self.attempts);
        let mut changes = record.changes();
        if self.ending.contains(&assignment.id) {
            // A deferral must not bring back what is being given up.
            changes.retain(|(_, change)| !matches!(change, Change::Deferred { .. }));
        }
        self.conclude(assignment, delivery, changes);
        self.backlog.set(&assignment.tenant, self.scheduler.backlog(&assignment.tenant));
    }

    /// Saves what was learned of next hops, now and then.
    fn remember(&mut self) {
        let now_ms = clock::now_ms();
        if self.memory.is_due(now_ms) || self.stopping {
            let learned = self
                .sites
                .all()
                .filter_map(|(site, name)| Some((name.to_owned(), self.scheduler.learned(site)?)));
            self.memory.save(learned, now_ms);
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
            Request::Route(name, answer) => drop(answer.send(self.route_states(&name))),
            Request::RouteAnew(kept, done) => {
                self.route_anew(kept);
                let _ = done.send(());
            }
            Request::Destinations(count, answer) => drop(answer.send(self.told(count))),
            Request::Stop => self.stopping = true,
        }
    }
}

/// Tells the scheduler what tenants may have; `before` had limits of their own until now.
fn tell_tenants(scheduler: &mut Scheduler, tenants: &Tenants, before: &[String], now_ms: u64) {
    for name in before {
        scheduler.set_tenant(name, None, now_ms);
    }
    for name in tenants.named() {
        scheduler.set_tenant(name, Some(tenant_limits(tenants.limits(name))), now_ms);
    }
}

/// Limits of a tenant as the scheduler knows them.
pub fn tenant_limits(limits: crate::policy::tenant::Limits) -> TenantLimits {
    TenantLimits { concurrency_max: limits.concurrency, rate: limits.rate.map(rate) }
}
