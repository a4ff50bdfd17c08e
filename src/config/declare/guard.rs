//! The options against those who try passwords.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::address::Network;
use crate::config::option::sections;
use crate::config::value::{Count, List, Span};

sections! {
    /// What becomes of those who try passwords. Each further wrong one is answered later, up to 8s.
    /// The same wrong password for the same login counts once. This machine, [relay] `from` and
    /// proxies are never shut out, and no user is ever locked out of an account by others.
    Table Guard = "guard" {
        /// So many failed logins shut an address, for IPv6 its /64, out; 0 for never. It gets a 421
        /// where users log in, and is served elsewhere.
        failures: usize as Count = default "10", in "0" to "100";

        /// Within how long.
        window: Duration as Span = default r#""1h""#, in "1m" to "7d";

        /// For how long at first; each further time soon after is twice as long.
        ban: Duration as Span = default r#""10m""#, in "1s" to "7d";

        /// For how long at most.
        ban_max: Duration as Span = default r#""1d""#, in "1s" to "30d";

        /// Networks that are never shut out nor slow.
        exempt: Vec<IpNet> as List<Network> = default "[]";
    }
}
