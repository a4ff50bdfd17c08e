//! Since when addresses and domains have their owners, as a file of the operator says.
//!
//! Promises that local parts are compared without regard to case and in NFC, and that an entry which
//! comes twice is refused, so that no date can hide another.

use std::collections::HashMap;

use crate::syntax::domain::parse_domain;
use crate::syntax::local_part::{local_part_fault, lookup_key};

/// The dates, in seconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// By `local`, `local@domain` and `@domain`.
    since_s: HashMap<String, i64>,
}

impl Owners {
    /// Whether no date is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.since_s.is_empty()
    }

    /// Adds an address, a local part, or `@domain` for a domain as a whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, entry: &str, since_s: i64) -> Result<(), String> {
        let (local, domain) = match entry.rsplit_once('@') {
            Some((local, domain)) => (local, Some(domain)),
            None => (entry, None),
        };
        if let Some(why) = local_part_fault(local).filter(|_| !entry.starts_with('@')) {
            return Err(format!("the local part `{local}`: {why}"));
        }
        let mut key = lookup_key(local).into_owned();
        if let Some(domain) = domain {
            let form =
                parse_domain(domain).map_err(|why| format!("the domain `{domain}`: {why}"))?;
            key.extend(["@", &form]);
        }
        match self.since_s.insert(key, since_s) {
            None => Ok(()),
            Some(_) => Err("it comes twice".to_owned()),
        }
    }

    /// Since when `local_part@domain` has its owner; the domain is in its form.
    #[must_use]
    pub fn of_mailbox(&self, local_part: &str, domain: &str) -> Option<i64> {
        let local = lookup_key(local_part);
        let whole = self.since_s.get(&format!("{local}@{domain}"));
        whole.or_else(|| self.since_s.get(&*local)).copied()
    }

    /// Since when a domain has its owner.
    #[must_use]
    pub fn of_domain(&self, domain: &str) -> Option<i64> {
        self.since_s.get(&format!("@{domain}")).copied()
    }
}
