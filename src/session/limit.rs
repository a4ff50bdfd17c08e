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
    /// Refused commands before the session ends.
    pub errors_max: usize,
    /// How long the next command or piece of content may take (rfc5321bis 4.5.3.2.7).
    pub idle: Duration,
}
