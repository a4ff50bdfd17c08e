//! The base64 of SASL exchanges (RFC 4954 4).
//!
//! Promises that a response is shown by no log. Refuses what is no canonical base64: white space,
//! other alphabets, missing or additional padding, bits left over.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest line of an exchange, without its CRLF (RFC 4954 4).
pub const LINE_OCTETS_MAX: usize = 12_288;

/// What a client sends in an exchange, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Response(pub Vec<u8>);

impl fmt::Debug for Response {
    /// It may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Response(..)")
    }
}

/// Reads a line that answers a challenge.
pub fn parse_response(line: &[u8]) -> Option<Response> {
    STANDARD.decode(line).ok().map(Response)
}

/// Reads an initial response; an empty one is written `=`.
pub fn parse_initial(text: &str) -> Option<Response> {
    match text {
        "=" => Some(Response(Vec::new())),
        "" => None,
        text => parse_response(text.as_bytes()),
    }
}

/// Writes a challenge.
pub fn write_challenge(challenge: &[u8]) -> String {
    STANDARD.encode(challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_canonical_base64_and_nothing_else() {
        let read = |text: &str| parse_initial(text).map(|response| response.0);
        assert_eq!(read("="), Some(vec![]));
        assert_eq!(read("AGEAYg=="), Some(b"\0a\0b".to_vec()));
        for text in ["", "==", "AGEAYg", "AGEAYg===", "AGEAYh==", "AG EA", "AGE_", "*", "\u{e9}"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(parse_response(b""), Some(Response(vec![])));
        assert_eq!(write_challenge(b"\0a\0b"), "AGEAYg==");
        assert_eq!(format!("{:?}", parse_response(b"AGEAYg==")), "Some(Response(..))");
    }
}
