//! A program of this machine that hands in mail: the account that it runs as.
//!
//! Promises that the account is what the kernel says, never what the program says. A caller is
//! logged in from the beginning, may relay, and meets neither block list nor rate of the door.

use std::fmt;
use std::sync::Arc;

use crate::auth::Login;
use crate::registry::reply::{self, Reply};
use crate::submission;
use crate::syntax::path::{Mailbox, ReversePath};

/// The account that a program runs as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Its number.
    pub uid: u32,
    /// Its name; the number where it has none.
    pub name: Arc<str>,
    /// What it may send as; `None` for one that may send as anybody.
    pub bound_to: Option<Bound>,
}

/// The addresses of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// Its own.
    pub own: Mailbox,
    /// What holds for it as for a user: what else it may send as, in the envelope and in From.
    pub rules: Arc<submission::Rules>,
}

impl Caller {
    /// Who its mail is charged to.
    pub fn login(&self) -> Login {
        Login { user: Arc::clone(&self.name), label: None }
    }

    /// Whether it may use a reverse-path. Everyone may use `<>`.
    pub fn judge_sender(&self, path: &ReversePath) -> Result<(), Reply> {
        let (Some(Bound { own, rules }), ReversePath::Mailbox(mailbox)) = (&self.bound_to, path)
        else {
            return Ok(());
        };
        if rules.senders.allows(&self.name, mailbox.local_part(), mailbox.domain()) {
            return Ok(());
        }
        let text = format!("{} sends as <{own}>, not as <{mailbox}>", self.name);
        Err(reply::CALLER_IS_BOUND.with_text(text))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "userid {} ({})", self.uid, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::path::parse_reverse_path;

    fn rules() -> Arc<submission::Rules> {
        let mut rules = submission::Rules::default();
        rules.senders.login_domain = Some("d.example".to_owned());
        rules.senders.map.grant("joe", "info@other.example").unwrap();
        Arc::new(rules)
    }

    #[test]
    fn a_bound_caller_sends_as_itself() {
        let bound = Caller {
            uid: 1000,
            name: "joe".into(),
            bound_to: Some(Bound { own: "joe@d.example".parse().unwrap(), rules: rules() }),
        };
        let free = Caller { bound_to: None, ..bound.clone() };
        for (path, may) in [
            ("", true),
            ("joe@d.example", true),
            ("Joe@D.example", true),
            ("joe+cron@d.example", true),
            ("ann@d.example", false),
            ("joey@d.example", false),
            ("joe@other.example", false),
            ("info@other.example", true),
        ] {
            let path = parse_reverse_path(path).unwrap();
            assert_eq!(bound.judge_sender(&path).is_ok(), may, "{path}");
            assert_eq!(free.judge_sender(&path), Ok(()));
        }
        let path = parse_reverse_path("ann@d.example").unwrap();
        let refusal = bound.judge_sender(&path).unwrap_err();
        assert!(refusal.text().contains("joe@d.example") && refusal.text().contains("ann@d"));
        assert_eq!(bound.to_string(), "userid 1000 (joe)");
    }
}
