//! Floor 4: reports to senders (RFC 3461, 3464, 6522, 6533): who is told what, when, and in which octets.
//!
//! Promises a multipart/report of lines within 998 octets that end in CRLF, addressed to the
//! reverse-path and marked as made by a machine, and that nothing which a peer said or a message
//! holds can forge a field or the border of a part. Refuses to write to the null reverse-path: there
//! is no mailbox to give. Knows no I/O and no clock; dates are written by a function of the caller's.

pub mod due;
pub mod template;

mod dsn;
mod mime;
mod notice;

use std::fmt::Write;

use crate::syntax::parameter::dsn::{OriginalRecipient, Return};
use crate::syntax::path::Mailbox;
use mime::Part;
use template::Template;

/// Most octets of a header that are given back; the rest says nothing more about the message.
pub const HEADER_OCTETS_MAX: usize = 64 * 1024;
/// So many recipients of another message are named.
pub const OTHER_RECIPIENTS_MAX: usize = 5;

/// How reports look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Our own name.
    pub hostname: String,
    /// Whom reports are from.
    pub from: Mailbox,
    /// Up to this many octets a message is given back whole, and by its header otherwise.
    pub content_octets_max: usize,
    /// The operator's words; none for the built-in ones.
    pub template: Option<Template>,
    /// The ages at which the sender of a message that still waits is told.
    pub delay_warning_ms: Vec<u64>,
}

impl Settings {
    /// How many octets of the original a report can use.
    pub fn wanted_octets(&self) -> usize {
        self.content_octets_max.max(HEADER_OCTETS_MAX)
    }
}

/// What a report tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not there yet, and still tried until this time.
    Delayed {
        /// In ms since the epoch.
        until_ms: u64,
    },
    /// Taken by a next hop that makes no report of success.
    Relayed,
    /// In the mailbox.
    Delivered,
}

impl Action {
    /// As RFC 3464 2.3.3 writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed { .. } => "delayed",
            Self::Relayed => "relayed",
            Self::Delivered => "delivered",
        }
    }
}

/// A recipient that the sender is told of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// The final recipient.
    pub address: String,
    /// The one that the sender named, where it is known.
    pub original: Option<OriginalRecipient>,
    /// Given up because of its age.
    pub expired: bool,
    /// What the last attempt was told.
    pub reason: String,
    /// The host that said so, where it is known.
    pub remote: Option<String>,
    /// When the last attempt was, in ms since the epoch, where it is known.
    pub attempted_ms: Option<u64>,
}

/// The message that a report is about.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its queue id.
    pub id: &'a str,
    /// When it was accepted, in ms since the epoch.
    pub arrived_ms: u64,
    /// The sender's name for the transaction, where one was given (RFC 3461 4.4).
    pub envelope_id: Option<&'a str>,
    /// By when it was to be delivered, in ms since the epoch, where that was asked for (RFC 2852 5).
    pub deliver_by_ms: Option<u64>,
    /// Its first octets; empty where they can't be read.
    pub content: &'a [u8],
    /// These are all its octets.
    pub whole: bool,
    /// How much of it the sender wants back (RFC 3461 4.3).
    pub ret: Option<Return>,
    /// It was sent with SMTPUTF8, so that its sender reads reports in UTF-8 (RFC 6533).
    pub utf8: bool,
}

/// Another message of the same sender that is told of by the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Other {
    /// Its queue id.
    pub id: String,
    /// When it was accepted, in ms since the epoch.
    pub arrived_ms: u64,
    /// The first few recipients that it waits for.
    pub recipients: Vec<String>,
    /// How many there are beside them.
    pub more: usize,
}

/// A report to be written.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Its own queue id.
    pub id: &'a str,
    /// When it is made, in ms since the epoch.
    pub now_ms: u64,
    /// The reverse-path of the original.
    pub to: &'a Mailbox,
    /// What it tells.
    pub action: Action,
    /// Of whom; never empty.
    pub recipients: &'a [Recipient],
    /// About which message.
    pub original: Original<'a>,
    /// What else waits; only people are told of it.
    pub others: &'a [Other],
    /// Writes a time as RFC 5322 does.
    pub date: fn(u64) -> String,
}

/// A report as it is queued.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Header and body.
    pub content: Vec<u8>,
    /// Some octets have the eighth bit set: MAIL must say so.
    pub eight_bit: bool,
}

/// The last resort for whom reports are from, where the host has no usable name.
pub fn nobody() -> Mailbox {
    // Not input, and a test reads it.
    Mailbox::new("mailer-daemon", "localhost").expect("a mailbox")
}

impl Report<'_> {
    /// Writes the report.
    pub fn write(&self, settings: &Settings) -> Written {
        let mut parts = vec![
            Part::text("text/plain", notice::write(self, settings).as_bytes()),
            // RFC 3464 2.1: seven-bit, so what is said in other alphabets shows as `?`.
            Part::plain(
                self.kind("message/delivery-status", "message/global-delivery-status"),
                dsn::write(self, settings).into_bytes(),
            ),
        ];
        parts.extend(self.original_part(settings));
        let eight_bit = parts.iter().any(Part::is_eight_bit);
        let boundary = mime::boundary(self.id, &parts);
        let mut content = self.header(settings, &boundary, eight_bit).into_bytes();
        for part in &parts {
            part.write(&boundary, &mut content);
        }
        content.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        Written { content, eight_bit }
    }

    fn header(&self, settings: &Settings, boundary: &str, eight_bit: bool) -> String {
        let Settings { hostname, from, .. } = settings;
        let subject = match (self.action, self.others.len()) {
            (Action::Failed, _) => "Your message could not be delivered".to_owned(),
            (Action::Relayed, _) => "Your message was passed on".to_owned(),
            (Action::Delivered, _) => "Your message was delivered".to_owned(),
            (Action::Delayed { .. }, 0) => "Your message is delayed".to_owned(),
            (Action::Delayed { .. }, others) => {
                format!("{} of your messages are delayed", others + 1)
            }
        };
        let mut header = format!(
            "From: Mail Delivery System <{from}>\r\nTo: <{}>\r\nSubject: {subject}\r\n\
             Date: {}\r\nMessage-ID: <{}@{hostname}>\r\n",
            self.to,
            (self.date)(self.now_ms),
            self.id,
        );
        // RFC 3834 5: what answers a message says so, and is not answered itself.
        header.push_str("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
        // Writing to a String cannot fail.
        let _ = write!(
            header,
            "Content-Type: multipart/report; report-type=delivery-status;\r\n\t\
             boundary=\"{boundary}\"\r\n"
        );
        if eight_bit {
            header.push_str("Content-Transfer-Encoding: 8bit\r\n");
        }
        header.push_str("\r\n");
        header
    }

    /// The type of a part: that of RFC 6533 for a sender who uses SMTPUTF8.
    fn kind(&self, plain: &'static str, global: &'static str) -> &'static str {
        if self.original.utf8 { global } else { plain }
    }

    /// The message itself where it failed and is small, else its header (RFC 3461 4.3); nothing
    /// where it can't be read.
    fn original_part(&self, settings: &Settings) -> Option<Part> {
        let Original { content, whole, ret, .. } = self.original;
        if content.is_empty() {
            return None;
        }
        let fits = whole && content.len() <= settings.content_octets_max;
        let wanted = self.action == Action::Failed && ret != Some(Return::Headers);
        if wanted && fits && mime::has_mail_lines(content) {
            // RFC 2046 5.2.1: a message within a message may not be encoded.
            return Some(Part::plain(
                self.kind("message/rfc822", "message/global"),
                content.to_vec(),
            ));
        }
        let header = due::header(content);
        let end = (0..=header.len().min(HEADER_OCTETS_MAX))
            .rev()
            .find(|&end| header.get(..end).is_some_and(|kept| kept.ends_with(b"\r\n")))
            .unwrap_or(0);
        Some(Part::text(
            self.kind("text/rfc822-headers", "message/global-headers"),
            header.get(..end).unwrap_or_default(),
        ))
    }
}
