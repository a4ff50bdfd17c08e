//! Every bound of a receiving session, in one place.
//!
//! Promises that nothing a client controls grows past one of these. Sizes are in octets; those of
//! rfc5321bis 4.5.3.1 are floors, so a configuration may only raise them.

use std::time::Duration;

/// Longest command line with CRLF: 512 of rfc5321bis 4.5.3.1.4 and room for every extension.
pub const COMMAND_OCTETS_MAX: usize = 2048;
/// Most `Received` fields before a message counts as looping (rfc5321bis 6.3: at least 100).
pub const HOPS_MAX: usize = 100;

/// What a listener's configuration bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest content, dot-stuffing removed.
    pub message_octets_max: u64,
    /// Most recipients of one transaction (at least 100, rfc5321bis 4.5.3.1.8).
    pub recipients_max: usize,
    /// Most transactions of one session, whether they are refused or not; `None` for any number.
    pub transactions_max: Option<u32>,
    /// Refused commands before the session ends.
    pub errors_max: usize,
    /// How long the next command or piece of content may take (rfc5321bis 4.5.3.2.7).
    pub idle: Duration,
}

impl Limits {
    /// The largest number that can be told (RFC 9422 4.2).
    pub const TOLD_MAX: usize = 999_999;

    /// What stands behind LIMITS (RFC 9422 4).
    #[must_use]
    pub fn told(&self) -> String {
        let recipients = self.recipients_max.min(Self::TOLD_MAX);
        match self.transactions_max {
            Some(transactions) => format!("MAILMAX={transactions} RCPTMAX={recipients}"),
            None => format!("RCPTMAX={recipients}"),
        }
    }
}
