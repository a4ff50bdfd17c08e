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

/// What a next hop may mind about content.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traits {
    /// An octet has the eighth bit set.
    pub eight_bit: bool,
    /// A line has more than 998 octets beside its CRLF (rfc5321bis 4.5.3.1.6).
    pub long_lines: bool,
}

/// Finds the traits of content that comes in pieces.
#[derive(Debug, Default)]
pub struct TraitReader {
    traits: Traits,
    line_octets: usize,
}

const LINE_OCTETS_MAX: usize = 998;

impl TraitReader {
    /// Looks at the next piece.
    pub fn look(&mut self, piece: &[u8]) {
        self.traits.eight_bit |= !piece.is_ascii();
        if self.traits.long_lines {
            return;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            // The CR before it counts neither.
            self.judge_line((self.line_octets + end - start).saturating_sub(1));
            (self.line_octets, start) = (0, end + 1);
        }
        self.line_octets += piece.len() - start;
        self.judge_line(self.line_octets.saturating_sub(1));
    }

    /// The traits of what was looked at.
    pub fn traits(&self) -> Traits {
        self.traits
    }

    fn judge_line(&mut self, octets: usize) {
        self.traits.long_lines |= octets > LINE_OCTETS_MAX;
    }
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

    #[test]
    fn traits_do_not_depend_on_the_pieces() {
        let line = |octets: usize| [vec![b'x'; octets], b"\r\n".to_vec()].concat();
        let cases = [
            ([line(998), line(5)].concat(), false),
            ([line(5), line(999), line(5)].concat(), true),
            (vec![b'x'; 1001], true),
        ];
        for (content, long_lines) in cases {
            for cut in [0, 1, 5, 7, 500, 997, 999, 1000, content.len()] {
                let mut reader = TraitReader::default();
                let cut = cut.min(content.len());
                reader.look(&content[..cut]);
                reader.look(&content[cut..]);
                assert_eq!(reader.traits(), Traits { eight_bit: false, long_lines }, "{cut}");
                reader.look(b"\xe9");
                assert!(reader.traits().eight_bit);
            }
        }
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
