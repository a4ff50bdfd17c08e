//! What the dispatcher may be asked, and what it answers.
//!
//! Promises that every answer is a value: whoever asked holds nothing of the dispatcher.

use angarium_queue::entry::Stored;
use angarium_queue::id::MessageId;
use angarium_queue::schedule::{OutageState, RateState, SiteState, Waits};
use angarium_queue::spool::{CommitError, ReadError};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Settings, Shares, Tally};
use crate::route::Handling;
use crate::route::limit::Limits;
use crate::route::next_hop::NextHop;

/// What the operator may do to one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// No attempt until released.
    Hold,
    /// Ends a hold; without one, releases what its sender had wanted released later.
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
#[derive(Clone, PartialEq, Default, Debug)]
pub struct RouteLoad {
    /// Where to.
    pub destination: String,
    /// Jobs that are due, whether they can be delivered now or not.
    pub ready: usize,
    /// Deliveries under way.
    pub assigned: usize,
    /// Jobs in all.
    pub jobs: usize,
    /// The operator has paused it.
    pub paused: bool,
    /// Its next hop can't be reached.
    pub outage: Option<OutageState>,
    /// Its next hop complained of a rate.
    pub rate: Option<RateState>,
}

/// What is known of a destination.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteState {
    /// Its load.
    pub load: RouteLoad,
    /// The state of its next hop.
    pub site: SiteState,
    /// How its mail is handed over, with its own limits.
    pub handling: Handling,
    /// What the configuration allows it: its own limits, else those of its next hop.
    pub limits: Limits,
    /// What the configuration allows its next hop, whichever routes lead there.
    pub site_limits: Limits,
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
    /// When its sender wants it released, in milliseconds since the epoch; 0 is at once.
    pub release_ms: u64,
}

/// The load of the destinations with the most to do.
#[derive(Clone, PartialEq, Default, Debug)]
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
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Destinations {
    /// Their load now.
    pub busiest: Busiest,
    /// What attempts came to since the start.
    pub attempts: Tally,
    /// What tenants got since somebody asked last.
    pub shares: Shares,
    /// Next hops that can't be reached.
    pub outages: usize,
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
    /// Tell what is known of a destination; empty of one that nothing went to since the start, and
    /// several where routes to one next hop differ in how they handle mail.
    Route(String, oneshot::Sender<Vec<RouteState>>),
    /// Route these messages anew; answered when that is done.
    RouteAnew(Vec<Kept>, oneshot::Sender<()>),
    /// Tell the load of so many destinations, those with the most to do, and of the others together;
    /// and what all attempts came to.
    Destinations(usize, oneshot::Sender<Destinations>),
    /// Start nothing more, and end when nothing is under way.
    Stop,
}
