//! The body of a multipart to its parts and what stands around them (RFC 2046 section 5.1.1).
//!
//! Promises to lose no octet: the pieces, one after the other, are the body. The line end before a
//! delimiter line belongs to the delimiter. A part that no delimiter ends goes to the end.

use super::entity;

/// A stretch of a multipart's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece<'a> {
    /// What readers do not show: the preamble or the epilogue.
    Aside(&'a [u8]),
    /// A delimiter line, with the line end before it where there is one.
    Delimiter(&'a [u8]),
    /// A part: header section and body.
    Part(&'a [u8]),
}

/// Cuts a body at the delimiter lines of its boundary. Without any, all of it is aside.
pub(super) fn split<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    // Where the present stretch began, and the present line.
    let (mut begin, mut at) = (0, 0);
    let mut in_part = false;
    for line in entity::lines(body) {
        let end = at + line.len();
        if let Some(closes) = delimiter(line, boundary) {
            let stretch = body.get(begin..at).unwrap_or_default();
            let text = stretch.strip_suffix(b"\r\n").unwrap_or(stretch);
            let cut = begin + text.len();
            pieces.push(if in_part { Piece::Part(text) } else { Piece::Aside(text) });
            pieces.push(Piece::Delimiter(body.get(cut..end).unwrap_or_default()));
            (begin, in_part) = (end, !closes);
            if closes {
                break;
            }
        }
        at = end;
    }
    let rest = body.get(begin..).unwrap_or_default();
    pieces.push(if in_part { Piece::Part(rest) } else { Piece::Aside(rest) });
    pieces
}

/// Whether a line is a delimiter, and then whether it is the closing one.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let after = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (closes, padding) = match after.strip_prefix(b"--") {
        Some(padding) => (true, padding),
        None => (false, after),
    };
    let padding = padding.strip_suffix(b"\r\n").unwrap_or(padding);
    padding.iter().all(|octet| matches!(octet, b' ' | b'\t')).then_some(closes)
}
