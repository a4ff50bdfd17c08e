//! By which rules a message goes on to a next hop: what was asked for it, and what is offered there.
//!
//! Promises that each recipient is judged before anything of the message is sent, that what goes on
//! is never more than the next hop offers, and that what it does not offer is dropped only where
//! the extension allows that. Each extension with such a rule has one file.

pub mod binary;
mod deadline;
mod dsn;
mod require_tls;
mod utf8;
mod validity;

pub use deadline::{aged, is_reported};

use super::dialog::{Addressee, Transaction};
use super::features::Features;
use super::outcome::Outcome;
use crate::envelope::{Envelope, Recipient};
use crate::syntax::parameter::MailParameters;
use crate::syntax::parameter::body::Body;

/// What the rules ask of a connection to a next hop.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// What it offers.
    pub features: &'a Features,
    /// Whether LMTP is spoken, so that a delivery there is the final one.
    pub is_final: bool,
    /// How the connection is secured.
    pub security: Security,
}

/// How a connection is secured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Security {
    /// Not at all.
    Clear,
    /// TLS with anybody.
    Encrypted,
    /// TLS with the next hop that was meant.
    Verified,
    /// It leads to a mailstore on this machine, which needs none.
    Local,
}

/// What keeps a recipient of an [`aged`] message from going this way; `None` where nothing does.
pub fn obstacle(envelope: &Envelope, recipient: &Recipient, way: &Way<'_>) -> Option<Outcome> {
    deadline::obstacle(envelope, way)
        .or_else(|| validity::obstacle(recipient, way))
        .or_else(|| utf8::obstacle(envelope, recipient, way))
        .or_else(|| require_tls::obstacle(envelope, way))
}

/// The transaction that carries an [`aged`] message of `size` octets this way, as it is or converted
/// to seven bits.
pub fn transaction(
    envelope: &Envelope,
    recipients: Vec<Addressee>,
    size: u64,
    is_converted: bool,
) -> Transaction {
    let eight_bit = envelope.eight_bit.then_some(Body::EightBitMime);
    let body = envelope.parameters.body.filter(|body| *body != Body::SevenBit).or(eight_bit);
    let body = body.filter(|_| !is_converted);
    let utf8 = envelope.parameters.utf8
        || utf8::is_from_utf8(envelope)
        || recipients.iter().any(|recipient| !recipient.path.is_ascii());
    Transaction {
        reverse_path: envelope.reverse_path.to_string(),
        // It was released already.
        parameters: MailParameters { body, utf8, hold: None, ..envelope.parameters.clone() },
        recipients,
        size,
        probe: false,
    }
}

/// A recipient with what goes on for it.
pub fn addressee(recipient: &Recipient) -> Addressee {
    Addressee { path: recipient.address.to_string(), parameters: dsn::parameters(recipient) }
}
