//! Runs the dialogue scripts of `tests/dialog/*.smtp` against the receiving session.
//!
//! Each script is played three times: a line at a time, an octet at a time, and with everything the
//! client says in one piece. Replies and content must be the same each time, whatever the pieces.
//!
//! `C:` is a line of the client (CRLF is added), `C|` raw octets with `\r \n \0 \\ \xNN` escapes and no
//! line end, `S:` a line of the server that must match exactly, `M|` the next accepted message with
//! escapes. `set size N`, `set recipients N`, `set normalise` change the settings. The judge accepts
//! recipients of `local.example` other than `nobody`, defers `later`, and refuses the rest.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected shall stop")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use angarium::registry::reply;
use angarium::session::limit::Limits;
use angarium::session::{Output, Session, Settings};
use angarium::syntax::content::BareLineEnds;
use angarium::syntax::path::{ForwardPath, Mailbox};

struct Script {
    settings: Settings,
    client: Vec<Vec<u8>>,
    server: String,
    messages: Vec<Vec<u8>>,
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match (octet, if octet == b'\\' { octets.next() } else { None }) {
            (b'\\', Some(b'r')) => out.push(b'\r'),
            (b'\\', Some(b'n')) => out.push(b'\n'),
            (b'\\', Some(b'0')) => out.push(0),
            (b'\\', Some(b'x')) => {
                let digits: Vec<u8> = octets.by_ref().take(2).collect();
                out.push(u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            (b'\\', Some(other)) => out.push(other),
            (octet, _) => out.push(octet),
        }
    }
    out
}

fn parse(path: &Path) -> Script {
    let limits = Limits {
        message_octets_max: 10_000,
        recipients_max: 100,
        errors_max: 1000,
        idle: Duration::from_secs(300),
    };
    let bare_line_ends = BareLineEnds::Refuse;
    let settings = Settings { hostname: "mx.example".into(), limits, bare_line_ends };
    let mut script = Script { settings, client: vec![], server: String::new(), messages: vec![] };
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let (head, rest) = line.split_at_checked(3).unwrap_or((line, ""));
        match head {
            "C: " => script.client.push(format!("{rest}\r\n").into_bytes()),
            "C:" => script.client.push(b"\r\n".to_vec()),
            "C| " => script.client.push(unescape(rest)),
            "S: " => script.server.push_str(&format!("{rest}\r\n")),
            "M| " => script.messages.push(unescape(rest)),
            _ if line.starts_with('#') || line.is_empty() => {}
            _ => set(&mut script.settings, line),
        }
    }
    script
}

fn set(settings: &mut Settings, line: &str) {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["set", "size", octets] => settings.limits.message_octets_max = octets.parse().unwrap(),
        ["set", "recipients", count] => settings.limits.recipients_max = count.parse().unwrap(),
        ["set", "normalise"] => settings.bare_line_ends = BareLineEnds::Normalise,
        _ => panic!("not a line of a script: {line}"),
    }
}

fn judge(path: &ForwardPath) -> Result<Mailbox, reply::Reply> {
    match path {
        ForwardPath::Postmaster => Ok("postmaster@local.example".parse().unwrap()),
        ForwardPath::Mailbox(mailbox) => match (mailbox.local_part(), mailbox.domain()) {
            ("nobody", "local.example") => Err(reply::NO_SUCH_RECIPIENT),
            ("later", "local.example") => Err(reply::UNVERIFIABLE),
            (_, "local.example") => Ok(mailbox.clone()),
            _ => Err(reply::RELAYING_DENIED),
        },
    }
}

/// Plays `pieces`; returns what the server sent and the messages it accepted.
#[allow(
    clippy::disallowed_methods,
    reason = "the session needs some instant, and never asks for it"
)]
fn play(settings: &Settings, pieces: &[Vec<u8>]) -> (String, Vec<Vec<u8>>) {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(settings.clone()), now);
    let (mut sent, mut messages, mut content) = (Vec::new(), Vec::new(), Vec::new());
    for piece in std::iter::once(&Vec::new()).chain(pieces) {
        session.handle_input(piece, now);
        while let Some(output) = session.poll_output(now) {
            match output {
                Output::Send(octets) => sent.extend_from_slice(&octets),
                Output::JudgeSender { .. } => session.handle_sender(Ok(()), now),
                Output::JudgeRecipient(path) => session.handle_recipient(judge(&path), now),
                Output::Begin(_) | Output::Discard => content.clear(),
                Output::Content(piece) => content.extend_from_slice(&piece),
                Output::Commit => {
                    messages.push(std::mem::take(&mut content));
                    session.handle_commit(Ok("ID"), now);
                }
                Output::Close => return (String::from_utf8(sent).unwrap(), messages),
            }
        }
    }
    (String::from_utf8(sent).unwrap(), messages)
}

#[test]
fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialog");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 15, "the scripts are gone");
    for path in paths {
        let script = parse(&path);
        let octets: Vec<Vec<u8>> = script.client.concat().chunks(1).map(<[u8]>::to_vec).collect();
        let whole = vec![script.client.concat()];
        for (way, pieces) in [("lines", &script.client), ("octets", &octets), ("whole", &whole)] {
            let (sent, messages) = play(&script.settings, pieces);
            assert_eq!(sent, script.server, "{} by {way}", path.display());
            assert_eq!(messages, script.messages, "{} by {way}", path.display());
        }
    }
}
