//! Content in chunks: whatever stands in them is no command, every line beside them has its reply,
//! and content comes through octet for octet however it is cut.

use std::sync::Arc;

use angarium::registry::offer::{Offer, Protocol, Terms};
use angarium::session::Settings;
use angarium::session::limit::COMMAND_OCTETS_MAX;
use angarium::syntax::content::BareLineEnds;
use fastrand::Rng;

use crate::machine::{Machine, play, settings};
use crate::{Target, pieces};

pub(crate) const TARGET: Target = Target {
    name: "chunks",
    words: &[
        "EHLO c.example\r\n",
        "HELO c\r\n",
        "MAIL FROM:<a@c.example>\r\n",
        "RCPT TO:<u@local.example>\r\n",
        "RCPT TO:<full@local.example>\r\n",
        "BDAT 4\r\nQUIT",
        "BDAT 6 LAST\r\nQUIT\r\n",
        "BDAT 0\r\n",
        "BDAT 0 LAST\r\n",
        "BDAT 2\r\n\r\n",
        "BDAT 1\r\n\r",
        "BDAT 1\r\n\n",
        "BDAT 3\r\n\0\n.",
        "BDAT 30000 LAST\r\n",
        "BDAT 18446744073709551615 LAST\r\n",
        "BDAT ",
        " LAST",
        "\r\n",
        "\n",
        ".",
        "9",
        "RSET\r\n",
        "NOOP\r\n",
        "QUIT\r\n",
    ],
    octets_max: 4_000,
    check,
};

fn check(input: &[u8], random: &mut Rng) {
    let mut settings =
        settings(random.choice([BareLineEnds::Refuse, BareLineEnds::Normalise]).unwrap());
    settings.limits.message_octets_max = random.choice([10, 100_000]).unwrap();
    settings.limits.errors_max = usize::MAX;
    check_framing(&settings, input, random);
    check_content(&settings, input, random);
}

/// Each line beside the octets of chunks is answered once, and only QUIT and a chunk without a size
/// end the session.
fn check_framing(settings: &Settings, input: &[u8], random: &mut Rng) {
    let whole = play(settings, [input]);
    let cut = play(settings, pieces(input, random));
    assert_eq!(cut.replies(), whole.replies());
    assert_eq!((cut.messages, cut.closed), (whole.messages.clone(), whole.closed));
    // A line of content is no command, and DATA is left to the session's own target.
    if memchr::memmem::find(&input.to_ascii_uppercase(), b"DATA").is_none() {
        assert_eq!((final_replies(&whole), whole.closed), expected(input), "{}", whole.replies());
    }
}

fn final_replies(machine: &Machine) -> usize {
    let replies = machine.replies();
    replies.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).count()
}

/// The replies that are due, with the greeting, and whether the session is over.
fn expected(input: &[u8]) -> (usize, bool) {
    let (mut rest, mut replies) = (input, 1);
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        let said = line.strip_suffix(b"\r");
        let is_text = |said: &[u8]| said.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\t'));
        let is_whole = said.is_some_and(is_text) && line.len() < 1024;
        let text = String::from_utf8_lossy(said.unwrap_or(line)).to_ascii_uppercase();
        if line.len() >= COMMAND_OCTETS_MAX {
            replies += 1;
        } else if text.split_ascii_whitespace().next() == Some("BDAT") {
            let Some(octets) = size(&text).filter(|_| is_whole) else { return (replies + 2, true) };
            match rest.split_at_checked(octets) {
                Some((_, after)) => rest = after,
                None => return (replies, false),
            }
            replies += 1;
        } else if is_whole && text.trim_end() == "QUIT" {
            return (replies + 1, true);
        } else {
            replies += 1;
        }
    }
    (replies, false)
}

/// The size in a BDAT that can be read.
fn size(text: &str) -> Option<usize> {
    let argument = text.strip_prefix("BDAT ")?;
    let (digits, rest) = argument.trim().split_once(' ').unwrap_or((argument.trim(), ""));
    let is_last = matches!(rest.trim_start(), "" | "LAST");
    let is_size = digits.len() <= 20 && digits.bytes().all(|octet| octet.is_ascii_digit());
    let size: u64 = digits.parse().ok().filter(|_| is_last && is_size)?;
    usize::try_from(size).ok()
}

/// The input as content: text and binary, in any chunks, in SMTP and LMTP.
fn check_content(settings: &Settings, input: &[u8], random: &mut Rng) {
    let mut settings = settings.clone();
    settings.limits.message_octets_max = 100_000;
    let is_lmtp = random.bool();
    if is_lmtp {
        settings.protocol = Protocol::Lmtp;
        settings.offer = Arc::new(Offer::new(&Terms::new(Protocol::Lmtp, 100_000)));
    }
    let hello = if is_lmtp { "LHLO" } else { "EHLO" };
    let is_binary = random.bool();
    let body = if is_binary { " BODY=BINARYMIME" } else { "" };
    let mut wire = format!(
        "{hello} c.example\r\nMAIL FROM:<a@c.example>{body}\r\nRCPT TO:<u@local.example>\r\n\
         RCPT TO:<v@local.example>\r\n"
    )
    .into_bytes();
    let mut chunks = 1;
    for chunk in pieces(input, random) {
        wire.extend(format!("BDAT {}\r\n", chunk.len()).bytes());
        wire.extend(chunk);
        chunks += 1;
    }
    wire.extend(b"BDAT 0 LAST\r\nNOOP\r\n");
    let machine = play(&settings, pieces(&wire, random));
    let refused = machine.replies().contains("\r\n503 ");
    let each = usize::from(is_lmtp && !refused);
    assert_eq!(final_replies(&machine), 1 + 4 + chunks + each + 1, "{}", machine.replies());
    match &*machine.messages {
        [message] if is_binary => {
            assert_eq!(message.content, input);
            assert!(is_clean(header(input)));
        }
        [message] => check_text(&message.content, input, settings.bare_line_ends),
        none => {
            assert!(none.is_empty(), "{}", machine.replies());
            assert!(!is_clean(if is_binary { header(input) } else { input }));
        }
    }
}

/// All up to the first empty line.
fn header(input: &[u8]) -> &[u8] {
    let empty =
        |at: usize| input[at..].starts_with(b"\r\n") && (at == 0 || input[..at].ends_with(b"\r\n"));
    let end = (0..input.len()).find(|at| empty(*at));
    &input[..end.unwrap_or(input.len())]
}

fn is_clean(content: &[u8]) -> bool {
    let count = |part: &[u8]| memchr::memmem::find_iter(content, part).count();
    let pairs = count(b"\r\n");
    count(b"\r") == pairs && count(b"\n") == pairs && !content.contains(&0)
}

fn check_text(content: &[u8], input: &[u8], bare: BareLineEnds) {
    assert!(is_clean(content) && (content.is_empty() || content.ends_with(b"\r\n")));
    if is_clean(input) {
        let end: &[u8] = if input.is_empty() || input.ends_with(b"\r\n") { b"" } else { b"\r\n" };
        assert_eq!(content, [input, end].concat());
    } else {
        assert_eq!(bare, BareLineEnds::Normalise);
    }
}
