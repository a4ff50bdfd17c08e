//! Command lines: what was read is printed and read again as the same.

use std::sync::LazyLock;

use angarium::registry::mechanism::Mechanism;
use angarium::registry::offer::{LINE_OCTETS_MAX, Offer, Protocol, StartTls, Terms};
use angarium::registry::reply::Reply;
use angarium::syntax::command::{Command, Grammar};
use angarium::syntax::sasl::{Response, write_challenge};
use bytes::BytesMut;
use fastrand::Rng;

use crate::Target;

pub(crate) const WORDS: &[&str] = &[
    "MAIL FROM:",
    "RCPT TO:",
    "EHLO ",
    "HELO ",
    "DATA",
    "BDAT ",
    " LAST",
    "RSET",
    "NOOP",
    "QUIT",
    "VRFY ",
    "HELP ",
    "<>",
    "<a@b.example>",
    "<Postmaster>",
    "<\"a b\"@c.example>",
    "<@x,@y:a@b.example>",
    "\"",
    "\\",
    "@",
    ":",
    "[192.0.2.1]",
    "[IPv6:2001:db8::1]",
    " SIZE=",
    " BODY=8BITMIME",
    " BODY=7BIT",
    " ",
    "18446744073709551616",
    "\t",
    "é",
    "<ü@bücher.example>",
    "<u@例子.example>",
    "\u{85}",
    "\u{feff}",
    " NOTIFY=NEVER",
    " SMTPUTF8",
    "STARTTLS",
    "AUTH ",
    "PLAIN",
    "SCRAM-SHA-256",
    " AGFubgBzZWNyZXQ=",
    " =",
    " AUTH=<>",
    " AUTH=a+2Bb@c.example",
    "EXPN",
    "TURN",
    "=",
    ".",
];

pub(crate) const TARGET: Target =
    Target { name: "command", words: WORDS, octets_max: 3_000, check };

/// What a stranger's line is read as.
pub(crate) fn parse(line: &[u8]) -> Result<Command, Reply> {
    static OFFER: LazyLock<Offer> =
        LazyLock::new(|| Offer::new(&Terms::new(Protocol::Smtp, 50 << 20)));
    Grammar { offer: &OFFER, strict: false, domain: None }.parse(line)
}

/// The command as we would send it.
pub(crate) fn print(command: &Command) -> String {
    match command {
        Command::Helo(name) => format!("HELO {name}"),
        Command::Ehlo(name) => format!("EHLO {name}"),
        Command::Mail { reverse_path, parameters } => {
            let mut line = format!("MAIL FROM:<{reverse_path}>");
            parameters.write(&mut line, |_| true);
            line
        }
        Command::Rcpt { path, parameters, .. } => {
            let mut line = format!("RCPT TO:<{path}>");
            parameters.write(&mut line, |_| true);
            line
        }
        Command::Data => "DATA".into(),
        Command::Bdat(chunk) => {
            format!("BDAT {}{}", chunk.octets, if chunk.is_last { " LAST" } else { "" })
        }
        Command::BadBdat(refusal) => panic!("a refusal: {refusal}"),
        Command::Rset => "RSET".into(),
        Command::Noop => "NOOP".into(),
        Command::Quit => "QUIT".into(),
        Command::Vrfy { text, utf8 } => {
            format!("VRFY {text}{}", if *utf8 { " SMTPUTF8" } else { "" })
        }
        Command::Help(topic) => format!("HELP {topic}"),
        Command::StartTls => "STARTTLS".into(),
        Command::Auth { mechanism, initial } => {
            let initial = initial.as_ref().map(|Response(octets)| match octets.as_slice() {
                b"" => " =".to_owned(),
                octets => format!(" {}", write_challenge(octets)),
            });
            format!("AUTH {}{}", mechanism.name(), initial.unwrap_or_default())
        }
        Command::Xclient(_) => panic!("offered to nobody here"),
    }
}

/// A refusal is one that refuses, registered, and fit for the wire.
fn check_refusal(reply: &Reply) {
    assert!((500..=599).contains(&reply.code), "{reply}");
    let status = reply.status.expect("a refusal has an enhanced status");
    assert!(status.class == 5 && status.name().is_some(), "{reply}");
    let mut wire = BytesMut::new();
    reply.encode(&mut wire);
    let lines = wire.strip_suffix(b"\r\n").unwrap().split(|octet| *octet == b'\n');
    assert!(lines.clone().all(|line| line.len() <= 512), "{reply}");
    let text = wire.iter().filter(|octet| octet.is_ascii_control()).count();
    assert_eq!(text, 2 * lines.count(), "{reply}");
}

/// What a line is read as where there are TLS and AUTH.
fn parse_secured(line: &[u8]) -> Result<Command, Reply> {
    static OFFER: LazyLock<Offer> = LazyLock::new(|| {
        let (start_tls, mechanisms) = (StartTls::Offered, Some(Mechanism::ALL.as_slice()));
        Offer::new(&Terms { start_tls, mechanisms, ..Terms::new(Protocol::Smtp, 50 << 20) })
    });
    Grammar { offer: &OFFER, strict: false, domain: None }.parse(line)
}

fn check(line: &[u8], random: &mut Rng) {
    check_by(parse, line, random);
    check_by(parse_secured, line, random);
}

fn check_by(parse: fn(&[u8]) -> Result<Command, Reply>, line: &[u8], random: &mut Rng) {
    let read = parse(line);
    // Neither the case of a verb nor white space at the end counts.
    let mut other = line.to_vec();
    let verb = line.iter().take_while(|octet| octet.is_ascii_alphabetic()).count();
    other[..verb].iter_mut().filter(|_| random.bool()).for_each(|octet| *octet ^= 0x20);
    other.extend_from_slice(random.choice([&b""[..], b" ", b"\t", b" \t "]).unwrap());
    // White space counts for the length of a line alone.
    if other.len() + 2 <= LINE_OCTETS_MAX {
        assert_eq!(parse(&other), read);
    }
    match read {
        Ok(Command::BadBdat(refusal)) | Err(refusal) => check_refusal(&refusal),
        Ok(command) => {
            let text = str::from_utf8(line).expect("a command is text");
            assert!(!text.contains(|c: char| c.is_control() && c != '\t'));
            let declared = match &command {
                Command::Mail { parameters, .. } => parameters.utf8,
                Command::Rcpt { utf8, .. } | Command::Vrfy { utf8, .. } => *utf8,
                _ => false,
            };
            assert!(text.is_ascii() || declared, "{text}");
            let printed = print(&command);
            // A domain in UTF-8 has become its A-labels, so that nothing may be left to declare.
            let again = parse(printed.as_bytes()).map(|mut again| {
                if let (Command::Rcpt { utf8, .. }, true) = (&mut again, declared) {
                    *utf8 = true;
                }
                again
            });
            assert_eq!(again, Ok(command), "{printed}");
        }
    }
}
