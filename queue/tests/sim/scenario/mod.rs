//! The scenarios: what comes in, what receives it, and what is read off.
//!
//! Each is a function of the discipline and the scale, gives its figures in the order in which they
//! are declared, and one curve. Counts and durations shrink with the scale, rates do not.

mod adversary;
mod burst;
mod receivers;
mod share;
mod sites;
mod week;

use super::chance::Time;
use super::discipline::{Kind, Mail, Setup};
use super::ledger::{Ledger, quantile};
use super::receiver::Receiver;
use super::source::Source;
use super::world::World;
use super::{HOUR, SECOND};

/// What counts and durations are divided by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale(pub u64);

impl Scale {
    pub fn of(self, count: u64) -> u64 {
        count / self.0
    }
}

/// Points of a line.
pub type Curve = Vec<(f64, f64)>;

/// What a run gives.
#[derive(Debug)]
pub struct Report {
    /// In the order of the scenario's declaration.
    pub figures: Vec<f64>,
    pub curve: Curve,
    /// What the curve should come near, where there is such a thing.
    pub guide: Option<Curve>,
}

/// How a scenario is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    pub title: &'static str,
    pub x: &'static str,
    pub y: &'static str,
    pub logarithmic: bool,
}

/// One scenario.
pub struct Scenario {
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// Which disciplines it is for.
    pub kinds: &'static [Kind],
    /// Names and units; the scenario's own name stands before them.
    pub figures: &'static [(&'static str, &'static str)],
    pub plot: Plot,
    pub run: fn(Kind, Scale) -> Report,
}

impl Scenario {
    /// The full name of a figure: that of ours carries no discipline.
    pub fn name_of(&self, kind: Kind, figure: &str) -> String {
        let kind = if kind == Kind::Ours { "" } else { kind.name() };
        let parts = ["schedule", self.name, kind, figure];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }
}

/// All of them.
pub fn all() -> Vec<&'static Scenario> {
    [burst::ALL, share::ALL, sites::ALL, receivers::ALL, adversary::ALL, week::ALL].concat()
}

/// The scenario of this name.
pub fn find(name: &str) -> &'static Scenario {
    all().into_iter().find(|scenario| scenario.name == name).unwrap()
}

/// Waits of small mail over time.
const WAITS: Plot =
    Plot { title: "", x: "arrival, s", y: "p99 until delivered, ms", logarithmic: true };

/// Small mail, and that which is in its way.
const SMALL: u8 = 0;
const BIG: u8 = 1;

/// The tenant whose mail is in the way.
const CULPRIT: u32 = 0;

/// When what is in the way comes.
const COMES_US: u64 = 5 * SECOND;
/// Long after everything.
const NEVER_US: u64 = 1000 * HOUR;

/// One site that takes 1,000 a second over four connections.
fn thousand_a_second() -> (Setup, Vec<Receiver>) {
    (Setup::new(1, 4), vec![Receiver::new(Time::Lognormal(4_000, 0.5))])
}

/// Single messages of 1,000 other tenants, so many a second, over so many first routes.
fn small_mail(per_s: f64, until_us: u64, routes: u32) -> Source {
    Source::poisson(per_s, 0, until_us, move |nth, rng| {
        let tenant = 1 + rng.u32(..1000);
        Mail { flow: SMALL, route: rng.u32(..routes), tenant, ..single(nth, tenant) }
    })
}

/// A message to one recipient, by the sender of that number. Small mail has even numbers.
fn single(nth: u64, sender: u32) -> Mail {
    Mail {
        message: nth as u32 * 2,
        tenant: sender,
        stream: u64::from(sender),
        recipients: 1,
        size: 4096,
        ..Mail::default()
    }
}

/// The same, of what is in the way.
fn big(nth: u64) -> Mail {
    Mail { flow: BIG, message: nth as u32 * 2 + 1, ..single(nth, CULPRIT) }
}

/// Runs until what is in the way has ended, then lets what is left end: the share of the sites'
/// connections in use meanwhile, and when it was over.
fn run_until_clear(world: &mut World, connections: u64) -> (f64, u64) {
    world.run(COMES_US, |_| false);
    let busy_us = world.busy_us;
    world.run(NEVER_US, |world| is_through(world, BIG));
    let end_us = world.ledger.flow(BIG).last_us;
    let busy_us = world.busy_us - busy_us;
    let used = busy_us as f64 / (connections * (end_us - COMES_US)) as f64;
    world.close();
    world.run(NEVER_US, |world| world.ledger.left() == 0);
    (used, end_us)
}

/// Whether all mail of a flow has come and ended.
fn is_through(world: &World, flow: u8) -> bool {
    let flow = world.ledger.flows.get(usize::from(flow));
    flow.is_some_and(|flow| flow.arrived > 0 && flow.ended == flow.arrived)
}

/// Median, p99 and maximum of small mail that came since what is in the way, in milliseconds.
fn waits(ledger: &Ledger) -> [f64; 3] {
    let since_s = (COMES_US / SECOND) as f32;
    let since = ledger.flow(SMALL).sojourns.iter().filter(|(at_s, _)| *at_s >= since_s);
    let sojourns: Vec<f32> = since.map(|(_, ms)| *ms).collect();
    [0.5, 0.99, 1.0].map(|share| quantile(sojourns.clone(), share))
}
