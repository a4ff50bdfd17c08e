//! Floor 5: who a client is, and how it proves that.
//!
//! A [`Backend`] carries out SASL exchanges. Most stores are a [`Verifier`], which judges one proof,
//! and get their exchanges from `sasl`; a store that speaks SASL itself is a backend of its own.
//!
//! Promises that an unknown user and a wrong password look and take the same, that no secret is ever
//! logged, and that a store which can't answer refuses nobody for good.

pub mod authority;
mod claim;
pub mod dovecot;
pub mod oauth;
pub mod sasl;
mod scram;
pub mod secret;
pub mod users;

use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::registry::mechanism::Mechanism;

/// Who has proved who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The account: what is logged, charged, and bound to addresses.
    pub user: Arc<str>,
    /// Which of the account's app passwords was used, if one was.
    pub label: Option<Arc<str>>,
}

/// Why a client is not let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denial {
    /// Wrong user, password or token: 535 5.7.8 for all of them.
    Credentials,
    /// The account may not be used now: 525 5.7.13.
    Disabled,
    /// The account needs a stronger mechanism: 534 5.7.9.
    TooWeak,
    /// The password must be shown once by PLAIN before this mechanism works: 432 4.7.12.
    Transition,
    /// What the client sent is none of the mechanism: 501 5.5.2.
    Malformed,
    /// The store can't tell now: 454 4.7.0. The sentence is for the log.
    Unavailable(String),
}

/// How a client is connected.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Where it is.
    pub client: IpAddr,
    /// Whether TLS protects it.
    pub tls: bool,
    /// The exporter of its TLS for channel binding, 32 octets (RFC 9266).
    pub binding: Option<[u8; 32]>,
    /// Whether secrets may be shown without TLS.
    pub clear_allowed: bool,
}

/// A step of an exchange, as seen from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send this and wait for the response; not yet encoded in base64.
    Challenge(Vec<u8>),
    /// The client is who it says.
    Granted(Login),
    /// It is not let in.
    Denied(Denial),
}

/// What is being waited for.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One SASL exchange.
pub trait Exchange: Send {
    /// Takes the initial response, `None` if the client sent none, and then each response; both
    /// decoded from base64.
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pending<'a, Step>;

    /// The login that the client claims, as far as it is known: for the log and for limits.
    fn claimed(&self) -> Option<&str>;
}

/// Where exchanges are carried out.
pub trait Backend: Debug + Send + Sync {
    /// The mechanisms it carries out at all, whatever the channel.
    fn mechanisms(&self) -> &[Mechanism];

    /// Begins an exchange by one of them.
    fn begin(&self, mechanism: Mechanism, channel: &Channel) -> Box<dyn Exchange>;
}

/// What a client shows to prove who it is.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// A password.
    Password {
        /// The account, perhaps with the label of an app password.
        login: &'a str,
        /// The secret.
        password: &'a str,
    },
    /// A bearer token.
    Token {
        /// The account, if the client names one.
        login: Option<&'a str>,
        /// The secret.
        token: &'a str,
    },
}

/// What a store keeps for SCRAM-SHA-256 (RFC 5802 3).
#[derive(Clone)]
pub struct Scram {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Arc<[u8]>,
    /// `StoredKey`.
    pub stored_key: [u8; 32],
    /// `ServerKey`.
    pub server_key: [u8; 32],
    /// Who logs in with it.
    pub login: Login,
    /// The account may not be used now, which only the right proof is told.
    pub disabled: bool,
}

/// A store that judges one proof at a time: a file, tokens; a directory or a database can follow.
pub trait Verifier: Debug + Send + Sync {
    /// Whether it knows passwords.
    fn takes_passwords(&self) -> bool {
        false
    }

    /// Whether it knows tokens.
    fn takes_tokens(&self) -> bool {
        false
    }

    /// Whether it keeps what SCRAM needs.
    fn keeps_scram(&self) -> bool {
        false
    }

    /// Judges a proof of a kind that it takes.
    fn verify<'a>(&'a self, proof: Proof<'a>) -> Pending<'a, Result<Login, Denial>>;

    /// What is kept for a login, in any spelling that finds it; for an unknown one an invented value
    /// that is always the same, and that nobody's password fits.
    fn scram<'a>(&'a self, login: &'a str) -> Pending<'a, Option<Scram>> {
        let _ = login;
        Box::pin(std::future::ready(None))
    }

    /// Tells that a SCRAM exchange with what `scram` gave has succeeded.
    fn used(&self, login: &Login) {
        let _ = login;
    }

    /// What a refused token is answered with before the 535: JSON (RFC 7628 3.2.2).
    fn token_failure(&self) -> Option<&str> {
        None
    }
}
