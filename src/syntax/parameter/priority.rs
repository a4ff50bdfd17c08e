//! MT-PRIORITY (RFC 6710 4.1): how urgent a message is, from -9 to 9.

use std::fmt;

use super::bad;
use crate::registry::reply::Reply;

/// A priority; 0 is that of mail which says nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Priority(i8);

impl Priority {
    /// The most urgent.
    pub const MAX: Self = Self(9);

    /// A priority from -9 to 9.
    pub fn new(level: i8) -> Option<Self> {
        (-9..=9).contains(&level).then_some(Self(level))
    }

    /// From -9 to 9.
    pub fn level(self) -> i8 {
        self.0
    }

    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        let level = match value.map(str::as_bytes) {
            Some([digit @ b'0'..=b'9']) => Some((digit - b'0').cast_signed()),
            Some([b'-', digit @ b'1'..=b'9']) => Some(-(digit - b'0').cast_signed()),
            _ => None,
        };
        level.map(Self).ok_or_else(|| bad("MT-PRIORITY takes -9 to 9"))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
