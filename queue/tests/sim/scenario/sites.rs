//! Many sites of which some are slow, hung or dead, and few slots.

use super::super::SECOND;
use super::super::discipline::{Kind, Mail, Setup};
use super::super::receiver::{Outage, Receiver};
use super::super::source::Source;
use super::super::world::World;
use super::*;

pub const ALL: &[&Scenario] = &[&SLOW, &HUNG, &DEAD, &ROUTES, &SLOW_ROUTES];

const FIGURES: &[(&str, &str)] =
    &[("p50", "ms"), ("p99", "ms"), ("max", "ms"), ("delivered", "share")];

const SLOW: Scenario = Scenario {
    name: "slow",
    about: "200 messages a second over 1,000 sites, a tenth of them to one that takes 30 s; 100 \
            slots",
    kinds: Kind::ALL,
    figures: FIGURES,
    plot: Plot { title: "Mail of 999 sites beside a slow one", ..WAITS },
    run: |kind, scale| {
        let setup = Setup { slots: 100, ..Setup::new(1000, 20) };
        let mut receivers = vec![Receiver::new(Time::Lognormal(50_000, 0.5)); 999];
        receivers.push(Receiver::new(Time::Constant(30 * SECOND)));
        let mut world = World::new(kind, &setup, receivers);
        let until_us = scale.of(300) * SECOND;
        world.add(small_mail(180.0, until_us, 999));
        world.add(Source::poisson(20.0, COMES_US, until_us, |nth, rng| {
            let tenant = 1 + rng.u32(..1000);
            Mail { route: 999, tenant, stream: u64::from(tenant), ..big(nth) }
        }));
        report(&mut world, until_us)
    },
};

const HUNG: Scenario = Scenario {
    name: "hung",
    about: "2,000 messages of one tenant over 25 sites that take 30 s, and 100 a second of others \
            to a fast one; 100 slots",
    kinds: Kind::ALL,
    figures: FIGURES,
    plot: Plot { title: "Mail of a fast site beside 25 hung ones", ..WAITS },
    run: |kind, scale| {
        let setup = Setup { slots: 100, ..Setup::new(26, 20) };
        let mut receivers = vec![Receiver::new(Time::Lognormal(10_000, 0.5))];
        receivers.resize(26, Receiver::new(Time::Constant(30 * SECOND)));
        let mut world = World::new(kind, &setup, receivers);
        let until_us = scale.of(120) * SECOND;
        world.add(small_mail(100.0, until_us, 1));
        world.add(Source::every(0, COMES_US, 2000, |nth, _| Mail {
            route: 1 + nth as u32 % 25,
            ..big(nth)
        }));
        report(&mut world, until_us)
    },
};

const DEAD: Scenario = Scenario {
    name: "dead",
    about: "a million messages to a site that refuses connections, and 100 a second of others to \
            a fast one; 100 slots",
    kinds: Kind::ALL,
    figures: &[
        ("p50", "ms"),
        ("p99", "ms"),
        ("max", "ms"),
        ("delivered", "share"),
        ("attempts", "at the dead site"),
    ],
    plot: Plot { title: "Mail of a fast site beside a dead one with a million", ..WAITS },
    run: |kind, scale| {
        let setup = Setup { slots: 100, ..Setup::new(2, 20) };
        let fast = Receiver::new(Time::Lognormal(10_000, 0.5));
        let dead = Receiver::default().out(0, NEVER_US, Outage::Refused);
        let mut world = World::new(kind, &setup, vec![fast, dead]);
        let until_us = scale.of(600).max(60) * SECOND;
        world.add(small_mail(100.0, until_us, 1));
        world.add(Source::every(0, COMES_US, scale.of(1_000_000), |nth, _| Mail {
            route: 1,
            ..big(nth)
        }));
        let mut report = report(&mut world, until_us);
        report.figures.push((world.ledger.flow(BIG).unreachable + world.probes) as f64);
        report
    },
};

const ROUTES: Scenario = Scenario {
    name: "routes",
    about: "one message to each of 100,000 sites that take 100 ms; 1,000 slots, so 10 s at best",
    kinds: &[Kind::Ours, Kind::Fifo, Kind::Slots],
    figures: &[("finish", "s"), ("utilisation", "")],
    plot: Plot {
        title: "100,000 sites with one message each",
        x: "s",
        y: "delivered a second",
        logarithmic: false,
    },
    run: |kind, scale| {
        let routes = scale.of(100_000) as u32;
        let receivers = vec![Receiver::new(Time::Lognormal(100_000, 0.5)); routes as usize];
        let mut world = World::new(kind, &Setup::new(routes, 20), receivers);
        world.add(Source::every(0, 0, u64::from(routes), |nth, _| {
            let tenant = nth as u32 % 1000;
            Mail { route: nth as u32, tenant, stream: u64::from(tenant), ..big(nth) }
        }));
        world.run(NEVER_US, |world| is_through(world, BIG));
        let finish_us = world.ledger.flow(BIG).last_us;
        let used = world.busy_us as f64 / (1000 * finish_us) as f64;
        Report {
            figures: vec![finish_us as f64 / SECOND as f64, used],
            curve: world.ledger.flow(BIG).rate_curve(1),
            guide: None,
        }
    },
};

const SLOW_ROUTES: Scenario = Scenario {
    name: "slow_routes",
    about: "one tenant's message to each of 100,000 sites that take 30 s, and 100 a second of \
            others over 1,000 fast ones; 1,000 slots",
    kinds: &[Kind::Ours, Kind::Fifo, Kind::Slots],
    figures: FIGURES,
    plot: Plot { title: "Mail beside one tenant's 100,000 slow sites", ..WAITS },
    run: |kind, scale| {
        let slow = scale.of(100_000) as u32;
        let mut receivers = vec![Receiver::new(Time::Lognormal(20_000, 0.5)); 1000];
        let hung = Receiver::new(Time::Constant(30 * SECOND));
        receivers.resize(1000 + slow as usize, hung);
        let mut world = World::new(kind, &Setup::new(1000 + slow, 20), receivers);
        let until_us = scale.of(300).max(60) * SECOND;
        world.add(small_mail(100.0, until_us, 1000));
        world.add(Source::every(0, COMES_US, u64::from(slow), |nth, _| Mail {
            route: 1000 + nth as u32,
            ..big(nth)
        }));
        report(&mut world, until_us)
    },
};

/// Runs until then, and tells how small mail fared; what has not been delivered has waited so long.
fn report(world: &mut World, until_us: u64) -> Report {
    world.run(until_us, |_| false);
    let small = world.ledger.flow(SMALL);
    let delivered = small.ended as f64 / small.arrived as f64;
    world.ledger.give_up(SMALL, until_us);
    let [p50, p99, max] = waits(&world.ledger);
    Report {
        figures: vec![p50, p99, max, delivered],
        curve: world.ledger.flow(SMALL).sojourn_curve(0.99, (until_us / SECOND) as f64 / 100.0),
        guide: None,
    }
}
