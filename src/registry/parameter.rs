//! The parameters of MAIL and RCPT whose behaviour is built.
//!
//! Promises no more than names: which extension has one, and whether it is served, says its row.

use super::word::words;

words! {
    /// A parameter of MAIL or RCPT.
    Parameter {
        /// MAIL SIZE=octets (RFC 1870 3).
        Size = "SIZE",
        /// MAIL BODY=7BIT, 8BITMIME (RFC 6152 2) or BINARYMIME (RFC 3030 3).
        Body = "BODY",
        /// MAIL SMTPUTF8 (RFC 6531 3.4).
        Utf8 = "SMTPUTF8",
        /// MAIL RET=FULL or HDRS (RFC 3461 4.3).
        Ret = "RET",
        /// MAIL ENVID=xtext (RFC 3461 4.4).
        EnvId = "ENVID",
        /// MAIL AUTH=mailbox, who submitted the message (RFC 4954 5).
        Auth = "AUTH",
        /// MAIL BY=seconds;mode (RFC 2852 4).
        By = "BY",
        /// MAIL MT-PRIORITY=-9 to 9 (RFC 6710 4.1).
        Priority = "MT-PRIORITY",
        /// MAIL REQUIRETLS (RFC 8689 2).
        RequireTls = "REQUIRETLS",
        /// MAIL HOLDFOR=seconds (RFC 4865 4.1).
        HoldFor = "HOLDFOR",
        /// MAIL HOLDUNTIL=date-time (RFC 4865 4.2).
        HoldUntil = "HOLDUNTIL",
        /// RCPT NOTIFY=events (RFC 3461 4.1).
        Notify = "NOTIFY",
        /// RCPT ORCPT=type;xtext (RFC 3461 4.2).
        Orcpt = "ORCPT",
        /// RCPT RRVS=date-time (RFC 7293 3.1).
        Rrvs = "RRVS",
    }
}
