//! How often one client may do something: so many in a time, counted by address.
//!
//! Promises that whoever stays within a rate is never refused, that nobody gets more than twice its
//! count in its time, and memory for a fixed number of addresses: of more, the one that was quiet for
//! longest is forgotten, and so may begin anew. An IPv6 client is its /64. What was refused does not
//! count, so that a client that tries on gets its rate and no less.
//!
//! `governor` keeps the same books without a bound on how many clients there are.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::client;
use crate::route::limit::Rate;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Connecting.
    Connection,
    /// MAIL.
    Message,
    /// RCPT.
    Recipient,
    /// Any command.
    Command,
}

/// How many acts there are.
const ACTS: usize = 4;

/// How often each may be; always where nothing is set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Connections.
    pub connections: Option<Rate>,
    /// Messages announced.
    pub messages: Option<Rate>,
    /// Recipients named.
    pub recipients: Option<Rate>,
    /// Commands.
    pub commands: Option<Rate>,
}

impl Limits {
    /// The limit of an act.
    pub fn of(&self, act: Act) -> Option<Rate> {
        match act {
            Act::Connection => self.connections,
            Act::Message => self.messages,
            Act::Recipient => self.recipients,
            Act::Command => self.commands,
        }
    }
}

/// What the clients have done lately.
#[derive(Debug)]
pub struct Rates {
    /// When each bucket will be full again; none is full now.
    clients: LruCache<IpAddr, [Option<Instant>; ACTS]>,
}

impl Rates {
    /// Books for at most so many addresses.
    pub fn new(clients_max: NonZeroUsize) -> Self {
        // It grows as it is filled.
        Self { clients: LruCache::sparse(clients_max) }
    }

    /// Counts an act of a client, and whether it was within the rate.
    pub fn take(&mut self, client: IpAddr, act: Act, rate: Rate, now: Instant) -> bool {
        let acts = self.clients.get_or_insert_mut(client::host(client), || [None; ACTS]);
        let Some(full) = acts.get_mut(act as usize) else { return true };
        let time = Duration::from_millis(rate.per_ms);
        let gap = time / rate.count.max(1);
        let next = full.unwrap_or(now).max(now) + gap;
        let within = next <= now + time;
        if within {
            *full = Some(next);
        }
        within
    }

    /// How many addresses are remembered.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant does to count from")]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    const JOE: &str = "192.0.2.7";

    fn rates(clients: usize) -> Rates {
        Rates::new(NonZeroUsize::new(clients).unwrap())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_client_and_each_act_has_its_own_bucket() {
        let (mut rates, now) = (rates(10), Instant::now());
        let rate = "2/m".parse().unwrap();
        let mut take = |client: &str, act, s| {
            rates.take(address(client), act, rate, now + Duration::from_secs(s))
        };
        assert!(take(JOE, Act::Connection, 0) && take(JOE, Act::Connection, 0));
        assert!(!take("::ffff:192.0.2.7", Act::Connection, 1));
        assert!(take(JOE, Act::Message, 1) && take("192.0.2.8", Act::Connection, 1));
        assert!(!take(JOE, Act::Connection, 29) && take(JOE, Act::Connection, 30));
        assert!(!take(JOE, Act::Connection, 31));
        assert!(
            take("2001:db8:0:1::1", Act::Message, 0) && take("2001:db8:0:1::2", Act::Message, 0)
        );
        assert!(!take("2001:db8:0:1:f::3", Act::Message, 0));
        assert!(take("2001:db8:0:2::1", Act::Message, 0));
    }

    #[test]
    fn a_network_full_of_addresses_takes_no_more_memory_than_it_may() {
        let (mut rates, now) = (rates(100), Instant::now());
        let rate = "1/h".parse().unwrap();
        assert!(rates.take(address(JOE), Act::Connection, rate, now));
        for number in 0..10_000_u128 {
            let client = Ipv6Addr::from_bits((0x2001_0db8 << 96) + (number << 64)).into();
            assert!(rates.take(client, Act::Connection, rate, now));
            if number % 50 == 0 {
                let again = rates.take(address(JOE), Act::Connection, rate, now);
                assert!(!again, "who keeps trying is not forgotten");
            }
        }
        assert_eq!(rates.len(), 100);
    }

    proptest! {
        /// Gaps between tries of one client, against a rate: the bounds that are promised.
        #[test]
        fn nobody_gets_more_than_the_rate_and_a_full_bucket(
            count in 1..50_u32,
            per_ms in 1..100_000_u64,
            gaps_ms in prop::collection::vec(0..2_000_u64, 1..300),
        ) {
            let (mut rates, start) = (rates(1), Instant::now());
            let rate = Rate { count, per_ms };
            let mut at_ms = 0;
            let mut taken_ms = Vec::new();
            for gap_ms in gaps_ms {
                at_ms += gap_ms;
                let now = start + Duration::from_millis(at_ms);
                if rates.take(address(JOE), Act::Message, rate, now) {
                    taken_ms.push(at_ms);
                }
            }
            prop_assert!(!taken_ms.is_empty());
            for (index, from_ms) in taken_ms.iter().enumerate() {
                let within = taken_ms[index..].iter().filter(|ms| **ms < from_ms + per_ms).count();
                prop_assert!(within <= 2 * count as usize, "{within} in {per_ms} ms");
            }
            // From the first on: a bucket, and what flowed in since.
            let flowed = (at_ms - taken_ms[0]) as u128 * u128::from(count) / u128::from(per_ms);
            prop_assert!(taken_ms.len() as u128 <= u128::from(count) + flowed + 1);
        }

        #[test]
        fn whoever_stays_within_the_rate_is_never_refused(
            count in 1..50_u32,
            per_ms in 1..100_000_u64,
            more_ms in prop::collection::vec(0..50_u64, 1..200),
        ) {
            let (mut rates, mut now) = (rates(1), Instant::now());
            let rate = Rate { count, per_ms };
            for more_ms in more_ms {
                prop_assert!(rates.take(address(JOE), Act::Recipient, rate, now));
                now += Duration::from_millis(per_ms.div_ceil(count.into()) + more_ms);
            }
        }
    }
}
