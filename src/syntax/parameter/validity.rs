//! RRVS (RFC 7293 3.1): since when a recipient must have had the mailbox.

use std::fmt;

use super::bad;
use super::hold::{date, parse_date};
use crate::registry::reply::Reply;

/// The value of RRVS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// In seconds since the epoch.
    pub since_s: i64,
    /// What a relay does whose next hop does not offer RRVS, where it was said.
    pub action: Option<Action>,
}

/// What a relay does where it can't pass RRVS on (RFC 7293 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Goes on with a header field instead.
    Continue,
    /// Refuses.
    Reject,
}

impl Validity {
    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        value.and_then(Self::read).ok_or_else(|| {
            bad("RRVS takes a time such as 2020-12-24T18:00:00Z, perhaps with ;C or ;R")
        })
    }

    fn read(value: &str) -> Option<Self> {
        let (time, action) = match value.split_once(';') {
            Some((time, "C" | "c")) => (time, Some(Action::Continue)),
            Some((time, "R" | "r")) => (time, Some(Action::Reject)),
            Some(_) => return None,
            None => (value, None),
        };
        Some(Self { since_s: parse_date(time)?, action })
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&date(self.since_s))?;
        f.write_str(match self.action {
            Some(Action::Continue) => ";C",
            Some(Action::Reject) => ";R",
            None => "",
        })
    }
}
