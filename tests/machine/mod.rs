//! The receiving session in the hands of a test: octets in, replies and messages out.
//!
//! Promises that all that was said and accepted is kept, in order. The judge accepts recipients of
//! `local.example` other than `nobody`, defers `later`, and refuses the rest; a message for `full` is
//! put off after its content; VRFY knows `boss` by a name in UTF-8. Handshakes succeed at once; the one user is `ann` with `secret`, and
//! `later` can't be told now. SCRAM-SHA-256 stands for a mechanism with empty challenges.

#![allow(dead_code, reason = "each test target uses its own share")]
#![allow(unreachable_pub, reason = "every test target includes this module")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use angarium::envelope::Envelope;
use angarium::policy::timing;
use angarium::registry::mechanism::Mechanism;
use angarium::registry::offer::{Listener, Offer, Protocol, Terms};
use angarium::registry::reply::{self, Reply};
use angarium::session::limit::Limits;
use angarium::session::{Demand, Output, Service, Session, Settings, Standing};
use angarium::syntax::content::BareLineEnds;
use angarium::syntax::path::{ForwardPath, Mailbox};
use angarium::syntax::sasl::Response;
use bytes::BytesMut;

/// The time: 2026-03-04T05:06:07.089Z.
pub const NOW_MS: u64 = 1_772_600_767_089;

/// What opens a transaction up to its content.
pub const OPENING: &str = "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<u@local.example>\r\n\
                           DATA\r\n";

/// What a listener offers only by its configuration or its routes.
pub fn reserved() -> Vec<String> {
    ["SMTPUTF8", "REQUIRETLS"].map(str::to_owned).into()
}

/// Settings that let nearly everything happen.
pub fn settings(bare_line_ends: BareLineEnds) -> Settings {
    let limits = Limits {
        message_octets_max: 100_000,
        recipients_max: 100,
        transactions_max: None,
        errors_max: 1_000,
        idle: Duration::from_secs(300),
    };
    let listener = Listener { withheld: reserved(), values: Vec::new() };
    let terms = Terms::new(Protocol::Smtp, limits.message_octets_max);
    Settings {
        hostname: "mx.example".into(),
        protocol: Protocol::Smtp,
        offer: Arc::new(Offer::new(&Terms { listener: &listener, ..terms })),
        limits,
        bare_line_ends,
        strict: false,
        domain: None,
        verify: false,
        service: Service::Open,
        standing: Standing::default(),
    }
}

/// A message that was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Who sent it to whom.
    pub envelope: Envelope,
    /// What it says.
    pub content: Vec<u8>,
}

/// A session, and what became of it.
#[derive(Debug)]
pub struct Machine {
    session: Session,
    settings: Arc<Settings>,
    now: Instant,
    open: Option<Message>,
    /// What holds after a handshake; without it there is no TLS now.
    secured: Option<Arc<Settings>>,
    exchange: Option<(Mechanism, Vec<Vec<u8>>)>,
    /// What senders may ask of time.
    pub timing: timing::Rules,
    /// What the client was sent.
    pub sent: BytesMut,
    /// What was accepted.
    pub messages: Vec<Message>,
    /// The session has ended.
    pub closed: bool,
}

impl Machine {
    /// A session that has greeted.
    #[allow(clippy::disallowed_methods, reason = "the session needs some instant to start from")]
    pub fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        let settings = Arc::new(settings.clone());
        let session = Session::new(Arc::clone(&settings), now);
        let (sent, messages) = (BytesMut::new(), Vec::new());
        let mut machine = Self {
            session,
            settings,
            now,
            open: None,
            secured: None,
            exchange: None,
            timing: timing::Rules::default(),
            sent,
            messages,
            closed: false,
        };
        machine.work();
        machine
    }

    /// The same, whose handshakes lead to these settings.
    pub fn with_tls(mut self, secured: Option<Settings>) -> Self {
        self.secured = secured.map(Arc::new);
        self
    }

    /// Feeds octets, as one read from a socket would.
    pub fn say(&mut self, octets: &[u8]) {
        if !self.closed {
            self.session.handle_input(octets, self.now);
            self.work();
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.session.poll_timeout().is_some_and(|deadline| deadline <= self.now) {
            self.session.handle_timeout();
        }
        self.work();
    }

    /// The service stops.
    pub fn stop(&mut self) {
        self.session.handle_stop();
        self.work();
    }

    /// The replies so far.
    pub fn replies(&self) -> String {
        String::from_utf8_lossy(&self.sent).into_owned()
    }

    /// Drops what was said, accepted and kept of a message under way.
    pub fn forget(&mut self) {
        (self.sent, self.messages) = (BytesMut::new(), Vec::new());
        if let Some(message) = &mut self.open {
            message.content = Vec::new();
        }
    }

    fn work(&mut self) {
        while let Some(output) = self.session.poll_output(self.now) {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Reply(reply) => reply.encode(&mut self.sent),
            Output::JudgeSender { hold, deadline, .. } => {
                let verdict = self.timing.judge(hold, deadline, NOW_MS);
                self.session.handle_sender(verdict, self.now);
            }
            Output::JudgeRecipient(path, _) => {
                self.session.handle_recipient(judge(&path), self.now)
            }
            Output::Verify(text) => self.session.handle_verification(verify(&text), self.now),
            Output::Impersonate(_) => {
                self.session.handle_impersonation(Arc::clone(&self.settings), self.now);
            }
            Output::StartTls => {
                let verdict = self.secured.is_some().then_some(()).ok_or(reply::TLS_UNAVAILABLE);
                self.session.handle_start_tls(verdict, self.now);
            }
            Output::Handshake => {
                let secured = self.secured.clone().expect("a handshake was allowed");
                self.settings = Arc::clone(&secured);
                self.session.handle_secured(secured, self.now);
            }
            Output::Authenticate { mechanism, initial } => {
                self.exchange = Some((mechanism, Vec::new()));
                self.step(initial);
            }
            Output::Respond(response) => self.step(Some(response)),
            Output::CancelExchange => assert!(self.exchange.take().is_some()),
            Output::Begin(accepted) => {
                let envelope = accepted.envelope;
                self.open = Some(Message { envelope, content: Vec::new() });
            }
            Output::Content(piece) => {
                let message = self.open.as_mut().expect("content belongs to a message");
                message.content.extend_from_slice(&piece);
            }
            Output::Discard => self.open = None,
            Output::Commit => self.commit(),
            Output::Close => self.closed = true,
        }
    }

    /// A step of an exchange: all responses are gathered, and judged together.
    fn step(&mut self, response: Option<Response>) {
        let (mechanism, said) = self.exchange.as_mut().expect("an exchange is under way");
        said.extend(response.map(|response| response.0));
        let challenge: &[u8] = match (*mechanism, said.len()) {
            (Mechanism::Login, 0) => b"User Name\0",
            (Mechanism::Login, 1) => b"Password\0",
            _ => b"",
        };
        let wanted = if *mechanism == Mechanism::Login { 2 } else { 1 };
        if said.len() < wanted {
            return self.session.handle_challenge(challenge, self.now);
        }
        let verdict = match said.concat().as_slice() {
            b"\0ann\0secret" | b"annsecret" => Ok(self.logged_in()),
            b"\0later\0secret" => Err(reply::AUTH_UNAVAILABLE),
            _ => Err(reply::BAD_CREDENTIALS),
        };
        self.exchange = None;
        self.session.handle_login(verdict, self.now);
    }

    fn logged_in(&self) -> Arc<Settings> {
        let mut settings = Settings::clone(&self.settings);
        settings.standing.authenticated = true;
        settings.standing.demand = Demand::Nothing;
        Arc::new(settings)
    }

    fn commit(&mut self) {
        let message = self.open.take().expect("a commit ends a message");
        let mut recipients = message.envelope.recipients.iter();
        if recipients.any(|recipient| recipient.address.local_part() == "full") {
            return self.session.handle_commit(Err(reply::NO_ROOM), self.now);
        }
        self.messages.push(message);
        self.session.handle_commit(Ok("ID"), self.now);
    }
}

fn verify(text: &str) -> Reply {
    let Ok(mailbox) = text.trim_matches(['<', '>']).parse() else { return reply::AMBIGUOUS };
    match judge(&ForwardPath::Mailbox(mailbox)) {
        Ok(mailbox) if mailbox.local_part() == "boss" => {
            reply::VERIFIED.with_text("<böß@local.example>")
        }
        Ok(mailbox) => reply::VERIFIED.with_text(format!("<{mailbox}>")),
        Err(refusal) => refusal,
    }
}

fn judge(path: &ForwardPath) -> Result<Mailbox, Reply> {
    match path {
        ForwardPath::Postmaster => Mailbox::new("postmaster", "local.example")
            .map_err(|error| reply::BAD_RECIPIENT.with_text(error.0)),
        ForwardPath::Mailbox(mailbox) => match (mailbox.local_part(), mailbox.domain()) {
            ("nobody", "local.example") => Err(reply::NO_SUCH_RECIPIENT),
            ("later", "local.example") => Err(reply::UNVERIFIABLE),
            (_, "local.example") => Ok(mailbox.clone()),
            _ => Err(reply::RELAYING_DENIED),
        },
    }
}

/// Plays pieces, each as one read.
pub fn play<'a>(settings: &Settings, pieces: impl IntoIterator<Item = &'a [u8]>) -> Machine {
    let mut machine = Machine::new(settings);
    pieces.into_iter().for_each(|piece| machine.say(piece));
    machine
}
