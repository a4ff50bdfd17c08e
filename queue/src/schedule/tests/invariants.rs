//! What must hold after every call: each count agrees with what is counted, each list with the
//! state of what stands in it, and each site is listed exactly while it can be picked from.

use std::collections::{BTreeMap, BTreeSet};

use super::super::entry::Place;
use super::super::flow::{Flow, Level, Standing};
use super::super::slab::NONE;
use super::super::slots::bucket;
use super::super::*;

fn list<T>(slab: &Slab<T>, list: List, next: impl Fn(&T) -> u32) -> Vec<u32> {
    let some = |slot: u32| (slot != NONE).then_some(slot);
    let all: Vec<u32> =
        std::iter::successors(some(list.head), |&slot| some(next(&slab[slot]))).collect();
    assert_eq!(list.tail, all.last().copied().unwrap_or(NONE));
    all
}

/// Panics where anything disagrees.
pub(crate) fn check(scheduler: &Scheduler, now_ms: u64) {
    let entries: Vec<u32> =
        (0..scheduler.jobs.used()).filter(|&key| !scheduler.jobs[key].is_vacant()).collect();
    assert_eq!(entries.len(), scheduler.len());
    let flows = check_flows(scheduler, &entries);
    check_counts(scheduler, &entries);
    check_messages(scheduler, &entries);
    check_sites(scheduler, &flows, now_ms);
    assert_eq!(flows.len(), scheduler.flows.slab.len());
}

/// Every flow is reached from a job, and stands where its work says.
fn check_flows(scheduler: &Scheduler, entries: &[u32]) -> BTreeMap<u32, u32> {
    let flows = &scheduler.flows.slab;
    let mut users: BTreeMap<u32, u32> = BTreeMap::new();
    for &key in entries {
        let mut at = scheduler.jobs[key].flow;
        let mut known = users.contains_key(&at);
        *users.entry(at).or_default() += 1;
        while !known && flows[at].level != Level::Class {
            at = flows[at].parent;
            known = users.contains_key(&at);
            *users.entry(at).or_default() += 1;
        }
    }
    for (&slot, &count) in &users {
        let flow = &flows[slot];
        assert_eq!(flow.users, count, "{:?} {slot}", flow.level);
        let idle = match flow.level {
            Level::Stream => flow.rings.old.is_empty(),
            _ => flow.rings.is_empty(),
        };
        assert_eq!(flow.standing == Standing::Idle, idle, "{:?} {slot}", flow.level);
        check_ring(scheduler, slot, flow);
    }
    users
}

fn check_ring(scheduler: &Scheduler, slot: u32, flow: &Flow) {
    let rings = match flow.level {
        Level::Class => scheduler.sites[flow.parent].rings,
        _ => scheduler.flows.slab[flow.parent].rings,
    };
    let line = match flow.standing {
        Standing::Idle => return,
        Standing::Fresh => rings.fresh,
        Standing::Old => rings.old,
        Standing::Blocked if flow.level == Level::Stream => {
            scheduler.routes[flow.route].gate.as_ref().unwrap().line
        }
        Standing::Blocked => scheduler.tenants.slab[flow.key].gate.line,
    };
    assert!(list(&scheduler.flows.slab, line, Flow::next).contains(&slot));
}

fn check_counts(scheduler: &Scheduler, entries: &[u32]) {
    let place = |key: &u32| scheduler.jobs[*key].place();
    let under_way = |key: &u32| matches!(place(key), Place::Assigned | Place::Withdrawn);
    let assigned = entries.iter().filter(|key| under_way(key)).count();
    assert_eq!(assigned, scheduler.assigned());
    let unproven = entries.iter().filter(|&key| under_way(key));
    let unproven = unproven.filter(|&&key| scheduler.jobs[key].is_unproven()).count();
    assert_eq!(unproven, scheduler.slots.unproven as usize);
    for route in 0..scheduler.routes.used() {
        let of = |key: &&u32| scheduler.flows.slab[scheduler.jobs[**key].flow].route == route;
        let all: Vec<&u32> = entries.iter().filter(of).collect();
        let ready = all.iter().filter(|key| place(key) == Place::Ready).count();
        let assigned = all.iter().filter(|key| under_way(key)).count();
        assert_eq!(scheduler.load(RouteId(route)), (ready, assigned, all.len()));
    }
    let mut active = 0;
    for share in scheduler.shares() {
        let tenant = scheduler.tenants.find(&share.tenant).unwrap();
        let of = |key: &&u32| scheduler.flows.path(scheduler.jobs[**key].flow).tenant == tenant;
        let all: Vec<&u32> = entries.iter().filter(of).collect();
        let assigned = all.iter().filter(|key| under_way(key)).count();
        assert_eq!((share.jobs as usize, share.assigned as usize), (all.len(), assigned));
        active += u32::from(assigned > 0);
    }
    assert_eq!(active, scheduler.tenants.active);
}

fn check_messages(scheduler: &Scheduler, entries: &[u32]) {
    let ids: BTreeSet<MessageId> =
        entries.iter().map(|&key| scheduler.jobs[key].message()).collect();
    let mut reached = Vec::new();
    for id in ids {
        let keys = scheduler.keys(id);
        assert!(keys.iter().all(|&key| scheduler.jobs[key].message() == id));
        reached.extend(keys);
    }
    reached.sort_unstable();
    assert_eq!(reached, entries);
}

fn check_sites(scheduler: &Scheduler, flows: &BTreeMap<u32, u32>, now_ms: u64) {
    for site in 0..scheduler.sites.used() {
        let known = &scheduler.sites[site];
        let active = |slot: &u32| {
            let flow = &scheduler.flows.slab[*slot];
            flow.level == Level::Stream
                && matches!(flow.standing, Standing::Fresh | Standing::Old)
                && scheduler.flows.site(*slot) == site
        };
        let streams: Vec<u32> = flows.keys().copied().filter(active).collect();
        assert_eq!(known.streams as usize, streams.len());
        if known.streams == 1 && known.only != NONE {
            assert_eq!(streams, [known.only]);
        }
        let shut = known.shut(&scheduler.options.site, now_ms);
        if let Some((_, listed)) = known.listing {
            assert_eq!(listed, bucket(known.assigned));
        }
        // A site whose rate opens by itself is listed when its timer fires.
        let wakes = scheduler.timers.iter().any(|&(_, timer)| timer == Timer::Site(site));
        if shut.is_none() {
            assert!(known.listing.is_some() || wakes, "site {site} is forgotten");
        }
        if known.listing.is_some() {
            assert!(!known.rings.is_empty() && known.outage().is_none());
        }
    }
}
