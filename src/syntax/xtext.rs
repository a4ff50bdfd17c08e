//! xtext: printable ASCII that carries any octets (RFC 3461 4).
//!
//! Promises that what was encoded is decoded again. Refuses what is no xtext: octets outside of
//! printable ASCII, a `=`, a `+` without two upper-case hexadecimal digits.

use std::fmt::Write;

/// The octets that `text` stands for; `None` where it is no xtext.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'+' => hexadecimal(octets.next()?)? << 4 | hexadecimal(octets.next()?)?,
            b'=' => return None,
            b'!'..=b'~' => octet,
            _ => return None,
        });
    }
    Some(out)
}

/// `text` as xtext.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'!'..=b'~' if octet != b'+' && octet != b'=' => out.push(char::from(octet)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "+{octet:02X}")),
        }
    }
    out
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_is_xtext_and_nothing_else() {
        for (text, expected) in [
            ("", Some("")),
            ("plain", Some("plain")),
            ("a+2Bb+3Dc+20d", Some("a+b=c d")),
            ("+C3+A9", Some("é")),
            ("a=b", None),
            ("a b", None),
            ("+2b", None),
            ("+2", None),
            ("é", None),
        ] {
            assert!(
                expected.is_none_or(|octets| decode(&encode(octets)).unwrap() == octets.as_bytes())
            );
            assert_eq!(decode(text), expected.map(|octets| octets.as_bytes().to_vec()), "{text}");
        }
    }
}
