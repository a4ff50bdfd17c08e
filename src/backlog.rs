//! Floor 5: how much waits for each tenant, and who has so much that new mail is refused.
//!
//! The dispatcher sets what it has; sessions ask. Promises that only tenants with something waiting
//! take memory, and that one tenant's backlog says nothing to another. What sessions have in hand
//! when the limit is reached is still taken, so that the limit may be passed by that much.

use std::sync::Arc;

use arc_swap::ArcSwap;
use dashmap::DashMap;

use crate::policy::tenant::Tenants;
use crate::registry::reply::{self, Reply};

/// What waits, by tenant; shared by the dispatcher and all sessions.
#[derive(Debug)]
pub struct Backlog {
    /// Jobs: a message for one destination each. Never zero.
    waiting: DashMap<Box<str>, usize>,
    tenants: ArcSwap<Tenants>,
}

impl Backlog {
    /// Nothing waits yet; `tenants` says how much may.
    pub fn new(tenants: Tenants) -> Self {
        Self { waiting: DashMap::new(), tenants: ArcSwap::from_pointee(tenants) }
    }

    /// Other limits, from now on.
    pub fn set_tenants(&self, tenants: Tenants) {
        self.tenants.store(Arc::new(tenants));
    }

    /// So many jobs of a tenant are waiting or under way.
    pub fn set(&self, tenant: &str, jobs: usize) {
        if jobs == 0 {
            self.waiting.remove(tenant);
        } else if let Some(mut waiting) = self.waiting.get_mut(tenant) {
            *waiting = jobs;
        } else {
            self.waiting.insert(tenant.into(), jobs);
        }
    }

    /// Whether a tenant has as much waiting as it may have.
    pub fn is_full(&self, tenant: &str) -> bool {
        let limit = self.tenants.load().limits(tenant).backlog;
        limit.is_some_and(|limit| {
            self.waiting.get(tenant).is_some_and(|waiting| *waiting >= limit as usize)
        })
    }

    /// What a tenant that wants to send is told.
    pub fn check(&self, tenant: &str) -> Result<(), Reply> {
        if self.is_full(tenant) { Err(reply::BACKLOG_FULL) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tenant::Limits;

    fn limits(backlog: u32) -> Limits {
        Limits { backlog: Some(backlog), ..Limits::default() }
    }

    #[test]
    fn a_tenant_is_full_at_its_own_limit() {
        let backlog = Backlog::new(Tenants::new(limits(3), [("joe".to_owned(), limits(5))]));
        assert!(!backlog.is_full("joe"));
        for (tenant, jobs, full) in
            [("joe", 3, false), ("joe", 5, true), ("ann", 3, true), ("bob", 2, false)]
        {
            backlog.set(tenant, jobs);
            assert_eq!(backlog.is_full(tenant), full, "{tenant} {jobs}");
        }
        backlog.set("joe", 4);
        assert!(!backlog.is_full("joe") && backlog.is_full("ann"));
        backlog.set_tenants(Tenants::default());
        assert!(!backlog.is_full("ann"), "no limit any more");
    }

    #[test]
    fn who_has_nothing_waiting_takes_no_memory() {
        let backlog = Backlog::new(Tenants::new(limits(1), []));
        backlog.set("joe", 1);
        backlog.set("joe", 0);
        backlog.set("ann", 0);
        assert!(backlog.waiting.is_empty() && !backlog.is_full("joe"));
    }
}
