//! The spool's figures: how long its groups take, and how large they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use angarium_queue::spool::{Observer, Synced};

use crate::metric;
use crate::net::clock;

/// Measures the groups of one spool.
#[derive(Debug)]
pub(super) struct Groups {
    since: Instant,
    /// Nanoseconds from `since` to the begin of the group under way.
    began_ns: AtomicU64,
}

impl Groups {
    pub(super) fn new() -> Self {
        Self { since: clock::instant(), began_ns: AtomicU64::new(0) }
    }

    fn elapsed(&self) -> Duration {
        clock::instant().duration_since(self.since)
    }
}

impl Observer for Groups {
    fn writing(&self) {
        let nanos = u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.began_ns.store(nanos, Ordering::Relaxed);
    }

    fn synced(&self, group: Synced) {
        let began = Duration::from_nanos(self.began_ns.load(Ordering::Relaxed));
        metric::SPOOL_SYNC.observe_time((), self.elapsed().saturating_sub(began));
        metric::SPOOL_GROUP.observe((), group.batches as u64);
        metric::SPOOL_WRITTEN.add((), group.octets as u64);
    }
}
