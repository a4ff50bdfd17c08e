//! Floor 5: the front door: who gets in, how often, and what keeps others out.
//!
//! Rules are the operator's and replaced by a reload; what clients have done lately, and what block
//! lists have said, stays. Promises that those who may relay, and clients that the operator's list
//! accepts, meet no block list, no rate and no delay; that a client is looked up once a session, when
//! its first recipient is judged; that a list which does not answer refuses nobody; and that
//! postmaster can be reached from a listed address (rfc5321bis 4.5.1).
//!
//! Everything is refused at RCPT at the earliest, but for rates: the log knows then who wanted to
//! write to whom.

mod early;
mod lists;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::event;
use crate::metric::DoorRule;
use crate::net::clock;
use crate::net::resolver;
use crate::policy::access::{Access, Action, Facts, Match, Subject};
use crate::policy::blocklist::BlockList;
use crate::policy::client;
use crate::policy::gateway::{Finding, Gateway};
use crate::policy::rate::{Act, Limits, Rates};
use crate::registry::reply::{self, Reply};
use crate::syntax::path::{ForwardPath, ReversePath};

pub use early::{Waited, wait};
use lists::{Listing, Lists};

/// How many addresses the rates remember: some 10 MiB.
const CLIENTS_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// The rules of a listener.
#[derive(Debug, Default)]
pub struct Rules {
    /// The operator's lists.
    pub access: Access,
    /// The block lists.
    pub lists: Vec<Arc<BlockList>>,
    /// How often one client may do what.
    pub limits: Limits,
    /// Clients that the rates do not hold for.
    pub unlimited: Vec<IpNet>,
    /// Who may relay.
    pub trusted: Vec<IpNet>,
    /// How long the greeting is held back.
    pub greet_delay: Duration,
    /// Clients of the whole net come here, each from its own address.
    pub public: bool,
}

impl Rules {
    /// Whether a client meets only what the operator's lists say of it.
    fn spares(&self, client: IpAddr) -> bool {
        let accepted = |found: Match<'_>| *found.action == Action::Accept;
        client::is_in(client, &self.trusted) || self.access.client(client).is_some_and(accepted)
    }
}

/// A refusal at the door.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    /// What the client is told.
    pub reply: Reply,
    /// The kind of rule that refuses.
    pub rule: DoorRule,
    /// Which one: file and line, zone, or rate.
    pub by: String,
}

/// What all listeners share.
pub struct Door {
    rates: Mutex<Rates>,
    lists: Lists,
    gateway: Mutex<Gateway>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    /// Nobody has come yet. The error is a sentence for the operator.
    pub fn new(dns: resolver::Settings) -> Result<Self, String> {
        let rates = Mutex::new(Rates::new(CLIENTS_MAX));
        Ok(Self { rates, lists: Lists::new(dns)?, gateway: Mutex::default() })
    }

    /// Asks other servers from now on. The error is a sentence for the operator.
    pub fn set_dns(&self, dns: resolver::Settings) -> Result<(), String> {
        self.lists.set_dns(dns)
    }

    /// How often each block list answered what.
    pub fn answers(&self) -> Vec<(String, &'static str, u64)> {
        self.lists.answers()
    }

    /// Whether a client may connect now.
    pub fn admit(&self, rules: &Rules, client: IpAddr) -> Result<(), Refusal> {
        if rules.limits.connections.is_none() || rules.spares(client) {
            return Ok(());
        }
        self.count(rules, client, Act::Connection, clock::instant())
    }

    /// Takes note of who sends, in case that all clients are one.
    fn watch(&self, rules: &Rules, client: IpAddr, hello: &str) {
        if !rules.public {
            return;
        }
        let may_relay = client::is_in(client, &rules.trusted);
        let found = {
            let mut gateway = self.gateway.lock().unwrap_or_else(PoisonError::into_inner);
            gateway.note(client, hello, may_relay, clock::now_ms())
        };
        if let Some(Finding { address, transactions, names, may_relay }) = found {
            event::gateway_suspected(address, transactions, names, may_relay);
        }
    }

    fn count(&self, rules: &Rules, client: IpAddr, act: Act, now: Instant) -> Result<(), Refusal> {
        let Some(rate) = rules.limits.of(act) else { return Ok(()) };
        if client::is_in(client, &rules.unlimited) {
            return Ok(());
        }
        // A panic elsewhere leaves the books as good as they were.
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.take(client, act, rate, now) {
            return Ok(());
        }
        let (reply, rule) = match act {
            Act::Connection => (reply::TOO_MANY_CONNECTIONS, DoorRule::ConnectionRate),
            Act::Message => (reply::TOO_MUCH_MAIL, DoorRule::MessageRate),
            Act::Recipient => (reply::TOO_FAST_RECIPIENTS, DoorRule::RecipientRate),
            Act::Command => (reply::TOO_MANY_COMMANDS, DoorRule::CommandRate),
        };
        Err(Refusal { reply, rule, by: rate.to_string() })
    }
}

/// One client's session, as the door sees it.
#[derive(Debug)]
pub struct Visit {
    door: Arc<Door>,
    rules: Arc<Rules>,
    client: IpAddr,
    spared: bool,
    hello: Box<str>,
    sender: ReversePath,
    /// Which line asked to hold the message, and why.
    hold: Option<(String, Arc<str>)>,
    /// What the block lists say, once they were asked.
    listing: Option<Option<Listing>>,
}

impl Visit {
    /// A client that was just let in.
    pub fn new(door: &Arc<Door>, rules: &Arc<Rules>, client: IpAddr) -> Self {
        Self {
            door: Arc::clone(door),
            rules: Arc::clone(rules),
            client,
            spared: rules.spares(client),
            hello: Box::default(),
            sender: ReversePath::Null,
            hold: None,
            listing: None,
        }
    }

    /// The client has proved to be one of our users: it meets no list, no rate and no delay.
    pub fn trust(&mut self) {
        self.spared = true;
    }

    /// How long the greeting is held back.
    pub fn greet_delay(&self) -> Duration {
        if self.spared { Duration::ZERO } else { self.rules.greet_delay }
    }

    /// Takes note of a command; the refusal ends the session.
    pub fn take_command(&self) -> Result<(), Refusal> {
        self.count(Act::Command)
    }

    /// Begins a transaction: MAIL.
    pub fn judge_sender(&mut self, hello: &str, sender: &ReversePath) -> Result<(), Refusal> {
        self.hold = None;
        self.hello = hello.into();
        self.sender.clone_from(sender);
        self.door.watch(&self.rules, self.client, hello);
        self.count(Act::Message)
    }

    /// Judges one recipient: RCPT. It may take as long as the slowest block list.
    pub async fn judge_recipient(&mut self, recipient: &ForwardPath) -> Result<(), Refusal> {
        self.count(Act::Recipient)?;
        let facts =
            Facts { client: self.client, hello: &self.hello, sender: &self.sender, recipient };
        let verdict = self.rules.access.judge(facts);
        if let Some((held, Action::Hold(why))) = verdict.held.map(|held| (held, held.action)) {
            self.hold.get_or_insert_with(|| (held.to_string(), Arc::clone(why)));
        }
        match verdict.decided.map(|line| (line, line.action)) {
            Some((line, Action::Refuse(reply))) => {
                let (reply, rule) = (Reply::clone(reply), rule(line.subject()));
                return Err(Refusal { reply, rule, by: line.to_string() });
            }
            Some((_, Action::Accept)) => return Ok(()),
            Some((_, Action::Hold(_))) | None => {}
        }
        self.judge_listing(recipient).await
    }

    /// Whether judging a recipient may take its time.
    pub fn must_ask(&self) -> bool {
        self.may_be_listed() && self.listing.is_none() && !self.rules.lists.is_empty()
    }

    /// No list knows this machine.
    fn may_be_listed(&self) -> bool {
        let here = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        !self.spared && !here.contains(&self.client.to_canonical())
    }

    async fn judge_listing(&mut self, recipient: &ForwardPath) -> Result<(), Refusal> {
        if !self.may_be_listed() || is_postmaster(recipient) {
            return Ok(());
        }
        if self.listing.is_none() {
            self.listing = Some(self.door.lists.ask(&self.rules.lists, self.client).await);
        }
        match &self.listing {
            Some(Some(Listing { zone, reply })) => {
                Err(Refusal { reply: reply.clone(), rule: DoorRule::BlockList, by: zone.clone() })
            }
            Some(None) | None => Ok(()),
        }
    }

    /// Which line asked to hold the message of this transaction, and why.
    pub fn hold(&self) -> Option<(String, Arc<str>)> {
        self.hold.clone()
    }

    /// The sender of the transaction, and the name that the client gave.
    pub fn sender(&self) -> (&ReversePath, &str) {
        (&self.sender, &self.hello)
    }

    fn count(&self, act: Act) -> Result<(), Refusal> {
        if self.spared {
            return Ok(());
        }
        self.door.count(&self.rules, self.client, act, clock::instant())
    }
}

fn is_postmaster(recipient: &ForwardPath) -> bool {
    match recipient {
        ForwardPath::Postmaster => true,
        ForwardPath::Mailbox(mailbox) => mailbox.local_part().eq_ignore_ascii_case("postmaster"),
    }
}

fn rule(subject: Subject) -> DoorRule {
    match subject {
        Subject::Client => DoorRule::Client,
        Subject::Hello => DoorRule::Hello,
        Subject::Sender => DoorRule::Sender,
        Subject::Recipient => DoorRule::Recipient,
    }
}
