//! The parameters of MAIL and RCPT (rfc5321bis 4.1.1.11): read from a command, kept with the
//! message, written for the next hop.
//!
//! Promises that what was written is read again, and that a parameter which comes twice, or has a
//! value that its document does not allow, refuses the command. Whether a parameter is offered says
//! the caller.

pub mod body;
pub mod deadline;
pub mod dsn;
pub mod hold;
pub mod priority;
pub mod submitter;
pub mod validity;

use std::fmt::{Display, Write};

use crate::registry::parameter::Parameter;
use crate::registry::reply::{self, Reply};

use body::Body;
use deadline::Deadline;
use dsn::{EnvelopeId, Notify, OriginalRecipient, Return};
use hold::Hold;
use priority::Priority;
use submitter::Submitter;
use validity::Validity;

/// The parameters of MAIL.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MailParameters {
    /// SIZE, in octets (RFC 1870 3).
    pub size: Option<u64>,
    /// BODY (RFC 6152 2, RFC 3030 3).
    pub body: Option<Body>,
    /// SMTPUTF8: addresses and header may be in UTF-8 (RFC 6531 3.4).
    pub utf8: bool,
    /// RET (RFC 3461 4.3).
    pub ret: Option<Return>,
    /// ENVID (RFC 3461 4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// AUTH (RFC 4954 5).
    pub submitter: Option<Submitter>,
    /// BY (RFC 2852 4).
    pub deadline: Option<Deadline>,
    /// MT-PRIORITY (RFC 6710 4.1).
    pub priority: Option<Priority>,
    /// REQUIRETLS (RFC 8689 2).
    pub require_tls: bool,
    /// HOLDFOR or HOLDUNTIL (RFC 4865 4).
    pub hold: Option<Hold>,
}

/// The parameters of RCPT.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RcptParameters {
    /// NOTIFY (RFC 3461 4.1).
    pub notify: Option<Notify>,
    /// ORCPT (RFC 3461 4.2).
    pub original: Option<OriginalRecipient>,
    /// RRVS (RFC 7293 3.1).
    pub validity: Option<Validity>,
}

impl MailParameters {
    /// Reads the words behind the path; `known` tells what a name is.
    ///
    /// # Errors
    /// The reply that refuses the command.
    pub fn parse(words: &str, known: impl Fn(&str) -> Option<Parameter>) -> Result<Self, Reply> {
        let mut read = Self::default();
        for word in words.split_ascii_whitespace() {
            let (name, value) = split(word);
            let repeated = match known(name).ok_or(reply::UNKNOWN_PARAMETER)? {
                Parameter::Size => read.size.replace(parse_size(value)?).is_some(),
                Parameter::Body => read.body.replace(Body::parse(value)?).is_some(),
                Parameter::Utf8 => raise(&mut read.utf8, "SMTPUTF8", value)?,
                Parameter::Ret => read.ret.replace(Return::parse(value)?).is_some(),
                Parameter::EnvId => read.envelope_id.replace(EnvelopeId::parse(value)?).is_some(),
                Parameter::Auth => read.submitter.replace(Submitter::parse(value)?).is_some(),
                Parameter::By => read.deadline.replace(Deadline::parse(value)?).is_some(),
                Parameter::Priority => read.priority.replace(Priority::parse(value)?).is_some(),
                Parameter::RequireTls => raise(&mut read.require_tls, "REQUIRETLS", value)?,
                Parameter::HoldFor => read.hold.replace(Hold::parse_for(value)?).is_some(),
                Parameter::HoldUntil => read.hold.replace(Hold::parse_until(value)?).is_some(),
                Parameter::Notify | Parameter::Orcpt | Parameter::Rrvs => {
                    return Err(reply::UNKNOWN_PARAMETER);
                }
            };
            refuse_repeated(repeated)?;
        }
        Ok(read)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends those that are `wanted` to a command, each with a space in front.
    pub fn write(&self, command: &mut String, wanted: impl Fn(Parameter) -> bool) {
        let mut line = Line { command, wanted };
        line.valued(Parameter::Size, self.size.as_ref());
        line.valued(Parameter::Body, self.body.as_ref());
        line.bare(Parameter::Utf8, self.utf8);
        line.valued(Parameter::Ret, self.ret.as_ref());
        line.valued(Parameter::EnvId, self.envelope_id.as_ref());
        line.valued(Parameter::Auth, self.submitter.as_ref());
        line.valued(Parameter::By, self.deadline.as_ref());
        line.valued(Parameter::Priority, self.priority.as_ref());
        line.bare(Parameter::RequireTls, self.require_tls);
        match &self.hold {
            Some(hold @ Hold::For { .. }) => line.valued(Parameter::HoldFor, Some(hold)),
            hold => line.valued(Parameter::HoldUntil, hold.as_ref()),
        }
    }
}

impl RcptParameters {
    /// The same for a server that does not offer SMTPUTF8.
    #[must_use]
    pub fn in_ascii(&self) -> Self {
        let original = self.original.as_ref().map(OriginalRecipient::in_ascii);
        Self { original, ..self.clone() }
    }

    /// Reads the words behind the path; `known` tells what a name is.
    ///
    /// # Errors
    /// The reply that refuses the command.
    pub fn parse(words: &str, known: impl Fn(&str) -> Option<Parameter>) -> Result<Self, Reply> {
        let mut read = Self::default();
        for word in words.split_ascii_whitespace() {
            let (name, value) = split(word);
            let repeated = match known(name).ok_or(reply::UNKNOWN_PARAMETER)? {
                Parameter::Notify => read.notify.replace(Notify::parse(value)?).is_some(),
                Parameter::Orcpt => {
                    read.original.replace(OriginalRecipient::parse(value)?).is_some()
                }
                Parameter::Rrvs => read.validity.replace(Validity::parse(value)?).is_some(),
                _ => return Err(reply::UNKNOWN_PARAMETER),
            };
            refuse_repeated(repeated)?;
        }
        Ok(read)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends those that are `wanted` to a command, each with a space in front.
    pub fn write(&self, command: &mut String, wanted: impl Fn(Parameter) -> bool) {
        let mut line = Line { command, wanted };
        line.valued(Parameter::Notify, self.notify.as_ref());
        line.valued(Parameter::Orcpt, self.original.as_ref());
        line.valued(Parameter::Rrvs, self.validity.as_ref());
    }
}

/// A command that is being written.
struct Line<'a, W> {
    command: &'a mut String,
    wanted: W,
}

impl<W: Fn(Parameter) -> bool> Line<'_, W> {
    fn valued(&mut self, parameter: Parameter, value: Option<&impl Display>) {
        if let Some(value) = value.filter(|_| (self.wanted)(parameter)) {
            // Writing to a String cannot fail.
            let _ = write!(self.command, " {parameter}={value}");
        }
    }

    fn bare(&mut self, parameter: Parameter, is_set: bool) {
        if is_set && (self.wanted)(parameter) {
            self.command.extend([" ", parameter.word()]);
        }
    }
}

/// Both kinds as text in the queue: the words that a command would have.
macro_rules! kept_as_words {
    ($($kind:ident),*) => {$(
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut words = String::new();
                self.write(&mut words, |_| true);
                serializer.serialize_str(words.trim_start())
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let words = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                Self::parse(&words, Parameter::named)
                    .map_err(|refusal| serde::de::Error::custom(refusal.text()))
            }
        }
    )*};
}

kept_as_words!(MailParameters, RcptParameters);

fn split(word: &str) -> (&str, Option<&str>) {
    word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)))
}

fn refuse_repeated(repeated: bool) -> Result<(), Reply> {
    if repeated { Err(bad("a parameter comes twice")) } else { Ok(()) }
}

/// Sets a parameter that takes no value; whether it was set before.
fn raise(flag: &mut bool, name: &str, value: Option<&str>) -> Result<bool, Reply> {
    match value {
        None => Ok(std::mem::replace(flag, true)),
        Some(_) => Err(reply::BAD_ARGUMENT.with_text(format!("{name} takes no value"))),
    }
}

/// The refusal of a value.
fn bad(why: &'static str) -> Reply {
    reply::BAD_ARGUMENT.with_text(why)
}

/// Up to 20 digits (RFC 1870 3); what does not fit 64 bits is larger than any limit.
fn parse_size(value: Option<&str>) -> Result<u64, Reply> {
    let digits = value.filter(|value| (1..=20).contains(&value.len()) && is_number(value));
    digits
        .map(|digits| digits.parse().unwrap_or(u64::MAX))
        .ok_or_else(|| bad("SIZE takes a number of octets"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
mod tests;
