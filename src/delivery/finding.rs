//! What an attempt says of more than its message: of the site, or of who sends there.
//!
//! Promises that a site is called unreachable only where nothing was tried of the message, so that
//! no attempt need be counted; and that the gravest of what an attempt found is kept.

use super::complaint::{self, Complaint, Scope};
use super::outcome::{self, Outcome, Stage};
use crate::syntax::reply::ServerReply;

/// What an attempt found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Finding {
    /// The site did its part, whatever it said of the message; or it was not asked.
    #[default]
    Served,
    /// No dialogue came about; why. Nothing was tried.
    Unreachable(String),
    /// The site, or somebody in it, minds how much comes.
    Limited(Complaint),
    /// The site had answered; then the dialogue broke, or got no further answer.
    Broken,
}

impl Finding {
    /// Takes over what is graver.
    pub fn add(&mut self, other: Self) {
        if other.gravity() > self.gravity() {
            *self = other;
        }
    }

    /// By how many other messages are concerned.
    fn gravity(&self) -> u8 {
        match self {
            Self::Served => 0,
            Self::Limited(Complaint { scope: Scope::Recipient, .. }) => 1,
            Self::Limited(Complaint { scope: Scope::Content, .. }) => 2,
            Self::Broken => 3,
            Self::Limited(Complaint { scope: Scope::Tenant, .. }) => 4,
            Self::Limited(Complaint { scope: Scope::Site, .. }) => 5,
            Self::Unreachable(_) => 6,
        }
    }
}

/// Why no connection could be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoConnection {
    /// What becomes of each recipient.
    pub outcome: Outcome,
    /// What that says of the site.
    pub finding: Finding,
}

impl NoConnection {
    /// Of a place that can't be looked up or connected to.
    pub fn unreachable(why: String) -> Self {
        Self { outcome: Outcome::Deferred(why.clone()), finding: Finding::Unreachable(why) }
    }

    /// What two addresses of one next hop come to: a failure counts only if both fail, and one that
    /// answered says more of the site than one that did not.
    #[must_use]
    pub fn or(self, later: Self) -> Self {
        let outcome = match (self.outcome, later.outcome) {
            (outcome @ Outcome::Deferred(_), Outcome::Failed(_)) => outcome,
            (_, outcome) => outcome,
        };
        let finding = match (self.finding, later.finding) {
            (Finding::Unreachable(_), finding) => finding,
            (finding, Finding::Unreachable(_)) => finding,
            (mut finding, other) => {
                finding.add(other);
                finding
            }
        };
        Self { outcome, finding }
    }
}

/// The finding of a reply that ends the dialogue at `stage`.
pub(super) fn of_reply(stage: Stage, reply: &ServerReply) -> Finding {
    match (complaint::judge(reply), outcome::of_reply(stage, reply), stage) {
        (Some(complaint), ..) => Finding::Limited(complaint),
        (None, Outcome::Deferred(why), Stage::Greeting | Stage::Hello) => Finding::Unreachable(why),
        _ if reply.code == 421 => Finding::Broken,
        _ => Finding::Served,
    }
}

/// The finding of a dialogue that broke off at `stage`.
pub(super) fn of_break(stage: Stage, why: &str) -> Finding {
    match stage {
        Stage::Greeting => Finding::Unreachable(why.to_owned()),
        _ => Finding::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::dialog::{Addressee, Dialog, Output, Protocol, Transaction};

    /// What a dialogue found that hears these lines; it ends by a break unless it has ended before.
    fn found(lines: &[&str]) -> Finding {
        let mut dialog = Dialog::new(Protocol::Smtp, "mx.example");
        for line in lines {
            dialog.handle_input(format!("{line}\r\n").as_bytes());
            while let Some(output) = dialog.poll_output() {
                match output {
                    Output::Ready => dialog.begin(Transaction {
                        recipients: ["a@d.example", "b@d.example"].map(Addressee::new).into(),
                        probe: false,
                        ..Transaction::probe("")
                    }),
                    Output::SendContent | Output::SendChunk { .. } => dialog.handle_content_sent(),
                    Output::Finished(_) => return dialog.finding().clone(),
                    Output::Send(_) | Output::StartTls | Output::Close => {}
                }
            }
        }
        dialog.handle_break("it said nothing for too long");
        dialog.finding().clone()
    }

    fn scope(lines: &[&str]) -> Option<Scope> {
        match found(lines) {
            Finding::Limited(complaint) => Some(complaint.scope),
            _ => None,
        }
    }

    #[test]
    fn nothing_was_tried_before_the_hello_was_answered() {
        let silent = Finding::Unreachable("it said nothing for too long".into());
        assert_eq!(found(&[]), silent);
        assert!(matches!(found(&["421 later"]), Finding::Unreachable(_)));
        assert!(matches!(found(&["554 not you"]), Finding::Unreachable(_)));
        assert!(matches!(found(&["220 hi", "451 later"]), Finding::Unreachable(_)));
        assert!(matches!(found(&["220 hi", "502 no", "550 no"]), Finding::Unreachable(_)));
        assert_eq!(scope(&["421 4.7.0 too many connections from you"]), Some(Scope::Site));
        assert_eq!(found(&["521 takes no mail"]), Finding::Served);
    }

    #[test]
    fn a_break_after_the_greeting_is_not_an_outage() {
        for lines in [
            &["220 hi"][..],
            &["220 hi", "no reply"],
            &["220 hi", "250 hi"],
            &["220 hi", "250 hi", "250 ok", "250 ok", "421 bye"],
            &["220 hi", "250 hi", "250 ok", "250 ok", "250 ok", "354 go"],
        ] {
            assert_eq!(found(lines), Finding::Broken, "{lines:?}");
        }
    }

    #[test]
    fn refusals_of_one_message_say_nothing_of_the_site() {
        for lines in [
            &["220 hi", "250 hi", "450 not him"][..],
            &["220 hi", "250 hi", "250 ok", "550 no", "451 4.7.1 Greylisted"],
            &["220 hi", "250 hi", "250 ok", "250 ok", "250 ok", "354 go", "250 ok"],
            &["220 hi", "502 what", "250 hi", "250 ok", "550 no", "550 no"],
        ] {
            assert_eq!(found(lines), Finding::Served, "{lines:?}");
        }
    }

    #[test]
    fn the_gravest_of_a_transaction_is_kept() {
        let begin = ["220 hi", "250 hi", "250 ok"];
        let after = |lines: &[&'static str]| [&begin[..], lines].concat();
        let many = "452 4.5.3 too many";
        assert_eq!(scope(&after(&["250 ok", many, "354 go", "250 ok"])), Some(Scope::Recipient));
        assert_eq!(scope(&after(&["452 4.2.2 full", "451 4.4.5 busy"])), Some(Scope::Site));
        assert_eq!(scope(&after(&["451 4.4.5 busy", "452 4.2.2 full"])), Some(Scope::Site));
        assert_eq!(scope(&after(&["421 4.7.28 your SPF domain"])), Some(Scope::Tenant));
        assert_eq!(found(&after(&["452 4.2.2 full"])), Finding::Broken);
    }

    #[test]
    fn content_that_can_not_be_read_is_no_fault_of_the_site() {
        let mut dialog = Dialog::new(Protocol::Smtp, "mx.example");
        dialog.handle_input(b"220 hi\r\n250 hi\r\n");
        dialog.begin(Transaction::probe("a@d.example"));
        dialog.handle_content_lost("a checksum is wrong");
        assert_eq!((dialog.is_over(), dialog.finding()), (true, &Finding::Served));
    }

    #[test]
    fn one_address_that_answers_speaks_for_the_site() {
        let down = || NoConnection::unreachable("refused".into());
        let failed =
            || NoConnection { outcome: Outcome::Failed("521".into()), finding: Finding::Served };
        let broken =
            || NoConnection { outcome: Outcome::Deferred("gone".into()), finding: Finding::Broken };
        assert_eq!(down().or(down()), down());
        assert_eq!(down().or(broken()), broken());
        assert_eq!(broken().or(down()).finding, Finding::Broken);
        let mixed = down().or(failed());
        assert_eq!((mixed.outcome.reason(), mixed.finding), ("refused", Finding::Served));
        assert_eq!(failed().or(down()).outcome, Outcome::Deferred("refused".into()));
        assert_eq!(failed().or(failed()), failed());
    }
}
