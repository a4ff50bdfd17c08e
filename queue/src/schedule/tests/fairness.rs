//! What each flow gets, looked at after every pick of random loads.
//!
//! Within one parent, flows that stay backlogged get service by their weights, apart from a constant
//! of the quantum and the largest cost, and none waits longer than that allows; nothing is tried
//! before its time; and nothing ready waits while it may go and a slot is free.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::entry::{Place, UNIT};
use super::super::flow::{Level, Standing};
use super::*;

/// A job to come: tenant, route, class, band, stream, recipients.
type Kind = (u8, u8, u8, u8, u8, usize);

fn kind() -> impl Strategy<Value = Kind> {
    let recipients = prop_oneof![6 => 1..2usize, 3 => 2..20usize, 1 => 100..200usize];
    (0..4u8, 0..5u8, 0..3u8, 0..4u8, 0..4u8, recipients)
}

fn job(rig: &mut Rig, counter: u64, kind: Kind, now_ms: u64) -> Job {
    let (tenant, route, class, band, stream, recipients) = kind;
    Job {
        class: [Class::Submitted, Class::Inbound, Class::Report][usize::from(class)],
        band: [Band::Urgent, Band::High, Band::Normal, Band::Low][usize::from(band)],
        stream: u64::from(stream),
        recipients: (0..recipients as u32).collect(),
        arrived_ms: now_ms,
        ..rig.of(&format!("t{tenant}"), counter, u32::from(route))
    }
}

/// The largest cost here: a transaction for 20 recipients.
const COST: f64 = 3.0 * UNIT as f64;

/// What the flows beneath one parent got since one of them came or went: cost, and picks since.
type Service = BTreeMap<u32, (f64, usize)>;

/// By level and parent.
#[derive(Default)]
struct Account(BTreeMap<(u8, u32), Service>);

impl Account {
    /// Forgets the families in which a flow came or went.
    fn follow(&mut self, scheduler: &Scheduler) {
        let flows = &scheduler.flows.slab;
        let mut now: BTreeMap<(u8, u32), Service> = BTreeMap::new();
        for slot in 0..flows.used() {
            let flow = &flows[slot];
            if matches!(flow.standing, Standing::Fresh | Standing::Old) {
                now.entry((flow.level as u8, flow.parent)).or_default().insert(slot, (0.0, 0));
            }
        }
        for (family, service) in &mut now {
            if let Some(known) = self.0.get(family).filter(|known| known.keys().eq(service.keys()))
            {
                service.clone_from(known);
            }
        }
        self.0 = now;
    }

    fn pick(&mut self, scheduler: &Scheduler, picked: &Assignment) {
        let entry = &scheduler.jobs[picked.key.0];
        let (mut at, cost) = (entry.flow, entry.cost(picked.recipients.len()));
        let flows = &scheduler.flows.slab;
        loop {
            let (level, parent) = (flows[at].level, flows[at].parent);
            if let Some(service) = self.0.get_mut(&(level as u8, parent)) {
                service.values_mut().for_each(|(_, since)| *since += 1);
                if let Some((got, since)) = service.get_mut(&at) {
                    (*got, *since) = (*got + f64::from(cost), 0);
                }
            }
            if level == Level::Class {
                return;
            }
            at = parent;
        }
    }

    fn check(&self, scheduler: &Scheduler) {
        let weight = |slot: u32| scheduler.flows.slab[slot].weight();
        for service in self.0.values() {
            // Those that just came, and the others, go by turns until all first quanta are used up.
            let turns: f64 = service.keys().map(|&slot| weight(slot) + 1.0).sum();
            let gap_max = |i: u32, j: u32| {
                // One round and the largest cost of each, twice: once for where the interval began.
                let one = |slot| f64::from(UNIT) + COST / weight(slot);
                let fresh = |slot| turns * COST / weight(slot);
                2.0 * (one(i) + one(j)) + fresh(i).max(fresh(j))
            };
            for (&i, &(of_i, since)) in service {
                let mut since_max = 2.0;
                for (&j, &(of_j, _)) in service.iter().filter(|&(&j, _)| j != i) {
                    let gap = (of_i / weight(i) - of_j / weight(j)).abs();
                    assert!(gap <= gap_max(i, j), "{gap} of at most {}", gap_max(i, j));
                    since_max += 2.0 * gap_max(i, j) * weight(j) / f64::from(UNIT) + 2.0;
                }
                assert!(since as f64 <= since_max, "not served for {since} picks of {since_max}");
            }
        }
    }
}

fn shares_one_site(first: Vec<Kind>, later: Vec<Kind>, picks: usize) {
    let mut options = options();
    options.site.recipients_max = 20;
    let mut rig = Rig::new(options, 1);
    (1..5).for_each(|route| rig.scheduler.set_route(RouteId(route), SiteId(0), None, 0));
    let (mut counter, mut account) = (0, Account::default());
    let mut put = |rig: &mut Rig, kind: Kind| {
        counter += 1;
        let job = job(rig, counter, kind, 1_000);
        rig.scheduler.enqueue(job, 1_000);
    };
    for &kind in &first {
        (0..6).for_each(|_| put(&mut rig, kind));
    }
    let mut later = later.into_iter();
    for nth in 0..picks {
        if nth % 9 == 8
            && let Some(kind) = later.next()
        {
            (0..4).for_each(|_| put(&mut rig, kind));
        }
        account.follow(&rig.scheduler);
        let pick =
            std::iter::repeat_with(|| rig.scheduler.next(1_000)).find(|pick| *pick != Pick::Again);
        let Some(Pick::Assignment(picked)) = pick else { break };
        account.pick(&rig.scheduler, &picked);
        account.follow(&rig.scheduler);
        account.check(&rig.scheduler);
        rig.scheduler.result(&picked, Attempt::default(), 1_000);
    }
}

/// Why a job that is ready may wait although a slot is free; none if it may not.
fn excuse(scheduler: &Scheduler, key: u32, now_ms: u64) -> Option<&'static str> {
    let path = scheduler.flows.path(scheduler.jobs[key].flow);
    let site = &scheduler.sites[path.site];
    let tenant = &scheduler.tenants.slab[path.tenant];
    let (slots, proven) = (&scheduler.slots, site.is_proven(now_ms));
    let active = scheduler.tenants.active + u32::from(tenant.gate.assigned == 0);
    let has = (tenant.gate.assigned, tenant.unproven);
    let gate = scheduler.routes[path.route].gate.as_ref();
    [
        (slots.max.saturating_sub(slots.assigned) <= slots.max / 16, "slots"),
        (!proven && slots.unproven >= (slots.max / 4).max(1), "unproven"),
        (slots.is_over_share(proven, has, active, now_ms), "share"),
        (gate.is_some_and(|gate| gate.closed(now_ms).is_some()), "route"),
        (tenant.gate.closed(now_ms).is_some(), "tenant"),
        (site.is_closed(&scheduler.options.site, now_ms), "site"),
    ]
    .into_iter()
    .find_map(|(holds, why)| holds.then_some(why))
}

struct Load {
    rig: Rig,
    random: fastrand::Rng,
    now_ms: u64,
    open: Vec<(u64, Assignment)>,
    probes: Vec<SiteId>,
    due: BTreeMap<u32, u64>,
}

impl Load {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let rate = |random: &mut fastrand::Rng| {
            let rate = Rate { count: random.u32(1..40), per_ms: 1_000 };
            random.bool().then_some(rate)
        };
        let mut options = options();
        options.slots_max = random.u32(1..40);
        options.site.concurrency_max = random.u32(1..9);
        options.site.recipients_max = 20;
        options.site.rate = rate(&mut random);
        let mut rig = Rig::new(options, 3);
        for route in 3..5 {
            let concurrency_max = random.u32(1..4);
            let limits = Limits { concurrency_max, recipients_max: 7, rate: rate(&mut random) };
            rig.scheduler.set_route(RouteId(route), SiteId(route % 3), Some(limits), 0);
        }
        let concurrency_max = random.bool().then_some(random.u32(1..4));
        let limits = TenantLimits { concurrency_max, rate: rate(&mut random) };
        rig.scheduler.set_tenant("t0", Some(limits), 0);
        let (open, probes, due) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { rig, random, now_ms: 10_000, open, probes, due }
    }

    fn step(&mut self) {
        if self.random.u8(0..20) == 0 {
            let route = RouteId(self.random.u32(0..5));
            let paused = self.random.u8(0..3) == 0;
            self.rig.scheduler.set_paused(route, paused, self.now_ms);
        }
        let mut picks = (0..200).map(|_| self.rig.scheduler.next(self.now_ms));
        let pick = picks.find(|pick| *pick != Pick::Again).expect("it makes no progress");
        assert!(self.rig.scheduler.steps() <= STEPS_MAX + 8);
        let wake_ms = match pick {
            Pick::Assignment(picked) => {
                let due_ms = self.due.remove(&picked.key.0).unwrap_or(0);
                assert!(due_ms <= self.now_ms, "before its time");
                let ends_ms = self.now_ms + self.random.u64(0..3_000);
                return self.open.push((ends_ms, picked));
            }
            Pick::Probe(site, _) => return self.probes.push(site),
            Pick::WakeAt(at_ms) => at_ms,
            Pick::Idle => u64::MAX,
            Pick::Again => unreachable!("asked again"),
        };
        if wake_ms > self.now_ms + 1 {
            self.conserves();
        }
        self.pass(wake_ms);
    }

    fn conserves(&self) {
        let scheduler = &self.rig.scheduler;
        for key in (0..scheduler.jobs.used()).filter(|&key| !scheduler.jobs[key].is_vacant()) {
            if scheduler.jobs[key].place() == Place::Ready {
                let excuse = excuse(scheduler, key, self.now_ms);
                let why = || scheduler.why(scheduler.jobs[key].message(), self.now_ms);
                assert!(excuse.is_some(), "it waits for nothing: {:?}", why());
            }
        }
    }

    fn pass(&mut self, wake_ms: u64) {
        let ends_ms = self.open.iter().map(|&(at_ms, _)| at_ms).min().unwrap_or(u64::MAX);
        let next_ms = wake_ms.min(ends_ms);
        self.now_ms =
            if next_ms == u64::MAX { self.now_ms + 100 } else { next_ms.max(self.now_ms) };
        let now_ms = self.now_ms;
        for site in std::mem::take(&mut self.probes) {
            let failure = self.random.bool().then(|| "refused".into());
            self.rig.scheduler.probed(site, failure, now_ms);
        }
        let (ended, open) = self.open.drain(..).partition(|&(at_ms, _)| at_ms <= now_ms);
        self.open = open;
        let ended: Vec<(u64, Assignment)> = ended;
        for (_, picked) in ended {
            let attempt = match self.random.u8(0..24) {
                0 => unreachable(&picked),
                1 => limited(&picked, Limit::Rate),
                2 => limited(&picked, Limit::Connections),
                3 | 4 => failed(&picked),
                _ => Attempt::default(),
            };
            if let Decision::Retry { due_ms, .. } = self.rig.end(&picked, attempt, now_ms) {
                self.due.insert(picked.key.0, due_ms);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn backlogged_flows_share_by_weight_and_none_starves(
        first in prop::collection::vec(kind(), 1..30),
        later in prop::collection::vec(kind(), 0..12),
    ) {
        shares_one_site(first, later, 150);
    }

    #[test]
    fn nothing_waits_that_may_go(
        kinds in prop::collection::vec(kind(), 1..60),
        seed in any::<u64>(),
    ) {
        let mut load = Load::new(seed);
        for (nth, &kind) in kinds.iter().enumerate() {
            let job = job(&mut load.rig, nth as u64 + 1, kind, load.now_ms);
            load.rig.scheduler.enqueue(job, load.now_ms);
            (0..4).for_each(|_| load.step());
        }
        (0..100).for_each(|_| load.step());
    }
}
