//! RET, ENVID, NOTIFY and ORCPT (RFC 3461 4): of what a sender wants to hear, and by which names.
//!
//! Promises that ENVID and ORCPT go on exactly as they came.

use std::fmt::{self, Write};

use super::bad;
use crate::registry::reply::Reply;
use crate::syntax::xtext;

/// Longest ENVID, decoded, in octets (RFC 3461 4).
pub const ENVELOPE_ID_OCTETS_MAX: usize = 100;
/// Longest ORCPT with its type, in octets (RFC 3461 4).
pub const ORIGINAL_OCTETS_MAX: usize = 500;

/// RET: how much of the message a report of failure returns (RFC 3461 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

impl Return {
    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        let is = |word: &str| value.is_some_and(|value| value.eq_ignore_ascii_case(word));
        match () {
            () if is("FULL") => Ok(Self::Full),
            () if is("HDRS") => Ok(Self::Headers),
            () => Err(bad("RET takes FULL or HDRS")),
        }
    }
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// ENVID: the sender's name for the transaction (RFC 3461 4.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvelopeId(Box<str>);

impl EnvelopeId {
    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        let is_printable = |octet: &u8| matches!(octet, b' '..=b'~' | b'\t');
        value
            .filter(|value| {
                xtext::decode(value).is_some_and(|decoded| {
                    (1..=ENVELOPE_ID_OCTETS_MAX).contains(&decoded.len())
                        && decoded.iter().all(is_printable)
                })
            })
            .map(|value| Self(value.into()))
            .ok_or_else(|| bad("ENVID takes up to 100 printable characters, as xtext"))
    }

    /// The name itself, printable ASCII.
    pub fn decoded(&self) -> String {
        let octets = xtext::decode(&self.0).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// NOTIFY: which events are reported of a recipient (RFC 3461 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notify {
    /// It was delivered, or left to a server that does not report.
    pub success: bool,
    /// It was given up.
    pub failure: bool,
    /// It takes longer.
    pub delay: bool,
}

impl Notify {
    /// None at all.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };

    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        const WHY: &str = "NOTIFY takes NEVER, or SUCCESS, FAILURE, DELAY with commas between";
        let value = value.ok_or_else(|| bad(WHY))?;
        if value.eq_ignore_ascii_case("NEVER") {
            return Ok(Self::NEVER);
        }
        let mut notify = Self::NEVER;
        for word in value.split(',') {
            let flag = match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut notify.success,
                "FAILURE" => &mut notify.failure,
                "DELAY" => &mut notify.delay,
                _ => return Err(bad(WHY)),
            };
            *flag = true;
        }
        Ok(notify)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let words: Vec<&str> =
            words.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| *word).collect();
        f.write_str(if words.is_empty() { "NEVER" } else { "" })?;
        f.write_str(&words.join(","))
    }
}

/// ORCPT: the recipient that the sender named (RFC 3461 4.2, RFC 6533 3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginalRecipient {
    /// The type of address, mostly `rfc822`.
    address_type: Box<str>,
    /// The address as it was said: xtext, or for `utf-8` a form of RFC 6533.
    encoded: Box<str>,
}

impl OriginalRecipient {
    /// An `rfc822` address, which must be ASCII.
    pub fn rfc822(address: &str) -> Self {
        Self { address_type: "rfc822".into(), encoded: xtext::encode(address).into() }
    }

    /// An address of any alphabet; one beyond ASCII is of type `utf-8` (RFC 6533 3).
    pub fn of(address: &str) -> Self {
        if address.is_ascii() {
            return Self::rfc822(address);
        }
        let is_special = |c: char| !matches!(c, '!'..='~') || "+=\\".contains(c);
        let encoded = embed(address, |c| c.is_ascii() && is_special(c));
        Self { address_type: "utf-8".into(), encoded: encoded.into() }
    }

    /// How many octets the parameter's value has.
    pub fn octets(&self) -> usize {
        self.address_type.len() + 1 + self.encoded.len()
    }

    pub(super) fn parse(value: Option<&str>) -> Result<Self, Reply> {
        let read = value.filter(|value| value.len() <= ORIGINAL_OCTETS_MAX).and_then(Self::read);
        read.ok_or_else(|| bad("ORCPT takes a type, `;` and an address as xtext"))
    }

    fn read(value: &str) -> Option<Self> {
        let (address_type, encoded) = value.split_once(';')?;
        let is_type_octet = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        if address_type.is_empty() || !address_type.bytes().all(is_type_octet) {
            return None;
        }
        let is_fine = if address_type.eq_ignore_ascii_case("utf-8") {
            is_utf8_address(encoded)
        } else {
            let is_printable = |octet: &u8| matches!(octet, b' '..=b'~');
            xtext::decode(encoded).is_some_and(|decoded| decoded.iter().all(is_printable))
        };
        let read = Self { address_type: address_type.into(), encoded: encoded.into() };
        (is_fine && !encoded.is_empty()).then_some(read)
    }

    /// The same without UTF-8: an address of type `utf-8` as its `utf-8-addr-xtext` (RFC 6533 3).
    #[must_use]
    pub fn in_ascii(&self) -> Self {
        let mut encoded = String::with_capacity(self.encoded.len());
        for character in self.encoded.chars() {
            if character.is_ascii() {
                encoded.push(character);
            } else {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "\\x{{{:X}}}", u32::from(character));
            }
        }
        Self { address_type: self.address_type.clone(), encoded: encoded.into() }
    }

    /// The type of address.
    pub fn address_type(&self) -> &str {
        &self.address_type
    }

    /// The address itself; one of type `utf-8` as it was said.
    pub fn address(&self) -> String {
        let octets = xtext::decode(&self.encoded);
        octets.map_or_else(
            || self.encoded.to_string(),
            |octets| String::from_utf8_lossy(&octets).into_owned(),
        )
    }
}

/// The address with the `special` characters as RFC 6533 3 embeds them.
pub fn embed(address: &str, special: impl Fn(char) -> bool) -> String {
    let written = address.chars().map(|c| match special(c) {
        true => format!("\\x{{{:02X}}}", u32::from(c)),
        false => c.to_string(),
    });
    written.collect()
}

/// Whether it is a `utf-8-addr-xtext` or `utf-8-addr-unitext` (RFC 6533 3): a backslash only begins
/// `\x{HEX}`, which stands for a character.
fn is_utf8_address(text: &str) -> bool {
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        if character == '\\' {
            let point = rest.strip_prefix("x{").and_then(|inside| inside.split_once('}'));
            let Some((point, after)) = point else { return false };
            let is_hex = point.bytes().all(|octet| octet.is_ascii_hexdigit());
            if !is_hex || u32::from_str_radix(point, 16).ok().and_then(char::from_u32).is_none() {
                return false;
            }
            rest = after;
        } else if character.is_control() || character.is_whitespace() || "+=".contains(character) {
            return false;
        }
    }
    true
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.address_type, self.encoded)
    }
}
