//! BY (RFC 2852 4): by when a message shall be delivered, and what becomes of a late one.

use std::fmt;

use super::bad;
use crate::registry::reply::Reply;

/// Most seconds that BY can say: nine digits.
pub const SECONDS_MAX: i64 = 999_999_999;

/// The value of BY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    /// Seconds that are left; below zero it is late already.
    pub seconds: i64,
    /// What happens when they have passed.
    pub mode: Mode,
    /// Whether each relay shall report that it passed the message on.
    pub trace: bool,
}

/// What becomes of a late message (RFC 2852 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is returned.
    Return,
    /// The sender is told, and it is delivered all the same.
    Notify,
}

const WHY: &str = "BY takes seconds, `;`, then R or N, perhaps with T";

impl Deadline {
    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        let deadline = value.and_then(Self::read).ok_or_else(|| bad(WHY))?;
        if deadline.mode == Mode::Return && deadline.seconds <= 0 {
            return Err(bad("a message to be returned when late needs time that is left"));
        }
        Ok(deadline)
    }

    /// By when a message that came at `arrived_ms` is to be delivered, both in ms since the epoch.
    pub fn at_ms(self, arrived_ms: u64) -> u64 {
        arrived_ms.saturating_add_signed(self.seconds.saturating_mul(1000))
    }

    fn read(value: &str) -> Option<Self> {
        let (time, mode) = value.split_once(';')?;
        let digits = time.strip_prefix(['+', '-']).unwrap_or(time);
        if digits.len() > 9 || !super::is_number(digits) {
            return None;
        }
        let seconds: i64 = digits.parse().ok()?;
        let seconds = if time.starts_with('-') { -seconds } else { seconds };
        let (mode, trace) = match mode.to_ascii_uppercase().as_str() {
            "R" => (Mode::Return, false),
            "RT" => (Mode::Return, true),
            "N" => (Mode::Notify, false),
            "NT" => (Mode::Notify, true),
            _ => return None,
        };
        Some(Self { seconds, mode, trace })
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Return => "R",
            Mode::Notify => "N",
        };
        let trace = if self.trace { "T" } else { "" };
        write!(f, "{};{mode}{trace}", self.seconds)
    }
}
