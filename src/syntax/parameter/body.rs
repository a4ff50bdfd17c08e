//! BODY (RFC 6152 2, RFC 3030 3): which octets the content may have.

use std::fmt;

use crate::registry::reply::{self, Reply};

/// The value of BODY.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Body {
    /// Seven-bit content, or nothing said.
    #[default]
    SevenBit,
    /// Content that may have the eighth bit set.
    EightBitMime,
    /// Any octets, in lines of any length.
    BinaryMime,
}

impl Body {
    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        const WHY: &str = "BODY takes 7BIT, 8BITMIME or, where it is offered, BINARYMIME";
        let value = value.ok_or_else(|| super::bad(WHY))?;
        [Self::SevenBit, Self::EightBitMime, Self::BinaryMime]
            .into_iter()
            .find(|body| value.eq_ignore_ascii_case(body.word()))
            .ok_or_else(|| reply::BAD_VALUE.with_text(WHY))
    }

    fn word(self) -> &'static str {
        match self {
            Self::SevenBit => "7BIT",
            Self::EightBitMime => "8BITMIME",
            Self::BinaryMime => "BINARYMIME",
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
