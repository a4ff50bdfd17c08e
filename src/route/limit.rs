//! How much may go to one next hop or route, and how a rate is written.
//!
//! A rate is `1000/s`, `600/m`, `20/h` or `5000/d`; what is printed reads back as the same value.
//! A limit that is not set here may be set further out: see [`Limits::or`].

use std::fmt;
use std::str::FromStr;

/// So many messages in a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In how many milliseconds.
    pub per_ms: u64,
}

/// The times that a rate may be of, in milliseconds.
const TIMES: [(&str, u64); 4] = [("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Rate {
    /// How one is written, as a remedy.
    pub const FORMS: &str = "write \"1000/s\", \"600/m\", \"20/h\" or \"5000/d\"";
}

/// Why a text is no rate, with what would be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateError(String);

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RateError {}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TIMES.iter().find(|(_, ms)| *ms == self.per_ms) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{}ms", self.count, self.per_ms),
        }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let forms = Self::FORMS;
        let fault = |why: String| Err(RateError(why));
        let Some((count, unit)) = text.split_once('/') else {
            return fault(format!("it needs a time; {forms}"));
        };
        let Some((_, per_ms)) = TIMES.iter().find(|(name, _)| *name == unit) else {
            return match TIMES.iter().find(|(name, _)| starts_with(unit, name)) {
                Some((name, _)) => fault(format!("write \"{count}/{name}\"")),
                None => fault(format!("`{unit}` is none of s, m, h and d; {forms}")),
            };
        };
        if count.is_empty() || !count.bytes().all(|octet| octet.is_ascii_digit()) {
            return fault(format!("`{count}` is no whole number; {forms}"));
        }
        match count.parse() {
            Ok(0) => fault("it must be at least 1; to stop deliveries, pause them".to_owned()),
            Ok(count) => Ok(Self { count, per_ms: *per_ms }),
            Err(_) => fault(format!("`{count}` is too large; it must be at most {}", u32::MAX)),
        }
    }
}

/// Whether a word may be meant by a unit: "sec", "Minute", "hours", but no
/// milliseconds and no months.
fn starts_with(word: &str, unit: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word.starts_with(unit) && !["ms", "mil", "mo"].iter().any(|other| word.starts_with(other))
}

/// The limits of one next hop or route; none where nothing is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Limits {
    /// Deliveries at a time.
    pub concurrency: Option<u32>,
    /// Messages in a time.
    pub rate: Option<Rate>,
    /// Recipients of one transaction.
    pub recipients_per_transaction: Option<u32>,
    /// Messages over one connection.
    pub messages_per_connection: Option<u32>,
}

impl Limits {
    /// Each limit, or where it is not set here, the one of `outer`.
    #[must_use]
    pub fn or(self, outer: Self) -> Self {
        Self {
            concurrency: self.concurrency.or(outer.concurrency),
            rate: self.rate.or(outer.rate),
            recipients_per_transaction: self
                .recipients_per_transaction
                .or(outer.recipients_per_transaction),
            messages_per_connection: self.messages_per_connection.or(outer.messages_per_connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_print_as_they_are_written() {
        for (text, count, per_ms) in [
            ("1000/s", 1000, 1000),
            ("600/m", 600, 60_000),
            ("1/h", 1, 3_600_000),
            ("4294967295/d", u32::MAX, 86_400_000),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate, rate.to_string().as_str()), (Rate { count, per_ms }, text));
        }
        assert_eq!(Rate { count: 3, per_ms: 7 }.to_string(), "3/7ms");
    }

    #[test]
    fn a_fault_says_what_would_be_right() {
        for (text, says) in [
            ("100", "it needs a time; write \"1000/s\""),
            ("100/min", "write \"100/m\""),
            ("100/Second", "write \"100/s\""),
            ("100/ms", "`ms` is none of s, m, h and d"),
            ("100/", "`` is none of"),
            ("1.5/s", "`1.5` is no whole number"),
            ("-1/s", "`-1` is no whole number"),
            ("+1/s", "`+1` is no whole number"),
            ("/s", "`` is no whole number"),
            ("0/s", "at least 1"),
            ("4294967296/s", "at most 4294967295"),
        ] {
            let said = text.parse::<Rate>().unwrap_err().to_string();
            assert!(said.starts_with(says) || said.contains(says), "{text}: {said}");
        }
    }

    #[test]
    fn what_is_set_nearer_holds() {
        let near = Limits { concurrency: Some(1), ..Limits::default() };
        let far = Limits { concurrency: Some(2), messages_per_connection: Some(3), ..near };
        let both = Limits { messages_per_connection: Some(3), ..near };
        assert_eq!(near.or(far), both);
        assert_eq!(Limits::default().or(near), near);
    }
}
