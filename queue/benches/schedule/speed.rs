//! How fast the scheduler is, and how much it takes: lifecycles, the wheel, memory, steps.
//!
//! A lifecycle is a job that comes, one that is picked and one that ends; the queue stays as deep
//! as it was. All in one thread.

use std::hint::black_box;
use std::time::Instant;

use angarium_queue::id::MessageId;
use angarium_queue::schedule::{
    Assignment, Attempt, Backoff, Band, Class, Job, Limits, Options, Pace, Pick, RouteId,
    STEPS_MAX, Scheduler, SiteId, TenantLimits, Timing, Verdict,
};

#[path = "wheel.rs"]
mod wheel;

pub(crate) const ROUTES: u32 = 100_000;
const TENANTS: u64 = 100;
const NOW_MS: u64 = 1_800_000_000_000;

pub(crate) fn options() -> Options {
    Options {
        backoff: Backoff {
            exchanger_ms: vec![300_000, 600_000, 3_600_000],
            next_hop_ms: vec![5_000, 15_000, 60_000],
        },
        lifetimes_ms: vec![5 * 86_400_000, 2 * 86_400_000],
        warnings_ms: vec![4 * 3_600_000],
        probe_delay_max_ms: 300_000,
        slots_max: 1_000,
        rate: None,
        site: Limits { concurrency_max: 20, recipients_max: 100, rate: None },
        tenant: TenantLimits::default(),
        paused: false,
    }
}

/// A scheduler with mail for many routes, each its own site; each route has one sender's mail, and
/// each tenant a hundredth of all routes.
pub(crate) struct Load {
    pub(crate) scheduler: Scheduler,
    random: fastrand::Rng,
    counter: u64,
    routes: u32,
    now_ms: u64,
}

impl Load {
    pub(crate) fn new(routes: u32) -> Self {
        let mut scheduler = Scheduler::new(options(), 1);
        (0..routes)
            .for_each(|route| scheduler.set_route(RouteId(route), SiteId(route), None, NOW_MS));
        let random = fastrand::Rng::with_seed(2);
        Self { scheduler, random, counter: 0, routes, now_ms: NOW_MS }
    }

    pub(crate) fn put(&mut self, route: u32) {
        self.put_from(route, u64::from(route) % TENANTS);
    }

    /// Each sender is a tenant here.
    fn put_from(&mut self, route: u32, sender: u64) {
        self.counter += 1;
        let job = Job {
            id: MessageId::new(0, 1, self.counter).unwrap(),
            route: RouteId(route),
            tenant: self.scheduler.tenant(name(sender)),
            class: Class::Inbound,
            band: Band::Normal,
            stream: sender,
            pace: Pace::Exchanger,
            recipients: [0].into_iter().collect(),
            size: 4_000,
            attempts: 0,
            due_ms: 0,
            arrived_ms: self.now_ms,
            lifetime: 0,
            timing: Timing::default(),
            held: false,
            tag: 0,
        };
        self.scheduler.enqueue(job, self.now_ms);
    }

    pub(crate) fn put_anywhere(&mut self) {
        let route = self.random.u32(0..self.routes);
        self.put(route);
    }

    pub(crate) fn pick(&mut self) -> Option<Assignment> {
        loop {
            match self.scheduler.next(self.now_ms) {
                Pick::Assignment(picked) => return Some(picked),
                Pick::Again => {}
                _ => return None,
            }
        }
    }

    /// As many lifecycles, a thousand in a millisecond.
    #[inline(never)]
    pub(crate) fn lifecycles(&mut self, count: u64) {
        for at in 0..count {
            self.put_anywhere();
            let picked = self.pick().expect("something is queued");
            black_box(self.scheduler.result(&picked, Attempt::default(), self.now_ms));
            self.now_ms += u64::from(at % 1_000 == 0);
        }
    }
}

fn name(nth: u64) -> &'static str {
    static NAMES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let all = NAMES.get_or_init(|| (0..TENANTS).map(|nth| format!("192.0.2.{nth}")).collect());
    &all[nth as usize]
}

/// A load with so many queued, spread evenly.
pub(crate) fn filled(messages: u64, routes: u32) -> Load {
    let mut load = Load::new(routes);
    for nth in 0..messages {
        load.put((nth % u64::from(routes)) as u32);
    }
    load
}

/// Lifecycles per second with so many queued: the median of three.
fn rate(load: &mut Load, count: u64) -> f64 {
    load.lifecycles(count / 4);
    median(|| {
        let start = Instant::now();
        load.lifecycles(count);
        count as f64 / start.elapsed().as_secs_f64()
    })
}

fn resident_octets() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0
}

/// The bench; `wants` tells which figures are asked for.
pub(crate) fn bench(quick: bool, wants: impl Fn(&str) -> bool) {
    let count = if quick { 200_000 } else { 1_000_000 };
    if wants("schedule.bytes_per_message") {
        memory();
    }
    if wants("schedule.lifecycles.1m") {
        let figure = rate(&mut filled(1_000_000, ROUTES), count);
        println!("schedule.lifecycles.1m = {figure:.0} /s");
    }
    if wants("schedule.lifecycles.cached") {
        let figure = rate(&mut filled(10_000, 1_000), count);
        println!("schedule.lifecycles.cached = {figure:.0} /s");
    }
    if wants("schedule.lifecycles.spread") {
        let small = rate(&mut filled(10_000, ROUTES), count);
        let large = rate(&mut filled(if quick { 2_000_000 } else { 10_000_000 }, ROUTES), count);
        println!("schedule.lifecycles.10k = {small:.0} /s");
        println!("schedule.lifecycles.10m = {large:.0} /s");
        println!("schedule.lifecycles.spread = {:.2}", small / large);
    }
    if wants("schedule.wheel") {
        wheel(count);
    }
    if wants("schedule.steps_max") || wants("schedule.longest_call") {
        calls(count);
    }
}

/// What a message takes, with its share of routes, sites and flows: ten on each route.
fn memory() {
    let before = resident_octets();
    let load = filled(1_000_000, ROUTES);
    let octets = (resident_octets() - before) / 1e6;
    println!("schedule.bytes_per_message = {octets:.1} B");
    drop(load);
    let before = resident_octets();
    let mut load = Load::new(ROUTES);
    for nth in 0..1_000_000u64 {
        let (route, sender) = ((nth % u64::from(ROUTES)) as u32, nth / u64::from(ROUTES));
        load.put_from(route, sender);
    }
    let octets = (resident_octets() - before) / 1e6;
    println!("schedule.bytes_per_message.each_its_tenant_and_stream = {octets:.1} B");
}

/// Out of the wheel and in again, where so many wait.
fn wheel(count: u64) {
    for (name, waiting) in [("schedule.wheel", 10_000), ("schedule.wheel.1m", 1_000_000)] {
        let mut rig = wheel::Rig::new(waiting);
        let figure = median(|| {
            let start = Instant::now();
            rig.turn(count);
            count as f64 / start.elapsed().as_secs_f64()
        });
        println!("{name} = {figure:.0} /s");
    }
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<f64> = (0..3).map(|_| measure()).collect();
    figures.sort_by(f64::total_cmp);
    figures[1]
}

/// Thread CPU time, in milliseconds.
fn cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// The longest call, by steps and by CPU time, in a million lifecycles in which mail is deferred,
/// sites fail and come back, and everything comes due at once.
fn calls(count: u64) {
    let mut load = filled(1_000_000, ROUTES);
    let (mut steps_max, mut longest_ms) = (0, 0.0f64);
    for at in 0..count {
        let mut timed = |load: &mut Load, call: &mut dyn FnMut(&mut Load)| {
            let start = cpu_ms();
            call(load);
            longest_ms = longest_ms.max(cpu_ms() - start);
            steps_max = steps_max.max(load.scheduler.steps());
        };
        timed(&mut load, &mut Load::put_anywhere);
        let mut pick = Pick::Idle;
        timed(&mut load, &mut |load| pick = load.scheduler.next(load.now_ms));
        match pick {
            Pick::Assignment(picked) => {
                let deferred = if at % 3 == 0 { picked.recipients.to_vec() } else { vec![] };
                let verdict = match at % 1_000 {
                    0 => Verdict::Unreachable("refused".into()),
                    _ => Verdict::Served,
                };
                let mut attempt = Some(Attempt { deferred, verdict });
                timed(&mut load, &mut |load| {
                    let attempt = attempt.take().unwrap_or_default();
                    black_box(load.scheduler.result(&picked, attempt, load.now_ms));
                });
            }
            Pick::Probe(site, _) => {
                timed(&mut load, &mut |load| load.scheduler.probed(site, None, load.now_ms));
            }
            _ => load.now_ms += 1,
        }
        if at % (count / 4) == 0 {
            load.now_ms += 3_600_000;
        }
        timed(&mut load, &mut |load| drop(load.scheduler.notice(load.now_ms)));
    }
    assert!(steps_max <= STEPS_MAX + 8, "{steps_max}");
    println!("schedule.steps_max = {steps_max}");
    println!("schedule.longest_call = {longest_ms:.3} ms");
}
