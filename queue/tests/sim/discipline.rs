//! What is compared: something that takes mail and says what goes next.

use super::{fifo::Fifo, ours::Ours, ready::Ready, slots::Slots};

/// Where a message came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Class {
    #[default]
    Submitted,
    Inbound,
    Report,
}

/// The recipients of one message on one route.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mail {
    /// Parts of one message, submitted one after the other, share this.
    pub message: u32,
    /// What the figures are kept by.
    pub flow: u8,
    pub class: Class,
    pub route: u32,
    pub tenant: u32,
    pub stream: u64,
    pub recipients: u32,
    /// Octets.
    pub size: u32,
    pub arrived_us: u64,
    /// To be delivered within this time.
    pub deadline_in_us: Option<u64>,
    /// Not to be tried before; 0 is at once.
    pub due_us: u64,
}

/// One transaction a discipline starts.
#[derive(Debug)]
pub struct Start {
    /// Place of the mail in the order of submission.
    pub mail: u32,
    pub site: u32,
    /// Indices of recipients of that mail.
    pub recipients: Vec<u32>,
    /// The discipline's own.
    pub token: u64,
}

/// What a discipline wants next.
#[derive(Debug)]
pub enum Next {
    Start(Start),
    /// Connect to this site, say whether it answers.
    Probe(u32),
    /// Ask again at this time, in milliseconds, or after an event.
    WakeAt(u64),
    Idle,
}

/// What a transaction says of the site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Served,
    /// No connection.
    Unreachable,
    /// Too fast, said of a transaction.
    Limited,
    /// Too many, said instead of a greeting.
    TurnedAway,
    /// It answered, then broke off.
    Broken,
}

/// How a transaction went.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub verdict: Verdict,
    /// Recipients it did not settle.
    pub deferred: Vec<u32>,
}

/// What becomes of those it did not settle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Kept,
    Expired,
}

/// What a discipline tells on its own.
#[derive(Debug)]
pub enum Notice {
    /// These recipients of a mail grew too old.
    Expired(u32, Vec<u32>),
    /// A mail waits long enough that its sender should know.
    Waiting(u32),
    /// A mail misses its deadline.
    Late(u32),
}

/// Orders mail. Times are milliseconds.
pub trait Discipline {
    /// Takes a mail; `number` is its place in the order of submission.
    fn enqueue(&mut self, number: u32, mail: &Mail, now_ms: u64);
    fn next(&mut self, now_ms: u64) -> Next;
    /// Takes back what `next` started.
    fn result(&mut self, start: Start, attempt: &Attempt, now_ms: u64) -> Outcome;
    fn probed(&mut self, site: u32, answers: bool, now_ms: u64) {
        panic!("site {site} was probed ({answers}) at {now_ms}, and nobody asked");
    }
    fn notice(&mut self, _now_ms: u64) -> Option<Notice> {
        None
    }
    /// Binds a route to another site.
    fn set_route(&mut self, route: u32, site: u32, now_ms: u64);
    /// The most counted steps of a call so far; 0 where none are counted.
    fn steps_max(&self) -> u32 {
        0
    }
}

/// What all disciplines are set to.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Transactions at a time.
    pub slots: usize,
    /// Transactions at a time to a site.
    pub concurrency: u32,
    /// Recipients in a transaction.
    pub recipients_max: usize,
    /// The site of each route.
    pub sites: Vec<u32>,
    /// Messages a second of a tenant; only some know such a thing.
    pub tenant_rate: Option<(u32, u32)>,
    pub lifetime_ms: u64,
    /// Ages at which a sender is told.
    pub warnings_ms: Vec<u64>,
    pub seed: u64,
}

impl Setup {
    /// Routes that have a site each, 1,000 slots, five days.
    pub fn new(routes: u32, concurrency: u32) -> Self {
        Self {
            slots: 1000,
            concurrency,
            recipients_max: 1,
            sites: (0..routes).collect(),
            tenant_rate: None,
            lifetime_ms: 5 * 86_400_000,
            warnings_ms: Vec::new(),
            seed: 1,
        }
    }

    /// The number of sites.
    pub fn sites_count(&self) -> usize {
        self.sites.iter().max().map_or(0, |last| *last as usize + 1)
    }

    /// Slots for those that do not know how many a site takes.
    pub fn slots_in_all(&self) -> usize {
        self.slots.min(self.concurrency as usize * self.sites_count())
    }
}

/// The disciplines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ours,
    Fifo,
    /// Postfix's preemptive slots.
    Slots,
    /// KumoMTA's ready queues.
    Ready,
}

impl Kind {
    pub const ALL: &'static [Self] = &[Self::Ours, Self::Fifo, Self::Slots, Self::Ready];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Fifo => "fifo",
            Self::Slots => "postfix",
            Self::Ready => "kumomta",
        }
    }

    pub fn build(self, setup: &Setup) -> Box<dyn Discipline> {
        match self {
            Self::Ours => Box::new(Ours::new(setup)),
            Self::Fifo => Box::new(Fifo::new(setup)),
            Self::Slots => Box::new(Slots::new(setup)),
            Self::Ready => Box::new(Ready::new(setup)),
        }
    }
}

/// Recipients of one mail that go the same way at the same time, as the plainer disciplines keep them.
#[derive(Debug)]
pub struct Batch {
    pub mail: u32,
    pub attempts: u32,
    pub arrived_ms: u64,
    pub recipients: Vec<u32>,
}

impl Batch {
    pub fn whole(number: u32, mail: &Mail) -> Self {
        let recipients = (0..mail.recipients).collect();
        Self { mail: number, attempts: 0, arrived_ms: mail.arrived_us / 1000, recipients }
    }

    /// Takes up to so many recipients off.
    pub fn cut(&mut self, count: usize) -> Vec<u32> {
        let at = self.recipients.len().saturating_sub(count);
        self.recipients.split_off(at)
    }

    /// What an attempt left of it, one attempt older; none when it is too old.
    pub fn again(&self, deferred: &[u32], started_too_old: bool) -> Option<Self> {
        (!started_too_old).then(|| Self {
            mail: self.mail,
            attempts: self.attempts + 1,
            arrived_ms: self.arrived_ms,
            recipients: deferred.to_vec(),
        })
    }
}
