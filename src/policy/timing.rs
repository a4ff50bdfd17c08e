//! What senders may ask of time: a release (RFC 4865), a deadline (RFC 2852).
//!
//! Promises that what was accepted can be kept: a release no further away than the operator allows,
//! and a deadline that leaves as much time as was offered.

use crate::registry::reply::{self, Reply};
use crate::syntax::parameter::deadline::{Deadline, Mode};
use crate::syntax::parameter::hold::{self, Hold};

/// How far away times may be, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rules {
    /// The longest time that a message may be held; 0 where none may.
    pub hold_max_s: u64,
    /// The shortest time after which a message may be returned as late.
    pub deadline_min_s: u64,
}

impl Rules {
    /// Whether a message that comes now may be held so long, and delivered by then.
    ///
    /// # Errors
    /// The reply that refuses the sender (RFC 4865 4.2, RFC 2852 4.1.2).
    pub fn judge(
        &self,
        hold: Option<Hold>,
        deadline: Option<Deadline>,
        now_ms: u64,
    ) -> Result<(), Reply> {
        let refuse = |text: String| Err(reply::BAD_ARGUMENT.with_text(text));
        let release_ms = hold.map_or(now_ms, |hold| hold.release_ms(now_ms));
        let last_ms = now_ms.saturating_add(self.hold_max_s.saturating_mul(1000));
        if release_ms > last_ms {
            return refuse(match hold {
                Some(Hold::Until { .. }) => {
                    format!("held until {} at the longest", hold::date_ms(last_ms))
                }
                _ => format!("held for {} seconds at the longest", self.hold_max_s),
            });
        }
        let Some(deadline) = deadline.filter(|deadline| deadline.mode == Mode::Return) else {
            return Ok(());
        };
        if deadline.seconds < i64::try_from(self.deadline_min_s).unwrap_or(i64::MAX) {
            return refuse(format!(
                "returned after {} seconds at the soonest",
                self.deadline_min_s
            ));
        }
        if deadline.at_ms(now_ms) <= release_ms {
            return refuse("it would be returned as late before its release".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::parameter::Parameter;
    use crate::syntax::parameter::MailParameters;

    /// 2026-03-04T05:06:07.089Z
    const NOW_MS: u64 = 1_772_600_767_089;

    fn said(words: &str) -> String {
        let rules = Rules { hold_max_s: 3600, deadline_min_s: 60 };
        let read = MailParameters::parse(words, Parameter::named).unwrap();
        match rules.judge(read.hold, read.deadline, NOW_MS) {
            Ok(()) => "ok".to_owned(),
            Err(reply) => format!("{} {}", reply.code, reply.text()),
        }
    }

    #[test]
    fn a_release_is_within_what_is_offered() {
        for words in [
            "",
            "HOLDFOR=0",
            "HOLDFOR=3600",
            "HOLDUNTIL=2026-03-04T06:06:07Z",
            "HOLDUNTIL=1999-12-31T00:00:00Z",
        ] {
            assert_eq!(said(words), "ok", "{words}");
        }
        assert_eq!(said("HOLDFOR=3601"), "501 held for 3600 seconds at the longest");
        let until = "501 held until 2026-03-04T06:06:07Z at the longest";
        assert_eq!(said("HOLDUNTIL=2026-03-04T06:06:08Z"), until);
        assert_eq!(said("HOLDUNTIL=9998-12-31T00:00:00Z"), until);
    }

    #[test]
    fn a_return_leaves_time() {
        for words in ["BY=60;R", "BY=1;N", "BY=-999999999;NT", "BY=120;R HOLDFOR=119"] {
            assert_eq!(said(words), "ok", "{words}");
        }
        assert_eq!(said("BY=59;R"), "501 returned after 60 seconds at the soonest");
        let never = "501 it would be returned as late before its release";
        assert_eq!(said("BY=120;R HOLDFOR=120"), never);
        assert_eq!(said("BY=120;N HOLDFOR=120"), "ok");
    }
}
