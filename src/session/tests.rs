//! What dialogue scripts can't show: time, stopping, hostile volume.

use std::time::Duration;

use bytes::BytesMut;

use super::*;
use crate::registry::offer::{StartTls, Terms};

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        hostname: "mx.example".into(),
        protocol: Protocol::Smtp,
        offer: Arc::new(Offer::new(&Terms::new(Protocol::Smtp, 1000))),
        limits: Limits {
            message_octets_max: 1000,
            recipients_max: 100,
            transactions_max: None,
            errors_max: 5,
            idle: Duration::from_secs(300),
        },
        bare_line_ends: BareLineEnds::Refuse,
        strict: false,
        domain: None,
        verify: false,
        service: Service::Open,
        standing: Standing::default(),
    })
}

struct Peer {
    session: Session,
    now: Instant,
    content: Vec<u8>,
    closed: bool,
}

impl Peer {
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new(settings(), now), now, content: Vec::new(), closed: false }
    }

    /// Feeds `input`, accepts everything, returns what was sent.
    fn say(&mut self, input: &[u8]) -> String {
        self.session.handle_input(input, self.now);
        let mut sent = BytesMut::new();
        while let Some(output) = self.session.poll_output(self.now) {
            match output {
                Output::Reply(reply) => reply.encode(&mut sent),
                Output::JudgeSender { .. } => self.session.handle_sender(Ok(()), self.now),
                Output::JudgeRecipient(ForwardPath::Mailbox(mailbox), _) => {
                    self.session.handle_recipient(Ok(mailbox), self.now);
                }
                Output::JudgeRecipient(ForwardPath::Postmaster, _) => {
                    self.session.handle_recipient(Err(reply::NO_SUCH_RECIPIENT), self.now);
                }
                Output::Verify(_)
                | Output::Impersonate(_)
                | Output::StartTls
                | Output::Handshake
                | Output::Authenticate { .. }
                | Output::Respond(_)
                | Output::CancelExchange => panic!("not allowed here"),
                Output::Begin(_) | Output::Discard => self.content.clear(),
                Output::Content(piece) => self.content.extend_from_slice(&piece),
                Output::Commit => self.session.handle_commit(Ok("1"), self.now),
                Output::Close => self.closed = true,
            }
        }
        String::from_utf8(sent.to_vec()).unwrap()
    }

    fn in_transaction() -> Self {
        let mut peer = Self::new();
        peer.say(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n");
        peer
    }
}

#[test]
fn a_silent_client_gets_421_and_content_counts_as_life() {
    let mut peer = Peer::in_transaction();
    peer.now += Duration::from_secs(200);
    peer.say(b"DA");
    assert_eq!(peer.session.poll_timeout(), Some(peer.now + Duration::from_secs(100)));
    peer.say(b"TA\r\n");
    peer.now += Duration::from_secs(299);
    peer.say(b"x");
    assert_eq!(peer.session.poll_timeout(), Some(peer.now + Duration::from_secs(300)));
    peer.session.handle_timeout();
    assert!(peer.say(b"").starts_with("421 4.4.2 "));
    assert!(peer.closed);
    assert_eq!(peer.session.poll_timeout(), None);
}

#[test]
fn stopping_lets_content_finish() {
    let mut peer = Peer::in_transaction();
    peer.say(b"DATA\r\nhello\r\n");
    peer.session.handle_stop();
    let said = peer.say(b"x\r\n.\r\nMAIL FROM:<>\r\n");
    assert!(said.starts_with("250 2.0.0 ") && said.contains("\r\n421 4.3.2 "), "{said}");
    assert_eq!(peer.content, b"hello\r\nx\r\n");
    assert!(peer.closed);

    let mut idle = Peer::in_transaction();
    idle.session.handle_stop();
    assert!(idle.say(b"").starts_with("421 4.3.2 "));
    assert!(idle.closed);
}

#[test]
fn a_hundred_thousand_recipients_stay_in_sync() {
    let mut peer = Peer::in_transaction();
    for number in 0..100_000 {
        let said = peer.say(format!("RCPT TO:<u{number}@b.example>\r\n").as_bytes());
        let expected = if number < 99 { "250 2.1.5 " } else { "452 4.5.3 " };
        assert!(said.starts_with(expected), "{number}: {said}");
    }
    assert!(peer.say(b"DATA\r\n.\r\n").ends_with("250 2.0.0 queued as 1\r\n"));
}

#[test]
fn what_is_too_large_is_read_and_dropped() {
    let mut peer = Peer::in_transaction();
    peer.say(b"DATA\r\n");
    for _ in 0..10_000 {
        assert_eq!(peer.say(&[b'x'; 1000]), "");
        assert!(peer.content.len() <= 1000);
    }
    assert!(peer.say(b"\r\n.\r\nNOOP\r\n").starts_with("552 5.3.4 "));
    assert!(peer.content.is_empty());
}

#[test]
fn too_many_errors_end_the_session() {
    let mut peer = Peer::new();
    let said = peer.say(&b"FOO\r\n".repeat(20));
    assert_eq!(said.matches("500 5.5.1").count(), 5);
    assert_eq!(said.matches("421 4.7.0").count(), 1);
    assert!(peer.closed && said.ends_with("refused commands\r\n"));
}

#[test]
fn what_comes_behind_starttls_in_clear_is_read_by_nobody() {
    // Checks: L04
    let mut peer = Peer::new();
    let mut offered = Settings::clone(&settings());
    let terms = Terms { start_tls: StartTls::Offered, ..Terms::new(Protocol::Smtp, 1000) };
    offered.offer = Arc::new(Offer::new(&terms));
    peer.session = Session::new(Arc::new(offered), peer.now);
    peer.say(b"EHLO c.example\r\n");
    let said = peer.say(b"STARTTLS\r\nMAIL FROM:<a@b.example>\r\n");
    assert_eq!(said, "421 4.5.0 something came behind STARTTLS\r\n");
    assert!(peer.closed);
}

#[test]
fn who_may_not_for_now_and_asks_again_and_again_is_let_go() {
    let mut peer = Peer::new();
    peer.say(b"EHLO c.example\r\n");
    let mut sent = BytesMut::new();
    for _ in 0..10 {
        peer.session.handle_input(b"MAIL FROM:<s@c.example>\r\n", peer.now);
        while let Some(output) = peer.session.poll_output(peer.now) {
            match output {
                Output::JudgeSender { .. } => {
                    peer.session.handle_sender(Err(reply::SENT_ENOUGH), peer.now);
                }
                Output::Reply(reply) => reply.encode(&mut sent),
                Output::Close => peer.closed = true,
                other => panic!("{other:?}"),
            }
        }
    }
    let sent = String::from_utf8(sent.to_vec()).unwrap();
    let codes: Vec<&str> = sent.lines().map(|line| &line[..3]).collect();
    // The sixth is one too many; what follows it hears so.
    assert_eq!(codes, ["450", "450", "450", "450", "450", "450", "421"]);
    assert!(peer.closed);
}
