//! Message content on the wire: the end of data, dot-stuffing, bare CR and LF, NUL.
//!
//! Promises that only CRLF . CRLF ends content, also as its first octets, whatever the pieces it
//! arrives in (rfc5321bis 2.3.8, 4.1.1.4, 4.5.2), and that decoding what was encoded gives the
//! same octets. Bare CR and LF are either normalised to CRLF or counted as a fault; NUL always is.

pub mod chunk;

use memchr::{memchr3, memrchr};

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
    /// An octet of the header has it.
    pub eight_bit_header: bool,
    /// A line has more than 998 octets beside its CRLF (rfc5321bis 4.5.3.1.6).
    pub long_lines: bool,
}

/// Finds the traits of content that comes in pieces.
#[derive(Debug, Default)]
pub struct TraitReader {
    traits: Traits,
    line_octets: usize,
    header: HeaderPlace,
}

/// How far the header has been seen.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum HeaderPlace {
    #[default]
    LineStart,
    Line,
    Over,
}

/// Longest line with its CRLF (rfc5321bis 4.5.3.1.6).
const LINE_OCTETS_MAX: usize = 1000;

impl TraitReader {
    /// Looks at the next piece.
    pub fn look(&mut self, mut piece: &[u8]) {
        self.traits.eight_bit |= !piece.is_ascii();
        self.look_for_header(piece);
        // No line is long as long as there is an LF in each window that starts where one ended.
        while !self.traits.long_lines {
            let window = piece.get(..LINE_OCTETS_MAX.saturating_sub(self.line_octets));
            match (memrchr(b'\n', window.unwrap_or(piece)), window) {
                (Some(last), _) => {
                    piece = piece.get(last + 1..).unwrap_or_default();
                    self.line_octets = 0;
                }
                (None, Some(_)) => self.traits.long_lines = true,
                (None, None) => {
                    self.line_octets += piece.len();
                    return;
                }
            }
        }
    }

    /// Looks at what belongs to the header, up to the empty line.
    fn look_for_header(&mut self, piece: &[u8]) {
        for octet in piece {
            self.header = match (self.header, octet) {
                (HeaderPlace::Over, _) => return,
                (HeaderPlace::LineStart, b'\n') => HeaderPlace::Over,
                (HeaderPlace::Line, b'\n') => HeaderPlace::LineStart,
                (place, b'\r') => place,
                _ => HeaderPlace::Line,
            };
            self.traits.eight_bit_header |= !octet.is_ascii();
        }
    }

    /// Tells that what was taken for a header is none.
    pub fn without_header(&mut self) {
        self.traits.eight_bit_header = false;
        self.header = HeaderPlace::Over;
    }

    /// The traits of what was looked at.
    pub fn traits(&self) -> Traits {
        self.traits
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
        let (mut used, mut near) = (0, 1);
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let (piece, _) = rest.split_at(near.min(rest.len()));
            if let Some(octets) = self.decode_closely(piece, out) {
                return (used + octets, true);
            }
            used += piece.len();
            used += self.copy_plain(input.get(used - 1..).unwrap_or_default(), out);
            near = CHUNK_OCTETS;
        }
        (used, false)
    }

    /// Copies plain chunks from the front of what follows the first octet of `input`, which is
    /// decoded already; the octets copied.
    fn copy_plain(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        if !matches!(self.place, Place::LineStart | Place::Text) {
            return 0;
        }
        let (copied, last) = copy_plain(input, out);
        match last {
            Some(b'\r') => self.place = Place::Cr,
            Some(b'\n') => self.place = Place::LineStart,
            Some(_) => self.place = Place::Text,
            None => {}
        }
        copied
    }

    /// The same as `decode`, a line at a time; the octets used when the content ended.
    fn decode_closely(&mut self, input: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut rest = input;
        while let Some((&octet, after)) = rest.split_first() {
            if self.place == Place::Text || (self.place == Place::LineStart && octet != b'.') {
                let special = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
                let (text, tail) = rest.split_at(special);
                if !text.is_empty() {
                    out.extend_from_slice(text);
                    self.place = Place::Text;
                    rest = tail;
                    continue;
                }
            }
            if self.step(octet, out) {
                return Some(input.len() - after.len());
            }
            rest = after;
        }
        None
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
            0 => {
                self.fault.get_or_insert(ContentFault::Nul);
            }
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

/// Copies plain chunks from the front of what follows the first octet of `input`; how many octets,
/// and the last of them. A CR there is left out: it stands alone or not, as the next octet tells.
fn copy_plain(input: &[u8], out: &mut Vec<u8>) -> (usize, Option<u8>) {
    let before = out.len();
    let (chunks, _) = input.get(1..).unwrap_or_default().as_chunks();
    let (earlier, _) = input.as_chunks();
    for (chunk, earlier) in chunks.iter().zip(earlier) {
        if !is_plain(earlier, chunk) {
            break;
        }
        out.extend_from_slice(chunk);
    }
    let copied = out.len() - before;
    let last = out.last().copied().filter(|_| copied > 0);
    if last == Some(b'\r') {
        out.pop();
    }
    (copied, last)
}

/// What is judged at a time: enough for the compiler's vectors, and little enough that a dot costs
/// the lines around it little.
const CHUNK_OCTETS: usize = 128;

/// Whether a chunk holds no NUL, no dot at the start of a line, and CR and LF only as CRLF, but for
/// a CR at its end. `earlier` is the same input one octet earlier. Looks at every octet, without a
/// branch.
fn is_plain(earlier: &[u8; CHUNK_OCTETS], chunk: &[u8; CHUNK_OCTETS]) -> bool {
    let (mut special, mut least) = (0, u8::MAX);
    for (&before, &octet) in earlier.iter().zip(chunk) {
        let bare = u8::from(octet == b'\n') ^ u8::from(before == b'\r');
        special |= bare | (u8::from(octet == b'.') & u8::from(before == b'\n'));
        least = least.min(octet);
    }
    special == 0 && least != 0
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
mod tests;
