//! Replies and failures of a next hop to what becomes of each recipient: the only place.
//!
//! Promises that 2yz settles, 4yz and everything that is no reply defers, 5yz fails; with the
//! exceptions named here. Reasons are sentences for the log, the queue listing and reports.

use crate::registry::status::EnhancedStatus;
use crate::syntax::reply::ServerReply;

/// What an attempt made of one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The next hop took responsibility; its reply.
    Delivered(String),
    /// Not now; why.
    Deferred(String),
    /// Never; why.
    Failed(String),
}

impl Outcome {
    /// The reply, or why there is no better outcome.
    pub fn reason(&self) -> &str {
        match self {
            Self::Delivered(reason) | Self::Deferred(reason) | Self::Failed(reason) => reason,
        }
    }
}

/// How far a dialogue had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Before the greeting.
    Greeting,
    /// HELO, EHLO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// While content was sent.
    Content,
    /// The reply to the final dot.
    Final,
    /// NOOP.
    Noop,
}

impl Stage {
    fn words(self) -> &'static str {
        match self {
            Self::Greeting => "at its greeting",
            Self::Hello => "in reply to the hello",
            Self::StartTls => "in reply to STARTTLS",
            Self::Auth => "in reply to the login",
            Self::Mail => "in reply to MAIL",
            Self::Recipient => "in reply to RCPT",
            Self::Data => "in reply to DATA",
            Self::Content => "while content was sent",
            Self::Final => "in reply to the content",
            Self::Noop => "in reply to NOOP",
        }
    }
}

/// The outcome of a reply that settles a recipient at `stage`.
pub fn of_reply(stage: Stage, reply: &ServerReply) -> Outcome {
    let said = format!("said {} ({})", reply.one_line(), stage.words());
    match (reply.code / 100, stage) {
        (2, Stage::Final) => Outcome::Delivered(reply.one_line()),
        // That host takes no mail at all (rfc5321bis 3.1); its neighbours may.
        (5, Stage::Greeting) if reply.code == 521 => Outcome::Failed(said),
        // Mostly a block of our address or a host in trouble, which another try may outlive.
        (5, Stage::Greeting | Stage::Hello) => Outcome::Deferred(said),
        // The operator's fault: the mail can wait until it is mended.
        (5, Stage::StartTls | Stage::Auth) => Outcome::Deferred(said),
        (5, _) => Outcome::Failed(said),
        _ => Outcome::Deferred(said),
    }
}

/// The outcome of a negative reply to RCPT. 552 used to say "too many recipients" (rfc5321bis
/// 4.5.3.1.10): where others were taken and no status speaks of the mailbox or the size, it does.
pub fn of_recipient(reply: &ServerReply, others_accepted: bool) -> Outcome {
    let about_the_mailbox = reply
        .status
        .is_some_and(|status| status.subject == 2 || (status.subject, status.detail) == (3, 4));
    match of_reply(Stage::Recipient, reply) {
        Outcome::Failed(said) if reply.code == 552 && others_accepted && !about_the_mailbox => {
            Outcome::Deferred(said)
        }
        outcome => outcome,
    }
}

/// The outcome of a dialogue that broke: dropped, silent, or no SMTP.
pub fn of_break(stage: Stage, why: &str) -> Outcome {
    Outcome::Deferred(format!("{why} ({})", stage.words()))
}

/// The outcome of a message over the size that the next hop declares (RFC 1870 6).
pub fn of_size(octets: u64, limit: u64) -> Outcome {
    Outcome::Failed(format!("5.3.4 the message has {octets} octets, the next hop takes {limit}"))
}

/// The outcome of 8-bit content that a next hop without 8BITMIME must not get (RFC 6152 3).
pub fn of_eight_bit(why: &str) -> Outcome {
    Outcome::Failed(format!("5.6.3 the next hop does not offer 8BITMIME, and {why}"))
}

/// The outcome of binary content that a next hop without BINARYMIME must not get (RFC 3030 3).
pub fn of_binary(why: &str) -> Outcome {
    Outcome::Failed(format!("5.6.3 the next hop does not offer BINARYMIME, and {why}"))
}

/// The outcome of long lines on a route that does not pass them.
pub fn of_long_lines() -> Outcome {
    Outcome::Failed("5.6.0 a line is longer than 998 octets, which this route does not pass".into())
}

/// The reply that a server without SMTPUTF8 would give to an address in UTF-8 (RFC 6531 3.5), which
/// it must not be sent.
pub fn no_utf8_reply() -> ServerReply {
    let lines = vec!["it offers no SMTPUTF8".to_owned()];
    ServerReply { code: 553, status: Some(EnhancedStatus::new(5, 6, 7)), lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> ServerReply {
        let mut input = bytes::BytesMut::from(format!("{line}\r\n").as_str());
        crate::syntax::reply::ReplyReader::default().read(&mut input).unwrap().unwrap()
    }

    #[test]
    fn codes_decide() {
        let of = |stage, line| of_reply(stage, &reply(line));
        assert!(matches!(of(Stage::Final, "250 2.0.0 ok"), Outcome::Delivered(_)));
        assert!(
            matches!(of(Stage::Mail, "299"), Outcome::Deferred(_)),
            "2yz where it settles nothing"
        );
        assert!(matches!(of(Stage::Mail, "459 x"), Outcome::Deferred(_)));
        assert!(matches!(of(Stage::Recipient, "559 x"), Outcome::Failed(_)));
        assert!(matches!(of(Stage::Final, "354 x"), Outcome::Deferred(_)));
        assert!(matches!(of(Stage::Greeting, "554 go away"), Outcome::Deferred(_)));
        assert!(matches!(of(Stage::Greeting, "521 no mail here"), Outcome::Failed(_)));
        assert!(matches!(of(Stage::Recipient, "556 5.1.10 no mail"), Outcome::Failed(_)));
        assert!(matches!(of(Stage::Content, "552 5.3.4 enough"), Outcome::Failed(_)));
    }

    #[test]
    fn too_many_recipients_is_not_a_failure() {
        let of = |line, others| of_recipient(&reply(line), others);
        assert!(matches!(of("552 too many", true), Outcome::Deferred(_)));
        assert!(matches!(of("552 too many", false), Outcome::Failed(_)));
        assert!(matches!(of("552 5.2.2 full", true), Outcome::Failed(_)));
        assert!(matches!(of("552 5.3.4 large", true), Outcome::Failed(_)));
        assert!(matches!(of("452 4.5.3 later", true), Outcome::Deferred(_)));
    }
}
