//! From which site the next transaction comes: the one with the fewest under way.
//!
//! Promises that an eighth of the slots is left to tenants below their share, and the last part of
//! that to sites with fewer than two transactions under way; and that sites that carried out nothing
//! lately hold a quarter at most where others want slots: so that neither many slow sites nor many
//! dead ones stop the others. What can't be picked from is not listed.

use super::list::List;
use super::site::{Listing, Site};
use super::slab::Slab;

const BUCKETS: usize = 64;
/// Counts up to this have a bucket each.
const EXACT: u32 = 32;

/// All sites that can be picked from, by what they have under way.
#[derive(Debug)]
pub(super) struct Slots {
    lists: [Side; 2],
    /// Assignments at a time.
    pub(super) max: u32,
    pub(super) assigned: u32,
    /// Of these, at sites that had not proven themselves.
    pub(super) unproven: u32,
    /// The last one was picked from a site that had proven itself.
    was_proven: bool,
    /// Until then, tenants below their share want more than there is: of all slots, and of those of
    /// unproven sites.
    pressed_until_ms: (u64, u64),
}

/// For so long after slots ran short they are shared evenly.
const PRESSED_MS: u64 = 50;

/// The last eighth is left to tenants below their share, and all while these want more than that.
fn is_scarce(assigned: u32, max: u32, pressed_until_ms: u64, now_ms: u64) -> bool {
    assigned >= max - max / 8 || now_ms < pressed_until_ms
}

/// The share of one of so many tenants that have something under way.
fn share(max: u32, active: u32) -> u32 {
    ((max - max / 8) / active.max(1)).max(max / 16).max(1)
}

#[derive(Debug)]
struct Side {
    buckets: [List; BUCKETS],
    occupied: u64,
}

/// The bucket of a count: exact where it is small, then by powers of two.
pub(super) fn bucket(assigned: u32) -> u8 {
    match assigned {
        0..EXACT => assigned as u8,
        _ => (EXACT + assigned.ilog2() - EXACT.ilog2()) as u8,
    }
}

impl Slots {
    pub(super) fn new(max: u32) -> Self {
        let side = || Side { buckets: [List::default(); BUCKETS], occupied: 0 };
        Self {
            lists: [side(), side()],
            max,
            assigned: 0,
            unproven: 0,
            was_proven: false,
            pressed_until_ms: (0, 0),
        }
    }

    /// Lists a site elsewhere, or nowhere.
    pub(super) fn relist(&mut self, sites: &mut Slab<Site>, site: u32, listing: Listing) {
        let before = std::mem::replace(&mut sites[site].listing, listing);
        if before == listing {
            return;
        }
        if let Some((side, bucket)) = before.and_then(|listing| self.bucket(listing)) {
            bucket.unlink(sites, site);
            let empty = bucket.is_empty();
            self.mark(side, empty);
        }
        if let Some((side, bucket)) = listing.and_then(|listing| self.bucket(listing)) {
            bucket.push_back(sites, site);
            self.mark(side, false);
        }
    }

    /// Puts a site behind those that have as much under way.
    pub(super) fn requeue(&mut self, sites: &mut Slab<Site>, site: u32) {
        let listing = sites[site].listing;
        self.relist(sites, site, None);
        self.relist(sites, site, listing);
    }

    /// The site to pick from next.
    pub(super) fn choose(&mut self) -> Option<u32> {
        let free = self.max.saturating_sub(self.assigned);
        if free == 0 {
            return None;
        }
        // The last ones are for those with nothing or one under way.
        let reserve = u64::MAX >> 62;
        let allowed = if free <= self.max / 16 { reserve } else { u64::MAX };
        let lowest = |side: usize| {
            let occupied = self.lists.get(side).map_or(0, |side| side.occupied & allowed);
            occupied.trailing_zeros()
        };
        let unproven = if self.unproven < self.unproven_max() { lowest(0) } else { 64 };
        let proven = lowest(1);
        let side = proven < unproven || proven == unproven && !self.was_proven;
        let bucket = if side { proven } else { unproven };
        let list = self.lists.get(usize::from(side))?.buckets.get(bucket as usize)?;
        self.was_proven = side;
        Some(list.head)
    }

    /// Whether a tenant with so much under way, and so much of it at sites that had not proven
    /// themselves, may have no more now, so that others may.
    pub(super) fn is_over_share(
        &self,
        proven: bool,
        tenant: (u32, u32),
        active: u32,
        now_ms: u64,
    ) -> bool {
        let (assigned, unproven) = tenant;
        let all = is_scarce(self.assigned, self.max, self.pressed_until_ms.0, now_ms);
        if all && assigned >= share(self.max, active) {
            return true;
        }
        let max = self.unproven_max();
        let few = !proven && is_scarce(self.unproven, max, self.pressed_until_ms.1, now_ms);
        few && unproven >= share(max, active)
    }

    /// Until when slots are shared evenly because they ran short, if they are.
    pub(super) fn pressed_until(&self, now_ms: u64) -> Option<u64> {
        let (all, unproven) = self.pressed_until_ms;
        [all, unproven].into_iter().filter(|&until_ms| until_ms > now_ms).min()
    }

    /// Books a transaction that starts, of a tenant below its share.
    pub(super) fn start(&mut self, proven: bool, now_ms: u64) {
        self.assigned += 1;
        if self.max - self.max / 16 <= self.assigned && self.max >= 16 {
            self.pressed_until_ms.0 = now_ms + PRESSED_MS;
        }
        if !proven {
            self.unproven += 1;
            let max = self.unproven_max();
            if max - max / 16 <= self.unproven && max >= 16 {
                self.pressed_until_ms.1 = now_ms + PRESSED_MS;
            }
        }
    }

    /// How many of the slots sites may have that carried out nothing lately: a quarter, and half
    /// while no other can be picked from.
    fn unproven_max(&self) -> u32 {
        let proven = self.lists.get(1).is_some_and(|side| side.occupied != 0);
        (if proven { self.max / 4 } else { self.max / 2 }).max(1)
    }

    fn bucket(&mut self, (proven, bucket): (bool, u8)) -> Option<((usize, u8), &mut List)> {
        let side = usize::from(proven);
        let list = self.lists.get_mut(side)?.buckets.get_mut(usize::from(bucket))?;
        Some(((side, bucket), list))
    }

    fn mark(&mut self, (side, bucket): (usize, u8), empty: bool) {
        if let Some(side) = self.lists.get_mut(side) {
            let bit = 1 << bucket;
            side.occupied = if empty { side.occupied & !bit } else { side.occupied | bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(max: u32) -> (Slots, Slab<Site>) {
        let mut sites = Slab::new();
        sites.reach(9);
        (Slots::new(max), sites)
    }

    #[test]
    fn the_site_with_the_fewest_goes_first() {
        let (mut slots, mut sites) = slots(100);
        for (site, assigned) in [(1, 5), (2, 3), (3, 40), (4, 3)] {
            slots.relist(&mut sites, site, Some((true, bucket(assigned))));
        }
        assert_eq!(slots.choose(), Some(2));
        slots.requeue(&mut sites, 2);
        assert_eq!(slots.choose(), Some(4));
        slots.relist(&mut sites, 4, None);
        slots.relist(&mut sites, 2, Some((true, bucket(6))));
        assert_eq!(slots.choose(), Some(1));
        slots.relist(&mut sites, 1, None);
        slots.relist(&mut sites, 2, None);
        assert_eq!(slots.choose(), Some(3));
        slots.relist(&mut sites, 3, None);
        assert_eq!(slots.choose(), None);
    }

    #[test]
    fn the_last_eighth_is_for_those_with_little() {
        let (mut slots, mut sites) = slots(80);
        slots.relist(&mut sites, 1, Some((true, bucket(2))));
        slots.assigned = 74;
        assert_eq!(slots.choose(), Some(1));
        slots.assigned = 75;
        assert_eq!(slots.choose(), None);
        slots.relist(&mut sites, 2, Some((true, bucket(1))));
        assert_eq!(slots.choose(), Some(2));
        slots.assigned = 80;
        assert_eq!(slots.choose(), None);
    }

    #[test]
    fn a_tenant_may_have_most_alone_and_its_share_where_others_want_theirs() {
        let (mut slots, _) = slots(80);
        slots.assigned = 69;
        assert!(!slots.is_over_share(true, (69, 0), 1, 0));
        slots.assigned = 70;
        assert!(slots.is_over_share(true, (70, 0), 1, 0), "an eighth is left to others");
        assert!(!slots.is_over_share(true, (3, 0), 2, 0));
        (70..75).for_each(|_| slots.start(true, 1_000));
        slots.assigned = 40;
        assert!(slots.is_over_share(true, (35, 0), 2, 1_049), "others wanted more");
        assert!(!slots.is_over_share(true, (34, 0), 2, 1_049));
        assert!(!slots.is_over_share(true, (35, 0), 2, 1_050), "and no longer do");
    }

    #[test]
    fn the_unproven_hold_a_quarter_and_take_turns() {
        let (mut slots, mut sites) = slots(80);
        slots.relist(&mut sites, 1, Some((true, 0)));
        slots.relist(&mut sites, 2, Some((false, 0)));
        let turns: Vec<_> = (0..4).map(|_| slots.choose().unwrap()).collect();
        assert!(turns == [1, 2, 1, 2] || turns == [2, 1, 2, 1], "{turns:?}");
        slots.unproven = 20;
        assert_eq!(slots.choose(), Some(1));
        slots.relist(&mut sites, 1, None);
        assert_eq!(slots.choose(), Some(2), "nobody else wants the slots");
        slots.unproven = 40;
        assert_eq!(slots.choose(), None);
    }
}
