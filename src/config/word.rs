//! Types of which the file names one of a few words.

use super::value::Named;
use crate::route::{EightBit, LongLines};

/// What a listener does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes mail for our domains from anyone.
    Mx,
}

impl Named for EightBit {
    const NAMES: &'static [(&'static str, Self)] =
        &[("convert", Self::Convert), ("send", Self::Send), ("bounce", Self::Bounce)];
}

impl Named for LongLines {
    const NAMES: &'static [(&'static str, Self)] =
        &[("pass", Self::Pass), ("bounce", Self::Bounce)];
}

impl Named for Role {
    const NAMES: &'static [(&'static str, Self)] = &[("mx", Self::Mx)];
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
