//! As much of an IMAP client as reads messages back, octet by octet (RFC 3501).
//!
//! Promises: literals are taken by their count, so that nothing in a message is ever read as
//! protocol. An answer other than OK is a panic with that answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use crate::support::socket::Socket;

/// A connection.
pub(crate) struct Imap {
    wire: BufReader<Socket>,
    tag: usize,
}

/// One line of an answer, with the literals in it taken out.
struct Line {
    text: String,
    literals: Vec<Vec<u8>>,
}

impl Imap {
    /// Reads the greeting.
    pub(crate) fn over(socket: Socket) -> Self {
        socket.set_patience(Duration::from_secs(30)).unwrap();
        let mut imap = Self { wire: BufReader::new(socket), tag: 0 };
        let greeting = imap.line();
        assert!(greeting.text.starts_with("* OK"), "{}", greeting.text);
        imap
    }

    /// LOGIN.
    pub(crate) fn login(&mut self, user: &str, password: &str) {
        self.command(&format!("LOGIN \"{user}\" \"{password}\""));
    }

    /// SELECT and UID FETCH: every message of a folder, in the order of the UIDs.
    pub(crate) fn fetch_all(&mut self, folder: &str) -> Vec<Vec<u8>> {
        let select = self.command(&format!("SELECT {folder}"));
        if select.iter().any(|line| line.text == "* 0 EXISTS") {
            return Vec::new();
        }
        let lines = self.command("UID FETCH 1:* BODY.PEEK[]");
        let fetched = lines.into_iter().filter(|line| line.text.contains(" FETCH ("));
        fetched.map(|mut line| line.literals.remove(0)).collect()
    }

    /// LOGOUT.
    pub(crate) fn logout(mut self) {
        self.command("LOGOUT");
    }

    fn command(&mut self, command: &str) -> Vec<Line> {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        self.wire.get_mut().write_all(format!("{tag}{command}\r\n").as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            if let Some(answer) = line.text.strip_prefix(&tag) {
                assert!(answer.starts_with("OK"), "{command}: {answer}");
                return lines;
            }
            lines.push(line);
        }
    }

    fn line(&mut self) -> Line {
        let mut line = Line { text: String::new(), literals: Vec::new() };
        loop {
            let mut part = Vec::new();
            self.wire.read_until(b'\n', &mut part).unwrap();
            assert!(part.ends_with(b"\r\n"), "the connection ended after {}", line.text);
            line.text.push_str(String::from_utf8_lossy(&part).trim_end_matches("\r\n"));
            let Some(count) = literal_length(&line.text) else { return line };
            let mut literal = vec![0; count];
            self.wire.read_exact(&mut literal).unwrap();
            line.literals.push(literal);
        }
    }
}

/// The count in braces at the end of a line.
fn literal_length(text: &str) -> Option<usize> {
    let (_, count) = text.strip_suffix('}')?.rsplit_once('{')?;
    count.parse().ok()
}
