//! AUTH on MAIL (RFC 4954 5): who submitted a message.

use std::fmt;

use super::bad;
use crate::registry::reply::Reply;
use crate::syntax::{path, xtext};

/// The value of AUTH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Submitter {
    /// `<>`: nobody known.
    Unknown,
    /// A mailbox, as it was said: xtext.
    Known(Box<str>),
}

impl Submitter {
    /// Who submitted it, by a mailbox.
    pub fn mailbox(mailbox: &path::Mailbox) -> Self {
        Self::Known(xtext::encode(&mailbox.to_string()).into())
    }

    /// The mailbox, if it is known.
    #[must_use]
    pub fn known(&self) -> Option<path::Mailbox> {
        let Self::Known(encoded) = self else { return None };
        String::from_utf8(xtext::decode(encoded)?).ok()?.parse().ok()
    }

    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        let decode = |value: &str| String::from_utf8(xtext::decode(value)?).ok();
        value
            .and_then(|value| match decode(value)?.as_str() {
                "<>" => Some(Self::Unknown),
                said => path::parse_forward_path(said).ok().map(|_| Self::Known(value.into())),
            })
            .ok_or_else(|| bad("AUTH takes an address or <>, as xtext"))
    }
}

impl fmt::Display for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("<>"),
            Self::Known(encoded) => f.write_str(encoded),
        }
    }
}
