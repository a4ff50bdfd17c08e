//! Parts of a MIME message (RFC 2045, 2046): encodings, and a boundary that no part holds.
//!
//! Promises that a part is written as it is only where mail may carry it so, and otherwise in
//! quoted-printable.

use memchr::memmem;

/// Longest line without its CRLF (rfc5321bis 4.5.3.1.6).
const LINE_OCTETS_MAX: usize = 998;
/// Longest line of quoted-printable, without a soft break (RFC 2045 6.7).
const QUOTED_OCTETS_MAX: usize = 75;

/// One part, in the form it will have.
#[derive(Debug)]
pub(super) struct Part {
    kind: String,
    encoding: &'static str,
    octets: Vec<u8>,
}

impl Part {
    /// A part that may not be encoded; its lines must be those of mail.
    pub(super) fn plain(kind: &str, octets: Vec<u8>) -> Self {
        let encoding = if octets.is_ascii() { "7bit" } else { "8bit" };
        Self { kind: kind.to_owned(), encoding, octets }
    }

    /// A part of text, encoded where it must be.
    pub(super) fn text(kind: &str, text: &[u8]) -> Self {
        let charset = match (kind, text.is_ascii()) {
            ("text/plain", false) => "; charset=utf-8",
            ("text/plain", true) => "; charset=us-ascii",
            _ => "",
        };
        let kind = format!("{kind}{charset}");
        if text.is_ascii() && has_mail_lines(text) {
            return Self { kind, encoding: "7bit", octets: text.to_vec() };
        }
        Self { kind, encoding: "quoted-printable", octets: quoted_printable(text) }
    }

    pub(super) fn is_eight_bit(&self) -> bool {
        self.encoding == "8bit"
    }

    /// Appends the part with the boundary in front of it.
    pub(super) fn write(&self, boundary: &str, out: &mut Vec<u8>) {
        let Self { kind, encoding, octets } = self;
        let head = format!(
            "--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(octets);
        if !octets.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        // The empty line before a boundary belongs to neither.
        out.extend_from_slice(b"\r\n");
    }
}

/// A boundary that stands in none of the parts, whoever wrote them (RFC 2046 5.1.1).
pub(super) fn boundary(id: &str, parts: &[Part]) -> String {
    let mut number = 0_u64;
    loop {
        // `=_` can't come out of quoted-printable, so the first is nearly always free.
        let boundary = format!("=_{id}.{number}");
        let finder = memmem::Finder::new(&boundary);
        if !parts.iter().any(|part| finder.find(&part.octets).is_some()) {
            return boundary;
        }
        number += 1;
    }
}

/// Whether the lines are those of mail: ended by CRLF, within 998 octets, without NUL.
pub(super) fn has_mail_lines(octets: &[u8]) -> bool {
    let mut rest = octets;
    while !rest.is_empty() {
        let end = memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        if line.len() > LINE_OCTETS_MAX || line.iter().any(|octet| b"\r\n\0".contains(octet)) {
            return false;
        }
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    true
}

/// Encodes text; line ends stay line ends (RFC 2045 6.7).
fn quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 5 / 4);
    let mut rest = text;
    while !rest.is_empty() {
        let found = memmem::find(rest, b"\r\n");
        let end = found.unwrap_or(rest.len());
        quote_line(rest.get(..end).unwrap_or_default(), &mut out);
        if found.is_some() {
            out.extend_from_slice(b"\r\n");
        }
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    out
}

fn quote_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, &octet) in line.iter().enumerate() {
        let is_last = at + 1 == line.len();
        let literal = match octet {
            b' ' | b'\t' => !is_last,
            _ => octet.is_ascii_graphic() && octet != b'=',
        };
        let width = if literal { 1 } else { 3 };
        if column + width > QUOTED_OCTETS_MAX {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if literal {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("={octet:02X}").as_bytes());
        }
        column += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        String::from_utf8(quoted_printable(text.as_bytes())).unwrap()
    }

    #[test]
    fn quotes_what_mail_can_not_carry() {
        assert_eq!(quoted("a=b \r\n\r\n  é\t"), "a=3Db=20\r\n\r\n  =C3=A9=09");
        assert_eq!(quoted("a\rb\nc\0"), "a=0Db=0Ac=00");
        let long = quoted(&"é".repeat(500));
        assert!(long.lines().all(|line| line.len() <= 76));
        assert_eq!(long.replace("=\r\n", ""), "=C3=A9".repeat(500));
    }

    #[test]
    fn knows_the_lines_of_mail() {
        let (fits, over) = ("x".repeat(998), "x".repeat(999));
        assert!(has_mail_lines(format!("{fits}\r\n\r\n{fits}").as_bytes()));
        for bad in [over.as_str(), "a\rb\r\n", "a\nb", "\0", "a\r"] {
            assert!(!has_mail_lines(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn the_boundary_is_in_no_part() {
        let forged = b"--=_7.0\r\n--=_7.1--\r\n".to_vec();
        assert_eq!(boundary("7", &[Part::plain("message/rfc822", forged)]), "=_7.2");
    }
}
