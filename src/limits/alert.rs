//! The mail that tells the administrator of a user who has reached a limit.
//!
//! Promises lines within 998 octets and nothing that a login could forge a field with; marked as made
//! by a machine, so that nobody answers it by one (RFC 3834 5).

use crate::envelope::{Envelope, Origin, Recipient};
use crate::policy::quota::{Meter, OnExcess};
use crate::syntax::path::{Mailbox, ReversePath};

/// What the envelope names as its session.
const SESSION: &str = "limits";
/// Most characters of a login that are told.
const LOGIN_MAX: usize = 100;

/// A user who has reached a limit for the first time in a day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    /// The login.
    pub user: String,
    /// Which limit.
    pub meter: Meter,
    /// What it is.
    pub limit: u32,
    /// When, in ms since the epoch.
    pub at_ms: u64,
}

/// Who writes, and to whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letterhead {
    /// Our own name.
    pub hostname: String,
    /// Whom it is from.
    pub from: Mailbox,
    /// The administrator.
    pub to: Mailbox,
}

/// The envelope, from nobody: what can't be delivered ends there.
pub(super) fn envelope(letterhead: &Letterhead) -> Envelope {
    Envelope {
        reverse_path: ReversePath::Null,
        recipients: vec![Recipient::new(letterhead.to.clone())],
        session: SESSION.to_owned(),
        origin: Origin::Report,
        ..Envelope::default()
    }
}

/// The content.
pub(super) fn write(
    alert: &Alert,
    letterhead: &Letterhead,
    on_excess: OnExcess,
    id: &str,
    date: fn(u64) -> String,
) -> Vec<u8> {
    let Letterhead { hostname, from, to } = letterhead;
    let (user, when) = (plain(&alert.user), date(alert.at_ms));
    let (limit, meter) = (alert.limit, alert.meter.name());
    let fate = match on_excess {
        OnExcess::Defer => "told to try again later",
        OnExcess::Refuse => "refused",
    };
    format!(
        "From: Mail Delivery System <{from}>\r\nTo: <{to}>\r\n\
         Subject: {user} has sent as much as allowed\r\nDate: {when}\r\n\
         Message-ID: <{id}@{hostname}>\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         The user {user} has reached {meter} = {limit}\r\non {hostname}, {when}.\r\n\r\n\
         More is {fate} until there is room again. If this is not the\r\n\
         user's own mail, the password or a device may be stolen: change the password,\r\n\
         and look at what still waits.\r\n\r\n\
         What each user has sent:     angarium limits ls\r\n\
         To begin anew:               angarium limits clear {user}\r\n\
         More for this user alone:    [[tenant]] name = \"{user}\" in the configuration\r\n\r\n\
         There is no further mail about this user for a day.\r\n"
    )
    .into_bytes()
}

/// A login in printable ASCII.
fn plain(login: &str) -> String {
    let shown = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    login.chars().take(LOGIN_MAX).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_forges_nothing_and_no_line_is_too_long() {
        let letterhead = Letterhead {
            hostname: "mx.example".to_owned(),
            from: "mailer-daemon@mx.example".parse().unwrap(),
            to: "postmaster@ours.example".parse().unwrap(),
        };
        let user = format!("joe\r\nBcc: <all@far.example>\r\n\u{e9}{}", "x".repeat(5000));
        let alert = Alert { user, meter: Meter::RecipientsPerDay, limit: 7, at_ms: 0 };
        let date = |_| "Thu, 1 Jan 1970 00:00:00 +0000".to_owned();
        let content = write(&alert, &letterhead, OnExcess::Defer, "0100", date);
        let text = String::from_utf8(content).unwrap();
        assert!(text.is_ascii() && !text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
        assert!(text.lines().all(|line| line.len() <= 998));
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        let names: Vec<_> = header.lines().map(|line| line.split_once(": ").unwrap().0).collect();
        let expected = [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
        ];
        assert_eq!(names, expected);
        assert!(body.contains("has reached recipients_per_day = 7\r\n"));
        assert_eq!(envelope(&letterhead).reverse_path, ReversePath::Null);
    }
}
