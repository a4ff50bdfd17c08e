//! The options of what users submit.

use std::time::Duration;

use crate::config::address::DomainName;
use crate::config::option::sections;
use crate::config::senders::SenderMapOf;
use crate::config::value::{Count, Flag, OneOf, Span};
use crate::policy::quota::OnExcess;
use crate::policy::sender::{Check, SenderMap};
use crate::submission::Unqualified;

sections! {
    /// What users may send over listeners with the role "submission".
    Table Submission = "submission" {
        /// What users may send as, beside their own address and the tags of it: "file:/path", or ""
        /// for nothing more. It has a line for each login: the login and addresses, separated by
        /// blanks: user@domain, *@domain, *@*.domain for subdomains, or any for an application
        /// that may send as anyone. `#` begins a comment. What AUTH= on MAIL says is believed of the
        /// same addresses, and is told only to next hops that are logged in to.
        senders: SenderMap as SenderMapOf = default r#""""#;

        /// Whose addresses users may use. "bind": reverse-path and From, or Resent-From, are the
        /// login's; "add-sender": From is free, and where it is not the login's a Sender field
        /// says whose it is; "off": nothing is checked.
        sender_check: Check as OneOf<Check> = default r#""bind""#, by "RFC 6409 6.1";

        /// Completes logins and addresses that have no domain; without it, the first [[domain]].
        login_domain: Option<String> as DomainName = optional r#""example.org""#;

        /// What becomes of addresses without a domain, in MAIL, RCPT and header fields: "qualify"
        /// them, or "refuse" the message.
        unqualified: Unqualified as OneOf<Unqualified> = default r#""qualify""#,
            by "RFC 6409 8.4";

        /// The longest time that users may have a message held before it is delivered; "0s": none
        /// is held, and FUTURERELEASE is not offered.
        future_release: Duration as Span = default r#""30d""#, in "0s" to "365d", by "RFC 4865";

        /// The most messages from one user in any hour; 0 for no limit. What a [[tenant]] with the
        /// login as its name says comes first, here and below. The limits are there for stolen
        /// accounts: postmaster is told by mail, once a day and user, when one is reached.
        messages_per_hour: usize as Count = default "500", in "0" to "100000000";

        /// The most messages from one user in any 24 hours; 0 for no limit.
        messages_per_day: usize as Count = default "2000", in "0" to "100000000";

        /// The most recipients from one user in any hour; 0 for no limit.
        recipients_per_hour: usize as Count = default "2000", in "0" to "100000000";

        /// The most recipients from one user in any 24 hours; 0 for no limit.
        recipients_per_day: usize as Count = default "5000", in "0" to "100000000";

        /// What who sends more is told: "defer", to try again later, or "refuse".
        on_excess: OnExcess as OneOf<OnExcess> = default r#""defer""#;

        /// Recipients in our own domains do not count.
        exempt_local: bool as Flag = default "true";
    }
}
