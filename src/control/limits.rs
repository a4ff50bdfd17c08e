//! What users have sent and who is shut out, as `angarium limits` shows it.

use serde::{Deserialize, Serialize};

use super::listing::push_line;
use crate::limits::{Limits, Shut, User};
use crate::net::clock;

/// A limit of a user.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// As the configuration names it.
    pub name: String,
    /// What counts now.
    pub used: u32,
    /// What may be; none where there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A user or an address, as a line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Limited {
    /// A user who has sent something lately.
    User {
        /// The login.
        user: String,
        /// A limit is reached.
        over: bool,
        /// Each of the four.
        figures: Vec<Figure>,
    },
    /// An address from which too many logins failed.
    Address {
        /// The address; of IPv6 the first of its /64.
        address: String,
        /// In seconds since the epoch; it is over where that has passed.
        until: u64,
        /// How often it was shut out, one time soon after the other.
        times: u32,
        /// The login that was tried last.
        account: String,
    },
}

/// All that is near a limit or shut out, a line each; or all that is known.
pub(super) fn list(limits: &Limits, all: bool) -> Vec<u8> {
    let now_ms = clock::now_ms();
    let mut lines = Vec::new();
    for user in limits.users(now_ms).into_iter().filter(|user| all || user.is_near()) {
        push_line(&mut lines, &described(user));
    }
    for Shut { address, ban } in limits.shut(now_ms) {
        if all || ban.until_ms > now_ms {
            let (until, times, account) = (ban.until_ms / 1000, ban.times, ban.account);
            let line = Limited::Address { address: address.to_string(), until, times, account };
            push_line(&mut lines, &line);
        }
    }
    lines
}

fn described(user: User) -> Limited {
    let over = user.is_over();
    let figures = user.figures.into_iter().map(|(meter, used, limit)| Figure {
        name: meter.name().to_owned(),
        used,
        limit,
    });
    Limited::User { user: user.name, over, figures: figures.collect() }
}
