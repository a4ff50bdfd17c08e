//! A server's reply as a client reads it (rfc5321bis 4.2).
//!
//! Promises that a reply is complete only at its last line, that memory stays bounded, and that
//! unknown codes, missing texts and odd enhanced status are read as far as they make sense.
//! Refuses lines that are no reply, over-long lines, and replies without end.

use bytes::{Buf, BytesMut};

use crate::registry::status::EnhancedStatus;

/// Longest line accepted from a server: twice what rfc5321bis 4.5.3.1.5 allows it, and more.
const LINE_OCTETS_MAX: usize = 4096;
/// Most lines of one reply.
const LINES_MAX: usize = 256;

/// A reply that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerReply {
    /// The code of the last line.
    pub code: u16,
    /// The enhanced status of the last line, if one of the code's class is there.
    pub status: Option<EnhancedStatus>,
    /// The text of each line, without code, with its enhanced status.
    pub lines: Vec<String>,
}

impl ServerReply {
    /// 2yz.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 5yz.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The reply on one line, for logs and listings.
    pub fn one_line(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" / "))
    }
}

/// Octets that are no reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoReply(pub &'static str);

/// Gathers the lines of one reply after the other.
#[derive(Debug, Default)]
pub struct ReplyReader {
    lines: Vec<String>,
}

impl ReplyReader {
    /// Takes the next reply from the front of `input`, if it is all there.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<ServerReply>, NoReply> {
        loop {
            let Some(end) = memchr::memchr(b'\n', input) else {
                return if input.len() > LINE_OCTETS_MAX {
                    Err(NoReply("a reply line is too long"))
                } else {
                    Ok(None)
                };
            };
            if end > LINE_OCTETS_MAX {
                return Err(NoReply("a reply line is too long"));
            }
            let line = input.split_to(end);
            input.advance(1);
            if let Some(reply) = self.take_line(&line)? {
                return Ok(Some(reply));
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<ServerReply>, NoReply> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (digits, rest) =
            line.split_at_checked(3).ok_or(NoReply("a reply line is too short"))?;
        let code = str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|code| (200..=599).contains(code))
            .ok_or(NoReply("a reply line does not start with a reply code"))?;
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(NoReply("a reply code is followed by neither space nor hyphen")),
        };
        if self.lines.len() >= LINES_MAX {
            return Err(NoReply("a reply has too many lines"));
        }
        self.lines.push(printable(text));
        Ok(last.then(|| self.finish(code)))
    }

    fn finish(&mut self, code: u16) -> ServerReply {
        let lines = std::mem::take(&mut self.lines);
        let status = lines
            .last()
            .and_then(|text| EnhancedStatus::parse_prefix(text))
            .map(|(status, _)| status)
            .filter(|status| u16::from(status.class) == code / 100);
        ServerReply { code, status, lines }
    }
}

/// What a server says is shown to operators and senders: nothing in it may move a cursor.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|character| if character.is_control() { '?' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &str) -> Result<Option<ServerReply>, NoReply> {
        ReplyReader::default().read(&mut BytesMut::from(wire))
    }

    #[test]
    fn reads_replies_in_pieces() {
        let (mut reader, mut input) = (ReplyReader::default(), BytesMut::new());
        let mut replies = Vec::new();
        for octet in b"250-a.example\r\n250-SIZE 10\r\n250 HELP\r\n550 5.1.1 no\r\n250\r\n" {
            input.extend_from_slice(&[*octet]);
            replies.extend(reader.read(&mut input).unwrap());
        }
        assert_eq!(replies[0].lines, ["a.example", "SIZE 10", "HELP"]);
        assert_eq!(replies[1].status, Some(EnhancedStatus::new(5, 1, 1)));
        assert_eq!((replies[2].code, replies[2].lines.len(), replies.len()), (250, 1, 3));
    }

    #[test]
    fn refuses_garbage_and_ignores_a_wrong_class() {
        for garbage in ["hello\r\n", "25\r\n", "2500 x\r\n", "150 x\r\n", "650 x\r\n", "+50 x\r\n"]
        {
            assert!(read(garbage).is_err(), "{garbage}");
        }
        assert!(read(&"x".repeat(5000)).is_err());
        assert!(read(&"250-x\r\n".repeat(300)).is_err());
        assert_eq!(read("550 a\x1b[2J\rb\r\n").unwrap().unwrap().lines, ["a?[2J?b"]);
        assert_eq!(read("250 5.1.1 odd\r\n").unwrap().unwrap().status, None);
        assert_eq!(read("250 ok"), Ok(None));
    }
}
