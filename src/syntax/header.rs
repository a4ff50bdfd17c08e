//! The header section as it streams by: the first line, the trace fields, our own Received field.
//!
//! Promises to look and never to change. Counts `Received` fields for loop detection (rfc5321bis
//! 6.3), and says whether a message starts without a header field, so that an empty line must go
//! between our trace field and its text.

use std::fmt::Write;
use std::net::IpAddr;

use crate::syntax::parameter::priority::Priority;
use crate::syntax::path;

/// Longest field name; further on nothing is looked for, so that more octets change no judgement.
const NAME_OCTETS_MAX: usize = 256;

/// How a message starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With a header field, an empty line, or nothing: a trace field may go right in front.
    Header,
    /// With text: an empty line must separate it from a trace field.
    Text,
}

/// Judges the first octets of a message; `None` while more are needed.
pub fn judge_start(head: &[u8], complete: bool) -> Option<Start> {
    let line_end = memchr::memchr2(b'\r', b'\n', head);
    let line = head.get(..line_end.unwrap_or(head.len())).unwrap_or_default();
    if line_end == Some(0) || (head.is_empty() && complete) {
        return Some(Start::Header);
    }
    // A line of a mailbox file in front of the header confuses nobody where it is.
    if line.starts_with(b"From ") || line.starts_with(b">From ") {
        return Some(Start::Header);
    }
    match line.iter().take(NAME_OCTETS_MAX + 1).position(|&octet| octet == b':') {
        Some(colon) => {
            let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
            let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
            Some(if is_name { Start::Header } else { Start::Text })
        }
        None if line_end.is_some() || complete || line.len() > NAME_OCTETS_MAX => Some(Start::Text),
        None => None,
    }
}

/// Counts the `Received` fields of a header section that arrives in pieces.
#[derive(Debug, Default)]
pub struct HopCounter {
    hops: usize,
    /// How much of `received:` the present line has matched.
    matched: usize,
    /// The line is known to be a `Received` field, or none; the rest of it tells nothing.
    judged: bool,
    ended: bool,
}

const RECEIVED: &[u8] = b"received:";

impl HopCounter {
    /// The fields counted so far.
    pub fn hops(&self) -> usize {
        self.hops
    }

    /// Looks at the next piece of the message.
    pub fn look(&mut self, mut piece: &[u8]) {
        while !self.ended {
            if self.judged {
                let Some(end) = memchr::memchr(b'\n', piece) else { return };
                piece = piece.get(end + 1..).unwrap_or_default();
                (self.matched, self.judged) = (0, false);
            }
            let Some((octet, rest)) = piece.split_first() else { return };
            self.step(*octet);
            piece = rest;
        }
    }

    /// Takes an octet of a line's beginning.
    fn step(&mut self, octet: u8) {
        match octet {
            b'\n' if self.matched == 0 => self.ended = true,
            b'\n' => self.matched = 0,
            b'\r' => {}
            _ if RECEIVED
                .get(self.matched)
                .is_some_and(|name| octet.eq_ignore_ascii_case(name)) =>
            {
                self.matched += 1;
                self.judged = self.matched == RECEIVED.len();
                self.hops += usize::from(self.judged);
            }
            _ => self.judged = true,
        }
    }
}

/// The TLS that a message came over.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'a> {
    /// The cipher suite by its registered name.
    pub cipher: &'a str,
    /// The version of the protocol.
    pub protocol: &'a str,
    /// The group of the key exchange, if it is known.
    pub group: Option<&'a str>,
}

/// What a `Received` field tells (rfc5321bis 4.4).
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The name the client gave in HELO or EHLO.
    pub hello: &'a str,
    /// Where the client really is; none where neither that nor its name is told.
    pub peer: Option<IpAddr>,
    /// The account of a program of this machine that handed the message in: no host gave a name, and
    /// none is told.
    pub caller: Option<u32>,
    /// Our own name.
    pub by: &'a str,
    /// A registered `with` protocol, such as `ESMTP`.
    pub with: &'a str,
    /// The queue id.
    pub id: &'a str,
    /// The one recipient; none where there are several (7.6).
    pub recipient: Option<&'a str>,
    /// The priority that it was given, where one was asked for (RFC 6710 7).
    pub priority: Option<Priority>,
    /// The TLS, if any.
    pub tls: Option<Tls<'a>>,
    /// The date as RFC 5322 writes it.
    pub date: &'a str,
}

impl Received<'_> {
    /// The field, folded, with its final CRLF.
    pub fn write(&self, out: &mut String) {
        let (from, with) = match self.caller {
            Some(uid) => (String::new(), format!(" (Angarium, from userid {uid})\r\n\t")),
            None => (format!("from {}\r\n\t", self.from()), format!(" with {} ", self.with)),
        };
        let recipient = self.recipient.map_or(String::new(), |path| format!("\r\n\tfor <{path}>"));
        let priority =
            self.priority.map_or(String::new(), |level| format!("\r\n\tPRIORITY {level}"));
        let tls = self.tls.map_or(String::new(), Tls::clause);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "Received: {from}by {}{with}id {}{recipient}{priority}{tls};\r\n\t{}\r\n",
            self.by, self.id, self.date
        );
    }

    /// The FROM clause, which can't be left out.
    fn from(&self) -> String {
        self.peer.map_or_else(|| self.by.to_owned(), |peer| self.client(peer))
    }

    /// The client's name for itself and where it is.
    fn client(&self, peer: IpAddr) -> String {
        let literal = address_literal(peer);
        if path::check_domain(self.hello).is_ok() && !self.hello.starts_with('[') {
            format!("{} ({literal})", self.hello)
        } else {
            // What is no domain can only stand in a comment.
            let quoted: String = self.hello.chars().map(comment_character).collect();
            format!("{literal} (helo={quoted})")
        }
    }
}

impl Tls<'_> {
    /// The registered clause (RFC 8314 4.3) on a line of its own; the rest stands in a comment.
    fn clause(self) -> String {
        let Self { cipher, protocol, group } = self;
        let group = group.map(|group| format!(" {group}")).unwrap_or_default();
        format!("\r\n\ttls {cipher} ({protocol}{group})")
    }
}

fn comment_character(character: char) -> char {
    if character.is_ascii_graphic() && !"()\\".contains(character) { character } else { '?' }
}

/// An address as rfc5321bis 4.1.3 writes it in brackets.
pub fn address_literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_header_from_text() {
        for (head, expected) in [
            ("Subject: x\r\n", Start::Header),
            ("X-Odd : x", Start::Header),
            ("\r\nbody", Start::Header),
            ("From me Mon\r\n", Start::Header),
            ("hello\r\n", Start::Text),
            (" folded: x\r\n", Start::Text),
            ("two words: x\r\n", Start::Text),
            (": x\r\n", Start::Text),
        ] {
            assert_eq!(judge_start(head.as_bytes(), false), Some(expected), "{head:?}");
        }
        assert_eq!(judge_start(b"Subj", false), None);
        assert_eq!(judge_start(b"Subj", true), Some(Start::Text));
        assert_eq!(judge_start(b"", true), Some(Start::Header));
        assert_eq!(judge_start(&[b'a'; 300], false), Some(Start::Text));
    }

    #[test]
    fn counts_hops_of_the_header_only() {
        let message = b"RECEIVED: a\r\nX: Received: b\r\nreceived: c\r\n folded\r\nReceived-SPF: d\r\n\r\nReceived: e\r\n";
        for cut in 0..message.len() {
            let mut counter = HopCounter::default();
            counter.look(&message[..cut]);
            counter.look(&message[cut..]);
            assert_eq!(counter.hops(), 2, "{cut}");
        }
    }

    #[test]
    fn writes_the_field_in_registered_form() {
        // Checks: R05 M05
        let field = Received {
            hello: "client.example",
            peer: Some("2001:db8::1".parse().unwrap()),
            caller: None,
            by: "mx.example",
            with: "ESMTP",
            id: "0100000100000001",
            recipient: Some("u@d.example"),
            priority: None,
            tls: None,
            date: "Tue, 24 Nov 2026 10:00:00 +0000",
        };
        let mut out = String::new();
        field.write(&mut out);
        assert_eq!(
            out,
            "Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example with ESMTP id \
             0100000100000001\r\n\tfor <u@d.example>;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"
        );
        let group = Some("X25519MLKEM768");
        let tls = Tls { cipher: "TLS_AES_256_GCM_SHA384", protocol: "TLSv1.3", group };
        let mut secured = String::new();
        Received { with: "ESMTPS", tls: Some(tls), ..field }.write(&mut secured);
        let end = "\r\n\tfor <u@d.example>\r\n\ttls TLS_AES_256_GCM_SHA384 (TLSv1.3 \
                   X25519MLKEM768);\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n";
        assert!(secured.ends_with(end), "{secured}");
        let mut odd = String::new();
        let peer = Some("192.0.2.1".parse().unwrap());
        Received { hello: "a(b\\c", peer, recipient: None, ..field }.write(&mut odd);
        assert!(odd.starts_with("Received: from [192.0.2.1] (helo=a?b?c)\r\n\tby "), "{odd}");
        let mut hidden = String::new();
        Received { peer: None, ..field }.write(&mut hidden);
        assert!(hidden.starts_with("Received: from mx.example\r\n\tby mx.example "), "{hidden}");
        let mut local = String::new();
        Received { caller: Some(1000), ..field }.write(&mut local);
        assert_eq!(
            local,
            "Received: by mx.example (Angarium, from userid 1000)\r\n\tid 0100000100000001\r\n\t\
             for <u@d.example>;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\n"
        );
    }
}
