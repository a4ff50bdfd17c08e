//! Does an address still belong to whom the sender means (RFC 7293 5)?
//!
//! Promises that mail which asks for it goes to nobody of whom that is not known: a change of
//! owner, of the mailbox or of its domain, and an unknown date are refused in words of their own.
//! Postmaster is whoever holds the office (rfc5321bis 4.5.1).

use crate::registry::reply::{self, Reply};
use crate::route::{Domain, Table, Way};
use crate::syntax::local_part::{base, lookup_key};
use crate::syntax::parameter::validity::Validity;
use crate::syntax::path::Mailbox;

/// Judges a recipient. Of one that is not ours the next hop judges.
///
/// # Errors
/// The refusal.
pub fn judge(table: &Table, mailbox: &Mailbox, validity: Validity) -> Result<(), Reply> {
    let Way::Domain(domain) = table.way(mailbox) else { return Ok(()) };
    if lookup_key(mailbox.local_part()) == "postmaster" {
        return Ok(());
    }
    let later = |since_s: Option<i64>| since_s.map(|since_s| since_s > validity.since_s);
    match (later(domain.owners.of_domain(&domain.name)), later(since(domain, mailbox))) {
        (Some(true), _) => Err(reply::DOMAIN_CHANGED_HANDS),
        (_, Some(true)) => Err(reply::MAILBOX_CHANGED_HANDS),
        (_, Some(false)) => Ok(()),
        (_, None) => Err(reply::OWNER_UNKNOWN),
    }
}

/// Whether [`judge`] had the last word on a recipient, so that no next hop has to judge it.
pub fn is_judged(table: &Table, mailbox: &Mailbox) -> bool {
    matches!(table.way(mailbox), Way::Domain(_))
}

/// Since when the mailbox has its owner, whole or without its tag.
fn since(domain: &Domain, mailbox: &Mailbox) -> Option<i64> {
    let since = |local| domain.owners.of_mailbox(local, &domain.name);
    let local = mailbox.local_part();
    since(local).or_else(|| base(local, &domain.separators).and_then(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::owners::Owners;
    use crate::route::recipients::Recipients;

    fn table() -> Table {
        let mut owners = Owners::default();
        for (entry, since_s) in
            [("Joe", 100), ("ann@ours.example", 200), ("a+b", 50), ("@young.example", 300)]
        {
            owners.add(entry, since_s).unwrap();
        }
        let domain = |name: &str| Domain {
            name: name.into(),
            next_hop: "lmtp:unix:/run/lmtp".parse().unwrap(),
            recipients: Recipients::Any,
            owners: owners.clone().into(),
            postmaster: None,
            separators: "+".into(),
            limits: crate::route::limit::Limits::default(),
            security: crate::route::security::Security::default(),
            line: 1,
        };
        Table::new(vec![domain("ours.example"), domain("young.example")], vec![], None)
    }

    #[test]
    fn only_an_owner_of_long_enough_gets_it() {
        let status = |mailbox: &str, since_s| {
            let validity = Validity { since_s, action: None };
            let verdict = judge(&table(), &mailbox.parse().unwrap(), validity);
            verdict.map_err(|refusal| refusal.status.unwrap().to_string())
        };
        let no = |status: &str| Err(status.to_owned());
        assert_eq!(status("joe@ours.example", 100), Ok(()));
        assert_eq!(status("JOE+tag@ours.example", 101), Ok(()));
        assert_eq!(status("joe@ours.example", 99), no("5.7.17"));
        assert_eq!(status("ann@ours.example", 150), no("5.7.17"));
        assert_eq!(status("ann@young.example", 999), no("5.7.19"), "another domain's");
        assert_eq!(status("joe@young.example", 299), no("5.7.18"));
        assert_eq!(status("joe@young.example", 300), Ok(()));
        assert_eq!(status("a+b@ours.example", 50), Ok(()));
        assert_eq!(status("nobody@ours.example", 999), no("5.7.19"));
        assert_eq!(status("Postmaster@ours.example", 0), Ok(()));
        assert_eq!(status("joe@far.example", 0), Ok(()), "the next hop judges");
    }

    #[test]
    fn an_entry_that_comes_twice_is_refused() {
        let mut owners = Owners::default();
        assert_eq!(owners.add("joe", 1), Ok(()));
        assert_eq!(owners.add("JOE", 2), Err("it comes twice".to_owned()));
        assert!(owners.add("two words", 1).is_err() && owners.add("@ex_ample", 1).is_err());
    }
}
