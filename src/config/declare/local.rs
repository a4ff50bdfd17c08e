//! The options of local injection.

use std::path::PathBuf;

use crate::config::address::{DomainName, SocketFolder};
use crate::config::option::sections;
use crate::config::value::{Flag, List, NotEmpty, Size, Text};

sections! {
    /// Mail from programs of this machine, by `sendmail`.
    Table Local = "local" {
        /// Whether it is taken.
        enabled: bool as Flag = default "true";

        /// The absolute path of a folder that everyone may pass through, on a disk that outlives a
        /// restart; without it, `local` in the spool. The socket `submit` is in it, and the folder
        /// `maildrop`, where mail waits while no daemon runs.
        folder: Option<PathBuf> as SocketFolder = optional r#""/var/spool/angarium/local""#;

        /// The accounts that may hand in mail; "*" for every one.
        users: Vec<String> as NotEmpty<Text> = default r#"["*"]"#;

        /// Those among them that may use any sender address; "*" for every one, as elsewhere. The
        /// others may use account@domain, with any tag behind a `+`, and what the file
        /// `[submission] senders` grants them. Their From is judged as that of users is.
        any_sender: Vec<String> as List<Text> = default r#"["*"]"#;

        /// What an address without a domain gets, and the sender of whoever names none; without it,
        /// the `hostname`.
        domain: Option<String> as DomainName = optional r#""example.org""#;

        /// The largest message that is taken.
        max_message_size: u64 as Size = default r#""50MiB""#, in "64KiB" to "4GiB";
    }
}
