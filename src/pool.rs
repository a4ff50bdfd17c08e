//! Floor 5: idle connections to next hops, kept for the next message to the same place.
//!
//! Promises that a connection is kept at most `keep_idle`, is looked at before it is given out,
//! carries no more messages than its next hop or route allows, and says QUIT when its time is over.
//! Bounded per next hop by its concurrency and the probes of it, since only deliveries and probes put
//! connections here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::watch;

use crate::delivery::finding::NoConnection;
use crate::event;
use crate::net::clock;
use crate::net::connection::{Connection, Opening, Times};
use crate::net::tls::client::Client;
use crate::route::limit::Limits;
use crate::route::next_hop::NextHop;
use crate::route::security::Security;
use crate::route::{Handling, Table};

/// The pool, shared by deliveries and probes.
#[derive(Debug)]
pub struct Pool {
    hostname: String,
    tls: Client,
    idle: DashMap<(NextHop, Security), VecDeque<(Instant, Connection)>>,
    /// Next hops that could not be reached, and when that was last told.
    out: DashMap<NextHop, Instant>,
    /// The limits of next hops.
    table: watch::Receiver<Arc<Table>>,
}

/// How often the alarm of an outage is repeated.
const ALARM_TIME: Duration = Duration::from_secs(60);

impl Pool {
    /// An empty pool whose connections say hello as `hostname`; next hops have the limits of the
    /// current `table`.
    pub fn new(hostname: &str, table: watch::Receiver<Arc<Table>>) -> Self {
        let (idle, out) = (DashMap::new(), DashMap::new());
        Self { hostname: hostname.to_owned(), tls: Client::default(), idle, out, table }
    }

    /// The limits that hold for a next hop where a route has its `own`.
    pub fn limits(&self, next_hop: &NextHop, own: Limits) -> Limits {
        own.or(self.table.borrow().site_limits(next_hop))
    }

    /// The connection to `next_hop` that was used last, is secured in this way, still alive and may
    /// carry another message, if any.
    pub fn take(&self, next_hop: &NextHop, handling: &Handling) -> Option<Connection> {
        let mut connections = self.idle.get_mut(&key(next_hop, handling))?;
        while let Some((_, mut connection)) = connections.pop_back() {
            if !connection.is_alive() {
                continue;
            }
            if self.is_used_up(next_hop, handling.limits, &connection) {
                tokio::spawn(connection.quit());
                continue;
            }
            return Some(connection);
        }
        None
    }

    fn is_used_up(&self, next_hop: &NextHop, own: Limits, connection: &Connection) -> bool {
        let limit = self.limits(next_hop, own).messages_per_connection;
        limit.is_some_and(|limit| connection.messages() >= limit)
            || !connection.spent().leaves_a_transaction(connection.limits())
    }

    /// A new connection. That none can be had is an outage of the next hop, for which an alarm is
    /// raised, and lifted when it is over.
    pub async fn open(
        &self,
        next_hop: &NextHop,
        security: &Security,
        times: Times,
    ) -> Result<Connection, NoConnection> {
        let (hostname, tls) = (self.hostname.as_str(), &self.tls);
        let opened = Opening { next_hop, security, hostname, times, tls }.open().await;
        match &opened {
            Ok(_) => {
                if self.out.remove(next_hop).is_some() {
                    event::outage_over(next_hop);
                }
            }
            Err(failed) => self.alarm(next_hop, failed.outcome.reason()),
        }
        opened
    }

    fn alarm(&self, next_hop: &NextHop, why: &str) {
        let now = clock::instant();
        let told = self.out.get(next_hop).map(|told| *told);
        if told.is_none_or(|told| now.duration_since(told) >= ALARM_TIME) {
            self.out.insert(next_hop.clone(), now);
            event::outage(next_hop, why);
        }
    }

    /// Keeps a connection if it may serve again.
    pub fn put(&self, next_hop: &NextHop, handling: &Handling, connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        if self.is_used_up(next_hop, handling.limits, &connection) {
            tokio::spawn(connection.quit());
        } else {
            let since = clock::instant();
            let mut connections = self.idle.entry(key(next_hop, handling)).or_default();
            connections.push_back((since, connection));
        }
    }

    /// Closes what has been idle for `keep_idle`.
    pub fn sweep(&self, keep_idle: Duration) {
        let now = clock::instant();
        let mut old = Vec::new();
        self.idle.retain(|_, connections| {
            while let Some((since, _)) = connections.front() {
                if now.duration_since(*since) < keep_idle {
                    break;
                }
                old.extend(connections.pop_front());
            }
            !connections.is_empty()
        });
        for (_, connection) in old {
            tokio::spawn(connection.quit());
        }
    }
}

/// A connection serves only mail that asks for the same TLS and the same login.
fn key(next_hop: &NextHop, handling: &Handling) -> (NextHop, Security) {
    (next_hop.clone(), handling.security.clone())
}

#[cfg(test)]
mod tests;
