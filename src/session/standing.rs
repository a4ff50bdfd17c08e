//! How a client stands: what it must do before it may send, and what it has done of that.
//!
//! Promises that TLS is demanded before a login, and a login before mail; and that what a demand
//! lets through is what its document names.

use crate::registry::reply::{self, Reply};
use crate::syntax::command::Command;

/// What a client has gained, and what it lacks. The driver replaces it after a handshake and a
/// login; nothing else does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Standing {
    /// The connection is under TLS.
    pub tls: bool,
    /// The client has proved who it is.
    pub authenticated: bool,
    /// The client is a user, or of a network that may relay.
    pub known: bool,
    /// What is lacking.
    pub demand: Demand,
}

/// What a client must do before it may send.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Demand {
    /// Nothing.
    #[default]
    Nothing,
    /// STARTTLS, then AUTH.
    Tls,
    /// AUTH.
    Login,
}

impl Standing {
    /// The refusal of a command that must wait (RFC 3207 4, RFC 4954 6).
    pub(super) fn refusal(self, command: &Command) -> Option<Reply> {
        let always = matches!(
            command,
            Command::Ehlo(_)
                | Command::Noop
                | Command::StartTls
                | Command::Quit
                | Command::Xclient(_)
        );
        let before_login = matches!(
            command,
            Command::Helo(_) | Command::Auth { .. } | Command::Rset | Command::Help(_)
        );
        match self.demand {
            Demand::Tls if !always => Some(reply::TLS_REQUIRED),
            Demand::Login if !always && !before_login => Some(reply::LOGIN_REQUIRED),
            _ => None,
        }
    }
}
