//! The options of logins at next hops.

use super::super::credential::{Secret, SecretFile, SecretText};
use super::super::option::sections;
use super::super::value::Text;

sections! {
    /// A login at a next hop, which a `[[route]]` or `[[domain]]` names as its `credentials`. The
    /// strongest is used of what the next hop offers: SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN or
    /// LOGIN.
    Array Credential = "credential" {
        /// What it is called here, in the log and in `route explain`.
        name: String as Text = required r#""smarthost""#;

        /// As whom this server logs in.
        user: String as Text = required r#""mx.example.org""#;

        /// The password; better to keep it in a file that only the daemon reads.
        password: Option<Secret> as SecretText = optional r#""correct horse battery staple""#;

        /// The file with the password, in one line.
        password_file: Option<Secret> as SecretFile = optional r#""/etc/angarium/secret""#;
    } and {
        /// The line of its header.
        line: usize;
    }
}
