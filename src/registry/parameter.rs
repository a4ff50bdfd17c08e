//! The parameters of MAIL and RCPT whose behaviour is built.
//!
//! Promises no more than names: which extension has one, and whether it is served, says its row.

use super::word::words;

words! {
    /// A parameter of MAIL or RCPT.
    Parameter {
        /// MAIL SIZE=octets (RFC 1870 3).
        Size = "SIZE",
        /// MAIL BODY=7BIT or 8BITMIME (RFC 6152 2).
        Body = "BODY",
        /// MAIL AUTH=mailbox, who submitted the message (RFC 4954 5).
        Auth = "AUTH",
    }
}
