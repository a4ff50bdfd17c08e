//! Routes and tenants: what is counted of them, and their gates.

use std::sync::Arc;

use hashbrown::HashMap;

use super::gate::Gate;
use super::rate::Rate;
use super::site::Limits;
use super::slab::{Link, Linked, NONE, Slab};

/// What one tenant may have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TenantLimits {
    /// Most transactions at a time.
    pub concurrency_max: Option<u32>,
    /// Most messages in a time.
    pub rate: Option<Rate>,
}

/// The stream of a route that got a job last. It stands apart, as so little stays in the cache: the
/// stream and the rest of the route are fetched at the same time.
#[derive(Debug)]
pub(super) struct Latest(pub(super) u32);

impl Default for Latest {
    fn default() -> Self {
        Self(NONE)
    }
}

/// One route.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Route {
    pub(super) site: u32,
    pub(super) jobs: u32,
    pub(super) ready: u32,
    pub(super) assigned: u32,
    /// Most recipients of a transaction; 0 is as its site says.
    pub(super) recipients_max: u32,
    /// Where it has limits of its own, or was paused.
    pub(super) gate: Option<Box<Gate>>,
}

impl Default for Route {
    fn default() -> Self {
        Self { site: NONE, jobs: 0, ready: 0, assigned: 0, recipients_max: 0, gate: None }
    }
}

impl Route {
    pub(super) fn gate(&mut self) -> &mut Gate {
        let assigned = self.assigned;
        self.gate.get_or_insert_with(|| {
            let mut gate = Box::<Gate>::default();
            gate.assigned = assigned;
            gate
        })
    }

    pub(super) fn set_limits(&mut self, limits: Option<Limits>) {
        self.recipients_max = limits.map_or(0, |limits| limits.recipients_max);
        if limits.is_some() || self.gate.is_some() {
            let gate = self.gate();
            gate.concurrency_max = limits.map(|limits| limits.concurrency_max);
            gate.rate = limits.and_then(|limits| limits.rate);
        }
    }
}

/// One tenant.
#[derive(Debug)]
pub(super) struct Tenant {
    /// In the list of those with flows that wait for slots.
    link: Link,
    pub(super) name: Arc<str>,
    pub(super) jobs: u32,
    pub(super) gate: Gate,
    /// Of what is under way, at sites that had not proven themselves.
    pub(super) unproven: u32,
    pub(super) in_line: bool,
    /// Without jobs it keeps its number until then; 0 where it had none yet.
    pub(super) kept_until_ms: u64,
    /// Cost of what was picked for it.
    pub(super) served: u64,
    /// Of this, where somebody else waited for a turn at the same site.
    pub(super) contended: u64,
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            link: Link::default(),
            name: Arc::from(""),
            jobs: 0,
            gate: Gate::default(),
            unproven: 0,
            in_line: false,
            kept_until_ms: 0,
            served: 0,
            contended: 0,
        }
    }
}

impl Linked for Tenant {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// All tenants that have something here.
#[derive(Debug)]
pub(super) struct Tenants {
    pub(super) slab: Slab<Tenant>,
    names: HashMap<Arc<str>, u32>,
    limits: HashMap<Arc<str>, TenantLimits>,
    /// Those with something under way.
    pub(super) active: u32,
}

impl Tenants {
    pub(super) fn new() -> Self {
        Self { slab: Slab::new(), names: HashMap::new(), limits: HashMap::new(), active: 0 }
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    pub(super) fn intern(&mut self, name: &str, usual: &TenantLimits) -> u32 {
        if let Some(known) = self.find(name) {
            return known;
        }
        let limits = self.limits.get(name).unwrap_or(usual);
        let name: Arc<str> = name.into();
        let gate = Gate::new(limits.concurrency_max, limits.rate);
        let tenant = Tenant { name: Arc::clone(&name), gate, ..Tenant::default() };
        let slot = self.slab.insert(tenant);
        self.names.insert(name, slot);
        slot
    }

    pub(super) fn set_limits(&mut self, name: &str, limits: Option<TenantLimits>) {
        match limits {
            Some(limits) => drop(self.limits.insert(name.into(), limits)),
            None => drop(self.limits.remove(name)),
        }
    }

    /// Puts the limits that hold now where they are looked at.
    pub(super) fn apply_limits(&mut self, usual: &TenantLimits) {
        for (name, &slot) in &self.names {
            let limits = self.limits.get(name).unwrap_or(usual);
            let gate = &mut self.slab[slot].gate;
            (gate.concurrency_max, gate.rate) = (limits.concurrency_max, limits.rate);
        }
    }

    /// Forgets a tenant without jobs whose gate remembers nothing.
    pub(super) fn forget(&mut self, slot: u32) {
        let tenant = self.slab.remove(slot);
        self.names.remove(&tenant.name);
    }

    /// Those that have something here.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tenant> {
        self.names.values().map(|&slot| &self.slab[slot])
    }
}
