//! Enhanced status codes (RFC 3463, registry of RFC 5248).
//!
//! Promises a lossless reading of any `class.subject.detail`, registered or not, and the registered
//! name where there is one. What this program sends itself must be registered: a test in
//! `reply.rs` holds the reply table to that.

use std::fmt;
use std::sync::LazyLock;

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
        registered()
            .iter()
            .find(|row| (row.subject, row.detail) == (self.subject, self.detail))
            .map(|row| row.name)
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One registered condition `X.subject.detail`.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// The subject number.
    pub subject: u16,
    /// The detail number.
    pub detail: u16,
    /// IANA's name of the condition.
    pub name: &'static str,
}

/// All registered conditions, in the registry's order.
pub fn registered() -> &'static [Registered] {
    static ROWS: LazyLock<Vec<Registered>> =
        LazyLock::new(|| REGISTRY.lines().filter_map(parse_row).collect());
    &ROWS
}

fn parse_row(line: &'static str) -> Option<Registered> {
    let rest = line.strip_prefix("detail,X.")?;
    let (code, rest) = rest.split_once(',')?;
    let (subject, detail) = code.split_once('.')?;
    let name = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.0,
        None => rest.split_once(',')?.0,
    };
    Some(Registered { subject: subject.parse().ok()?, detail: detail.parse().ok()?, name })
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
        assert_eq!(registered().len(), 81);
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
