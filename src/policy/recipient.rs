//! May this client send to this recipient?
//!
//! Promises that strangers reach only recipients of our domains, that a [[route]] never grants
//! relaying, and that a recipient is verified before it is accepted, after mapping: so that nothing
//! is taken that must be returned.

use crate::registry::reply::{self, Reply};
use crate::route::next_hop::{NextHop, Via};
use crate::route::recipients::Recipients;
use crate::route::{Domain, Rule, Table, Way};
use crate::syntax::path::{ForwardPath, Mailbox};

/// The judgement of a recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Accept it as this final recipient.
    Accept(Mailbox),
    /// Accept it if the mailstore knows it.
    Verify {
        /// The mailstore.
        next_hop: NextHop,
        /// The final recipient.
        mailbox: Mailbox,
    },
    /// Refuse it.
    Refuse(Reply),
}

/// Judges `path` for a client that may relay or not.
pub fn judge(table: &Table, may_relay: bool, path: &ForwardPath) -> Judgement {
    let Some(mailbox) = table.final_recipient(path) else {
        return Judgement::Refuse(reply::NO_SUCH_RECIPIENT);
    };
    // Where the operator maps postmaster to is the operator's choice, not the client's.
    let mapped = !matches!(path, ForwardPath::Mailbox(said) if *said == mailbox);
    match table.way(&mailbox) {
        Way::Domain(domain) => judge_local(domain, mailbox),
        _ if !may_relay && !mapped => Judgement::Refuse(reply::RELAYING_DENIED),
        Way::Rule(Rule { via: Via::Reject, .. }) => Judgement::Refuse(reply::ROUTE_REFUSES),
        Way::Rule(_) => Judgement::Accept(mailbox),
        Way::None => Judgement::Refuse(reply::NO_ROUTE),
    }
}

fn judge_local(domain: &Domain, mailbox: Mailbox) -> Judgement {
    let known = match &domain.recipients {
        Recipients::Any => true,
        Recipients::Listed(listed) => listed.contains(mailbox.local_part(), mailbox.domain()),
        Recipients::Probe => {
            return Judgement::Verify { next_hop: domain.next_hop.clone(), mailbox };
        }
    };
    if known { Judgement::Accept(mailbox) } else { Judgement::Refuse(reply::NO_SUCH_RECIPIENT) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::path;

    fn table() -> Table {
        let domain = Domain {
            name: "ours.example".into(),
            next_hop: "lmtp:unix:/run/lmtp".parse().unwrap(),
            recipients: Recipients::Any,
            postmaster: Some("ops@far.example".parse().unwrap()),
            limits: crate::route::limit::Limits::default(),
            line: 1,
        };
        let probed = Domain {
            name: "probed.example".into(),
            recipients: Recipients::Probe,
            postmaster: None,
            ..domain.clone()
        };
        let rule = |recipient: &str, via: &str| Rule {
            recipient: recipient.parse().unwrap(),
            via: via.parse().unwrap(),
            handling: crate::route::Handling::default(),
            line: 1,
        };
        let rules = vec![
            rule("*@far.example", "smtp://relay.example"),
            rule("*@spam.example", "reject"),
            rule("*@ours.example", "smtp://wrong.example"),
        ];
        Table::new(vec![domain, probed], rules, None)
    }

    fn verdict(may_relay: bool, path: &str) -> String {
        let path = path::parse_forward_path(path).unwrap();
        match judge(&table(), may_relay, &path) {
            Judgement::Accept(mailbox) => format!("accept {mailbox}"),
            Judgement::Verify { mailbox, .. } => format!("verify {mailbox}"),
            Judgement::Refuse(reply) => format!("{} {}", reply.code, reply.status.unwrap()),
        }
    }

    #[test]
    fn strangers_reach_only_what_is_ours() {
        assert_eq!(verdict(false, "a@ours.example"), "accept a@ours.example");
        assert_eq!(verdict(false, "a@probed.example"), "verify a@probed.example");
        for foreign in [
            "a@far.example",
            "a@nowhere.example",
            "a@spam.example",
            "a@sub.ours.example",
            "\"a@far.example\"@nowhere.example",
            "a%far.example@nowhere.example",
            "a!b@nowhere.example",
            "a@[192.0.2.1]",
            "ops@far.example",
        ] {
            assert_eq!(verdict(false, foreign), "550 5.7.1", "{foreign}");
        }
    }

    #[test]
    fn those_who_may_relay_need_a_route() {
        assert_eq!(verdict(true, "a@far.example"), "accept a@far.example");
        assert_eq!(verdict(true, "a@nowhere.example"), "550 5.4.4");
        assert_eq!(verdict(true, "a@spam.example"), "550 5.7.1");
        assert_eq!(verdict(true, "a@probed.example"), "verify a@probed.example");
    }

    #[test]
    fn the_operator_may_send_postmaster_elsewhere() {
        assert_eq!(verdict(false, "postmaster@ours.example"), "accept ops@far.example");
        assert_eq!(verdict(false, "Postmaster"), "accept ops@far.example");
    }
}
