//! One site with a will of its own: a hidden limit, a cap, greylisting, dead exchangers, an outage.

use super::super::discipline::{Kind, Mail, Setup};
use super::super::receiver::{Outage, Receiver};
use super::super::source::Source;
use super::super::world::World;
use super::super::{HOUR, MINUTE, SECOND};
use super::*;

pub const ALL: &[&Scenario] = &[&LIMIT, &CROWDED, &GREYLIST, &MIXED, &OUTAGE];

const LIMIT: Scenario = Scenario {
    name: "limit",
    about: "a site that takes 100 a second, after 20 minutes 10, after 40 minutes 100 again, says \
            so by 421 only, and has more than enough to take; share of the limit used and of the \
            attempts refused, over the hour and in each part",
    kinds: Kind::ALL,
    figures: &[
        ("used", "share"),
        ("refused", "share"),
        ("used.first", "share"),
        ("used.low", "share"),
        ("used.again", "share"),
    ],
    plot: Plot {
        title: "A hidden limit of 100, 10 and 100 a second",
        x: "s",
        y: "delivered a second",
        logarithmic: false,
    },
    run: limit,
};

fn limit(kind: Kind, scale: Scale) -> Report {
    let part_us = scale.of(20 * MINUTE);
    let limits = vec![(0, 100.0), (part_us, 10.0), (2 * part_us, 100.0)];
    let guide = limits.iter().flat_map(|(from, rate)| {
        [*from, from + part_us].map(|at| (at as f64 / SECOND as f64, *rate))
    });
    let guide = guide.collect();
    let receiver = Receiver { limits, ..Receiver::new(Time::Lognormal(50_000, 0.5)) };
    let mut world = World::new(kind, &Setup::new(1, 20), vec![receiver]);
    let count = part_us / SECOND * 300;
    world.add(Source::every(0, 0, count, |nth, rng| {
        let tenant = rng.u32(..10);
        Mail { tenant, stream: u64::from(tenant), ..big(nth) }
    }));
    let (mut before, mut parts) = (0, Vec::new());
    for (nth, rate) in [(1, 100.0), (2, 10.0), (3, 100.0)] {
        world.run(nth * part_us, |_| false);
        let served = world.ledger.flow(BIG).served;
        parts.push((served - before) as f64 / (rate * part_us as f64 / SECOND as f64));
        before = served;
    }
    let flow = world.ledger.flow(BIG);
    let used = flow.served as f64 / (210.0 * part_us as f64 / SECOND as f64);
    let refused = flow.limited as f64 / (flow.served + flow.limited) as f64;
    let stretch = (part_us / SECOND / 40).max(1) as usize;
    let figures = [vec![used, refused], parts].concat();
    Report { figures, curve: flow.rate_curve(stretch), guide: Some(guide) }
}

const CROWDED: Scenario = Scenario {
    name: "crowded",
    about: "a site that turns away connections beyond five and takes 100 ms, so 50 a second, with \
            more than enough to take",
    kinds: Kind::ALL,
    figures: &[("used", "share"), ("refused", "share")],
    plot: Plot {
        title: "A site that turns away connections beyond five",
        x: "s",
        y: "delivered a second",
        logarithmic: false,
    },
    run: |kind, scale| {
        let until_us = scale.of(20 * MINUTE);
        let service = Receiver::new(Time::Lognormal(100_000, 0.5));
        let receiver = Receiver { connections_max: 5, ..service };
        let mut world = World::new(kind, &Setup::new(1, 20), vec![receiver]);
        let count = until_us / SECOND * 60;
        world.add(Source::every(0, 0, count, |nth, _| big(nth)));
        world.run(until_us, |_| false);
        let flow = world.ledger.flow(BIG);
        let used = flow.served as f64 / (50.0 * until_us as f64 / SECOND as f64);
        let refused = flow.limited as f64 / (flow.served + flow.limited) as f64;
        let stretch = (until_us / SECOND / 100).max(1) as usize;
        Report { figures: vec![used, refused], curve: flow.rate_curve(stretch), guide: None }
    },
};

const GREYLIST: Scenario = Scenario {
    name: "greylist",
    about: "ten messages a second to a site that puts each off for five minutes",
    kinds: Kind::ALL,
    figures: &[("p50", "ms"), ("p99", "ms"), ("attempts", "a message")],
    plot: Plot { title: "A site that greylists for five minutes", ..WAITS },
    run: |kind, scale| {
        let receiver = Receiver { greylist_us: 5 * MINUTE, ..Receiver::default() };
        let mut world = World::new(kind, &Setup::new(1, 20), vec![receiver]);
        world.add(small_mail(10.0, scale.of(HOUR), 1));
        world.run(NEVER_US, |world| world.now_us > scale.of(HOUR) && world.ledger.left() == 0);
        let flow = world.ledger.flow(SMALL);
        let attempts = flow.served as f64 / flow.arrived as f64;
        Report {
            figures: vec![flow.sojourn_ms(0.5), flow.sojourn_ms(0.99), attempts],
            curve: flow.sojourn_curve(0.99, scale.of(36) as f64),
            guide: None,
        }
    },
};

const MIXED: Scenario = Scenario {
    name: "mixed",
    about: "50 messages a second to a site where three of ten connections fail",
    kinds: Kind::ALL,
    figures: &[("p50", "ms"), ("p99", "ms"), ("max", "ms"), ("delivered", "share")],
    plot: Plot { title: "A site where three of ten connections fail", ..WAITS },
    run: |kind, scale| {
        let receiver = Receiver { failing: 0.3, ..Receiver::default() };
        let mut world = World::new(kind, &Setup::new(1, 20), vec![receiver]);
        let until_us = scale.of(20 * MINUTE);
        world.add(small_mail(50.0, until_us, 1));
        world.run(until_us, |_| false);
        let flow = world.ledger.flow(SMALL);
        let delivered = flow.ended as f64 / flow.arrived as f64;
        world.ledger.give_up(SMALL, until_us);
        let [p50, p99, max] = waits(&world.ledger);
        let curve = world.ledger.flow(SMALL).sojourn_curve(0.99, scale.of(12).max(1) as f64);
        Report { figures: vec![p50, p99, max, delivered], curve, guide: None }
    },
};

const OUTAGE: Scenario = Scenario {
    name: "outage",
    about: "ten messages a second to a site that takes 200 a second and is out for an hour: how \
            long until all that waited is delivered, and the most transactions in flight then",
    kinds: Kind::ALL,
    figures: &[("drained", "s"), ("attempts", "while out"), ("in_flight", "at most")],
    plot: Plot {
        title: "An hour's outage of a site",
        x: "s",
        y: "messages waiting",
        logarithmic: false,
    },
    run: |kind, scale| {
        let (from_us, to_us) = (10 * MINUTE, 10 * MINUTE + scale.of(HOUR));
        let service = Receiver::new(Time::Lognormal(100_000, 0.5));
        let receiver = service.out(from_us, to_us, Outage::Refused);
        let mut world = World::new(kind, &Setup::new(1, 20), vec![receiver]);
        world.add(small_mail(10.0, to_us, 1));
        world.run(to_us, |_| false);
        let attempts = world.ledger.flow(SMALL).unreachable + world.probes;
        world.open_max = world.open;
        world.run(NEVER_US, |world| world.ledger.left() == 0);
        let flow = world.ledger.flow(SMALL);
        let drained_s = (flow.last_us - to_us) as f64 / SECOND as f64;
        Report {
            figures: vec![drained_s, attempts as f64, world.open_max as f64],
            curve: flow.backlog_curve(((flow.last_us / SECOND) / 150).max(1) as usize),
            guide: None,
        }
    },
};
