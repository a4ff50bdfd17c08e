//! Flows: who takes turns at a site. Class, band, tenant and stream, one beneath the other.
//!
//! Each keeps its credit for deficit round robin: a transaction is paid on all four levels when it
//! is picked, debt is allowed, and waits in line until rounds have paid it. A flow that has just got
//! something to do goes before the old ones, by turns with them. A flow exists while a job does.

use super::STEPS_MAX;
use super::chains::{Chained, Chains};
use super::entry::{COST_MAX, UNIT};
use super::job::{Band, Class};
use super::list::List;
use super::slab::{Link, Linked, NONE, Slab};

/// Places for the bands of each class.
const BANDS: u8 = 8;
/// Bits of a class and a band.
const LANE_BITS: u32 = 5;
/// Streams of one tenant on one route.
const STREAMS: u64 = 64;
/// Streams of big messages have numbers from here on.
const BIG: u32 = 1 << 31;

/// Which of the levels.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Level {
    Class,
    Band,
    Tenant,
    #[default]
    Stream,
}

/// Where a flow stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Standing {
    /// Nothing of it is ready.
    #[default]
    Idle,
    /// In its parent's line of those that just came.
    Fresh,
    /// In its parent's line of the others.
    Old,
    /// In the line of a gate that is closed to it.
    Blocked,
}

/// Those that have something ready beneath one parent.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Rings {
    pub(super) fresh: List,
    pub(super) old: List,
    /// The last one picked was fresh.
    pub(super) was_fresh: bool,
}

impl Rings {
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.old.is_empty()
    }

    fn is_single(&self) -> bool {
        self.fresh.is_empty() && self.old.is_single()
            || self.old.is_empty() && self.fresh.is_single()
    }
}

/// One flow, in a cache line of its own.
#[derive(Default, Debug)]
#[repr(align(64))]
pub(super) struct Flow {
    link: Link,
    /// The flow above; of a class, the site.
    pub(super) parent: u32,
    chain: u32,
    /// Class, band, tenant or stream.
    pub(super) key: u32,
    /// Of a stream: the route.
    pub(super) route: u32,
    /// Of a stream: the tenant.
    pub(super) tenant: u32,
    pub(super) credit: i32,
    /// Jobs of a stream, or flows beneath.
    pub(super) users: u32,
    /// What is ready: of a stream, `old` are its jobs.
    pub(super) rings: Rings,
    pub(super) level: Level,
    pub(super) standing: Standing,
    /// It left its parent's rings because of a gate, its own or those of all beneath it.
    held_up: bool,
    /// Of a stream: class and band.
    pub(super) lane: u8,
    quantum: u16,
}

impl Flow {
    /// Its part of what its parent gets, in units.
    #[cfg(test)]
    pub(super) fn weight(&self) -> f64 {
        f64::from(self.quantum) / f64::from(UNIT)
    }

    /// The next in the list it is in.
    pub(super) fn next(&self) -> u32 {
        self.link.next
    }
}

impl Linked for Flow {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

fn hash(a: u32, b: u32, c: u32, level: Level) -> u32 {
    let mut hash = (u64::from(a) << 32 | u64::from(b)) ^ (u64::from(c) << 8 | level as u64) << 20;
    hash = (hash ^ hash >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ hash >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (hash >> 32) as u32
}

impl Chained for Slab<Flow> {
    fn hash(&self, slot: u32) -> u32 {
        let flow = &self[slot];
        match flow.level {
            Level::Stream => hash(
                flow.route,
                flow.tenant,
                flow.key << LANE_BITS | u32::from(flow.lane),
                flow.level,
            ),
            level => hash(flow.parent, flow.key, 0, level),
        }
    }

    fn next(&self, slot: u32) -> u32 {
        self[slot].chain
    }

    fn set_next(&mut self, slot: u32, next: u32) {
        self[slot].chain = next;
    }
}

/// Whose turn a job waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Path {
    pub(super) site: u32,
    pub(super) route: u32,
    pub(super) class: Class,
    pub(super) band: Band,
    pub(super) tenant: u32,
    pub(super) stream: u32,
}

impl Path {
    fn lane(&self) -> u8 {
        self.class as u8 * BANDS + self.band as u8
    }
}

/// The number of a stream on its route: one of 64, or one of its own for a big message.
pub(super) fn stream(sender: u64, big_message: Option<u64>) -> u32 {
    match big_message {
        Some(id) => BIG | id as u32,
        None => (sender % STREAMS) as u32,
    }
}

pub(super) fn class_of(lane: u8) -> Class {
    match lane / BANDS {
        0 => Class::Submitted,
        1 => Class::Inbound,
        _ => Class::Report,
    }
}

fn band_of(lane: u8) -> Band {
    match lane % BANDS {
        0 => Band::Urgent,
        1 => Band::Highest,
        2 => Band::High,
        3 => Band::Raised,
        4 => Band::Normal,
        5 => Band::Lowered,
        _ => Band::Low,
    }
}

/// Credits for each round. A big message gets an eighth of what others do.
fn quantum(level: Level, key: u32) -> u16 {
    let weight = match level {
        Level::Class => [4, 2, 1].get(key as usize),
        Level::Band => [16, 12, 8, 6, 4, 2, 1].get(key as usize),
        Level::Tenant => None,
        Level::Stream if key & BIG != 0 => return UNIT as u16 / 8,
        Level::Stream => None,
    };
    weight.unwrap_or(&1) * UNIT as u16
}

/// All flows of all sites.
#[derive(Debug)]
pub(super) struct Flows {
    pub(super) slab: Slab<Flow>,
    chains: Chains,
}

impl Flows {
    pub(super) fn new() -> Self {
        Self { slab: Slab::new(), chains: Chains::new() }
    }

    /// The stream at the end of a path; made, with all above it, if it is not there. `guess` may be
    /// it.
    pub(super) fn stream(&mut self, path: &Path, guess: u32) -> u32 {
        let (lane, key) = (path.lane(), path.stream);
        let is_it = |slot: u32| {
            let flow = &self.slab[slot];
            flow.level == Level::Stream
                && flow.users > 0
                && (flow.route, flow.tenant, flow.key) == (path.route, path.tenant, key)
                && flow.lane == lane
        };
        if guess != NONE && is_it(guess) {
            return guess;
        }
        let wanted =
            hash(path.route, path.tenant, key << LANE_BITS | u32::from(lane), Level::Stream);
        if let Some(stream) = self.chains.find(&self.slab, wanted, is_it) {
            return stream;
        }
        let parent = self.tenant(path);
        let (route, tenant) = (path.route, path.tenant);
        self.insert(Flow { parent, key, route, tenant, lane, ..Flow::default() }, Level::Stream)
    }

    /// Puts a stream that is idle beneath another site.
    pub(super) fn adopt(&mut self, stream: u32, site: u32) {
        let path = Path { site, ..self.path(stream) };
        let parent = self.tenant(&path);
        self.slab[parent].users += 1;
        let before = std::mem::replace(&mut self.slab[stream].parent, parent);
        self.release(before);
    }

    /// Where a stream is.
    pub(super) fn path(&self, stream: u32) -> Path {
        let flow = &self.slab[stream];
        Path {
            site: self.site(stream),
            route: flow.route,
            class: class_of(flow.lane),
            band: band_of(flow.lane),
            tenant: flow.tenant,
            stream: flow.key,
        }
    }

    /// The site of a flow.
    pub(super) fn site(&self, mut flow: u32) -> u32 {
        while self.slab[flow].level != Level::Class {
            flow = self.slab[flow].parent;
        }
        self.slab[flow].parent
    }

    /// One user less; a flow without any goes, and is idle by then.
    pub(super) fn release(&mut self, mut flow: u32) {
        loop {
            self.slab[flow].users -= 1;
            if self.slab[flow].users > 0 {
                return;
            }
            self.chains.remove(&mut self.slab, flow);
            let gone = self.slab.remove(flow);
            if gone.level == Level::Class {
                return;
            }
            flow = gone.parent;
        }
    }

    /// A stream got its turn, and all above it. One that was only looked at did not: else a fresh one
    /// that is held up would lose its turn to an old one each time.
    pub(super) fn take_turn(&mut self, stream: u32, site: &mut Rings) {
        let mut at = stream;
        loop {
            let flow = &self.slab[at];
            let (fresh, level, parent) =
                (flow.standing == Standing::Fresh, flow.level, flow.parent);
            if level == Level::Class {
                site.was_fresh = fresh;
                return;
            }
            self.slab[parent].rings.was_fresh = fresh;
            at = parent;
        }
    }

    /// A transaction of this stream was picked.
    pub(super) fn charge(&mut self, stream: u32, cost: i32) {
        self.for_each_level(stream, |flow| {
            flow.credit = (flow.credit - cost).max(-(COST_MAX as i32))
        });
    }

    /// A transaction of this stream was picked, and nobody else wanted a turn: what it owes is only
    /// this, and those above it owe nothing.
    pub(super) fn charge_alone(&mut self, stream: u32, cost: i32) {
        self.slab[stream].credit = -cost;
    }

    /// A transaction of this stream was given back.
    pub(super) fn refund(&mut self, stream: u32, cost: i32) {
        self.for_each_level(stream, |flow| {
            flow.credit = (flow.credit + cost).min(i32::from(flow.quantum));
        });
    }

    fn for_each_level(&mut self, stream: u32, change: impl Fn(&mut Flow)) {
        let mut at = stream;
        loop {
            let flow = &mut self.slab[at];
            change(flow);
            if flow.level == Level::Class {
                return;
            }
            at = flow.parent;
        }
    }

    /// Whose turn it is of those in the rings; none when `steps` are used up first. Mostly the rings
    /// stay as they were: true if they did not.
    pub(super) fn turn(&mut self, rings: &mut Rings, steps: &mut u32) -> (Option<u32>, bool) {
        let single = rings.is_single();
        let mut turned = false;
        while *steps < STEPS_MAX {
            *steps += 1;
            let fresh = !rings.fresh.is_empty() && (!rings.was_fresh || rings.old.is_empty());
            let line = if fresh { &mut rings.fresh } else { &mut rings.old };
            let first = line.head;
            if first == NONE {
                break;
            }
            let flow = &mut self.slab[first];
            if single {
                flow.credit = flow.credit.max(0);
            }
            if single || flow.credit > 0 {
                return (Some(first), turned);
            }
            flow.credit += i32::from(flow.quantum);
            flow.standing = Standing::Old;
            line.unlink(&mut self.slab, first);
            rings.old.push_back(&mut self.slab, first);
            turned = true;
        }
        (None, turned)
    }

    /// Puts a flow with something to do into its parent's rings. One that was held up goes on where it
    /// was: it is not fresh, and keeps what it saved.
    pub(super) fn join(&mut self, rings: &mut Rings, slot: u32) {
        let flow = &mut self.slab[slot];
        if std::mem::take(&mut flow.held_up) || flow.credit < 0 {
            flow.standing = Standing::Old;
            rings.old.push_back(&mut self.slab, slot);
        } else {
            flow.credit = i32::from(flow.quantum);
            flow.standing = Standing::Fresh;
            rings.fresh.push_back(&mut self.slab, slot);
        }
    }

    /// Takes a flow out of its parent's rings, as it has nothing to do, or is held up. In the first
    /// case what it had saved is gone; what it owes is not.
    pub(super) fn leave(&mut self, rings: &mut Rings, slot: u32, held_up: bool) {
        match self.slab[slot].standing {
            Standing::Fresh => rings.fresh.unlink(&mut self.slab, slot),
            Standing::Old => rings.old.unlink(&mut self.slab, slot),
            Standing::Idle | Standing::Blocked => return,
        }
        if !held_up {
            return self.rest(slot);
        }
        let flow = &mut self.slab[slot];
        (flow.held_up, flow.standing) = (true, Standing::Idle);
    }

    /// A flow in no ring has nothing to do.
    pub(super) fn rest(&mut self, slot: u32) {
        let flow = &mut self.slab[slot];
        flow.credit = flow.credit.min(0);
        flow.held_up = false;
        flow.standing = Standing::Idle;
    }

    fn tenant(&mut self, path: &Path) -> u32 {
        let class = self.beneath(path.site, path.class as u32, Level::Class);
        let band = self.beneath(class, path.band as u32, Level::Band);
        self.beneath(band, path.tenant, Level::Tenant)
    }

    fn beneath(&mut self, parent: u32, key: u32, level: Level) -> u32 {
        let is_it = |slot: u32| {
            let flow = &self.slab[slot];
            (flow.parent, flow.key, flow.level) == (parent, key, level)
        };
        let found = self.chains.find(&self.slab, hash(parent, key, 0, level), is_it);
        found.unwrap_or_else(|| self.insert(Flow { parent, key, ..Flow::default() }, level))
    }

    fn insert(&mut self, flow: Flow, level: Level) -> u32 {
        let (parent, quantum) = (flow.parent, quantum(level, flow.key));
        let slot = self.slab.insert(Flow { level, quantum, ..flow });
        self.chains.insert(&mut self.slab, slot);
        if level != Level::Class {
            self.slab[parent].users += 1;
        }
        slot
    }
}
