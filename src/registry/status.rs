//! Enhanced status codes (RFC 3463, registry of RFC 5248).
//!
//! Promises a lossless reading of any `class.subject.detail`, registered or not, and the registered
//! name where there is one. What this program sends itself must be registered: a test in
//! `reply.rs` holds the reply table to that.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// IANA's registry as published 2024-12-06, one row per class, subject and detail.
const REGISTRY: &str = include_str!("enhanced-status-codes.csv");

/// An enhanced status code: class 2, 4 or 5, and two numbers of up to three digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What the code is about, `X.7.YYY` being security.
    pub subject: u16,
    /// The exact condition within the subject.
    pub detail: u16,
}

impl EnhancedStatus {
    /// A code from its three numbers.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// How many octets it is written with.
    pub fn octets(self) -> usize {
        let digits = |number: u16| number.checked_ilog10().map_or(1, |log| log as usize + 1);
        3 + digits(self.subject) + digits(self.detail)
    }

    /// Reads the code that `text` begins with, if it is followed by a space or the end; returns it
    /// with the rest of the text (RFC 2034 4).
    pub fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut numbers = word.split('.');
        let class = match numbers.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let status =
            Self::new(class, parse_number(numbers.next()?)?, parse_number(numbers.next()?)?);
        numbers.next().is_none().then_some((status, rest))
    }

    /// The registered name of the condition, whatever the class.
    pub fn name(self) -> Option<&'static str> {
        static NAMES: LazyLock<HashMap<(u16, u16), &'static str>> =
            LazyLock::new(|| codes().iter().filter_map(named_condition).collect());
        NAMES.get(&(self.subject, self.detail)).copied()
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A row of the registry: a class, a subject or a detail.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Code {
    /// `class`, `subject` or `detail`.
    pub kind: String,
    /// `2.XXX.YYY`, `X.1.YYY` or `X.1.1`.
    pub code: String,
    /// IANA's name of it.
    pub name: String,
    /// The reply codes that it goes with, separated by spaces.
    pub basic_codes: String,
    /// The defining documents, separated by spaces.
    pub references: String,
    /// The track of the document.
    pub track: String,
    /// Who registered it.
    pub submitter: String,
    /// Who may change it.
    pub change_controller: String,
    /// The day on which it was registered, where that is known.
    pub registered: String,
    /// The day of the last change.
    pub updated: String,
    /// What else is to be known.
    pub note: String,
}

/// All rows, in the registry's order.
pub fn codes() -> &'static [Code] {
    static ROWS: LazyLock<Vec<Code>> = LazyLock::new(|| {
        let rows = csv::Reader::from_reader(REGISTRY.as_bytes()).into_deserialize().collect();
        // Not input: the registry is embedded, and a test reads it.
        let rows: Result<_, csv::Error> = rows;
        rows.expect("the registry of status codes can be read")
    });
    &ROWS
}

fn named_condition(row: &'static Code) -> Option<((u16, u16), &'static str)> {
    let (subject, detail) = row.code.strip_prefix("X.")?.split_once('.')?;
    Some(((parse_number(subject)?, parse_number(detail)?), &row.name))
}

fn parse_number(text: &str) -> Option<u16> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_whole_registry() {
        let count = |kind| codes().iter().filter(|row| row.kind == kind).count();
        assert_eq!(["class", "subject", "detail"].map(count), [3, 8, 81]);
        assert_eq!(codes().len(), 92);
        let of = |code| &*codes().iter().find(|row| row.code == code).unwrap().change_controller;
        assert_eq!([of("X.7.1"), of("X.6.7"), of("X.6.10")], ["IESG", "ima@ietf.org", ""]);
        assert_eq!(
            EnhancedStatus::new(5, 7, 1).name(),
            Some("Delivery not authorized, message refused")
        );
        assert_eq!(EnhancedStatus::new(5, 6, 11).name(), None);
    }

    #[test]
    fn parses_only_whole_codes() {
        let parsed = EnhancedStatus::parse_prefix("5.1.1 no such user");
        assert_eq!(parsed, Some((EnhancedStatus::new(5, 1, 1), "no such user")));
        assert_eq!(
            EnhancedStatus::parse_prefix("4.7.650"),
            Some((EnhancedStatus::new(4, 7, 650), ""))
        );
        for odd in ["3.1.1 x", "5.1", "5.1.1.1 x", "5.1.1x", "5..1 x", "5.1.1234 x", "", "5.1.+1 x"]
        {
            assert_eq!(EnhancedStatus::parse_prefix(odd), None, "{odd}");
        }
    }
}
