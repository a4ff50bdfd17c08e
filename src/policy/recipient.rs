//! May this client send to this recipient?
//!
//! Promises that strangers reach only recipients of our domains, that a [[route]] never grants
//! relaying, and that a recipient is verified before it is accepted, after mapping: so that nothing
//! is taken that must be returned. The address itself is changed only where a postmaster is mapped;
//! a tag that was ignored to find the recipient goes on with it.

use crate::registry::reply::{self, Reply};
use crate::route::next_hop::{NextHop, Via};
use crate::route::recipients::Recipients;
use crate::route::security::Security;
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
        /// How connections there are secured.
        security: Security,
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
    judge_final(table, may_relay || mapped, mailbox)
}

fn judge_final(table: &Table, may_relay: bool, mailbox: Mailbox) -> Judgement {
    match table.way(&mailbox) {
        Way::Domain(domain) => judge_local(table, domain, mailbox),
        _ if !may_relay => Judgement::Refuse(reply::RELAYING_DENIED),
        Way::Rule(Rule { via: Via::Reject, .. }) => Judgement::Refuse(reply::ROUTE_REFUSES),
        Way::Rule(_) => Judgement::Accept(mailbox),
        Way::None => Judgement::Refuse(reply::NO_ROUTE),
    }
}

fn judge_local(table: &Table, domain: &Domain, mailbox: Mailbox) -> Judgement {
    match &domain.recipients {
        Recipients::Any => Judgement::Accept(mailbox),
        Recipients::Listed(listed) if domain.lists(listed, &mailbox) => Judgement::Accept(mailbox),
        Recipients::Listed(_) => refused(table, &mailbox, reply::NO_SUCH_RECIPIENT),
        Recipients::Probe => {
            let (next_hop, security) = (domain.next_hop.clone(), domain.security.clone());
            Judgement::Verify { next_hop, security, mailbox }
        }
    }
}

/// What becomes of a recipient that its list or its mailstore has refused: every domain has a
/// postmaster (rfc5321bis 4.5.1), so somebody may stand in for one that does not exist. A second
/// refusal is final.
pub fn refused(table: &Table, mailbox: &Mailbox, refusal: Reply) -> Judgement {
    match table.stand_in(mailbox) {
        Some(other) if refusal == reply::NO_SUCH_RECIPIENT => {
            judge_final(table, true, other.clone())
        }
        _ => Judgement::Refuse(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::recipients::Listed;
    use crate::syntax::path;

    fn parts() -> (Vec<Domain>, Vec<Rule>) {
        let domain = Domain {
            name: "ours.example".into(),
            next_hop: "lmtp:unix:/run/lmtp".parse().unwrap(),
            recipients: Recipients::Any,
            owners: std::sync::Arc::default(),
            postmaster: Some("ops@far.example".parse().unwrap()),
            separators: "+".into(),
            limits: crate::route::limit::Limits::default(),
            security: Security::default(),
            line: 1,
        };
        let probed = Domain {
            name: "probed.example".into(),
            recipients: Recipients::Probe,
            postmaster: None,
            ..domain.clone()
        };
        let mut listed = Listed::new("list");
        for entry in ["Joe", "whole+tag"] {
            listed.add(entry).unwrap();
        }
        let listed = Domain {
            name: "listed.example".into(),
            recipients: Recipients::Listed(listed.into()),
            ..probed.clone()
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
        (vec![domain, probed, listed], rules)
    }

    fn table(postmaster: Option<&str>) -> Table {
        let (domains, rules) = parts();
        Table::new(domains, rules, postmaster.map(|mailbox| mailbox.parse().unwrap()))
    }

    fn verdict(may_relay: bool, path: &str) -> String {
        said(judge(&table(None), may_relay, &path::parse_forward_path(path).unwrap()))
    }

    fn said(judgement: Judgement) -> String {
        match judgement {
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
    #[test]
    fn a_tag_is_ignored_where_the_whole_is_not_listed() {
        for (path, verdict_of) in [
            ("JOE@listed.example", "accept JOE@listed.example"),
            ("joe+Tag+x@listed.example", "accept joe+Tag+x@listed.example"),
            ("\"joe+a b\"@listed.example", "accept \"joe+a b\"@listed.example"),
            ("whole+tag@listed.example", "accept whole+tag@listed.example"),
            ("whole@listed.example", "550 5.1.1"),
            ("whole+other@listed.example", "550 5.1.1"),
            ("joe-tag@listed.example", "550 5.1.1"),
            ("+joe@listed.example", "550 5.1.1"),
            // The mailstore knows which tags it takes.
            ("joe+tag@probed.example", "verify joe+tag@probed.example"),
        ] {
            assert_eq!(verdict(false, path), verdict_of, "{path}");
        }
    }

    #[test]
    fn somebody_stands_in_for_a_postmaster_that_does_not_exist() {
        let judged = |table: &Table, path: &str| {
            said(judge(table, false, &path::parse_forward_path(path).unwrap()))
        };
        let table = table(Some("admin@far.example"));
        assert_eq!(judged(&table, "Postmaster@listed.example"), "accept admin@far.example");
        assert_eq!(judged(&table, "postmaster+x@listed.example"), "accept admin@far.example");
        assert_eq!(judged(&table, "abuse@listed.example"), "550 5.1.1");
        assert_eq!(verdict(false, "postmaster@listed.example"), "550 5.1.1");
        let after =
            |mailbox: &str, refusal| said(refused(&table, &mailbox.parse().unwrap(), refusal));
        let unknown = reply::NO_SUCH_RECIPIENT;
        let stand_in = "accept admin@far.example";
        assert_eq!(after("postmaster@probed.example", unknown.clone()), stand_in);
        assert_eq!(after("joe@probed.example", unknown.clone()), "550 5.1.1");
        assert_eq!(after("postmaster@else.example", unknown), "550 5.1.1");
        let down = reply::UNVERIFIABLE;
        assert!(after("postmaster@probed.example", down).starts_with("451 "));
    }

    #[test]
    fn who_stands_in_for_itself_is_refused() {
        let table = table(Some("postmaster@listed.example"));
        let judged = judge(&table, false, &ForwardPath::Postmaster);
        assert_eq!(said(judged), "550 5.1.1");
        let table = tests::table(Some("postmaster@probed.example"));
        let other = "postmaster@listed.example".parse().unwrap();
        let first = refused(&table, &other, reply::NO_SUCH_RECIPIENT);
        assert_eq!(said(first), "verify postmaster@probed.example");
        let own = "postmaster@probed.example".parse().unwrap();
        assert_eq!(said(refused(&table, &own, reply::NO_SUCH_RECIPIENT)), "550 5.1.1");
    }
}
