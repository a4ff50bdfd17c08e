//! Which recipients of a domain exist: asked of its mailstore, any, or listed.
//!
//! Promises that local parts of a list are compared without regard to case and in NFC: whoever lists
//! `Info` does not mean to refuse `info`. Entries that are no recipient are refused when they are
//! added.

use std::collections::HashSet;
use std::sync::Arc;

use crate::syntax::domain::parse_domain;
use crate::syntax::local_part::{local_part_fault, lookup_key};

/// Which recipients of a domain are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// Those that the next hop accepts when asked.
    Probe,
    /// All.
    Any,
    /// Those of a list.
    Listed(Arc<Listed>),
}

/// A list of recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The file that was read.
    pub file: String,
    local_parts: HashSet<String>,
    mailboxes: HashSet<String>,
}

impl Listed {
    /// Whether `local_part@domain` is listed, by its local part alone or as a whole; the domain is in
    /// its form.
    #[must_use]
    pub fn contains(&self, local_part: &str, domain: &str) -> bool {
        let local = lookup_key(local_part);
        self.local_parts.contains(&*local) || self.mailboxes.contains(&format!("{local}@{domain}"))
    }

    /// How many recipients are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.local_parts.len() + self.mailboxes.len()
    }

    /// Whether no recipient is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An empty list that was read from `file`.
    #[must_use]
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    /// Adds an address or a local part. The error says what is wrong with it.
    ///
    /// # Errors
    /// What is neither.
    pub fn add(&mut self, entry: &str) -> Result<(), String> {
        let (local, domain) = match entry.rsplit_once('@') {
            Some((local, domain)) => (local, Some(domain)),
            None => (entry, None),
        };
        if let Some(why) = local_part_fault(local) {
            return Err(format!("the local part `{local}`: {why}"));
        }
        let local = lookup_key(local);
        match domain {
            None => self.local_parts.insert(local.into_owned()),
            Some(domain) => {
                let form =
                    parse_domain(domain).map_err(|why| format!("the domain `{domain}`: {why}"))?;
                self.mailboxes.insert(format!("{local}@{form}"))
            }
        };
        Ok(())
    }
}
