//! Whether what looks like one client is a gateway that hides them all.
//!
//! A container's network, a router that rewrites addresses, or a load balancer without a PROXY header
//! gives every client its own private address. Limits then hold for all together, and one entry in
//! `[relay]` makes an open relay. A gateway differs from a busy client of ours by the many names that
//! it says HELO with.
//!
//! Promises a bounded memory, that one public client clears a gateway of nothing and a few others
//! don't hide it, and one finding a day.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

/// Transactions and names that make a gateway.
const SUSPICION: (u32, usize) = (50, 8);
/// The same where the gateway may relay: each one more may be a stranger's.
const SUSPICION_OF_RELAY: (u32, usize) = (10, 4);
/// Among so many transactions at most one is another client's.
const ONE_OF: u32 = 20;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What nearly all clients seem to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Its address.
    pub address: IpAddr,
    /// Transactions that it began.
    pub transactions: u32,
    /// Names that it said HELO with, as far as they were counted.
    pub names: usize,
    /// It may relay, and so may everyone behind it.
    pub may_relay: bool,
}

/// What was seen lately.
#[derive(Debug, Default)]
pub struct Gateway {
    leader: Option<IpAddr>,
    same: u32,
    others: u32,
    /// Hashes: a client must not choose how much is remembered.
    names: BTreeSet<u64>,
    told_ms: Option<u64>,
}

impl Gateway {
    /// Takes note of a transaction that a client from elsewhere began on a public listener.
    pub fn note(
        &mut self,
        client: IpAddr,
        hello: &str,
        may_relay: bool,
        now_ms: u64,
    ) -> Option<Finding> {
        let client = client.to_canonical();
        if self.leader == Some(client) {
            self.same = self.same.saturating_add(1);
        } else {
            self.others = self.others.saturating_add(1);
            if self.others.saturating_mul(ONE_OF) <= self.same {
                return None;
            }
            let told_ms = self.told_ms;
            *self = Self { leader: Some(client), same: 1, told_ms, ..Self::default() };
        }
        if self.names.len() < SUSPICION.1 {
            let mut hasher = DefaultHasher::new();
            hello.to_ascii_lowercase().hash(&mut hasher);
            self.names.insert(hasher.finish());
        }
        let (transactions, names) = if may_relay { SUSPICION_OF_RELAY } else { SUSPICION };
        let told = self.told_ms.is_some_and(|told| now_ms.saturating_sub(told) < DAY_MS);
        if told || self.same < transactions || self.names.len() < names || !hides(client) {
            return None;
        }
        self.told_ms = Some(now_ms);
        let (transactions, names) = (self.same, self.names.len());
        Some(Finding { address: client, transactions, names, may_relay })
    }
}

/// Whether an address says nothing of where a client is: one of this machine or a private network.
fn hides(client: IpAddr) -> bool {
    match client {
        IpAddr::V4(address) => {
            // Carriers share 100.64.0.0/10, and so do some overlay networks.
            let shared = matches!(address.octets(), [100, 64..=127, ..]);
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes `count` transactions, each with another name, and gives the findings.
    fn note(gateway: &mut Gateway, client: &str, count: u32, relay: bool, now_ms: u64) -> usize {
        let client = client.parse().unwrap();
        let hello = |number: u32| format!("h{number}.example");
        (0..count)
            .filter(|number| gateway.note(client, &hello(*number), relay, now_ms).is_some())
            .count()
    }

    #[test]
    fn a_private_address_with_many_names_is_told_once_a_day() {
        for address in ["172.17.0.1", "10.0.2.2", "127.0.0.1", "fd00::1", "::ffff:192.168.0.1"] {
            let mut gateway = Gateway::default();
            assert_eq!(note(&mut gateway, address, 49, false, 0), 0);
            let found = gateway.note(address.parse().unwrap(), "h", false, 0).unwrap();
            assert_eq!((found.transactions, found.names, found.may_relay), (50, 8, false));
            assert_eq!(note(&mut gateway, address, 500, false, DAY_MS - 1), 0);
            assert_eq!(note(&mut gateway, address, 1, false, DAY_MS), 1);
        }
    }

    #[test]
    fn one_that_may_relay_is_told_sooner() {
        let mut gateway = Gateway::default();
        assert_eq!(note(&mut gateway, "10.88.0.1", 9, true, 0), 0);
        assert_eq!(note(&mut gateway, "10.88.0.1", 1, true, 0), 1);
    }

    #[test]
    fn a_busy_client_and_public_addresses_are_none() {
        let mut gateway = Gateway::default();
        let app: IpAddr = "10.0.0.5".parse().unwrap();
        for _ in 0..1000 {
            assert_eq!(gateway.note(app, "app.example", true, 0), None);
        }
        assert_eq!(note(&mut Gateway::default(), "198.51.100.7", 1000, false, 0), 0);
        assert_eq!(note(&mut Gateway::default(), "2001:db8::7", 1000, true, 0), 0);
    }

    #[test]
    fn few_others_hide_no_gateway_and_many_clear_it() {
        let mut gateway = Gateway::default();
        assert_eq!(note(&mut gateway, "172.17.0.1", 45, false, 0), 0);
        assert_eq!(note(&mut gateway, "198.51.100.7", 2, false, 0), 0);
        assert_eq!(note(&mut gateway, "172.17.0.1", 5, false, 0), 1);
        // A LAN client beside the world is only a client.
        let mut mixed = Gateway::default();
        for _ in 0..500 {
            assert_eq!(note(&mut mixed, "10.0.0.5", 5, true, 0), 0);
            assert_eq!(note(&mut mixed, "198.51.100.7", 1, false, 0), 0);
        }
    }
}
