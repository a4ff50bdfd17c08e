//! Content that comes in chunks (RFC 3030): no dots are doubled, and no line ends it.
//!
//! Promises that text holds no NUL and no bare CR or LF, just as text that came by DATA, and ends in
//! CRLF: what is taken here ends nowhere else than there when it goes on by DATA. Binary content is
//! passed octet for octet; in its header section, which MIME leaves to be text, NUL and bare CR and
//! LF are faults, so that no reader finds a field there that others do not see.

use memchr::memchr3;

use super::{BareLineEnds, CHUNK_OCTETS, ContentFault};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    LineStart,
    Text,
    /// After a CR; whether it is the first octet of its line.
    Cr(bool),
    /// Behind the header section of binary content.
    Body,
}

/// Reads content whose octets are counted.
#[derive(Debug)]
pub struct ChunkDecoder {
    place: Place,
    bare: BareLineEnds,
    is_binary: bool,
    fault: Option<ContentFault>,
}

impl ChunkDecoder {
    /// A decoder of text before the first octet.
    pub fn text(bare: BareLineEnds) -> Self {
        Self { place: Place::LineStart, bare, is_binary: false, fault: None }
    }

    /// A decoder of content that was declared BINARYMIME.
    pub fn binary() -> Self {
        Self { is_binary: true, ..Self::text(BareLineEnds::Refuse) }
    }

    /// The first fault met so far.
    pub fn fault(&self) -> Option<ContentFault> {
        self.fault
    }

    /// Decodes `input` into `out`. A CR at its end waits for what comes next.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let (mut used, mut near) = (0, 1);
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let (piece, _) = rest.split_at(near.min(rest.len()));
            self.decode_closely(piece, out);
            used += piece.len();
            used += self.copy_plain(input.get(used - 1..).unwrap_or_default(), out);
            near = CHUNK_OCTETS;
        }
    }

    /// Copies plain text from the front of what follows the first octet of `input`, which is decoded
    /// already, or a body; the octets copied.
    fn copy_plain(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        match self.place {
            Place::Body => {
                let body = input.get(1..).unwrap_or_default();
                out.extend_from_slice(body);
                return body.len();
            }
            Place::LineStart | Place::Text if !self.is_binary => {}
            // The end of the header section is to be seen.
            Place::LineStart | Place::Text | Place::Cr(_) => return 0,
        }
        let (copied, last) = super::copy_plain(input, out);
        match last {
            // Only the header section of binary content asks whether its line is empty.
            Some(b'\r') => self.place = Place::Cr(false),
            Some(b'\n') => self.place = Place::LineStart,
            Some(_) => self.place = Place::Text,
            None => {}
        }
        copied
    }

    /// The same as `decode`, a line at a time.
    fn decode_closely(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = input;
        while let Some((&octet, after)) = rest.split_first() {
            match self.place {
                Place::Body => return out.extend_from_slice(rest),
                Place::LineStart | Place::Text => {
                    let special = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                    let (text, tail) = rest.split_at(special);
                    if !text.is_empty() {
                        out.extend_from_slice(text);
                        self.place = Place::Text;
                        rest = tail;
                        continue;
                    }
                }
                Place::Cr(_) => {}
            }
            self.step(octet, out);
            rest = after;
        }
    }

    /// Ends the content: a last line of text gets the CRLF that it lacks.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if matches!(self.place, Place::Cr(_)) {
            self.bare_line_end(b'\r', out);
        }
        if self.place == Place::Text && !self.is_binary {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Takes one octet.
    fn step(&mut self, octet: u8, out: &mut Vec<u8>) {
        match (self.place, octet) {
            (Place::Cr(is_first), b'\n') => {
                out.extend_from_slice(b"\r\n");
                let ends_header = is_first && self.is_binary;
                self.place = if ends_header { Place::Body } else { Place::LineStart };
                return;
            }
            (Place::Cr(_), _) => self.bare_line_end(b'\r', out),
            _ => {}
        }
        match octet {
            b'\r' => self.place = Place::Cr(self.place == Place::LineStart),
            b'\n' => self.bare_line_end(b'\n', out),
            0 => {
                self.fault.get_or_insert(ContentFault::Nul);
                self.place = Place::Text;
            }
            _ => {
                out.push(octet);
                self.place = Place::Text;
            }
        }
    }

    fn bare_line_end(&mut self, octet: u8, out: &mut Vec<u8>) {
        match self.bare {
            BareLineEnds::Normalise => {
                out.extend_from_slice(b"\r\n");
                self.place = Place::LineStart;
            }
            BareLineEnds::Refuse => {
                out.push(octet);
                self.fault.get_or_insert(ContentFault::BareLineEnd);
                self.place = Place::Text;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Decoder, Encoder};
    use super::*;

    /// What content in these pieces becomes; a fault makes it none.
    fn decode(mut decoder: ChunkDecoder, content: &[u8], octets: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        content.chunks(octets).for_each(|piece| decoder.decode(piece, &mut out));
        decoder.finish(&mut out);
        decoder.fault().is_none().then_some(out)
    }

    #[test]
    fn text_ends_in_a_line_end_and_has_no_other_than_crlf() {
        let refuse = |content: &[u8]| decode(ChunkDecoder::text(BareLineEnds::Refuse), content, 1);
        let whole = |content: &[u8]| Some(content.to_vec());
        assert_eq!(refuse(b""), whole(b""));
        assert_eq!(refuse(b"a"), whole(b"a\r\n"));
        assert_eq!(refuse(b"\r\n.\r\n..\r\n"), whole(b"\r\n.\r\n..\r\n"));
        for bad in [b"a\r" as &[u8], b"a\n", b"\n", b"\r\r\n", b"a\0", b"a\rb", b"\n.\n"] {
            assert_eq!(refuse(bad), None, "{}", bad.escape_ascii());
        }
        let normalise = ChunkDecoder::text(BareLineEnds::Normalise);
        let lines = b"a\r\n\r\nb\r\nc\r\n\r\n";
        assert_eq!(decode(normalise, b"a\n\rb\nc\r\n\r", 1), whole(lines));
    }

    #[test]
    fn only_the_body_of_binary_content_is_free() {
        let binary = |content: &[u8]| decode(ChunkDecoder::binary(), content, 1);
        for good in
            [b"" as &[u8], b"A: b", b"A: b\r\n", b"A: b\r\n\r\n\0\r\n\r.\n\xFF\r", b"\r\n\0\n"]
        {
            assert_eq!(binary(good).as_deref(), Some(good), "{}", good.escape_ascii());
        }
        for bad in [b"A: b\nFrom: c\r\n\r\n" as &[u8], b"A: \0\r\n\r\n", b"A: b\r\rB: c", b"\n\r\n"]
        {
            assert_eq!(binary(bad), None, "{}", bad.escape_ascii());
        }
    }

    fn any_content() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(0), any::<u8>()];
        proptest::collection::vec(octet, 0..60)
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(content in any_content(), octets in 1..9_usize, lenient: bool) {
            let bare = if lenient { BareLineEnds::Normalise } else { BareLineEnds::Refuse };
            let whole = decode(ChunkDecoder::text(bare), &content, usize::MAX);
            prop_assert_eq!(decode(ChunkDecoder::text(bare), &content, octets), whole);
            let whole = decode(ChunkDecoder::binary(), &content, usize::MAX);
            prop_assert_eq!(decode(ChunkDecoder::binary(), &content, octets), whole);
        }

        #[test]
        fn binary_content_stays_octet_for_octet(content in any_content(), octets in 1..9_usize) {
            let content = [b"A: b\r\n\r\n", &*content].concat();
            let read = decode(ChunkDecoder::binary(), &content, octets);
            prop_assert_eq!(read, Some(content));
        }

        #[test]
        fn text_is_what_data_would_bring(content in any_content(), lenient: bool) {
            let bare = if lenient { BareLineEnds::Normalise } else { BareLineEnds::Refuse };
            let Some(text) = decode(ChunkDecoder::text(bare), &content, usize::MAX) else {
                return Ok(());
            };
            let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
            encoder.encode(&text, &mut wire);
            encoder.finish(&mut wire);
            let (mut decoder, mut back) = (Decoder::new(BareLineEnds::Refuse), Vec::new());
            prop_assert_eq!(decoder.decode(&wire, &mut back), (wire.len(), true));
            prop_assert_eq!((decoder.fault(), back), (None, text));
        }
    }
}
