//! Runs the dialogue scripts of `tests/delivery/*.smtp` against the sending state machine.
//!
//! `S:` is a line of the next hop, `C:` a line that the client must send next, `content` stands where
//! the client must send the content, `chunk` that of a BDAT, `close` where the next hop drops the connection, `silence`
//! where it says nothing for too long. `to` names the recipients, `with` the parameters of MAIL and
//! `each` those of every RCPT, as far as they are offered; `lmtp`, `size N` and `probe` set the
//! transaction up, `again` starts another one on the same connection. `= delivered`,
//! `= deferred TEXT`, `= failed TEXT` are the outcomes expected, in order; TEXT must be in the reason.
//! `starttls offered` or `required` and `login NAME PASSWORD` are done before, `secured` and
//! `verified` are the ends of a handshake that `handshake` expects, before the greeting too.
//! `C: closed` expects that the client gives the connection up. Each script is played with replies
//! whole and an octet at a time.
//!
//! Then each script is played over TCP against the running daemon, which must leave each recipient
//! delivered exactly once, still queued, or failed.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected shall stop")]

mod support;

#[path = "delivery/live.rs"]
mod live;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium::delivery::dialog::{
    Addressee, Channel, Dialog, Output, Protocol, StartTls, Transaction, Wishes,
};
use angarium::delivery::outcome::Outcome;
use angarium::registry::parameter::Parameter;
use angarium::route::security::Credential;
use angarium::syntax::parameter::{MailParameters, RcptParameters};

struct Player {
    dialog: Dialog,
    transaction: Transaction,
    by_octet: bool,
    said: String,
    ready: bool,
    outcomes: Vec<Outcome>,
}

impl Player {
    fn new(script: &str, by_octet: bool) -> Self {
        let value = |key: &str| script.lines().find_map(|line| line.strip_prefix(key));
        let lmtp = script.lines().any(|line| line == "lmtp");
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let (with, each) = (value("with ").unwrap_or(""), value("each ").unwrap_or(""));
        let addressee = |path: &str| Addressee {
            path: path.to_owned(),
            parameters: RcptParameters::parse(each, Parameter::named).unwrap(),
        };
        let transaction = Transaction {
            reverse_path: "s@c.example".into(),
            parameters: MailParameters::parse(with, Parameter::named).unwrap(),
            recipients: value("to ").unwrap().split(' ').map(addressee).collect(),
            size: value("size ").map_or(10, |size| size.parse().unwrap()),
            probe: script.lines().any(|line| line == "probe"),
        };
        let starttls = match value("starttls ") {
            None => StartTls::Never,
            Some("offered") => StartTls::Offered,
            Some(_) => StartTls::Required,
        };
        let credential = value("login ").and_then(|login| login.split_once(' '));
        let credential = credential.map(|(user, password)| {
            let name = "relay".to_owned();
            Arc::new(Credential { name, user: user.into(), password: password.into() })
        });
        let is_local = script.lines().any(|line| line == "local");
        let wishes = Wishes { starttls, credential, is_local };
        let dialog = Dialog::new(protocol, "mx.example").with_wishes(wishes);
        Self { dialog, transaction, by_octet, said: String::new(), ready: true, outcomes: vec![] }
    }

    fn drain(&mut self) {
        while let Some(output) = self.dialog.poll_output() {
            match output {
                Output::Send(octets) => self.said.push_str(str::from_utf8(&octets).unwrap()),
                Output::Ready if std::mem::take(&mut self.ready) => {
                    self.dialog.begin(self.transaction.clone());
                }
                Output::Ready => panic!("ready twice"),
                Output::SendContent => {
                    self.said.push_str("content\r\n");
                    self.dialog.handle_content_sent();
                }
                Output::SendChunk { command, .. } => {
                    self.said.push_str(str::from_utf8(&command).unwrap());
                    self.said.push_str("chunk\r\n");
                    self.dialog.handle_content_sent();
                }
                Output::Finished(outcomes) => self.outcomes.extend(outcomes),
                Output::StartTls => self.said.push_str("handshake\r\n"),
                Output::Close => self.said.push_str("closed\r\n"),
            }
        }
    }

    fn hear(&mut self, line: &str) {
        let octets = format!("{line}\r\n").into_bytes();
        let size = if self.by_octet { 1 } else { octets.len() };
        for piece in octets.chunks(size) {
            self.dialog.handle_input(piece);
            self.drain();
        }
    }

    fn expect_said(&mut self, line: &str) {
        let rest = self.said.strip_prefix(&format!("{line}\r\n"));
        self.said = rest.unwrap_or_else(|| panic!("{line:?} expected, not {:?}", self.said)).into();
    }

    fn expect_outcome(&mut self, expected: &str) {
        assert!(!self.outcomes.is_empty(), "no outcome for {expected:?}");
        let (kind, reason) = match self.outcomes.remove(0) {
            Outcome::Delivered(reply) => ("delivered", reply),
            Outcome::Deferred(reason) => ("deferred", reason),
            Outcome::Failed(reason) => ("failed", reason),
        };
        let (expected, text) = expected.split_once(' ').unwrap_or((expected, ""));
        assert_eq!(kind, expected, "{reason}");
        assert!(reason.contains(text), "{text:?} is not in {reason:?}");
    }

    fn step(&mut self, line: &str) {
        if let Some(said) = line.strip_prefix("S: ") {
            self.hear(said);
        } else if let Some(expected) = line.strip_prefix("C: ") {
            self.expect_said(expected);
        } else if let Some(outcome) = line.strip_prefix("= ") {
            self.expect_outcome(outcome);
        } else {
            match line {
                "content" | "chunk" => self.expect_said(line),
                "handshake" => self.expect_said("handshake"),
                "secured" => self.dialog.handle_secured(Channel::default()),
                "verified" => {
                    self.dialog.handle_secured(Channel { verified: true, exporter: None });
                }
                "close" => self.dialog.handle_break("it closed the connection"),
                "silence" => self.dialog.handle_break("it said nothing for too long"),
                "again" => self.dialog.begin(self.transaction.clone()),
                _ => {}
            }
            self.drain();
        }
    }
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/delivery");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|name| name == "smtp")).collect();
    paths.sort();
    assert!(paths.len() >= 150, "the scripts are gone");
    paths
}

/// Checks: S04
#[test]
fn deliveries() {
    for path in scripts() {
        let script = std::fs::read_to_string(&path).unwrap();
        for by_octet in [false, true] {
            eprintln!("{} by octet: {by_octet}", path.display());
            let mut player = Player::new(&script, by_octet);
            player.drain();
            assert_eq!(player.said, "", "nothing is said before the greeting");
            for line in script.lines() {
                player.step(line);
            }
            assert_eq!(player.said, "", "said more than the script");
            assert_eq!(player.outcomes, [], "more outcomes than the script");
        }
    }
}

#[test]
fn limits_are_those_of_the_last_hello() {
    let wishes = Wishes { starttls: StartTls::Offered, ..Wishes::default() };
    let mut dialog = Dialog::new(Protocol::Smtp, "mx.example").with_wishes(wishes);
    let hello = b"220 hi\r\n250-hi\r\n250-STARTTLS\r\n250 LIMITS MAILMAX=1 RCPTMAX=5\r\n";
    dialog.handle_input(hello);
    let limits = dialog.way().features.limits;
    assert_eq!((limits.transactions, limits.recipients), (Some(1), Some(5)));
    dialog.handle_input(b"220 go\r\n");
    dialog.handle_secured(Channel::default());
    assert_eq!(
        dialog.way().features.limits.recipients,
        None,
        "what was said in clear is forgotten"
    );
    dialog.handle_input(b"250-hi\r\n250 LIMITS RCPTMAX=7\r\n");
    let limits = dialog.way().features.limits;
    assert_eq!((limits.transactions, limits.recipients), (None, Some(7)), "replaced, not merged");
}

#[test]
fn deliveries_of_the_daemon() {
    let scripts: Vec<_> = scripts().into_iter().filter(|path| live::can_play(path)).collect();
    assert!(scripts.len() >= 140, "only {} scripts can be played", scripts.len());
    std::thread::scope(|scope| {
        for share in scripts.chunks(scripts.len().div_ceil(6)) {
            scope.spawn(|| share.iter().for_each(|path| live::play(path)));
        }
    });
}
