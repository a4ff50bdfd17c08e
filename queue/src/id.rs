//! Message identifiers: unique without asking anyone, sortable, printable.
//!
//! An identifier is a shard (which spool), an epoch (which start of that spool) and a counter
//! (which message of that start). The epoch is durable before the first identifier is given out, so
//! none is ever given twice. The printed form is 16 upper-case hexadecimal digits, and sorting the
//! printed forms sorts the identifiers. Parsing refuses any other length, sign or letter case.

use std::fmt;
use std::str::FromStr;

const EPOCH_BITS: u32 = 20;
const COUNTER_BITS: u32 = 36;

/// The highest epoch an identifier can carry.
pub const EPOCH_MAX: u32 = (1 << EPOCH_BITS) - 1;
/// The highest counter an identifier can carry.
pub const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;

/// The identifier of one message: shard (8 bits), epoch (20), counter (36), most significant first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// Puts an identifier together; `None` when the epoch or the counter is out of range.
    pub fn new(shard: u8, epoch: u32, counter: u64) -> Option<Self> {
        if epoch > EPOCH_MAX || counter > COUNTER_MAX {
            return None;
        }
        let high = u64::from(shard) << (EPOCH_BITS + COUNTER_BITS);
        Some(Self(high | (u64::from(epoch) << COUNTER_BITS) | counter))
    }

    /// The spool the message was accepted in.
    pub fn shard(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// The start of that spool during which it was accepted.
    pub fn epoch(self) -> u32 {
        ((self.0 >> COUNTER_BITS) & u64::from(EPOCH_MAX)) as u32
    }

    /// Its number within that start.
    pub fn counter(self) -> u64 {
        self.0 & COUNTER_MAX
    }

    /// The identifier as a number; the order is the same.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The identifier whose number this is; every number is one.
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 16 upper-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message id is 16 upper-case hexadecimal digits")
    }
}

impl std::error::Error for ParseIdError {}

impl FromStr for MessageId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        if text.len() != 16 || !digits {
            return Err(ParseIdError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| ParseIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        let id = MessageId::new(7, 0xABCDE, 0x9_8765_4321).unwrap();
        assert_eq!((id.shard(), id.epoch(), id.counter()), (7, 0xABCDE, 0x9_8765_4321));
        assert_eq!(id.to_string(), "07ABCDE987654321");
        assert_eq!("07ABCDE987654321".parse(), Ok(id));
        assert_eq!(MessageId::from_u64(id.as_u64()), id);
    }

    #[test]
    fn out_of_range_is_refused() {
        assert!(MessageId::new(255, EPOCH_MAX, COUNTER_MAX).is_some());
        assert!(MessageId::new(0, EPOCH_MAX + 1, 0).is_none());
        assert!(MessageId::new(0, 0, COUNTER_MAX + 1).is_none());
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "0",
            "07abcde987654321",
            "+7ABCDE987654321",
            "007ABCDE987654321",
            "é7ABCDE98765432",
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(ParseIdError), "{text}");
        }
    }

    #[test]
    fn printed_order_is_the_order() {
        let ids = [(0, 1, 5), (0, 1, 6), (0, 2, 0), (1, 0, 0), (255, 1, 1)];
        let ids = ids.map(|(s, e, c)| MessageId::new(s, e, c).unwrap());
        for pair in ids.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].to_string() < pair[1].to_string());
        }
    }
}
