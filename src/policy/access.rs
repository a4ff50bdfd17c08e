//! Who is let in, refused or held by the operator's own lists: by client network, by the name in
//! HELO or EHLO, by sender and by recipient.
//!
//! Promises that the most specific pattern of a list decides, wherever in its file it stands, and
//! that a look-up costs a few hash probes or one walk down a prefix tree, however long the list is.
//! `accept` never grants relaying: it only spares a client the rules that come after.

mod action;
mod list;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use action::{Action, parse_action};
pub use list::{List, Subject};

use crate::syntax::path::{ForwardPath, ReversePath};

/// The operator's lists.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Access {
    /// By the client's address.
    pub client: Option<Arc<List>>,
    /// By the name of HELO or EHLO.
    pub hello: Option<Arc<List>>,
    /// By the reverse-path.
    pub sender: Option<Arc<List>>,
    /// By the forward-path.
    pub recipient: Option<Arc<List>>,
}

/// A line of a list that something matched.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Match<'a> {
    list: &'a List,
    line: u32,
    /// What is to be done.
    pub action: &'a Action,
}

impl Match<'_> {
    /// What the line is about.
    pub fn subject(&self) -> Subject {
        self.list.subject()
    }
}

impl fmt::Display for Match<'_> {
    /// For the log: `client /etc/angarium/clients:17`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.list.subject(), self.list.file(), self.line)
    }
}

/// What is known of a recipient when it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The name that it gave.
    pub hello: &'a str,
    /// The sender of the transaction.
    pub sender: &'a ReversePath,
    /// The recipient.
    pub recipient: &'a ForwardPath,
}

/// What the lists say, all in all.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Verdict<'a> {
    /// The line that ended the judgement, by `accept` or a refusal.
    pub decided: Option<Match<'a>>,
    /// The first line that asked to hold the message, if it is not refused.
    pub held: Option<Match<'a>>,
}

impl Access {
    /// What the list of clients says of an address.
    pub fn client(&self, address: IpAddr) -> Option<Match<'_>> {
        let list = self.client.as_deref()?;
        list.client(address).map(|rule| list.matched(rule))
    }

    /// Judges a recipient by the lists of clients, names, senders and recipients, in this order: the
    /// first that accepts or refuses decides.
    pub fn judge(&self, facts: Facts<'_>) -> Verdict<'_> {
        let mut verdict = Verdict { decided: None, held: None };
        for (_, subject) in Subject::NAMES {
            let Some(found) = self.find(subject, facts) else { continue };
            match found.action {
                Action::Hold(_) => verdict.held = verdict.held.or(Some(found)),
                Action::Accept | Action::Refuse(_) => {
                    verdict.decided = Some(found);
                    break;
                }
            }
        }
        verdict
    }

    fn find(&self, subject: Subject, facts: Facts<'_>) -> Option<Match<'_>> {
        let (list, rule) = match subject {
            Subject::Client => return self.client(facts.client),
            Subject::Hello => {
                let list = self.hello.as_deref()?;
                (list, list.name(facts.hello))
            }
            Subject::Sender => {
                let list = self.sender.as_deref()?;
                let rule = match facts.sender {
                    ReversePath::Null => list.null(),
                    ReversePath::Mailbox(mailbox) => list.mailbox(mailbox),
                };
                (list, rule)
            }
            Subject::Recipient => {
                let list = self.recipient.as_deref()?;
                let rule = match facts.recipient {
                    ForwardPath::Postmaster => list.address("postmaster", ""),
                    ForwardPath::Mailbox(mailbox) => list.mailbox(mailbox),
                };
                (list, rule)
            }
        };
        rule.map(|rule| list.matched(rule))
    }
}

#[cfg(test)]
mod tests;
