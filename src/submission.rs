//! Floor 4: what becomes of content that a user submits (RFC 6409), as it streams by.
//!
//! Promises that a user sends only as who they may: every mailbox of From, or of Resent-From in the
//! newest Resent block, is judged, and a field that can't be read for certain is refused. Adds
//! Date, Message-ID and From where they are missing, removes Bcc and Return-Path, qualifies
//! addresses, and folds header lines of more than 998 octets. What needs no repair stays octet for
//! octet, and the body is passed on untouched.
//!
//! Refuses a header section of more than 1 MiB. Where a line is no field the header section ends,
//! and an empty line is put there, so that no reader can find further fields behind it.

mod address;
mod header;
mod judge;

use std::sync::Arc;

use crate::policy::sender::Senders;
use crate::registry::reply::{self, Reply};
use header::End;

/// The largest header section.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;

/// What becomes of addresses without a domain.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Unqualified {
    /// They get the domain of logins.
    #[default]
    Qualify,
    /// They are refused.
    Refuse,
}

/// What holds for all that is submitted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rules {
    /// Who may send as whom.
    pub senders: Senders,
    /// What becomes of addresses without a domain.
    pub unqualified: Unqualified,
}

impl Rules {
    /// What the addresses of a login get that have no domain: that of logins, or else its own; none
    /// where they are refused.
    pub fn domain_for(&self, login: &str) -> Option<String> {
        let own = || self.senders.own_address(login).map(|own| own.domain().to_owned());
        let domain = self.senders.login_domain.clone().or_else(own);
        domain.filter(|_| self.unqualified == Unqualified::Qualify)
    }
}

/// What a message gets where it has none.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// The date as RFC 5322 writes it.
    pub date: String,
    /// A message id without its brackets.
    pub message_id: String,
}

/// The filter of one message.
#[derive(Debug)]
pub struct Filter {
    rules: Arc<Rules>,
    login: Arc<str>,
    stamp: Stamp,
    /// The header section so far, until it is judged.
    header: Option<Vec<u8>>,
    /// Octets of it that are known to be fields.
    known: usize,
}

impl Filter {
    /// A filter for a message that `login` submits.
    pub fn new(rules: Arc<Rules>, login: Arc<str>, stamp: Stamp) -> Self {
        Self { rules, login, stamp, header: Some(Vec::new()), known: 0 }
    }

    /// Who submits it.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// Takes the next piece of content, in CRLF lines, and returns what is to be kept of it now.
    ///
    /// # Errors
    /// The refusal of the message.
    pub fn take(&mut self, piece: Vec<u8>) -> Result<Vec<u8>, Reply> {
        let Some(header) = &mut self.header else { return Ok(piece) };
        header.extend_from_slice(&piece);
        match header::find_end(header, &mut self.known) {
            Some(end) => self.release(end),
            None if header.len() > HEADER_OCTETS_MAX => Err(too_large()),
            None => Ok(Vec::new()),
        }
    }

    /// What is left at the end of the content.
    ///
    /// # Errors
    /// The refusal of the message.
    pub fn finish(&mut self) -> Result<Vec<u8>, Reply> {
        let Some(header) = &mut self.header else { return Ok(Vec::new()) };
        if !header.is_empty() && !header.ends_with(b"\r\n") {
            header.extend_from_slice(b"\r\n");
        }
        let end = header::find_end(header, &mut self.known);
        let whole = End { fields: header.len(), body: header.len() };
        self.release(end.unwrap_or(whole))
    }

    fn release(&mut self, end: End) -> Result<Vec<u8>, Reply> {
        if end.fields > HEADER_OCTETS_MAX {
            return Err(too_large());
        }
        let content = self.header.take().unwrap_or_default();
        let fields = header::fields(content.get(..end.fields).unwrap_or_default());
        let changes = judge::judge(&self.rules, &self.login, &fields)?;
        let mut out = Vec::with_capacity(content.len() + 512);
        header::write(&fields, &changes, &self.stamp, &mut out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(content.get(end.body..).unwrap_or_default());
        Ok(out)
    }
}

fn too_large() -> Reply {
    reply::TOO_LARGE
        .with_text(format!("the header section has more than {HEADER_OCTETS_MAX} octets"))
}

#[cfg(test)]
mod tests;
