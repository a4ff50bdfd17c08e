//! Octets to lines of 7-bit text and no longer than 76 characters: base64 and quoted-printable.
//!
//! Promises that decoding gives exactly the octets that went in, that the last line ends in CRLF
//! only where the octets did, and that no line written can be taken for a boundary, for the start
//! of a mailbox entry or for the final dot.

use super::entity;

const LINE_CHARACTERS_MAX: usize = 76;
const BASE64_LINE_OCTETS: usize = LINE_CHARACTERS_MAX / 4 * 3;

/// Takes the place of an octet where none can stand. It is in no alphabet: neither in that of
/// base64, so that decoders pass it over as they did the octet, nor in that of boundaries.
const STAND_IN: u8 = b'#';

/// Writes octets as base64 (RFC 2045 section 6.8).
pub(super) fn base64(octets: &[u8], out: &mut Vec<u8>) {
    out.reserve(octets.len() / 54 * 78 + 80);
    for (number, line) in octets.chunks(BASE64_LINE_OCTETS).enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        for group in line.chunks(3) {
            base64_group(group, out);
        }
    }
    // The CRLF that ended the body ends its last line as well; decoders pass it over.
    if octets.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// Copies base64 in lines of its own length, and nothing else that stands between its characters.
pub(super) fn wrap(octets: &[u8], out: &mut Vec<u8>) {
    let is_character = |octet: &&u8| octet.is_ascii_alphanumeric() || b"+/=".contains(octet);
    for (at, character) in octets.iter().filter(is_character).enumerate() {
        if at > 0 && at % LINE_CHARACTERS_MAX == 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.push(*character);
    }
    if octets.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

fn base64_group(group: &[u8], out: &mut Vec<u8>) {
    let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
    for at in 0..4 {
        let sextet = (bits >> (18 - 6 * at) & 63) as u8;
        out.push(if at > group.len() { b'=' } else { base64_character(sextet) });
    }
}

fn base64_character(sextet: u8) -> u8 {
    match sextet {
        0..=25 => b'A' + sextet,
        26..=51 => b'a' + sextet - 26,
        52..=61 => b'0' + sextet - 52,
        62 => b'+',
        _ => b'/',
    }
}

/// Writes octets as quoted-printable (RFC 2045 section 6.7); each CRLF stays a line end.
pub(super) fn quoted_printable(octets: &[u8], out: &mut Vec<u8>) {
    out.reserve(octets.len() + octets.len() / 4);
    for line in entity::lines(octets) {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let mut quoter = Quoter { out, column: 0 };
        let mut rest = text;
        while let Some((&octet, after)) = rest.split_first() {
            match octet {
                b' ' | b'\t' if !after.is_empty() => quoter.literal(octet, after),
                b'!'..=b'<' | b'>'..=b'~' => quoter.literal(octet, after),
                _ => quoter.escaped(octet, after),
            }
            rest = after;
        }
        out.extend_from_slice(line.get(text.len()..).unwrap_or_default());
    }
}

/// Copies what calls itself quoted-printable, with 8-bit octets escaped and long lines broken:
/// decoders take both for the same.
pub(super) fn requote(octets: &[u8], out: &mut Vec<u8>) {
    for line in entity::lines(octets) {
        if line.is_ascii() && !super::is_long(line) {
            out.extend_from_slice(line);
            continue;
        }
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        let mut quoter = Quoter { out, column: 0 };
        let mut rest = text;
        while let Some((&octet, after)) = rest.split_first() {
            rest = match (octet, after) {
                (b'=', [high, low, after @ ..])
                    if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                {
                    quoter.token(&[octet, *high, *low], after);
                    after
                }
                // A soft line break, which white space may follow.
                (b'=', after) if after.trim_ascii().is_empty() => {
                    quoter.literal(octet, after);
                    after
                }
                (b'=' | 0x80.., after) => {
                    quoter.escaped(octet, after);
                    after
                }
                (_, after) => {
                    quoter.literal(octet, after);
                    after
                }
            };
        }
        out.extend_from_slice(line.get(text.len()..).unwrap_or_default());
    }
}

/// Copies octets with a stand-in for each one above 127.
pub(super) fn mask(octets: &[u8], out: &mut Vec<u8>) {
    out.extend(octets.iter().map(|&octet| if octet.is_ascii() { octet } else { STAND_IN }));
}

/// Copies base64 in lines of the usual length, however it was cut.
pub(super) fn rewrap(octets: &[u8], out: &mut Vec<u8>) {
    let characters = octets.iter().filter(|octet| !octet.is_ascii_whitespace());
    for (number, character) in characters.enumerate() {
        if number > 0 && number.is_multiple_of(LINE_CHARACTERS_MAX) {
            out.extend_from_slice(b"\r\n");
        }
        out.push(*character);
    }
    if octets.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes one line of quoted-printable, broken softly where it gets too long.
struct Quoter<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

impl Quoter<'_> {
    /// Writes an octet as itself, unless the line written would then begin with a dot, with "From "
    /// or like a boundary: the boundary of a part around may be anything.
    fn literal(&mut self, octet: u8, after: &[u8]) {
        self.make_room(1, after);
        let risky = match octet {
            b'.' => true,
            b'-' => after.starts_with(b"-"),
            b'F' => after.starts_with(b"rom "),
            _ => false,
        };
        if self.column == 0 && risky {
            self.escaped(octet, after);
        } else {
            self.token(&[octet], after);
        }
    }

    fn escaped(&mut self, octet: u8, after: &[u8]) {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
        self.token(&[b'=', digit(octet >> 4), digit(octet & 15)], after);
    }

    fn token(&mut self, token: &[u8], after: &[u8]) {
        self.make_room(token.len(), after);
        self.out.extend_from_slice(token);
        self.column += token.len();
    }

    /// Breaks the line unless this much fits, and, where more follows, the sign of a break too.
    fn make_room(&mut self, characters: usize, after: &[u8]) {
        if self.column + characters + usize::from(!after.is_empty()) > LINE_CHARACTERS_MAX {
            self.out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
    }
}
