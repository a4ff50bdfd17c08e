//! A job, the recipients of one message that leave by one route, as its owner knows it; and what
//! comes of it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::timing::Timing;
use crate::id::MessageId;

/// A domain or configured next hop, by a number its owner gives out densely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RouteId(pub u32);

/// What shares a fate and a limit, a set of exchangers or a configured next hop, by a number its
/// owner gives out densely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SiteId(pub u32);

/// On whose account a job is; good for a second after that account has no job left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TenantId(pub(super) u32);

/// A job's place in the scheduler; used again once its job has ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct JobKey(pub(super) u32);

/// Indices of recipients. Most messages have one, which takes no allocation.
pub type Recipients = SmallVec<[u32; 4]>;

/// Where a message came from. Within a site they share 4 : 2 : 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Class {
    /// From an authenticated user, or a client that may relay.
    Submitted,
    /// From anybody else.
    #[default]
    Inbound,
    /// From ourselves, about another message.
    Report,
}

/// Priority within a class: shares of 16 : 12 : 8 : 6 : 4 : 2 : 1, so that none ever stands still.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Band {
    /// A deadline is set.
    Urgent,
    /// The most that a sender may ask for.
    Highest,
    /// More than usual.
    High,
    /// A little more than usual.
    Raised,
    /// As usual.
    #[default]
    Normal,
    /// Less than usual.
    Lowered,
    /// The least.
    Low,
}

/// Which of the two retry schedules a job follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Somebody else's exchanger: minutes to hours.
    Exchanger,
    /// A configured next hop or mailstore: seconds to minutes.
    NextHop,
}

/// The recipients of one message that leave by one route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// The message.
    pub id: MessageId,
    /// The way it leaves.
    pub route: RouteId,
    /// On whose account.
    pub tenant: TenantId,
    /// Where it came from.
    pub class: Class,
    /// Its priority.
    pub band: Band,
    /// Who sends it, as a number: mail of one sender shares one turn.
    pub stream: u64,
    /// Which retry schedule applies.
    pub pace: Pace,
    /// Indices of the recipients, any number; a transaction takes as many as its site does.
    pub recipients: Recipients,
    /// Octets of the message.
    pub size: u64,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// Not before this time; 0 is at once.
    pub due_ms: u64,
    /// When the message was accepted.
    pub arrived_ms: u64,
    /// Which of the options' lifetimes it has.
    pub lifetime: usize,
    /// The times that its sender set.
    pub timing: Timing,
    /// Waits for the operator.
    pub held: bool,
    /// The caller's own number from 0 to 3.
    pub tag: u8,
}

/// A transaction to carry out now. It goes back by `result` or `release`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The job.
    pub key: JobKey,
    /// The message.
    pub id: MessageId,
    /// The way it leaves.
    pub route: RouteId,
    /// Where to.
    pub site: SiteId,
    /// Where the message came from.
    pub class: Class,
    /// On whose account.
    pub tenant: Arc<str>,
    /// Indices of the recipients.
    pub recipients: Recipients,
    /// Failed attempts before this one.
    pub attempts: u32,
    /// When it was picked.
    pub started_ms: u64,
    /// How long it could have been picked before: since it was due, or had come.
    pub waited_ms: u64,
    /// The caller's own number.
    pub tag: u8,
}

/// What an attempt came to, as far as the scheduler cares.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Attempt {
    /// The recipients that it did not settle.
    pub deferred: Vec<u32>,
    /// What it says of more than its message.
    pub verdict: Verdict,
}

/// What an attempt says of more than its message.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Verdict {
    /// The site did its part, whatever it said of the message.
    #[default]
    Served,
    /// The site was not reached, or did not greet: nothing was tried, and no attempt counts.
    Unreachable(Arc<str>),
    /// The site takes no more at present. No attempt counts where that is said of all mail to it.
    Limited {
        /// Whom it is said of.
        scope: Scope,
        /// What there is too much of.
        limit: Limit,
        /// Nothing more for so long; 0 where the reply does not say.
        pause_ms: u64,
        /// The reply.
        reply: Arc<str>,
    },
    /// The dialogue broke after the site had answered. It belongs to the message.
    Broken,
}

/// Whom a limit applies to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scope {
    /// All mail from here to the site: it slows down.
    Site,
    /// Mail of one account; its messages follow their own schedule.
    Tenant,
    /// Mail to one recipient; likewise.
    Recipient,
    /// Mail like this; likewise.
    Content,
}

/// What there is too much of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Limit {
    /// Messages in a time.
    Rate,
    /// Connections at a time.
    Connections,
}

/// What becomes of the recipients that an attempt deferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// There were none: the job is over.
    Done,
    /// They are tried again.
    Retry {
        /// Failed attempts by now.
        attempts: u32,
        /// The next one is due then.
        due_ms: u64,
    },
    /// They are tried again as soon as their site takes mail; no attempt was counted.
    Back,
    /// Their time is over.
    Expired,
    /// The job was withdrawn meanwhile.
    Withdrawn,
}
