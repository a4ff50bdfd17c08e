//! HOLDFOR and HOLDUNTIL (RFC 4865 4): when a message is released.

use std::fmt;

use super::bad;
use crate::registry::reply::Reply;

/// Most seconds that HOLDFOR can say: nine digits.
pub const SECONDS_MAX: u64 = 999_999_999;

/// The value of HOLDFOR or HOLDUNTIL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// So long after it was accepted.
    For {
        /// In seconds.
        seconds: u64,
    },
    /// Until then.
    Until {
        /// In seconds since the epoch, at least 0.
        at_s: i64,
    },
}

impl Hold {
    pub(super) fn parse_for(value: Option<&str>) -> Result<Self, Reply> {
        value
            .filter(|value| value.len() <= 9 && super::is_number(value))
            .and_then(|value| value.parse().ok())
            .map(|seconds| Self::For { seconds })
            .ok_or_else(|| bad("HOLDFOR takes seconds"))
    }

    pub(super) fn parse_until(value: Option<&str>) -> Result<Self, Reply> {
        value
            .and_then(parse_date)
            .map(|at_s| Self::Until { at_s })
            .ok_or_else(|| bad("HOLDUNTIL takes a time such as 2030-12-24T18:00:00Z"))
    }
}

impl Hold {
    /// When a message that came at `arrived_ms` is released, both in ms since the epoch. A time
    /// that is over releases it at once (RFC 4865 4.2).
    pub fn release_ms(self, arrived_ms: u64) -> u64 {
        let at_ms = match self {
            Self::For { seconds } => arrived_ms.saturating_add(seconds.saturating_mul(1000)),
            Self::Until { at_s } => u64::try_from(at_s).unwrap_or(0).saturating_mul(1000),
        };
        at_ms.max(arrived_ms)
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::For { seconds } => write!(f, "{seconds}"),
            Self::Until { at_s } => f.write_str(&date(at_s)),
        }
    }
}

/// The seconds since the epoch of a date-time of RFC 3339, from 1970 on.
pub fn parse_date(text: &str) -> Option<i64> {
    // A date-time has a `T` and an offset; the parser would take more.
    let is_strict = text.len() <= 40
        && matches!(text.as_bytes().get(10), Some(b'T' | b't'))
        && !text.contains(['[', ' ', ',']);
    let at: jiff::Timestamp = is_strict.then(|| text.parse().ok()).flatten()?;
    Some(at.as_second()).filter(|&at_s| at_s >= 0)
}

/// A time in ms since the epoch as a date-time of RFC 3339, to the second before it.
pub fn date_ms(at_ms: u64) -> String {
    date(i64::try_from(at_ms / 1000).unwrap_or(i64::MAX))
}

/// A date-time of RFC 3339, in UTC.
pub(super) fn date(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
