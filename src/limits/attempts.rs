//! Attempts to log in: who is shut out, and how long a denial waits.
//!
//! Promises that this machine, and addresses that the operator trusts, are never shut out nor slow:
//! behind a proxy or a gateway there are many.

use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::Limits;
use crate::event;
use crate::net::clock;
use crate::policy::client;
use crate::policy::guard::{Consequence, Guard};
use crate::registry::reply::{self, Reply};

impl Limits {
    /// Whether a client may come where users log in.
    ///
    /// # Errors
    /// The refusal of one that is shut out.
    pub fn admit(&self, client: IpAddr, now_ms: u64) -> Result<(), Reply> {
        if self.is_exempt(client) {
            return Ok(());
        }
        self.guard().admit(client, now_ms).map_err(|_| reply::TOO_MANY_FAILURES)
    }

    /// Takes note that a client did not know an account's secret; how long the denial waits.
    pub fn failed(
        &self,
        session: &str,
        client: IpAddr,
        account: &str,
        secret: u64,
        now_ms: u64,
    ) -> Duration {
        if self.is_exempt(client) {
            return Duration::ZERO;
        }
        let rules = self.settings.load().guard;
        let Consequence { delay, ban } =
            self.guard().failed(client, account, secret, &rules, now_ms);
        if let Some(ban) = ban {
            let until = clock::date(ban.until_ms);
            event::shut_out(session, client.to_canonical(), account, ban.times, until);
            self.set_changed();
        }
        delay
    }

    /// Takes note that a client knew an account's secret.
    pub fn succeeded(&self, client: IpAddr, account: &str) {
        self.guard().succeeded(client, account);
    }

    /// A hash of something that a client showed, on top of one before.
    pub fn hash(&self, before: u64, shown: &[u8]) -> u64 {
        self.guard().hash(before, shown)
    }

    fn is_exempt(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        client.is_loopback() || client::is_in(client, &self.settings.load().exempt)
    }

    /// A panic elsewhere leaves the books as good as they were.
    pub(super) fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
