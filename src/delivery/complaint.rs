//! What a receiver minds: replies that say too fast, too many, or not now.
//!
//! Promises that known replies are data, in `known-replies.txt`, each with its source, and that
//! each row is of use (tested below). The first row that matches decides; a reply that no row knows
//! is no complaint, but only a refusal of its message.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use crate::registry::status::EnhancedStatus;
use crate::syntax::reply::ServerReply;

const KNOWN_REPLIES: &str = include_str!("known-replies.txt");

/// Whom a complaint is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All mail from here to that site.
    Site,
    /// Mail of whoever sent this one.
    Tenant,
    /// Mail with such content.
    Content,
    /// Mail for this recipient.
    Recipient,
}

/// What is complained of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Too much in a time.
    TooFast,
    /// Too many sessions at a time.
    TooManyConnections,
    /// Too many recipients in one transaction.
    TooManyRecipients,
    /// Nothing is taken for a time.
    Closed,
}

/// A reply that says more than that one message was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// Whom it is about.
    pub scope: Scope,
    /// What is complained of.
    pub kind: Kind,
    /// How long to stay away, in milliseconds; 0 where the reply does not tell.
    pub pause_ms: u64,
    /// The reply, on one line.
    pub reply: String,
}

/// The complaint in a reply, if it is one.
pub fn judge(reply: &ServerReply) -> Option<Complaint> {
    let row = find(reply)?;
    let Row { scope, kind, pause_ms, .. } = *row;
    Some(Complaint { scope, kind, pause_ms, reply: reply.one_line() })
}

/// A kind of reply that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    codes: RangeInclusive<u16>,
    status: Option<EnhancedStatus>,
    /// In lower case; empty for any.
    text: &'static str,
    scope: Scope,
    kind: Kind,
    pause_ms: u64,
}

impl Row {
    fn matches(&self, reply: &ServerReply, text: &str) -> bool {
        self.codes.contains(&reply.code)
            && (self.status.is_none() || self.status == reply.status)
            && text.contains(self.text)
    }
}

fn find(reply: &ServerReply) -> Option<&'static Row> {
    let refuses = matches!(reply.code / 100, 4 | 5);
    let text = if refuses { plain_text(reply) } else { return None };
    rows().iter().find(|row| row.matches(reply, &text))
}

/// The words of a reply in lower case, as if it had one line: a phrase may be broken anywhere, and
/// each line repeats the enhanced status.
fn plain_text(reply: &ServerReply) -> String {
    let words = |line: &String| match EnhancedStatus::parse_prefix(line) {
        Some((_, rest)) => rest.trim().to_lowercase(),
        None => line.trim().to_lowercase(),
    };
    reply.lines.iter().map(words).collect::<Vec<_>>().join(" ")
}

fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> =
        LazyLock::new(|| lines().filter_map(|line| parse_row(line).ok()).collect());
    &ROWS
}

fn lines() -> impl Iterator<Item = &'static str> {
    KNOWN_REPLIES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The error is the field that can't be read.
fn parse_row(line: &'static str) -> Result<Row, &'static str> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [code, status, text, scope, kind, pause_s, source] = *fields.as_slice() else {
        return Err(line);
    };
    if source.is_empty() || text.is_empty() || text.chars().any(char::is_uppercase) {
        return Err(line);
    }
    Ok(Row {
        codes: parse_codes(code).ok_or(code)?,
        status: parse_status(status).ok_or(status)?,
        text: if text == "-" { "" } else { text },
        scope: parse_scope(scope).ok_or(scope)?,
        kind: parse_kind(kind).ok_or(kind)?,
        pause_ms: pause_s.parse::<u64>().ok().map(|seconds| seconds * 1000).ok_or(pause_s)?,
    })
}

fn parse_codes(text: &str) -> Option<RangeInclusive<u16>> {
    match text {
        "4yz" => Some(400..=499),
        "5yz" => Some(500..=599),
        _ => text.parse().ok().filter(|code| (400..600).contains(code)).map(|code| code..=code),
    }
}

/// `Some(None)` where any status will do.
fn parse_status(text: &str) -> Option<Option<EnhancedStatus>> {
    match (text, EnhancedStatus::parse_prefix(text)) {
        ("-", _) => Some(None),
        (_, Some((status, ""))) => Some(Some(status)),
        _ => None,
    }
}

fn parse_scope(text: &str) -> Option<Scope> {
    Some(match text {
        "site" => Scope::Site,
        "tenant" => Scope::Tenant,
        "content" => Scope::Content,
        "recipient" => Scope::Recipient,
        _ => return None,
    })
}

fn parse_kind(text: &str) -> Option<Kind> {
    Some(match text {
        "fast" => Kind::TooFast,
        "connections" => Kind::TooManyConnections,
        "recipients" => Kind::TooManyRecipients,
        "closed" => Kind::Closed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
