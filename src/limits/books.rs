//! What the operator sees of the books, and how they are cleared.

use std::net::IpAddr;

use super::Limits;
use crate::policy::client;
use crate::policy::guard::Ban;
use crate::policy::quota::Meter;

/// A user who has sent something lately.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The login.
    pub name: String,
    /// What counts by each meter, and the limit, if there is one.
    pub figures: Vec<(Meter, u32, Option<u32>)>,
}

/// An address that is shut out, or was lately.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shut {
    /// The address; of IPv6 the first of its /64.
    pub address: IpAddr,
    /// Until when, and why.
    pub ban: Ban,
}

impl User {
    /// A limit is reached.
    pub fn is_over(&self) -> bool {
        self.figures.iter().any(|(_, used, limit)| limit.is_some_and(|limit| *used >= limit))
    }

    /// Three quarters of a limit are used.
    pub fn is_near(&self) -> bool {
        let near = |used: u32, limit: u32| u64::from(used) * 4 >= u64::from(limit) * 3;
        self.figures.iter().any(|(_, used, limit)| limit.is_some_and(|limit| near(*used, limit)))
    }
}

impl Limits {
    /// All who have sent something lately, by name.
    pub fn users(&self, now_ms: u64) -> Vec<User> {
        let settings = self.settings.load();
        let mut users = Vec::new();
        for mut entry in self.users.iter_mut() {
            entry.settle(now_ms);
            let limits = settings.of(entry.key());
            let figure = |meter| (meter, entry.used(meter), limits.of(meter));
            let figures = Meter::ALL.into_iter().map(figure).collect();
            users.push(User { name: entry.key().to_string(), figures });
        }
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// All who are shut out, or were so lately that the next time is longer; by address.
    pub fn shut(&self, now_ms: u64) -> Vec<Shut> {
        let rules = self.settings.load().guard;
        let guard = self.guard();
        let bans = guard.bans(&rules, now_ms);
        let mut shut: Vec<Shut> =
            bans.map(|(address, ban)| Shut { address, ban: ban.clone() }).collect();
        shut.sort_by_key(|shut| shut.address);
        shut
    }

    /// Forgets all of a user or an address, or of everybody; how many there were.
    pub fn clear(&self, who: Option<&str>) -> usize {
        let count = match who.map(|who| (who, who.parse::<IpAddr>())) {
            None => {
                let users = self.users.len();
                self.users.clear();
                users + self.guard().clear()
            }
            Some((_, Ok(address))) => {
                usize::from(self.guard().clear_address(client::host(address)))
            }
            Some((user, Err(_))) => {
                let (sent, failed) = (self.users.remove(user), self.guard().clear_account(user));
                usize::from(sent.is_some() || failed)
            }
        };
        self.set_changed();
        count
    }
}
