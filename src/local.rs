//! Floor 5: mail from programs of this machine: what they hand over, how, and the maildrop for when
//! no daemon answers.
//!
//! The folder of the local ends holds the socket `submit`, which speaks SMTP to everyone and asks the
//! kernel who that is, and the folder `maildrop`, in which everyone may leave a letter and nobody
//! but the daemon can look around. Both sides are here: what `sendmail` writes, the daemon reads.
//!
//! Promises that a letter leaves the maildrop only once it is in the queue, so that a crash may
//! double it and never loses it, and that a file which is no letter is set aside and told of.

pub mod folder;
pub mod hand_over;
pub mod host;
pub mod maildrop;
pub mod pickup;

/// A message with its envelope, on its way to the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// The reverse-path without brackets; empty for none.
    pub from: String,
    /// The forward-paths without brackets.
    pub recipients: Vec<String>,
    /// Header and body, in lines that end in CRLF.
    pub content: Vec<u8>,
}
