//! The verbs whose commands are built.
//!
//! Promises one name a verb, and the forms of those that belong to no extension. Which of them a
//! client may use is what its [`Offer`](super::offer::Offer) says.

use super::word::words;

words! {
    /// A command verb.
    Verb {
        /// HELO, the hello without extensions.
        Helo = "HELO",
        /// EHLO.
        Ehlo = "EHLO",
        /// LHLO, the hello of LMTP (RFC 2033 4.1).
        Lhlo = "LHLO",
        /// MAIL opens a transaction.
        Mail = "MAIL",
        /// RCPT adds a recipient.
        Rcpt = "RCPT",
        /// DATA brings the content.
        Data = "DATA",
        /// BDAT brings a chunk of the content (RFC 3030).
        Bdat = "BDAT",
        /// RSET ends a transaction without a trace.
        Rset = "RSET",
        /// NOOP.
        Noop = "NOOP",
        /// QUIT ends the session.
        Quit = "QUIT",
        /// VRFY asks for a mailbox.
        Vrfy = "VRFY",
        /// HELP.
        Help = "HELP",
        /// STARTTLS turns the connection into TLS (RFC 3207).
        StartTls = "STARTTLS",
        /// AUTH proves who the client is (RFC 4954).
        Auth = "AUTH",
        /// XCLIENT speaks for another client.
        Xclient = "XCLIENT",
    }
}

impl Verb {
    /// Its form, if it belongs to the base protocol and to no extension (rfc5321bis 4.1.1).
    pub const fn base_form(self) -> Option<&'static str> {
        Some(match self {
            Self::Helo => "HELO host",
            Self::Ehlo => "EHLO host",
            Self::Lhlo => "LHLO host",
            Self::Mail => "MAIL FROM:<reverse-path> [parameters]",
            Self::Rcpt => "RCPT TO:<forward-path> [parameters]",
            Self::Data => "DATA",
            Self::Rset => "RSET",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::Bdat | Self::Vrfy | Self::Help | Self::StartTls | Self::Auth | Self::Xclient => {
                return None;
            }
        })
    }
}
