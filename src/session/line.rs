//! Input to command lines.
//!
//! Promises that an over-long line costs no more memory than the bound and is reported once, with
//! what follows it read in sync; and that a line ending in a bare LF is told apart, never guessed.

use bytes::{Buf, BytesMut};

use super::limit::COMMAND_OCTETS_MAX;

/// What is made room for when an idle session hears something.
const INPUT_OCTETS: usize = 512;

/// One command line as it came.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// A line without its CRLF.
    Whole(&'a [u8]),
    /// A line over the bound; its octets are gone.
    TooLong,
    /// A line that ended in LF alone, without it.
    BareLineFeed(&'a [u8]),
}

/// Cuts input into lines; content takes what is left as it is.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    input: BytesMut,
    /// How much of the input is known to hold no LF.
    searched: usize,
    /// Within a line that is too long already.
    overlong: bool,
}

impl LineReader {
    pub(super) fn push(&mut self, octets: &[u8]) {
        if self.input.capacity() == 0 {
            self.input.reserve(octets.len().max(INPUT_OCTETS));
        }
        self.input.extend_from_slice(octets);
    }

    /// The octets that no line has taken yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.input
    }

    /// Drops `octets` from the front.
    pub(super) fn consume(&mut self, octets: usize) {
        self.input.advance(octets.min(self.input.len()));
        self.searched = 0;
        // An idle session shall not keep a buffer that a large message grew.
        if self.input.is_empty() && self.input.capacity() > 4 * COMMAND_OCTETS_MAX {
            self.input = BytesMut::new();
        }
    }

    /// Takes the next line of at most `octets_max` with its end, if that has come, and has it read.
    pub(super) fn take<T>(
        &mut self,
        octets_max: usize,
        read: impl FnOnce(Line<'_>) -> T,
    ) -> Option<T> {
        let unsearched = self.input.get(self.searched..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', unsearched) else {
            self.searched = self.input.len();
            if self.input.len() > octets_max {
                self.overlong = true;
                self.consume(self.input.len());
            }
            return None;
        };
        let end = self.searched + at;
        let too_long = std::mem::take(&mut self.overlong) || end + 1 > octets_max;
        let line = match self.input.get(..end).unwrap_or_default() {
            _ if too_long => Line::TooLong,
            [whole @ .., b'\r'] => Line::Whole(whole),
            line => Line::BareLineFeed(line),
        };
        let read = read(line);
        self.consume(end + 1);
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(reader: &mut LineReader) -> String {
        let kind = |line: Line<'_>| match line {
            Line::Whole(_) => 'w',
            Line::TooLong => 'l',
            Line::BareLineFeed(_) => 'b',
        };
        std::iter::from_fn(|| reader.take(COMMAND_OCTETS_MAX, kind)).collect()
    }

    #[test]
    fn stays_in_sync_and_small() {
        let mut reader = LineReader::default();
        for _ in 0..10_000 {
            reader.push(&[b'x'; 1024]);
            assert_eq!(kinds(&mut reader), "");
            assert!(reader.rest().len() <= COMMAND_OCTETS_MAX);
        }
        reader.push(b"\r\nNOOP\r\nQUIT\nRS");
        assert_eq!(kinds(&mut reader), "lwb");
        reader.push(b"ET\r\n");
        assert_eq!(kinds(&mut reader), "w");
    }

    #[test]
    fn measures_the_line_with_its_end() {
        let mut reader = LineReader::default();
        reader.push(&[b'x'; COMMAND_OCTETS_MAX - 2]);
        reader.push(b"\r\n");
        assert_eq!(kinds(&mut reader), "w");
        reader.push(&[b'x'; COMMAND_OCTETS_MAX - 1]);
        reader.push(b"\r\n");
        assert_eq!(kinds(&mut reader), "l");
    }
}
