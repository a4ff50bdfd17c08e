//! What comes between the hello and the first transaction: STARTTLS (RFC 3207) and AUTH (RFC 4954).
//!
//! Promises that nothing which was said before TLS counts under it (CVE-2011-0411), that no
//! password goes where it was not allowed to, and that what keeps us from a next hop is told as
//! what somebody has to do about it. None of it fails a message: it waits.

use std::sync::Arc;

use super::{Dialog, Expect, Output, Protocol};
use crate::delivery::features::Features;
use crate::delivery::finding::Finding;
use crate::delivery::login::Login;
use crate::delivery::outcome::{self, Outcome, Stage};
use crate::route::security::Credential;
use crate::syntax::reply::{ReplyReader, ServerReply};

/// When STARTTLS is said.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum StartTls {
    /// Never.
    #[default]
    Never,
    /// Where it is offered.
    Offered,
    /// Always; where it is not offered nothing else is said.
    Required,
}

/// What is to be done before the first transaction.
#[derive(Clone, Default, Debug)]
pub struct Wishes {
    /// When STARTTLS is said.
    pub starttls: StartTls,
    /// As whom to log in.
    pub credential: Option<Arc<Credential>>,
    /// The next hop is on this machine, so that a password may go there in clear.
    pub is_local: bool,
}

/// What TLS came to.
#[derive(Clone, Default, Debug)]
pub struct Channel {
    /// The certificate is of the next hop, and of an authority that is trusted.
    pub verified: bool,
    /// `tls-exporter` for channel binding (RFC 9266).
    pub exporter: Option<[u8; 32]>,
}

impl Dialog {
    /// The same with something to do before the first transaction.
    #[must_use]
    pub fn with_wishes(mut self, wishes: Wishes) -> Self {
        self.wishes = wishes;
        self
    }

    /// Tells that the connection is under TLS from now on; before the greeting, or as `StartTls`
    /// asked for it. Whatever was said before is forgotten (RFC 3207 4.2).
    pub fn handle_secured(&mut self, channel: Channel) {
        self.channel = Some(channel);
        if std::mem::take(&mut self.handshaking) {
            self.features = Features::default();
            self.reader = ReplyReader::default();
            self.input.clear();
            self.say_hello();
            self.pump();
        }
    }

    /// Whether the next hop refused our login for good: an alarm for the operator.
    pub fn was_login_refused(&self) -> bool {
        self.login_refused
    }

    pub(super) fn say_hello(&mut self) {
        let verb = match self.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        self.unsent.push_back((format!("{verb} {}", self.hello), Expect::Ehlo));
    }

    /// The hello was answered: what is still to be done comes first.
    pub(super) fn prepare(&mut self) {
        match (&self.channel, self.wishes.starttls) {
            (None, StartTls::Offered | StartTls::Required) if self.features.offers("STARTTLS") => {
                self.unsent.push_back(("STARTTLS".to_owned(), Expect::StartTls));
            }
            (None, StartTls::Required) => self.refuse(
                "4.7.10 it offers no STARTTLS, and nothing may go there in clear; have it offer \
                 TLS, or write tls = \"may\" for the route",
            ),
            _ => match self.wishes.credential.clone() {
                Some(credential) => self.log_in(&credential),
                None => self.outputs.push_back(Output::Ready),
            },
        }
    }

    pub(super) fn starttls_answered(&mut self, reply: &ServerReply) {
        if reply.is_positive() {
            self.handshaking = true;
            if !self.input.is_empty() {
                return self.refuse_injected();
            }
            return self.outputs.push_back(Output::StartTls);
        }
        if self.wishes.starttls == StartTls::Offered && reply.code != 421 {
            // It goes on in clear, as if it had offered none.
            self.wishes.starttls = StartTls::Never;
            return self.prepare();
        }
        let said = format!("4.7.10 said {} (in reply to STARTTLS)", reply.one_line());
        self.refuse(&said);
    }

    /// Octets after the 220 came in clear; under TLS they would pass for the next hop's.
    pub(super) fn refuse_injected(&mut self) {
        self.refuse(
            "4.7.0 it said more after its 220 to STARTTLS before TLS began, as an attacker on the \
             way would; tell its operator",
        );
    }

    fn log_in(&mut self, credential: &Arc<Credential>) {
        let verified = self.channel.as_ref().is_some_and(|channel| channel.verified);
        if !verified && !self.wishes.is_local {
            return self.refuse(
                "4.7.0 its certificate is not verified, and a password goes nowhere else; write \
                 tls = \"verify\" for the route",
            );
        }
        if self.features.auth.is_empty() {
            let why = format!(
                "4.7.0 it offers no AUTH that can be used; remove the credentials {} from the \
                 route, or ask its operator",
                credential.name
            );
            return self.refuse(&why);
        }
        let exporter = self.channel.as_ref().and_then(|channel| channel.exporter);
        match Login::begin(credential, &self.features.auth, exporter) {
            Ok((login, command)) => {
                self.login = Some(login);
                self.unsent.push_back((command, Expect::Auth));
            }
            Err(why) => self.refuse(&format!("4.7.0 {why} (credentials {})", credential.name)),
        }
    }

    pub(super) fn auth_answered(&mut self, reply: &ServerReply) {
        let Some(mut login) = self.login.take() else { return };
        match reply.code {
            334 => {
                let challenge = reply.lines.first().map_or("", String::as_str);
                match login.answer(challenge) {
                    Ok(line) => {
                        self.login = Some(login);
                        self.unsent.push_back((line, Expect::Auth));
                    }
                    Err(why) => self.refuse_login(&format!("4.7.0 {why}")),
                }
            }
            235 if login.is_finished() => {
                self.logged_in = true;
                self.outputs.push_back(Output::Ready);
            }
            235 => {
                let name = login.mechanism().name();
                self.refuse_login(&format!(
                    "4.7.0 it let us in without proof that it knows the password, which {name} \
                     asks for"
                ));
            }
            _ => {
                self.login_refused = reply.is_permanent();
                self.refuse_login(outcome::of_reply(Stage::Auth, reply).reason());
            }
        }
    }

    /// A login that came to nothing. The fault is the operator's or the next hop's, never the
    /// message's.
    fn refuse_login(&mut self, why: &str) {
        let name = self.wishes.credential.as_ref().map_or("", |credential| &credential.name);
        let why = format!("{why}; look at the [[credential]] {name}");
        self.refuse(&why);
    }

    /// Nothing was tried of any message, and none can be.
    fn refuse(&mut self, why: &str) {
        self.break_with(Outcome::Deferred(why.to_owned()), Finding::Unreachable(why.to_owned()));
    }
}
