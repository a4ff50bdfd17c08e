//! The handshakes that are under way at a listener.
//!
//! Promises a bound on their number, at all and of each client, that nobody waits for anybody, and
//! that whoever dawdles pays first: where there are too many, the oldest is given up, of the client
//! that has too many or of all. A client that means it is done within moments.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::policy::client;

/// How many there may be at a time; at least one each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Of all clients.
    pub total_max: usize,
    /// Of one client; an IPv6 client is its /64.
    pub per_client_max: usize,
}

/// Handshakes under way.
#[derive(Debug)]
pub(super) struct Handshakes {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By age. A dropped sender tells the handshake that it is given up.
    under_way: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    of_client: HashMap<IpAddr, BTreeSet<u64>>,
}

/// A handshake's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    handshakes: Arc<Handshakes>,
    number: u64,
    given_up: oneshot::Receiver<()>,
}

impl Handshakes {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, table: Mutex::default() }
    }

    /// Takes a place, from the oldest if there is none.
    pub(super) fn begin(self: &Arc<Self>, address: IpAddr) -> Place {
        let client = client::host(address);
        let mut table = self.table();
        let own = table.of_client.get(&client);
        let oldest = match own {
            Some(own) if own.len() >= self.limits.per_client_max => own.first().copied(),
            _ if table.under_way.len() >= self.limits.total_max => {
                table.under_way.first_key_value().map(|(number, _)| *number)
            }
            _ => None,
        };
        if let Some(oldest) = oldest {
            table.remove(oldest);
        }
        let (holds, given_up) = oneshot::channel();
        let number = table.next;
        table.next += 1;
        table.under_way.insert(number, (client, holds));
        table.of_client.entry(client).or_default().insert(number);
        Place { handshakes: Arc::clone(self), number, given_up }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, number: u64) {
        let Some((client, _)) = self.under_way.remove(&number) else { return };
        if let Some(own) = self.of_client.get_mut(&client) {
            own.remove(&number);
            if own.is_empty() {
                self.of_client.remove(&client);
            }
        }
    }
}

impl Place {
    /// Waits until the place is needed for another.
    pub(super) async fn given_up(&mut self) {
        let _ = (&mut self.given_up).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.table().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_given_up(place: &mut Place) -> bool {
        place.given_up.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn the_oldest_gives_way_first_of_the_greedy_then_of_all() {
        let handshakes = Arc::new(Handshakes::new(Limits { total_max: 4, per_client_max: 2 }));
        let begin = |address: &str| handshakes.begin(address.parse().unwrap());
        let mut good = begin("192.0.2.1");
        let mut greedy = [begin("2001:db8::1"), begin("2001:db8::2"), begin("2001:db8::3")];
        assert_eq!(greedy.each_mut().map(is_given_up), [true, false, false]);
        assert!(!is_given_up(&mut good));
        let mut others = [begin("192.0.2.2"), begin("192.0.2.3")];
        assert!(is_given_up(&mut good), "it was the oldest of four");
        assert_eq!(others.each_mut().map(is_given_up), [false, false]);
        drop((good, greedy, others));
        assert!(handshakes.table().under_way.is_empty() && handshakes.table().of_client.is_empty());
    }
}
