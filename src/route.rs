//! Floor 3: from a recipient to the way its mail goes.
//!
//! Promises that a [[domain]] decides for its own recipients before any [[route]] is looked at, that
//! the first matching [[route]] wins, and that the answer names the rule and its line. A route tells
//! how mail leaves; it never grants that somebody may send it. Knows no I/O: tables come in as
//! values.

pub mod limit;
pub mod next_hop;
pub mod owners;
pub mod pattern;
pub mod recipients;
pub mod security;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::syntax::local_part::{base, lookup_key};
use crate::syntax::path::{ForwardPath, Mailbox};
use limit::Limits;
use next_hop::{NextHop, Via};
use owners::Owners;
use pattern::Pattern;
use recipients::{Listed, Recipients};
use security::Security;

/// A domain that we are responsible for.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name in its form (see [`crate::syntax::domain`]).
    pub name: String,
    /// Where its mail is handed to.
    pub next_hop: NextHop,
    /// Which recipients exist.
    pub recipients: Recipients,
    /// Since when they have their owners.
    pub owners: Arc<Owners>,
    /// Where postmaster@ and abuse@ go, if elsewhere.
    pub postmaster: Option<Mailbox>,
    /// What separates a local part from its tag; empty if nothing does.
    pub separators: String,
    /// Its own limits, beside those of the next hop.
    pub limits: Limits,
    /// How connections to the next hop are secured.
    pub security: Security,
    /// The line of the configuration that declares it.
    pub line: usize,
}

impl Domain {
    /// Whether `local_part`, whole or without its tag, is one of `names`, which are in lower case.
    fn means(&self, local_part: &str, names: &[&str]) -> bool {
        let named = |local_part| names.contains(&&*lookup_key(local_part));
        named(local_part) || base(local_part, &self.separators).is_some_and(named)
    }

    /// Whether `listed` has a recipient of this domain, whole or without its tag.
    pub fn lists(&self, listed: &Listed, mailbox: &Mailbox) -> bool {
        let listed = |local_part| listed.contains(local_part, &self.name);
        listed(mailbox.local_part())
            || base(mailbox.local_part(), &self.separators).is_some_and(listed)
    }
}

/// How mail for others leaves.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Whom it is for.
    pub recipient: Pattern,
    /// What is done.
    pub via: Via,
    /// How its mail is handed over.
    pub handling: Handling,
    /// The line of the configuration that declares it.
    pub line: usize,
}

/// What is done with 8-bit content towards an SMTP next hop that does not offer 8BITMIME.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub enum EightBit {
    /// It is sent as it is, which most servers take and RFC 6152 forbids.
    Send,
    /// It is converted; what is signed as a whole fails instead.
    #[default]
    Convert,
    /// It fails with 5.6.3.
    Bounce,
}

/// What is done with lines over 998 octets towards an SMTP next hop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub enum LongLines {
    /// They are sent as they are.
    #[default]
    Pass,
    /// The message fails with 5.6.0.
    Bounce,
}

/// How mail is handed to a next hop. Content that an SMTP next hop may mind is handled as the route
/// says; LMTP gets everything as it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Handling {
    /// 8-bit content.
    pub eight_bit: EightBit,
    /// Long lines.
    pub long_lines: LongLines,
    /// The limits of the route or domain itself.
    pub limits: Limits,
    /// How connections are secured.
    pub security: Security,
}

/// All domains and routes.
#[derive(Clone, Debug, Default)]
pub struct Table {
    domains: HashMap<String, Domain>,
    rules: Vec<Rule>,
    /// Where mail for a bare `<Postmaster>` goes.
    postmaster: Option<Mailbox>,
    /// Who gets the mail for a postmaster that does not exist.
    stand_in: Option<Mailbox>,
    /// The limits of next hops that have their own.
    sites: HashMap<NextHop, Limits>,
    /// The limits of every next hop as far as it has none of its own.
    every_site: Limits,
}

/// What the table says of a recipient.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// It is of a domain of ours.
    Domain(&'a Domain),
    /// A route takes it.
    Rule(&'a Rule),
    /// Nothing does.
    None,
}

/// Where queued mail for a recipient goes, after every look-up of the table.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Destination {
    /// To a next hop.
    Hop(NextHop, Handling),
    /// Nowhere, on purpose.
    Discard,
    /// Nowhere: a route refuses it.
    Reject,
    /// Nowhere yet: no route leads there.
    Unroutable,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hop(hop, _) => hop.fmt(f),
            Self::Discard => f.write_str("discard"),
            Self::Reject => f.write_str("reject"),
            Self::Unroutable => f.write_str("unroutable"),
        }
    }
}

impl Table {
    /// A table; the first of `domains` lends its postmaster where `postmaster` is none.
    pub fn new(domains: Vec<Domain>, rules: Vec<Rule>, postmaster: Option<Mailbox>) -> Self {
        let stand_in = postmaster.clone();
        let of_first = |domain: &Domain| {
            domain.postmaster.clone().or_else(|| Mailbox::new("postmaster", &domain.name).ok())
        };
        let postmaster = postmaster.or_else(|| domains.first().and_then(of_first));
        let domains = domains.into_iter().map(|domain| (domain.name.clone(), domain)).collect();
        Self { domains, rules, postmaster, stand_in, ..Self::default() }
    }

    /// The same with limits: of every next hop, and of some by themselves.
    #[must_use]
    pub fn with_limits(
        mut self,
        every_site: Limits,
        sites: impl IntoIterator<Item = (NextHop, Limits)>,
    ) -> Self {
        self.every_site = every_site;
        self.sites = sites.into_iter().collect();
        self
    }

    /// What holds for every next hop as far as it has no limits of its own.
    pub fn every_site(&self) -> Limits {
        self.every_site
    }

    /// What holds for a next hop as a whole, whichever routes lead there.
    pub fn site_limits(&self, next_hop: &NextHop) -> Limits {
        self.sites.get(next_hop).copied().unwrap_or_default().or(self.every_site)
    }

    /// What holds for each transaction and connection to a destination: its own limits, else those
    /// of its next hop.
    pub fn limits(&self, destination: &Destination) -> Limits {
        match destination {
            Destination::Hop(next_hop, handling) => handling.limits.or(self.site_limits(next_hop)),
            Destination::Discard | Destination::Reject | Destination::Unroutable => {
                Limits::default()
            }
        }
    }

    /// The final recipient of a forward-path: postmaster and abuse may be mapped (rfc5321bis 4.5.1,
    /// RFC 2142). `None` only for a bare `<Postmaster>` that nobody stands for.
    pub fn final_recipient(&self, path: &ForwardPath) -> Option<Mailbox> {
        let ForwardPath::Mailbox(mailbox) = path else { return self.postmaster.clone() };
        let mapped = self.domains.get(mailbox.domain()).and_then(|domain| {
            let role = |_: &&Mailbox| domain.means(mailbox.local_part(), &["postmaster", "abuse"]);
            domain.postmaster.as_ref().filter(role)
        });
        Some(mapped.unwrap_or(mailbox).clone())
    }

    /// Whether a mailbox is in a domain of ours.
    pub fn is_ours(&self, mailbox: &Mailbox) -> bool {
        self.domains.contains_key(mailbox.domain())
    }

    /// Who gets the mail for `mailbox` where it does not exist and is the postmaster of a domain of
    /// ours (rfc5321bis 4.5.1): the postmaster of the whole server, if there is one.
    pub fn stand_in(&self, mailbox: &Mailbox) -> Option<&Mailbox> {
        let domain = self.domains.get(mailbox.domain())?;
        let missed = domain.means(mailbox.local_part(), &["postmaster"]);
        self.stand_in.as_ref().filter(|stand_in| missed && *stand_in != mailbox)
    }

    /// The domains that we are responsible for, in no order.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.values()
    }

    /// What decides for a final recipient.
    pub fn way(&self, mailbox: &Mailbox) -> Way<'_> {
        if let Some(domain) = self.domains.get(mailbox.domain()) {
            return Way::Domain(domain);
        }
        self.rules
            .iter()
            .find(|rule| rule.recipient.matches(mailbox.local_part(), mailbox.domain()))
            .map_or(Way::None, Way::Rule)
    }

    /// How connections to a next hop are secured that the operator chose for one message: as the
    /// first section that leads there says.
    pub fn security(&self, next_hop: &NextHop) -> Security {
        let of_rules = self.rules.iter().filter_map(|rule| match &rule.via {
            Via::Hop(hop) if hop == next_hop => Some((rule.line, &rule.handling.security)),
            Via::Hop(_) | Via::Discard | Via::Reject => None,
        });
        let of_domains = self.domains.values().filter(|domain| domain.next_hop == *next_hop);
        let of_domains = of_domains.map(|domain| (domain.line, &domain.security));
        let first = of_domains.chain(of_rules).min_by_key(|(line, _)| *line);
        first.map(|(_, security)| security.clone()).unwrap_or_default()
    }

    /// Where queued mail for a final recipient goes now.
    pub fn destination(&self, mailbox: &Mailbox) -> Destination {
        match self.way(mailbox) {
            Way::Domain(domain) => {
                let security = domain.security.clone();
                let handling = Handling { limits: domain.limits, security, ..Handling::default() };
                Destination::Hop(domain.next_hop.clone(), handling)
            }
            Way::Rule(Rule { via: Via::Hop(hop), handling, .. }) => {
                Destination::Hop(hop.clone(), handling.clone())
            }
            Way::Rule(Rule { via: Via::Discard, .. }) => Destination::Discard,
            Way::Rule(Rule { via: Via::Reject, .. }) => Destination::Reject,
            Way::None => Destination::Unroutable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use security::TlsPolicy;

    fn table() -> Table {
        let domain = |name: &str, postmaster: Option<&str>| Domain {
            name: name.into(),
            next_hop: "lmtp:unix:/run/lmtp".parse().unwrap(),
            recipients: Recipients::Any,
            owners: Arc::default(),
            postmaster: postmaster.map(|mailbox| mailbox.parse().unwrap()),
            separators: "+".into(),
            limits: Limits { rate: "5/s".parse().ok(), ..Limits::default() },
            security: Security::default(),
            line: 1,
        };
        let rule = |recipient: &str, via: &str| Rule {
            recipient: recipient.parse().unwrap(),
            via: via.parse().unwrap(),
            handling: Handling::default(),
            line: 2,
        };
        Table::new(
            vec![domain("one.example", Some("admin@one.example")), domain("two.example", None)],
            vec![
                rule("*@one.example", "discard"),
                rule("*@far.example", "smtp://relay.example"),
                rule("*@far.example", "reject"),
            ],
            None,
        )
    }

    fn destination(mailbox: &str) -> String {
        table().destination(&mailbox.parse().unwrap()).to_string()
    }

    #[test]
    fn domains_come_before_routes_and_the_first_route_wins() {
        assert_eq!(destination("a@ONE.example"), "lmtp:unix:/run/lmtp");
        assert_eq!(destination("a@far.example"), "smtp://relay.example:25");
        assert_eq!(destination("a@sub.one.example"), "unroutable");
    }

    #[test]
    fn what_a_domain_limits_comes_before_its_next_hop_and_that_before_the_rest() {
        let store: NextHop = "lmtp:unix:/run/lmtp".parse().unwrap();
        let every = Limits {
            concurrency: Some(9),
            recipients_per_transaction: Some(8),
            ..Limits::default()
        };
        let site = Limits { concurrency: Some(7), rate: "6/s".parse().ok(), ..Limits::default() };
        let table = table().with_limits(every, [(store.clone(), site)]);
        let of = |mailbox: &str| table.destination(&mailbox.parse().unwrap());
        assert_eq!(of("a@one.example"), of("a@two.example"), "one next hop is one destination");
        assert_eq!(table.site_limits(&store), site.or(every));
        let own = Limits { rate: "5/s".parse().ok(), ..site }.or(every);
        assert_eq!(table.limits(&of("a@one.example")), own);
        assert_eq!(table.limits(&of("a@far.example")), every);
        assert_eq!(table.limits(&Destination::Discard), Limits::default());
    }

    #[test]
    fn a_way_that_the_operator_chose_is_as_safe_as_the_configured_one() {
        let hop: NextHop = "smtp://relay.example".parse().unwrap();
        let security = |tls| Security { tls, ..Security::default() };
        let rule = |tls, line| Rule {
            recipient: "*".parse().unwrap(),
            via: Via::Hop(hop.clone()),
            handling: Handling { security: security(tls), ..Handling::default() },
            line,
        };
        let rules = vec![rule(TlsPolicy::Verify, 3), rule(TlsPolicy::Off, 9)];
        let table = Table::new(vec![], rules, None);
        assert_eq!(table.security(&hop), security(TlsPolicy::Verify));
        assert_eq!(table.security(&"smtp://other.example".parse().unwrap()), Security::default());
    }

    #[test]
    fn postmaster_and_abuse_are_mapped_where_the_domain_says_so() {
        let table = table();
        let final_of = |text: &str| {
            let path = ForwardPath::Mailbox(text.parse().unwrap());
            table.final_recipient(&path).unwrap().to_string()
        };
        assert_eq!(final_of("Abuse@one.example"), "admin@one.example");
        assert_eq!(final_of("PostMaster+Tag@one.example"), "admin@one.example");
        assert_eq!(final_of("postmaster-tag@one.example"), "postmaster-tag@one.example");
        assert_eq!(final_of("Postmaster+Tag@two.example"), "Postmaster+Tag@two.example");
        assert_eq!(final_of("abuse@far.example"), "abuse@far.example");
        let bare = table.final_recipient(&ForwardPath::Postmaster);
        assert_eq!(bare.unwrap().to_string(), "admin@one.example");
        assert_eq!(Table::default().final_recipient(&ForwardPath::Postmaster), None);
    }
}
