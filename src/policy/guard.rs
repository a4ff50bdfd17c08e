//! Who tries passwords: failed logins by address and by account, and what follows from them.
//!
//! Each further wrong password makes the answer wait longer; an address with too many in a time is
//! shut out for a while, each time for twice as long. Promises that a wrong password which is
//! repeated, as a device does that nobody told of the new one, counts once; that nobody is ever shut
//! out of their account, whatever others try: an account only makes denials slow, and not even those
//! at an address where it was logged in to before; and memory for a fixed number of addresses and
//! accounts, of which the one that was quiet for longest is forgotten. Only a success makes an
//! account's addresses known, so no flood of made-up names takes them away. An IPv6 client is
//! its /64. Wall time, so that what is shut out outlives a restart.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use serde::{Deserialize, Serialize};

use super::client;

/// Addresses and accounts with failures that are remembered: some MiB.
const SUSPECTS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");
/// Accounts whose good addresses are remembered.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
/// Good addresses of an account.
const GOOD_MAX: usize = 8;
/// Failures of an account, and of an address that is never shut out, that are remembered: beyond, it
/// can't get slower.
const REMEMBERED_MAX: usize = 16;
/// So many failures of an address, and of an account, cost no time.
const FREE_OF_ADDRESS: usize = 2;
const FREE_OF_ACCOUNT: usize = 5;
/// The longest that a denial waits: less than clients and a stop of the daemon do.
const DELAY_MAX_S: u64 = 8;
/// Characters of an account that are remembered to be shown.
const ACCOUNT_MAX: usize = 64;

/// What the operator says.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rules {
    /// So many failures shut an address out; 0 for never.
    pub failures_max: usize,
    /// Within so long.
    pub window_ms: u64,
    /// For how long at first.
    pub ban_ms: u64,
    /// For how long at most.
    pub ban_max_ms: u64,
}

/// An address that is shut out, or was lately.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ban {
    /// Until when, in ms since the epoch.
    pub until_ms: u64,
    /// How often it was, one time soon after the other.
    pub times: u32,
    /// The account that was tried last, as far as it can be shown.
    pub account: String,
}

/// What follows from a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consequence {
    /// How long the denial waits.
    pub delay: Duration,
    /// The address is shut out from now on.
    pub ban: Option<Ban>,
}

/// Different failures, the oldest first: when, of or by whom, and the hash of the secret.
#[derive(Debug)]
struct Failures<K>(VecDeque<(u64, K, u64)>);

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: PartialEq> Failures<K> {
    /// Takes note of one, unless it is a repetition; whether it was none.
    fn add(&mut self, who: K, secret: u64, max: usize, now_ms: u64) -> bool {
        if self.0.iter().any(|(_, other, known)| *other == who && *known == secret) {
            return false;
        }
        if self.0.len() >= max {
            self.0.pop_front();
        }
        self.0.push_back((now_ms, who, secret));
        true
    }

    fn forgive(&mut self, who: &K) {
        self.0.retain(|(_, other, _)| other != who);
    }

    /// Forgets what is older than the window, or of a time to come, by a clock that was set back.
    fn settle(&mut self, window_ms: u64, now_ms: u64) {
        self.0.retain(|(at_ms, ..)| now_ms.abs_diff(*at_ms) < window_ms);
    }
}

#[derive(Debug, Default)]
struct Suspect {
    failures: Failures<u64>,
    ban: Option<Ban>,
}

/// The books. Accounts are kept by their hash: clients make names up.
#[derive(Debug)]
pub struct Guard {
    addresses: LruCache<IpAddr, Suspect>,
    accounts: LruCache<u64, Failures<IpAddr>>,
    /// Where accounts were logged in to, the latest last.
    known: LruCache<u64, VecDeque<IpAddr>>,
    keys: RandomState,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            addresses: LruCache::sparse(SUSPECTS_MAX),
            accounts: LruCache::sparse(SUSPECTS_MAX),
            known: LruCache::sparse(KNOWN_MAX),
            keys: RandomState::new(),
        }
    }
}

impl Guard {
    /// Whether an address may come.
    ///
    /// # Errors
    /// Until when it may not, in ms since the epoch.
    pub fn admit(&self, address: IpAddr, now_ms: u64) -> Result<(), u64> {
        let suspect = self.addresses.peek(&client::host(address));
        match suspect.and_then(|suspect| suspect.ban.as_ref()) {
            Some(ban) if ban.until_ms > now_ms => Err(ban.until_ms),
            _ => Ok(()),
        }
    }

    /// Takes note of a wrong secret, of which this is a hash.
    pub fn failed(
        &mut self,
        address: IpAddr,
        account: &str,
        secret: u64,
        rules: &Rules,
        now_ms: u64,
    ) -> Consequence {
        let (host, key) = (client::host(address), self.key(account));
        let of_account = self.accounts.get_or_insert_mut(key, Failures::default);
        of_account.settle(rules.window_ms, now_ms);
        of_account.add(host, secret, REMEMBERED_MAX, now_ms);
        let mut steps = of_account.0.len().saturating_sub(FREE_OF_ACCOUNT);
        if self.known.peek(&key).is_some_and(|good| good.contains(&host)) {
            steps = 0;
        }
        let suspect = self.addresses.get_or_insert_mut(host, Suspect::default);
        suspect.failures.settle(rules.window_ms, now_ms);
        let most = if rules.failures_max > 0 { rules.failures_max } else { REMEMBERED_MAX };
        let fresh = suspect.failures.add(key, secret, most, now_ms);
        let count = suspect.failures.0.len();
        let is_full = rules.failures_max > 0 && fresh && count >= rules.failures_max;
        let ban = is_full.then(|| suspect.shut_out(account, rules, now_ms));
        steps = steps.max(count.saturating_sub(FREE_OF_ADDRESS));
        Consequence { delay: delay(steps), ban }
    }

    /// Takes note of a login: what failed before, from here, was the owner's mistake.
    pub fn succeeded(&mut self, address: IpAddr, account: &str) {
        let (host, key) = (client::host(address), self.key(account));
        if let Some(suspect) = self.addresses.peek_mut(&host) {
            suspect.failures.forgive(&key);
        }
        if let Some(of_account) = self.accounts.peek_mut(&key) {
            of_account.forgive(&host);
        }
        let good = self.known.get_or_insert_mut(key, VecDeque::new);
        good.retain(|other| *other != host);
        if good.len() >= GOOD_MAX {
            good.pop_front();
        }
        good.push_back(host);
    }

    /// Who is shut out now, or was so lately that the next time is longer.
    pub fn bans(&self, rules: &Rules, now_ms: u64) -> impl Iterator<Item = (IpAddr, &Ban)> {
        self.addresses.iter().filter_map(move |(address, suspect)| {
            let ban = suspect.ban.as_ref()?;
            ban.counts(rules, now_ms).then_some((*address, ban))
        })
    }

    /// Shuts out whom an earlier start did.
    pub fn restore(&mut self, address: IpAddr, ban: Ban) {
        self.addresses.get_or_insert_mut(client::host(address), Suspect::default).ban = Some(ban);
    }

    /// Forgets an address; whether anything was known of it.
    pub fn clear_address(&mut self, address: IpAddr) -> bool {
        self.addresses.pop(&client::host(address)).is_some()
    }

    /// Forgets the failures of an account; whether there were any.
    pub fn clear_account(&mut self, account: &str) -> bool {
        let key = self.key(account);
        self.accounts.pop(&key).is_some()
    }

    /// Forgets all failures; how many addresses had some.
    pub fn clear(&mut self) -> usize {
        let count = self.addresses.len();
        self.addresses.clear();
        self.accounts.clear();
        count
    }

    fn key(&self, account: &str) -> u64 {
        self.keys.hash_one(account.to_lowercase())
    }

    /// A hash of something shown, on top of one before; of no use outside of this process.
    pub fn hash(&self, before: u64, shown: impl Hash) -> u64 {
        self.keys.hash_one((before, shown))
    }
}

impl Suspect {
    fn shut_out(&mut self, account: &str, rules: &Rules, now_ms: u64) -> Ban {
        let before = self.ban.take().filter(|ban| ban.counts(rules, now_ms));
        let times = before.map_or(1, |ban| ban.times.saturating_add(1));
        let doubled = rules.ban_ms.saturating_mul(1 << (times - 1).min(20));
        let until_ms = now_ms + doubled.min(rules.ban_max_ms).max(rules.ban_ms);
        self.failures = Failures::default();
        let account = account.chars().take(ACCOUNT_MAX).collect();
        let ban = Ban { until_ms, times, account };
        self.ban = Some(ban.clone());
        ban
    }
}

impl Ban {
    /// Whether the next one is longer because of this.
    fn counts(&self, rules: &Rules, now_ms: u64) -> bool {
        now_ms < self.until_ms.saturating_add(rules.ban_max_ms)
    }
}

/// One second, two, four…
fn delay(steps: usize) -> Duration {
    match steps {
        0 => Duration::ZERO,
        more => Duration::from_secs((1 << (more - 1).min(10)).min(DELAY_MAX_S)),
    }
}

#[cfg(test)]
mod tests;
