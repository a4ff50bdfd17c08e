//! The options of what users submit.

use crate::config::address::DomainName;
use crate::config::option::sections;
use crate::config::senders::SenderMapOf;
use crate::config::value::OneOf;
use crate::policy::sender::{Check, SenderMap};
use crate::submission::Unqualified;

sections! {
    /// What users may send over listeners with the role "submission".
    Table Submission = "submission" {
        /// What users may send as, beside their own address and the tags of it: "file:/path", or ""
        /// for nothing more. It has a line for each login: the login and addresses, separated by
        /// blanks: user@domain, *@domain, *@*.domain for subdomains, or any for an application
        /// that may send as anyone. `#` begins a comment.
        senders: SenderMap as SenderMapOf = default r#""""#;

        /// Whose addresses users may use. "bind": reverse-path and From, or Resent-From, are the
        /// login's; "add-sender": From is free, and where it is not the login's a Sender field
        /// says whose it is; "off": nothing is checked.
        sender_check: Check as OneOf<Check> = default r#""bind""#, by "RFC 6409 6.1";

        /// Completes logins and addresses that have no domain; without it, the first [[domain]].
        login_domain: Option<String> as DomainName = optional r#""example.org""#;

        /// What becomes of addresses in header fields that have no domain: "qualify" them, or
        /// "refuse" the message.
        unqualified: Unqualified as OneOf<Unqualified> = default r#""qualify""#,
            by "RFC 6409 8.4";
    }
}
