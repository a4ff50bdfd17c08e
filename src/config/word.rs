//! Types of which the file names one of a few words.

use super::value::Named;
use crate::policy::quota::OnExcess;
use crate::policy::sender::Check;
use crate::registry::mechanism::Mechanism;
use crate::registry::offer::Protocol;
use crate::route::security::TlsPolicy;
use crate::route::{EightBit, LongLines};
use crate::session::Service;
use crate::submission::Unqualified;

/// What a listener does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes mail for our domains from anyone, by SMTP.
    Mx,
    /// The same by LMTP.
    Lmtp,
    /// Takes mail from users who have proved who they are (RFC 6409).
    Submission,
}

impl Role {
    /// What is spoken.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Mx | Self::Submission => Protocol::Smtp,
            Self::Lmtp => Protocol::Lmtp,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }
}

/// How a listener comes to TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Off,
    /// On demand (RFC 3207).
    StartTls,
    /// From the first octet (RFC 8314 3.3).
    Implicit,
}

impl Named for Tls {
    const NAMES: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("starttls", Self::StartTls), ("implicit", Self::Implicit)];
}

impl Named for Mechanism {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("SCRAM-SHA-256-PLUS", Self::ScramSha256Plus),
        ("SCRAM-SHA-256", Self::ScramSha256),
        ("OAUTHBEARER", Self::OauthBearer),
        ("XOAUTH2", Self::Xoauth2),
        ("PLAIN", Self::Plain),
        ("LOGIN", Self::Login),
    ];
}

/// Whom VRFY answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vrfy {
    /// Nobody.
    Nobody,
    /// Those who may relay.
    Relay,
    /// Everybody.
    Anyone,
}

impl Named for Vrfy {
    const NAMES: &'static [(&'static str, Self)] =
        &[("nobody", Self::Nobody), ("relay", Self::Relay), ("anyone", Self::Anyone)];
}

impl Named for Check {
    const NAMES: &'static [(&'static str, Self)] =
        &[("bind", Self::Bind), ("add-sender", Self::AddSender), ("off", Self::Off)];
}

impl Named for Unqualified {
    const NAMES: &'static [(&'static str, Self)] =
        &[("qualify", Self::Qualify), ("refuse", Self::Refuse)];
}

impl Named for OnExcess {
    const NAMES: &'static [(&'static str, Self)] =
        &[("defer", Self::Defer), ("refuse", Self::Refuse)];
}

impl Named for Service {
    const NAMES: &'static [(&'static str, Self)] =
        &[("open", Self::Open), ("closed", Self::Closed), ("none", Self::None)];
}

impl Named for EightBit {
    const NAMES: &'static [(&'static str, Self)] =
        &[("convert", Self::Convert), ("send", Self::Send), ("bounce", Self::Bounce)];
}

impl Named for LongLines {
    const NAMES: &'static [(&'static str, Self)] =
        &[("pass", Self::Pass), ("bounce", Self::Bounce)];
}

impl Named for TlsPolicy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("may", Self::May),
        ("encrypt", Self::Encrypt),
        ("verify", Self::Verify),
    ];
}

impl Named for Role {
    const NAMES: &'static [(&'static str, Self)] =
        &[("mx", Self::Mx), ("submission", Self::Submission), ("lmtp", Self::Lmtp)];
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Named for Format {
    const NAMES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// The importance of a log line; the greater, the more is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Someone must act.
    Error,
    /// Someone should look.
    Warn,
    /// What happened to each message.
    Info,
    /// Every step.
    Debug,
}

impl Named for Level {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];
}
