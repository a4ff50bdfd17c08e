//! Mailboxes: `local-part@domain` (rfc5321bis 2.3.11, 4.1.2).
//!
//! Promises that canonically equal forms (`<"a"@d>` and `<a@d>`) are the same value, that the case
//! of a local part is kept and that of a domain does not count, nor how an address literal is
//! spelt, that reading one from ASCII without quotes allocates once, and that a clone allocates
//! nothing. A local part in UTF-8 stays as it came (RFC 6531 3.3); whether a transaction may have one
//! says the session. Refuses empty local parts (erratum 5414), stray dots outside quotes, control
//! characters, and local parts in UTF-8 of more than 64 octets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::domain::{check_domain, literal_form, wire_form};
use super::path::PathError;

/// Longest local part in UTF-8, in octets (RFC 6531 3.2, rfc5321bis 4.5.3.1.1). Longer ones in ASCII
/// are in use.
const UTF8_LOCAL_OCTETS_MAX: usize = 64;

/// A mailbox: a local part, unquoted, and the one form of a domain (see [`super::domain`]).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    /// `local-part@domain` without quotes, shared by all copies.
    text: Arc<str>,
    /// Octets of the local part.
    local_octets: usize,
    /// What is printed needs quotes.
    quoted: bool,
}

impl Mailbox {
    /// A mailbox of a local part as it is meant, and a domain or address literal.
    pub fn new(local_part: &str, domain: &str) -> Result<Self, PathError> {
        if local_part.is_empty() {
            return Err(PathError("the local part is empty"));
        }
        check_local_part(local_part)?;
        let quoted = !is_dot_string(local_part);
        if domain.starts_with('[') {
            let text = format!("{local_part}@{}", literal_form(domain)?).into();
            return Ok(Self { text, local_octets: local_part.len(), quoted });
        }
        let domain = wire_form(domain)?;
        Ok(Self::of(&format!("{local_part}@{domain}"), local_part.len(), quoted))
    }

    /// What has been checked and has a domain name.
    fn of(text: &str, local_octets: usize, quoted: bool) -> Self {
        let mut text: Arc<str> = text.into();
        // Nobody else has it yet.
        if let Some(domain) = Arc::get_mut(&mut text).and_then(|text| text.get_mut(local_octets..))
        {
            domain.make_ascii_lowercase();
        }
        Self { text, local_octets, quoted }
    }

    /// The local part without quotes.
    pub fn local_part(&self) -> &str {
        self.text.get(..self.local_octets).unwrap_or_default()
    }

    /// Whether it can be named only where SMTPUTF8 is offered (RFC 6531 3.1). A domain never needs
    /// that: it has A-labels.
    pub fn needs_utf8(&self) -> bool {
        !self.text.is_ascii()
    }

    /// The domain in lower case and A-labels, or an address literal in its one form, with its brackets.
    pub fn domain(&self) -> &str {
        self.text.get(self.local_octets + 1..).unwrap_or_default()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.quoted {
            return f.write_str(&self.text);
        }
        f.write_str("\"")?;
        for character in self.local_part().chars() {
            if matches!(character, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
        }
        write!(f, "\"@{}", self.domain())
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({self})")
    }
}

impl FromStr for Mailbox {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        const NO_DOMAIN: PathError = PathError("the domain is missing");
        if let Some(inside) = text.strip_prefix('"') {
            let (local_part, rest) = take_quoted(inside)?;
            return Self::new(&local_part, rest.strip_prefix('@').ok_or(NO_DOMAIN)?);
        }
        let (local_part, domain) = match memchr::memrchr(b'@', text.as_bytes()) {
            Some(at) => (text.get(..at).unwrap_or(text), text.get(at + 1..)),
            None => (text, None),
        };
        if !is_dot_string(local_part) {
            return Err(PathError("the local part needs quotes or has a stray dot"));
        }
        let domain = domain.ok_or(NO_DOMAIN)?;
        if domain.starts_with('[') || !text.is_ascii() {
            return Self::new(local_part, domain);
        }
        check_domain(domain)?;
        Ok(Self::of(text, local_part.len(), false))
    }
}

impl Serialize for Mailbox {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mailbox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader)
    }
}

/// Reads a mailbox where it stands, without a string in between.
struct Reader;

impl Visitor<'_> for Reader {
    type Value = Mailbox;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mailbox")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Mailbox, E> {
        text.parse().map_err(E::custom)
    }
}

/// Reads a quoted local part up to its closing quote; returns it unquoted with the rest of the text.
pub(super) fn take_quoted(inside: &str) -> Result<(String, &str), PathError> {
    let mut local_part = String::new();
    let mut characters = inside.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((local_part, inside.get(at + 1..).unwrap_or(""))),
            '\\' => local_part.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => local_part.push(character),
        }
    }
    Err(PathError("a quoted local part ends with a quote"))
}

/// What no local part holds, quoted or not.
fn check_local_part(local_part: &str) -> Result<(), PathError> {
    if local_part.chars().any(char::is_control) {
        return Err(PathError("the local part holds control characters"));
    }
    if !local_part.is_ascii() && local_part.len() > UTF8_LOCAL_OCTETS_MAX {
        return Err(PathError("a local part in UTF-8 has at most 64 octets"));
    }
    Ok(())
}

/// Whether a local part needs no quotes (rfc5321bis 4.1.2, `Dot-string`, and RFC 6531 3.3).
fn is_dot_string(text: &str) -> bool {
    let mut after_dot = true;
    for octet in text.bytes() {
        match octet {
            b'.' if after_dot => return false,
            b'.' => after_dot = true,
            _ if is_atom_octet(octet) || !octet.is_ascii() => after_dot = false,
            _ => return false,
        }
    }
    !after_dot
}

/// Whether an octet may stand in an atom (RFC 5322 3.2.3, `atext`).
const fn is_atom_octet(octet: u8) -> bool {
    octet.is_ascii_graphic()
        && !matches!(octet, b'"' | b'(' | b')' | b',' | b'.' | b':' | b';' | b'<' | b'>' | b'@')
        && !matches!(octet, b'[' | b'\\' | b']')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A way to write a local part in quotes: a backslash where it must stand, and where `extra` has
    /// one.
    fn quote(local_part: &str, extra: &[bool]) -> String {
        let mut quoted = String::from("\"");
        for (at, character) in local_part.chars().enumerate() {
            if matches!(character, '"' | '\\') || extra.get(at).copied().unwrap_or(false) {
                quoted.push('\\');
            }
            quoted.push(character);
        }
        quoted + "\""
    }

    #[test]
    fn atoms_hold_what_the_grammar_lists() {
        for octet in 0..=255_u8 {
            let listed = octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
            assert_eq!(is_atom_octet(octet), listed, "{octet}");
        }
    }

    #[test]
    fn a_domain_in_another_script_is_its_a_labels() {
        let read = |text: &str| text.parse::<Mailbox>();
        let same = read("ü@BÜCHER.example").unwrap();
        assert_eq!(same.to_string(), "ü@xn--bcher-kva.example");
        assert_eq!(read("ü@xn--Bcher-kva.example").unwrap(), same);
        assert_eq!(read("ü@bu\u{308}cher。example").unwrap(), same);
        assert_ne!(read("u\u{308}@bücher.example").unwrap(), same, "the local part is not ours");
        assert!(!read("u@bücher.example").unwrap().needs_utf8());
        for bad in ["a@bü_\u{fdd0}.example", "a@-ü.example", "a@ü..example", "a@[ü]", "a@ü b", "ü@"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!("{}@d.example", "ü".repeat(32))).is_ok());
        assert!(read(&format!("{}@d.example", "ü".repeat(33))).is_err());
        assert!(read(&format!("a@{}.example", "ü".repeat(60))).is_err(), "A-labels are counted");
    }

    #[test]
    fn json_is_the_printed_form() {
        let mailbox: Mailbox = "\"odd \\\"one\"@D.example".parse().unwrap();
        let json = serde_json::to_string(&mailbox).unwrap();
        assert_eq!(json, "\"\\\"odd \\\\\\\"one\\\"@d.example\"");
        assert_eq!(serde_json::from_str::<Mailbox>(&json).unwrap(), mailbox);
        assert!(serde_json::from_str::<Mailbox>("\"a b\"").is_err());
    }

    proptest! {
        #[test]
        fn every_way_to_quote_is_the_same_mailbox(
            local_part in "[ -~]{1,200}",
            extra in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let meant = Mailbox::new(&local_part, "d.example").unwrap();
            let written = format!("{}@D.Example", quote(&local_part, &extra));
            let read: Mailbox = written.parse().unwrap();
            prop_assert_eq!(read.local_part(), &local_part);
            prop_assert_eq!(&read, &meant);
            prop_assert_eq!(read.to_string(), meant.to_string());
            prop_assert_eq!(&read.to_string().parse::<Mailbox>().unwrap(), &meant);
        }

        #[test]
        fn a_dot_string_is_the_same_with_and_without_quotes(
            local_part in "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z]{1,9}){0,4}",
        ) {
            let plain: Mailbox = format!("{local_part}@d.example").parse().unwrap();
            let quoted: Mailbox = format!("\"{local_part}\"@d.example").parse().unwrap();
            prop_assert_eq!(plain.to_string(), format!("{local_part}@d.example"));
            prop_assert_eq!(plain, quoted);
        }

        #[test]
        fn a_stray_dot_is_refused_outside_quotes_and_kept_inside(
            before in "[a-z]{0,3}", after in "[a-z]{0,3}",
        ) {
            let local_part = format!("{before}..{after}");
            let plain = format!("{local_part}@d.example").parse::<Mailbox>();
            prop_assert!(plain.is_err());
            let quoted = format!("\"{local_part}\"@d.example");
            prop_assert_eq!(quoted.parse::<Mailbox>().unwrap().to_string(), quoted);
        }

        #[test]
        fn a_local_part_in_utf8_stays_as_it_came(local_part in "[ -~¡-\u{10ffff}]{1,16}") {
            let meant = Mailbox::new(&local_part, "d.example").unwrap();
            prop_assert_eq!(meant.local_part(), &local_part);
            prop_assert_eq!(meant.needs_utf8(), !local_part.is_ascii());
            prop_assert_eq!(&meant.to_string().parse::<Mailbox>().unwrap(), &meant);
        }

        #[test]
        fn what_is_read_is_printed_as_the_same(text in "[ -~é例。]{0,12}@?[ -~é例。]{0,12}") {
            if let Ok(mailbox) = text.parse::<Mailbox>() {
                prop_assert_eq!(mailbox.to_string().parse::<Mailbox>(), Ok(mailbox));
            }
        }

        #[test]
        fn no_control_passes(
            before in "[a-zé]{0,3}", odd in "[\\x00-\\x1f\\x7f-\\u{9f}]", after in "[a-z]{1,3}",
        ) {
            for text in [
                format!("{before}{odd}{after}@d.example"),
                format!("\"{before}{odd}{after}\"@d.example"),
                format!("\"{before}\\{odd}{after}\"@d.example"),
                format!("a@{before}{odd}{after}.example"),
            ] {
                prop_assert!(text.parse::<Mailbox>().is_err(), "{text}");
            }
        }
    }
}
