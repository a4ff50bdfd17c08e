//! Message content on the wire: the end of data, dot-stuffing, bare CR and LF, NUL.
//!
//! Promises that only CRLF . CRLF ends content, also as its first octets, whatever the pieces it
//! arrives in (rfc5321bis 2.3.8, 4.1.1.4, 4.5.2), and that decoding what was encoded gives the
//! same octets. Bare CR and LF are either normalised to CRLF or counted as a fault; NUL always is.

use memchr::memchr3;

/// What happens to a CR or LF that stands alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BareLineEnds {
    /// The message is refused after its final dot.
    Refuse,
    /// It becomes CRLF.
    Normalise,
}

/// What content may not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentFault {
    /// A CR or LF that stands alone.
    BareLineEnd,
    /// A NUL octet.
    Nul,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot and CR at the start of a line.
    DotCr,
    Text,
    /// After a CR in text.
    Cr,
}

/// Reads content up to its final dot.
#[derive(Debug)]
pub struct Decoder {
    place: Place,
    bare: BareLineEnds,
    fault: Option<ContentFault>,
}

impl Decoder {
    /// A decoder before the first octet.
    pub fn new(bare: BareLineEnds) -> Self {
        Self { place: Place::LineStart, bare, fault: None }
    }

    /// The first fault met so far.
    pub fn fault(&self) -> Option<ContentFault> {
        self.fault
    }

    /// Decodes `input` into `out` until it or the content ends. Returns the octets used, and whether
    /// the content ended there.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut rest = input;
        while let Some((&octet, after)) = rest.split_first() {
            if self.place == Place::Text {
                let run = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                let (text, tail) = rest.split_at(run);
                out.extend_from_slice(text);
                rest = tail;
                if run > 0 {
                    continue;
                }
            }
            if self.step(octet, out) {
                return (input.len() - after.len(), true);
            }
            rest = after;
        }
        (input.len(), false)
    }

    /// Takes one octet; true at the end of the content.
    fn step(&mut self, octet: u8, out: &mut Vec<u8>) -> bool {
        match (self.place, octet) {
            (Place::DotCr, b'\n') => return true,
            (Place::Cr, b'\n') => {
                out.extend_from_slice(b"\r\n");
                self.place = Place::LineStart;
                return false;
            }
            (Place::Cr | Place::DotCr, _) => self.bare_line_end(b'\r', out),
            (Place::LineStart, b'.') => {
                self.place = Place::Dot;
                return false;
            }
            (Place::Dot, b'\r') => {
                self.place = Place::DotCr;
                return false;
            }
            _ => {}
        }
        self.place = Place::Text;
        match octet {
            b'\r' => self.place = Place::Cr,
            b'\n' => self.bare_line_end(b'\n', out),
            0 => self.fault = Some(ContentFault::Nul),
            _ => out.push(octet),
        }
        false
    }

    fn bare_line_end(&mut self, octet: u8, out: &mut Vec<u8>) {
        match self.bare {
            BareLineEnds::Normalise => out.extend_from_slice(b"\r\n"),
            BareLineEnds::Refuse => {
                out.push(octet);
                self.fault.get_or_insert(ContentFault::BareLineEnd);
            }
        }
    }
}

/// Writes content for the wire: doubles the dot of each line that starts with one, and ends it.
#[derive(Debug)]
pub struct Encoder {
    /// The last two octets written.
    tail: [u8; 2],
}

impl Default for Encoder {
    fn default() -> Self {
        Self { tail: *b"\r\n" }
    }
}

impl Encoder {
    /// Appends the next piece of content.
    pub fn encode(&mut self, mut content: &[u8], out: &mut Vec<u8>) {
        out.reserve(content.len() + content.len() / 64);
        if self.tail == *b"\r\n" && content.first() == Some(&b'.') {
            out.push(b'.');
        }
        // A dot first in a later line: CR LF may straddle two pieces, so the tail goes along.
        if let [.., last] = self.tail
            && last == b'\r'
            && let Some(after) = content.strip_prefix(b"\n.")
        {
            out.extend_from_slice(b"\n..");
            self.advance(b"\n.");
            content = after;
        }
        let mut start = 0;
        for at in memchr::memmem::find_iter(content, b"\r\n.") {
            let stop = at + 3;
            out.extend_from_slice(content.get(start..stop).unwrap_or_default());
            out.push(b'.');
            start = stop;
        }
        out.extend_from_slice(content.get(start..).unwrap_or_default());
        self.advance(content);
    }

    /// Appends the final dot, after a line end if the content lacks one.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.tail == *b"\r\n" { b".\r\n" } else { b"\r\n.\r\n" });
    }

    fn advance(&mut self, content: &[u8]) {
        self.tail = match (content, self.tail) {
            ([.., a, b], _) => [*a, *b],
            ([b], [_, a]) => [a, *b],
            ([], tail) => tail,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `wire` cut at `cut`; the content, the fault, and the octets after the end if any.
    fn decode(
        wire: &[u8],
        cut: usize,
        bare: BareLineEnds,
    ) -> (Vec<u8>, Option<ContentFault>, Option<Vec<u8>>) {
        let (mut decoder, mut out) = (Decoder::new(bare), Vec::new());
        let cut = cut.min(wire.len());
        let (used, end) = decoder.decode(&wire[..cut], &mut out);
        if end {
            return (out, decoder.fault(), Some(wire[used..].to_vec()));
        }
        let (used, end) = decoder.decode(&wire[cut..], &mut out);
        let rest = end.then(|| wire[cut + used..].to_vec());
        (out, decoder.fault(), rest)
    }

    #[test]
    fn ends_only_on_the_real_end() {
        for cut in 0..12 {
            let (content, fault, rest) = decode(b".\r\nQUIT\r\n", cut, BareLineEnds::Refuse);
            assert_eq!((content.as_slice(), fault), (&b""[..], None));
            assert_eq!(rest.as_deref(), Some(&b"QUIT\r\n"[..]));
            let (content, _, rest) = decode(b"a\r\n..b\r\n.\r\n", cut, BareLineEnds::Refuse);
            assert_eq!((content.as_slice(), rest), (&b"a\r\n.b\r\n"[..], Some(Vec::new())));
        }
    }

    #[test]
    fn smuggling_never_ends_content() {
        for end in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\r.\r\n",
            "\r\n.\r\r\n",
            "\n\n.\n\n",
            "\r\n\0.\r\n",
            "\r\n.\0\r\n",
            "\r\r\n.\r\r\n",
            "\n.\r",
            "\r.\n",
        ] {
            let wire = format!("text{end}MAIL FROM:<x@y.example>\r\n");
            for cut in 0..wire.len() {
                for bare in [BareLineEnds::Refuse, BareLineEnds::Normalise] {
                    let (content, fault, rest) = decode(wire.as_bytes(), cut, bare);
                    assert_eq!(rest, None, "{end:?}");
                    if bare == BareLineEnds::Refuse {
                        assert!(fault.is_some(), "{end:?} is clean: {content:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn normalises_bare_line_ends() {
        let (content, fault, _) = decode(b"a\nb\rc\r\r\nd\n.\r\n", 3, BareLineEnds::Normalise);
        assert_eq!(content, b"a\r\nb\r\nc\r\n\r\nd\r\n.\r\n");
        assert_eq!(fault, None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            lines in proptest::collection::vec("[.a\u{e9}]{0,5}", 0..6),
            cuts in (0usize..40, 0usize..40, 0usize..60),
        ) {
            let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let content = content.as_bytes();
            let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
            let first = cuts.0.min(content.len());
            let second = (first + cuts.1).min(content.len());
            for piece in [&content[..first], &content[first..second], &content[second..]] {
                encoder.encode(piece, &mut wire);
            }
            encoder.finish(&mut wire);
            let (decoded, fault, rest) = decode(&wire, cuts.2, BareLineEnds::Refuse);
            prop_assert_eq!(decoded.as_slice(), content);
            prop_assert_eq!((fault, rest), (None, Some(Vec::new())));
        }
    }
}
